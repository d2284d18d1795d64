// LDFLAGS: -Wl,--wrap=munmap

#include "orchestrator/base/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

static const uint8_t *watched;
static size_t watched_len;
static bool was_wiped;

int __real_munmap(void *p, size_t len);
int __wrap_munmap(void *p, size_t len);

/* The last moment at which the bytes can be seen. */
int __wrap_munmap(void *p, size_t len)
{
    if (p == watched) {
        was_wiped = true;
        for (size_t i = 0; i < watched_len; i++)
            was_wiped = was_wiped && watched[i] == 0;
    }
    return __real_munmap(p, len);
}

static void a_secret_is_kept_with_a_terminator(void **state)
{
    (void)state;
    struct tide_secret s = TIDE_SECRET_INIT;
    assert_int_equal(tide_secret_set(&s, "pass\0word", 9, NULL), TIDE_OK);
    assert_int_equal(s.len, 9);
    assert_memory_equal(s.data, "pass\0word", 10);
    tide_secret_clear(&s);
    assert_null(s.data);
    assert_int_equal(s.len, 0);
    tide_secret_clear(&s);
    tide_secret_clear(NULL);
}

static void clearing_wipes_the_bytes(void **state)
{
    (void)state;
    struct tide_secret s = TIDE_SECRET_INIT;
    assert_int_equal(tide_secret_set(&s, "password", 8, NULL), TIDE_OK);
    watched = s.data;
    watched_len = 8;
    was_wiped = false;
    tide_secret_clear(&s);
    watched = NULL;
    assert_true(was_wiped);
}

static void setting_again_wipes_the_old_and_may_use_it(void **state)
{
    (void)state;
    struct tide_secret s = TIDE_SECRET_INIT;
    assert_int_equal(tide_secret_set(&s, "password\n", 9, NULL), TIDE_OK);
    watched = s.data;
    watched_len = 9;
    was_wiped = false;
    assert_int_equal(tide_secret_set(&s, s.data, 8, NULL), TIDE_OK);
    watched = NULL;
    assert_true(was_wiped);
    assert_string_equal((const char *)s.data, "password");
    tide_secret_clear(&s);
}

static void whole_pages_and_nothing_are_possible(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 100000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct tide_secret s = TIDE_SECRET_INIT;
        uint8_t *data = calloc(1, sizes[i] + 1);
        assert_int_equal(tide_secret_set(&s, data, sizes[i], NULL), TIDE_OK);
        assert_int_equal(s.len, sizes[i]);
        assert_int_equal(s.data[s.len], 0);
        tide_secret_clear(&s);
        free(data);
    }
    struct tide_secret s = TIDE_SECRET_INIT;
    assert_int_equal(tide_secret_set(&s, "", SIZE_MAX, NULL), TIDE_INVALID);
}

/* VmFlags of the mapping: "dd" is "do not dump". */
static void secrets_are_left_out_of_core_dumps(void **state)
{
    (void)state;
    struct tide_secret s = TIDE_SECRET_INIT;
    assert_int_equal(tide_secret_set(&s, "x", 1, NULL), TIDE_OK);
    FILE *f = fopen("/proc/self/smaps", "r");
    if (f == NULL) {
        tide_secret_clear(&s);
        skip();
    }
    char line[1024];
    bool inside = false, flag = false;
    while (fgets(line, sizeof(line), f) != NULL) {
        unsigned long long from, to;
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2)
            inside = from <= (uintptr_t)s.data && (uintptr_t)s.data < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            flag = strstr(line, " dd") != NULL;
    }
    (void)fclose(f);
    tide_secret_clear(&s);
    assert_true(flag);
}

static void wiping_leaves_zeros(void **state)
{
    (void)state;
    char text[] = "password!";
    tide_wipe(text, 8);
    assert_memory_equal(text, "\0\0\0\0\0\0\0\0!", 9);
    tide_wipe(NULL, 8);
}

static void random_bytes_differ(void **state)
{
    (void)state;
    uint8_t a[1000] = {0}, b[1000] = {0};
    assert_int_equal(tide_random(a, sizeof(a), NULL), TIDE_OK);
    assert_int_equal(tide_random(b, sizeof(b), NULL), TIDE_OK);
    assert_memory_not_equal(a, b, sizeof(a));
    size_t zeros = 0;
    for (size_t i = 0; i < sizeof(a); i++)
        zeros += a[i] == 0;
    assert_true(zeros < 50);
    assert_int_equal(tide_random(a, 0, NULL), TIDE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_is_kept_with_a_terminator),
        cmocka_unit_test(clearing_wipes_the_bytes),
        cmocka_unit_test(setting_again_wipes_the_old_and_may_use_it),
        cmocka_unit_test(whole_pages_and_nothing_are_possible),
        cmocka_unit_test(secrets_are_left_out_of_core_dumps),
        cmocka_unit_test(wiping_leaves_zeros),
        cmocka_unit_test(random_bytes_differ),
    };
    return cmocka_run_group_tests_name("base_secret", tests, NULL, NULL);
}
