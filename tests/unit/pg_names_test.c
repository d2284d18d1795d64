// OBJECTS: plugins/postgresql/names.c
#include "plugins/postgresql/pg_pure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void standby_names_are_read_as_the_server_does(void **state)
{
    static const struct {
        const char *list;
        bool ours;
        unsigned others;
    } cases[] = {
        {"", false, 0},
        {"tidemark_shop", true, 0},
        {"Tidemark_Shop", true, 0},
        {"*", true, 1},
        {"\"*\"", false, 1},
        {"s1, tidemark_shop", true, 1},
        {"FIRST 2 (s1, s2, tidemark_shop)", true, 2},
        {"ANY 1 (tidemark_shop)", true, 0},
        {"2 (s1,s2)", false, 2},
        {"ANY 1 (\"tidemark_shop\", \"a \"\"b\")", true, 1},
        {"\"tidemark_shop, s2\"", false, 1},
        {"tidemark_shop2", false, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned others;

        assert_int_equal(pg_sync_names(cases[i].list, "tidemark_shop", &others), cases[i].ours);
        assert_int_equal(others, cases[i].others);
    }
}

static void an_instance_has_a_name_that_a_slot_can_have(void **state)
{
    char buf[80];

    (void)state;
    pg_name_of_instance("Shop-1.eu", buf, sizeof buf);
    assert_string_equal(buf, "tidemark_shop_1_eu");
    pg_name_of_instance("käse, \"x\"", buf, sizeof buf);
    assert_string_equal(buf, "tidemark_k__se___x_");
    pg_name_of_instance("0123456789012345678901234567890123456789012345678901234567890123456789", buf, sizeof buf);
    assert_int_equal(strlen(buf), 63);
    pg_name_of_instance(NULL, buf, sizeof buf);
    assert_string_equal(buf, "tidemark_instance");
}

static void certificates_are_verified_beyond_loopback(void **state)
{
    static const char *const local[] = {NULL, "/run/postgresql", "@abstract", "localhost", "127.0.0.1", "::1"};
    static const char *const remote[] = {"db1",     "10.0.0.1", "128.0.0.1",      "localhost.example.com",
                                         "fd00::1", "12.7.0.1", "127.example.com"};

    (void)state;
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        assert_true(pg_host_is_local(local[i]));
    for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++)
        assert_false(pg_host_is_local(remote[i]));
    assert_string_equal(pg_sslmode_for(NULL, false, true), "prefer");
    assert_string_equal(pg_sslmode_for(NULL, false, false), "verify-full");
    /* What is written counts, weaker too; a service's "prefer" is libpq's default and was not written. */
    assert_string_equal(pg_sslmode_for("require", false, false), "require");
    assert_string_equal(pg_sslmode_for("prefer", false, false), "prefer");
    assert_string_equal(pg_sslmode_for("prefer", true, false), "verify-full");
    assert_string_equal(pg_sslmode_for("disable", true, false), "disable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(standby_names_are_read_as_the_server_does),
        cmocka_unit_test(an_instance_has_a_name_that_a_slot_can_have),
        cmocka_unit_test(certificates_are_verified_beyond_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
