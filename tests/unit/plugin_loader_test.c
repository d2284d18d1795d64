#include "orchestrator/plugin/loader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static int fine_open(const struct tide_host *host, void **inst, struct tide_err *err)
{
    (void)host;
    (void)err;
    *inst = NULL;
    return TIDE_OK;
}

static void fine_close(void *inst)
{
    (void)inst;
}

static int fine_check(void *inst, const struct tide_findings *out, struct tide_err *err)
{
    (void)inst;
    (void)out;
    (void)err;
    return TIDE_OK;
}

/* The smallest table that is one. */
static struct tide_plugin fine_table(void)
{
    return (struct tide_plugin){.struct_size = sizeof(struct tide_plugin),
                                .abi = TIDE_PLUGIN_ABI,
                                .name = "fine",
                                .version = "1.0",
                                .open = fine_open,
                                .close = fine_close,
                                .check = fine_check};
}

static tide_status adopt(const struct tide_plugin *table, struct tide_err *err)
{
    struct loaded_plugin *p = NULL;
    tide_status s = plugin_adopt("/x/fine.so", "fine", table, &p, err);
    assert_true((s == TIDE_OK) == (p != NULL));
    plugin_free(p);
    return s;
}

static void fine_table_is_adopted(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_plugin t = fine_table();
    assert_int_equal(adopt(&t, &err), TIDE_OK);
}

static void other_abi_is_unsupported(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_plugin t = fine_table();
    t.abi = TIDE_PLUGIN_ABI + 1;
    assert_int_equal(adopt(&t, &err), TIDE_UNSUPPORTED);
    assert_int_equal(adopt(NULL, &err), TIDE_UNSUPPORTED);
}

static void table_too_short_to_be_one_is_invalid(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_plugin t = fine_table();
    t.struct_size = 24;
    assert_int_equal(adopt(&t, &err), TIDE_INVALID);
}

static void what_an_older_plugin_did_not_know_reads_as_absent(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct loaded_plugin *p = NULL;
    struct tide_plugin t = fine_table();
    t.struct_size = offsetof(struct tide_plugin, setup);
    memset((char *)&t + t.struct_size, 0xff, sizeof t - t.struct_size); /* not its own memory */
    assert_int_equal(plugin_adopt("/x/fine.so", "fine", &t, &p, &err), TIDE_OK);
    assert_null(plugin_table(p)->setup);
    assert_null(plugin_table(p)->activate);
    assert_non_null(plugin_table(p)->check);
    plugin_free(p);
}

static void newer_plugin_with_a_longer_table_is_adopted(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct {
        struct tide_plugin known;
        void *unknown[8];
    } t = {.known = fine_table()};
    t.known.struct_size = sizeof t;
    assert_int_equal(adopt(&t.known, &err), TIDE_OK);
}

static void other_name_is_invalid(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_plugin t = fine_table();
    t.name = "other";
    assert_int_equal(adopt(&t, &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "\"other\""));
}

static void capability_without_its_callback_is_invalid(void **state)
{
    (void)state;
    static const uint64_t caps[] = {TIDE_CAP_BACKUP_FILES, TIDE_CAP_BACKUP_STREAM, TIDE_CAP_BACKUP_SNAPSHOT,
                                    TIDE_CAP_LOG_STREAM,   TIDE_CAP_LOG_FILES,     TIDE_CAP_CHANGED_PAGES,
                                    TIDE_CAP_RECOVER,      TIDE_CAP_INSPECT};
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct tide_plugin t = fine_table();
        t.caps = caps[i];
        assert_int_equal(adopt(&t, &err), TIDE_INVALID);
        assert_non_null(strstr(err.msg, "capabilities promise"));
    }
}

struct wide_option {
    struct tide_option known;
    const char *since_later;
};

static void options_are_read_with_their_stride(void **state)
{
    (void)state;
    static const struct wide_option options[] = {
        {{"one", TIDE_OPTION_STRING, 0, NULL, NULL, "the first one"}, "x"},
        {{"two", TIDE_OPTION_ENUM, 0, "a", "a|b", "the second one"}, "y"},
    };
    struct tide_err err = TIDE_ERR_INIT;
    struct loaded_plugin *p = NULL;
    struct tide_plugin t = fine_table();
    size_t n;
    t.options = &options[0].known;
    t.n_options = 2;
    t.options_stride = sizeof options[0];
    assert_int_equal(plugin_adopt("/x/fine.so", "fine", &t, &p, &err), TIDE_OK);
    const struct tide_option *read = plugin_options(p, &n);
    assert_int_equal(n, 2);
    assert_string_equal(read[1].key, "two");
    assert_string_equal(read[1].choices, "a|b");
    plugin_free(p);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    static const struct tide_option bad[][2] = {
        {{"one", TIDE_OPTION_STRING, 0, NULL, NULL, "first"}, {"one", TIDE_OPTION_STRING, 0, NULL, NULL, "again"}},
        {{"one", TIDE_OPTION_ENUM, 0, NULL, NULL, "no choices"}, {"two", 0, 0, NULL, NULL, "fine"}},
        {{"one", TIDE_OPTION_STRING, 0, NULL, NULL, ""}, {"two", 0, 0, NULL, NULL, "fine"}},
        {{NULL, TIDE_OPTION_STRING, 0, NULL, NULL, "no key"}, {"two", 0, 0, NULL, NULL, "fine"}},
        {{"one", 99, 0, NULL, NULL, "unknown type"}, {"two", 0, 0, NULL, NULL, "fine"}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct tide_plugin t = fine_table();
        t.options = bad[i];
        t.n_options = 2;
        t.options_stride = sizeof(struct tide_option);
        assert_int_not_equal(adopt(&t, &err), TIDE_OK);
        assert_true(err.msg[0] != '\0');
    }
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_plugin t = fine_table();
    t.n_options = 1;
    t.options_stride = 8;
    t.options = bad[0];
    assert_int_equal(adopt(&t, &err), TIDE_INVALID);
}

/* ------------------------------------------------------------------ files */

static char directory[] = "/tmp/tide-loader.XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    (void)strcpy(directory + strlen(directory) - 6, "XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    return tide_remove_tree(directory, &err) != TIDE_OK;
}

