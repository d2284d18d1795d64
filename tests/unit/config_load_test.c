/* config.c, config_ini.c, config_check.c, config_table.c and config_value.c through config.h. */

#include "orchestrator/config/config.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static char dir[64], conf[96];

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/tide-config-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    (void)snprintf(conf, sizeof conf, "%s/t.conf", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return tide_remove_tree(dir, NULL) != TIDE_OK;
}

static tide_status load(const char *text, struct config **c, struct tide_err *err)
{
    assert_int_equal(tide_file_replace(conf, text, strlen(text), 0600, NULL), TIDE_OK);
    return config_load(&(struct config_sources){.file = conf}, c, err);
}

static struct config *loaded(const char *text)
{
    struct config *c = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    if (load(text, &c, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    return c;
}

/* Where it is wrong, and a piece of what is said. */
static void assert_wrong(const char *text, int line, const char *said)
{
    struct config *c = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    char place[128];
    assert_int_equal(load(text, &c, &err), TIDE_INVALID);
    (void)snprintf(place, sizeof place, "%s:%d: ", conf, line);
    if (strncmp(err.msg, place, strlen(place)) != 0 || strstr(err.msg, said) == NULL)
        fail_msg("\"%s\" is not about \"%s\" in line %d", err.msg, said, line);
}

#define REPO "[repository main]\nurl = file:///srv/b\n"

static void the_example_of_the_design_is_read(void **state)
{
    (void)state;
    struct config *c = loaded("\xef\xbb\xbf; all of it\n"
                              "[repository main]\n"
                              "  url            = file:///srv/backups   ; a directory\n"
                              "encryption_key_file=/etc/tidemark/main.key\n"
                              "compression    = zstd:3\r\n"
                              "\n"
                              "# another comment\n"
                              "[daemon]\n"
                              "state_directory = /run/tidemark-test\n"
                              "[policy standard]\n"
                              "timezone = Europe/Berlin\n"
                              "[instance shop] ; the shop\n"
                              "engine = postgresql\n"
                              "connection = host=/run/postgresql port=5432 user=tidemark dbname=a;b ; not this\n"
                              "policy = standard\n"
                              "slot = mine");
    assert_int_equal(config_count(c, CONFIG_INSTANCE), 1);
    assert_string_equal(config_name(c, CONFIG_INSTANCE, 0), "shop");
    assert_null(config_name(c, CONFIG_INSTANCE, 1));
    assert_true(config_has(c, CONFIG_POLICY, "standard"));
    assert_false(config_has(c, CONFIG_POLICY, "shop"));
    struct config_value v = config_instance_value(c, "shop", "connection");
    assert_string_equal(v.text, "host=/run/postgresql port=5432 user=tidemark dbname=a;b");
    assert_string_equal(v.file, conf);
    assert_int_equal(v.line, 14);
    assert_string_equal(config_value(c, CONFIG_REPOSITORY, "main", "url").text, "file:///srv/backups");
    assert_string_equal(config_value(c, CONFIG_REPOSITORY, "main", "compression").text, "zstd:3");
    assert_string_equal(config_value(c, CONFIG_DAEMON, NULL, "state_directory").text, "/run/tidemark-test");
    assert_string_equal(config_instance_value(c, "shop", "slot").text, "mine");
    assert_string_equal(config_instance_value(c, "shop", "timezone").text, "Europe/Berlin");
    config_free(c);
}

static void a_value_comes_from_instance_then_policy_then_defaults_then_table(void **state)
{
    (void)state;
    struct config *c = loaded(REPO "[defaults]\npolicy = p\nship_interval = 1s\nlease_time = 11s\nmax_lag = 1m\n"
                                   "[policy p]\nship_interval = 2s\nlease_time = 12s\n"
                                   "[policy q]\nship_interval = 9s\n"
                                   "[instance a]\nship_interval = 3s\n"
                                   "[instance b]\npolicy = q\n");
    assert_string_equal(config_instance_value(c, "a", "ship_interval").text, "3s");
    assert_string_equal(config_instance_value(c, "a", "lease_time").text, "12s");
    assert_int_equal(config_instance_value(c, "a", "lease_time").line, 10);
    assert_string_equal(config_instance_value(c, "a", "max_lag").text, "1m");
    assert_string_equal(config_instance_value(c, "a", "heartbeat_interval").text, "10s");
    assert_null(config_instance_value(c, "a", "heartbeat_interval").file);
    assert_null(config_instance_value(c, "a", "bin_dir").text);
    assert_string_equal(config_instance_value(c, "b", "ship_interval").text, "9s");
    assert_string_equal(config_instance_value(c, "b", "lease_time").text, "11s");
    /* Known to the repository, not configured. */
    assert_string_equal(config_instance_value(c, "old", "ship_interval").text, "2s");
    assert_string_equal(config_instance_value(c, "old", "max_lag").text, "1m");
    config_free(c);
}

static void values_have_their_types(void **state)
{
    (void)state;
    int64_t us = 0, n = 0;
    uint64_t bytes = 0;
    const char *text = NULL;
    struct config *c = loaded(REPO "[instance a]\nship_interval = 500ms\nbackup_jobs = 3\nlog_object_size = 1MiB\n");
    assert_int_equal(config_duration(c, CONFIG_INSTANCE, "a", "ship_interval", &us, NULL), TIDE_OK);
    assert_int_equal(us, 500000);
    assert_int_equal(config_duration(c, CONFIG_INSTANCE, "a", "expiry_grace", &us, NULL), TIDE_OK);
    assert_int_equal(us, 72 * 3600 * TIDE_SECOND_US);
    assert_int_equal(config_integer(c, CONFIG_INSTANCE, "a", "backup_jobs", &n, NULL), TIDE_OK);
    assert_int_equal(n, 3);
    assert_int_equal(config_size(c, CONFIG_INSTANCE, "a", "log_object_size", &bytes, NULL), TIDE_OK);
    assert_int_equal(bytes, 1 << 20);
    assert_int_equal(config_string(c, CONFIG_INSTANCE, "a", "confirm", &text, NULL), TIDE_OK);
    assert_string_equal(text, "repository");
    assert_int_equal(config_integer(c, CONFIG_INSTANCE, "a", "restore_jobs", &n, NULL), TIDE_NOT_FOUND);
    assert_int_equal(config_string(c, CONFIG_INSTANCE, "a", "bin_dir", &text, NULL), TIDE_NOT_FOUND);
    config_free(c);
}

static void every_default_of_the_table_is_a_value_of_its_kind(void **state)
{
    (void)state;
    size_t n;
    const struct config_option *o = config_options(&n);
    for (size_t i = 0; i < n; i++) {
        if (o[i].def == NULL)
            continue;
        char text[400];
        const char *section = (o[i].sections & CONFIG_INSTANCE) != 0 ? "[instance a]"
                              : (o[i].sections & CONFIG_DAEMON) != 0 ? "[daemon]"
                                                                     : "[repository main]";
        (void)snprintf(text, sizeof text, REPO "%s\n%s = %s\n", section, o[i].key, o[i].def);
        config_free(loaded(text));
    }
}

static void what_is_wrong_is_named_with_its_line(void **state)
{
    (void)state;
    assert_wrong(REPO "[instance a]\nship_interval = soon\n", 4, "\"soon\" is not a duration");
    assert_wrong(REPO "[instance a]\nship_interval = 10ms\n", 4, "too small");
    assert_wrong(REPO "[instance a]\nship_interval = 2h\n", 4, "too large");
    assert_wrong(REPO "[instance a]\nlog_object_size = big\n", 4, "is not a size");
    assert_wrong(REPO "[instance a]\nbackup_jobs = 2x\n", 4, "not a whole number");
    assert_wrong(REPO "[instance a]\nbackup_jobs = 0\n", 4, "too small");
    assert_wrong(REPO "[instance a]\nconfirm = maybe\n", 4, "none of repository|spool");
    assert_wrong(REPO "[instance a]\nconfirm = repo\n", 4, "none of repository|spool");
    assert_wrong(REPO "[instance a]\nbin_dir = bin\n", 4, "not an absolute path");
    assert_wrong(REPO "[instance a]\ntimezone = Nowhere/Land\n", 4, "timezone");
    assert_wrong(REPO "[instance a]\nconfirm =\n", 4, "has no value");
    assert_wrong(REPO "[instance a]\nconfirm = ; nothing\n", 4, "has no value");
    assert_wrong(REPO "compression = zstd:99\n", 3, "zstd:1 to zstd:19");
    assert_wrong(REPO "compression = gzip\n", 3, "none of");
    assert_wrong(REPO "[instance a]\njust words\n", 4, "neither [section] nor key = value");
    assert_wrong(REPO "[instance a]\nBig = 1\n", 4, "no key");
    assert_wrong("url = x\n", 1, "before the first section");
    assert_wrong("[instance a\n", 1, "closing bracket");
    assert_wrong("[instance a] b\n", 1, "behind the section's closing bracket");
    assert_wrong("[instance]\n", 1, "a name has");
    assert_wrong("[instance Shop]\n", 1, "a name has");
    assert_wrong("[instance a/b]\n", 1, "a name has");
    assert_wrong("[daemon x]\n", 1, "has no name");
    assert_wrong("[nothing]\n", 1, "no section [nothing]");
}

static void an_unknown_key_is_an_error_that_suggests_the_right_one(void **state)
{
    (void)state;
    struct config *c = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    assert_wrong(REPO "endpoint = x\n", 3, "unknown key \"endpoint\" in [repository main]");
    assert_wrong(REPO "[policy p]\nretention = 35d\n", 4, "unknown key \"retention\" in [policy p]");
    assert_wrong(REPO "[policy p]\nconnection = x\n", 4, "unknown key");
    assert_int_equal(load(REPO "[defaults]\nship_intervall = 1s\n", &c, &err), TIDE_INVALID);
    assert_non_null(strstr(err.hint, "\"ship_interval\""));
}

static void a_key_that_is_set_twice_is_an_error_that_names_both(void **state)
{
    (void)state;
    assert_wrong(REPO "url = file:///other\n", 3, ":2");
    assert_wrong(REPO "[instance a]\nslot = x\n[instance b]\nslot = y\n[instance a]\nslot = z\n", 8, ":4");
}

static void what_a_section_names_must_exist(void **state)
{
    (void)state;
    assert_wrong(REPO "[instance a]\npolicy = nosuch\n", 4, "no section [policy nosuch]");
    assert_wrong(REPO "[instance a]\nrepository = nosuch\n", 4, "no section [repository nosuch]");
    assert_wrong("[instance a]\n\n[repository r]\ncompression = lz4\n", 3, "has no \"url\"");
}

static void the_repository_of_an_instance_is_named_or_the_only_one(void **state)
{
    (void)state;
    const char *name = NULL;
    struct config *c = loaded("[repository]\nurl = file:///b\n[instance a]\n");
    assert_int_equal(config_instance_repository(c, "a", &name, NULL), TIDE_OK);
    assert_string_equal(name, "main");
    assert_int_equal(config_instance_repository(c, "unknown", &name, NULL), TIDE_OK);
    config_free(c);
    c = loaded(REPO "[repository other]\nurl = file:///c\n[instance a]\nrepository = other\n[instance b]\n");
    assert_int_equal(config_instance_repository(c, "a", &name, NULL), TIDE_OK);
    assert_string_equal(name, "other");
    assert_int_equal(config_instance_repository(c, "b", &name, NULL), TIDE_INVALID);
    config_free(c);
    c = loaded("");
    assert_int_equal(config_instance_repository(c, "a", &name, NULL), TIDE_INVALID);
    config_free(c);
}

static void a_password_in_the_connection_is_refused_and_not_repeated(void **state)
{
    (void)state;
    static const char *const bad[] = {"host=x password=hunter2", "host=x PASSWORD = 'hunter2'",
                                      "postgresql://u:hunter2@host/db", "postgresql://host/db?password=hunter2",
                                      "host=x sslpassword=hunter2"};
    static const char *const good[] = {"host=x passfile=/etc/p", "postgresql://u@host:5432/db", "service=shop",
                                       "postgresql://host:5432/a@b", "host=x user=password"};
    char text[300];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct config *c = NULL;
        struct tide_err err = TIDE_ERR_INIT;
        (void)snprintf(text, sizeof text, REPO "[instance a]\nconnection = %s\n", bad[i]);
        assert_wrong(text, 4, "password");
        assert_int_equal(load(text, &c, &err), TIDE_INVALID);
        assert_null(strstr(err.msg, "hunter2"));
        assert_null(strstr(err.hint, "hunter2"));
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        (void)snprintf(text, sizeof text, REPO "[instance a]\nconnection = %s\n", good[i]);
        config_free(loaded(text));
    }
    assert_wrong(REPO "[instance a]\npassword = hunter2\n", 4, "is not written into the configuration");
    assert_wrong(REPO "encryption_key = hunter2\n", 3, "is not written into the configuration");
}

static void long_lines_and_names_are_whole_or_refused(void **state)
{
    (void)state;
    TIDE_AUTO(tide_freep) char *text = calloc(1, 20000);
    assert_non_null(text);
    strcpy(text, REPO "[instance aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1234]\nconnection = ");
    size_t start = strlen(text);
    memset(text + start, 'x', 5000);
    struct config *c = loaded(text);
    struct config_value v =
        config_instance_value(c, "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1234", "connection");
    assert_non_null(v.text);
    assert_int_equal(strlen(v.text), 5000);
    config_free(c);
    memset(text + start, 'x', 9000);
    assert_wrong(text, 4, "longer than");
    assert_wrong(REPO "[instance aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff12345]\n", 3,
                 "a name has");
}

static void a_file_with_a_zero_byte_is_no_configuration(void **state)
{
    (void)state;
    struct config *c = NULL;
    assert_int_equal(tide_file_replace(conf, "[daemon]\n\0x = 1\n", 16, 0600, NULL), TIDE_OK);
    assert_int_equal(config_load(&(struct config_sources){.file = conf}, &c, NULL), TIDE_INVALID);
}

static void write_file(const char *name, const char *text)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(tide_mkdirs(dir, 0700, NULL), TIDE_OK);
    assert_int_equal(tide_file_replace(path, text, strlen(text), 0600, NULL), TIDE_OK);
}