static void put_file(const char *name, mode_t mode)
{
    char path[128];
    struct tide_err err = TIDE_ERR_INIT;
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_int_equal(tide_file_replace(path, "no library", 10, mode, &err), TIDE_OK);
    assert_int_equal(chmod(path, mode), 0);
}

static tide_status load(const char *name, struct tide_err *err)
{
    struct loaded_plugin *p = NULL;
    tide_status s = plugin_load(directory, name, &p, err);
    assert_null(p);
    return s;
}

static void missing_plugin_is_not_found_and_the_others_are_named(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    put_file("there.so", 0644);
    assert_int_equal(load("absent", &err), TIDE_NOT_FOUND);
    assert_non_null(strstr(err.hint, "there"));
}

static void file_that_others_can_write_is_refused(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    put_file("group.so", 0664);
    put_file("world.so", 0646);
    assert_int_equal(load("group", &err), TIDE_REFUSED);
    assert_int_equal(load("world", &err), TIDE_REFUSED);
    assert_non_null(strstr(err.hint, "chmod"));
}

static void link_is_refused(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    char path[128];
    put_file("real.so", 0644);
    (void)snprintf(path, sizeof path, "%s/link.so", directory);
    assert_int_equal(symlink("real.so", path), 0);
    assert_int_equal(load("link", &err), TIDE_REFUSED);
}

static void directory_that_others_can_write_is_refused(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    put_file("fine.so", 0644);
    assert_int_equal(chmod(directory, 0777), 0);
    assert_int_equal(load("fine", &err), TIDE_REFUSED);
}

static void file_that_is_no_library_says_so(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    put_file("text.so", 0644);
    assert_int_equal(load("text", &err), TIDE_IO);
    assert_non_null(strstr(err.msg, "could not load"));
}

static void names_that_leave_the_directory_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"", "../x", "a/b", "A", ".", "x.so"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct tide_err err = TIDE_ERR_INIT;
        assert_int_equal(load(names[i], &err), TIDE_INVALID);
    }
}

static void engines_have_their_plugins(void **state)
{
    (void)state;
    assert_string_equal(plugin_name_for_engine("postgresql"), "postgresql");
    assert_string_equal(plugin_name_for_engine("postgres"), "postgresql");
    assert_string_equal(plugin_name_for_engine("something"), "something");
}

static void directory_is_found_as_configured_then_in_the_environment(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    char out[TIDE_PATH_MAX];
    assert_int_equal(setenv("TIDEMARK_PLUGIN_DIR", directory, 1), 0);
    assert_int_equal(plugin_directory_find("/usr", out, &err), TIDE_OK);
    assert_string_equal(out, "/usr");
    assert_int_equal(plugin_directory_find(NULL, out, &err), TIDE_OK);
    assert_string_equal(out, directory);
    assert_int_equal(setenv("TIDEMARK_PLUGIN_DIR", "/nonexistent", 1), 0);
    assert_int_equal(plugin_directory_find("", out, &err), TIDE_NOT_FOUND);
    assert_int_equal(unsetenv("TIDEMARK_PLUGIN_DIR"), 0);
}

#define WITH_FILES(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fine_table_is_adopted),
        cmocka_unit_test(other_abi_is_unsupported),
        cmocka_unit_test(table_too_short_to_be_one_is_invalid),
        cmocka_unit_test(what_an_older_plugin_did_not_know_reads_as_absent),
        cmocka_unit_test(newer_plugin_with_a_longer_table_is_adopted),
        cmocka_unit_test(other_name_is_invalid),
        cmocka_unit_test(capability_without_its_callback_is_invalid),
        cmocka_unit_test(options_are_read_with_their_stride),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(engines_have_their_plugins),
        WITH_FILES(missing_plugin_is_not_found_and_the_others_are_named),
        WITH_FILES(file_that_others_can_write_is_refused),
        WITH_FILES(link_is_refused),
        WITH_FILES(directory_that_others_can_write_is_refused),
        WITH_FILES(file_that_is_no_library_says_so),
        WITH_FILES(names_that_leave_the_directory_are_refused),
        WITH_FILES(directory_is_found_as_configured_then_in_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