static void drop_ins_are_read_in_order_and_may_add_to_a_section(void **state)
{
    (void)state;
    char path[100];
    struct config *c = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    (void)snprintf(path, sizeof path, "%s/conf.d", dir);
    assert_int_equal(tide_mkdirs(path, 0700, NULL), TIDE_OK);
    write_file("tidemark.conf", REPO);
    write_file("conf.d/20-b.conf", "[instance b]\n[repository main]\ncompression = lz4\n");
    write_file("conf.d/10-a.conf", "[instance a]\n");
    write_file("conf.d/.hidden.conf", "nonsense");
    write_file("conf.d/30-c.conf.bak", "nonsense");
    if (config_load(&(struct config_sources){.etc = dir}, &c, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(config_name(c, CONFIG_INSTANCE, 0), "a");
    assert_string_equal(config_name(c, CONFIG_INSTANCE, 1), "b");
    struct config_value v = config_value(c, CONFIG_REPOSITORY, "main", "compression");
    assert_string_equal(v.text, "lz4");
    assert_non_null(strstr(v.file, "conf.d/20-b.conf"));
    assert_int_equal(v.line, 3);
    config_free(c);
    c = NULL;
    write_file("conf.d/40-d.conf", "[repository main]\nurl = file:///x\n");
    assert_int_equal(config_load(&(struct config_sources){.etc = dir}, &c, &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "40-d.conf:2"));
    assert_non_null(strstr(err.msg, "tidemark.conf:2"));
}

static void a_missing_file_is_an_error_that_names_it(void **state)
{
    (void)state;
    struct config *c = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(config_load(&(struct config_sources){.file = conf}, &c, &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, conf));
    assert_int_equal(config_load(&(struct config_sources){.etc = dir}, &c, &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "tidemark.conf"));
}

/* ------------------------------------------------------------------ engines */

static const struct tide_option engine_options[] = {
    {"connection", TIDE_OPTION_STRING, TIDE_OPTION_REQUIRED, NULL, NULL, "how"},
    {"password", TIDE_OPTION_STRING, TIDE_OPTION_SECRET, NULL, NULL, "secret"},
    {"slot", TIDE_OPTION_STRING, 0, NULL, NULL, "name"},
    {"patience", TIDE_OPTION_DURATION, 0, "3s", NULL, "wait"},
    {"loud", TIDE_OPTION_BOOL, 0, NULL, NULL, "noise"},
    {"token", TIDE_OPTION_STRING, TIDE_OPTION_SECRET, NULL, NULL, "secret"},
    {"backup_method", TIDE_OPTION_ENUM, 0, "files", "files|stream", "fewer than the core knows"},
};

static tide_status engine(void *ctx, const char *name, const struct tide_option **options, size_t *n,
                          struct tide_err *err)
{
    (void)ctx;
    if (strcmp(name, "postgresql") != 0)
        return tide_fail(err, TIDE_NOT_FOUND, "there is no plugin \"%s\"", name);
    *options = engine_options;
    *n = sizeof engine_options / sizeof *engine_options;
    return TIDE_OK;
}

static tide_status validate(const char *instance_lines, struct tide_err *err)
{
    char text[1000];
    (void)snprintf(text, sizeof text, REPO "[instance a]\nengine = postgresql\n%s", instance_lines);
    struct config *c = loaded(text);
    tide_status st = config_validate(c, engine, NULL, err);
    config_free(c);
    return st;
}

static void an_instances_keys_are_held_against_its_engine(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(
        validate("connection = x\nslot = s\npatience = 1m\nloud = yes\ntoken_file = /t\nship_interval = 1s\n", &err),
        TIDE_OK);
    assert_int_equal(validate("connection = x\nslott = s\n", &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "t.conf:6: unknown key \"slott\" in [instance a]"));
    assert_non_null(strstr(err.hint, "\"slot\""));
    assert_int_equal(validate("connection = x\npatience = much\n", &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "t.conf:6: "));
    assert_int_equal(validate("connection = x\ntoken = s\n", &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "is not written into the configuration"));
    assert_int_equal(validate("connection = x\nbackup_method = snapshot\n", &err), TIDE_INVALID);
    assert_int_equal(validate("slot = s\n", &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "[instance a] has no \"connection\""));
    assert_non_null(strstr(err.msg, "t.conf:3: "));
}

static void an_instance_needs_an_engine_that_exists(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct config *c = loaded(REPO "[instance a]\n");
    assert_int_equal(config_validate(c, engine, NULL, &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "has no \"engine\""));
    config_free(c);
    c = loaded(REPO "[instance a]\nengine = oracle\n");
    assert_int_equal(config_validate(c, engine, NULL, &err), TIDE_NOT_FOUND);
    assert_non_null(strstr(err.msg, "t.conf:4: "));
    config_free(c);
}

static void an_engines_options_come_in_base_units(void **state)
{
    (void)state;
    struct config *c = loaded(REPO "[instance a]\nengine = postgresql\nloud = on\nslot = s 1\n");
    struct tide_secret v = TIDE_SECRET_INIT;
    static const struct {
        size_t option;
        const char *want;
    } cases[] = {{3, "3000000"}, {4, "1"}, {2, "s 1"}, {6, "files"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(config_engine_option(c, "a", &engine_options[cases[i].option], &v, NULL), TIDE_OK);
        assert_string_equal((char *)v.data, cases[i].want);
    }
    assert_int_equal(config_engine_option(c, "a", &engine_options[0], &v, NULL), TIDE_NOT_FOUND);
    assert_int_equal(config_engine_option(c, "a", &engine_options[1], &v, NULL), TIDE_NOT_FOUND);
    tide_secret_clear(&v);
    config_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_example_of_the_design_is_read),
        TEST(a_value_comes_from_instance_then_policy_then_defaults_then_table),
        TEST(values_have_their_types),
        TEST(every_default_of_the_table_is_a_value_of_its_kind),
        TEST(what_is_wrong_is_named_with_its_line),
        TEST(an_unknown_key_is_an_error_that_suggests_the_right_one),
        TEST(a_key_that_is_set_twice_is_an_error_that_names_both),
        TEST(what_a_section_names_must_exist),
        TEST(the_repository_of_an_instance_is_named_or_the_only_one),
        TEST(a_password_in_the_connection_is_refused_and_not_repeated),
        TEST(long_lines_and_names_are_whole_or_refused),
        TEST(a_file_with_a_zero_byte_is_no_configuration),
        TEST(drop_ins_are_read_in_order_and_may_add_to_a_section),
        TEST(a_missing_file_is_an_error_that_names_it),
        TEST(an_instances_keys_are_held_against_its_engine),
        TEST(an_instance_needs_an_engine_that_exists),
        TEST(an_engines_options_come_in_base_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
