/* config_secret.c and config_man.c through config.h. */

#include "orchestrator/config/config.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64], conf[96], secret_path[96];

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/tide-secret-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    (void)snprintf(conf, sizeof conf, "%s/t.conf", dir);
    (void)snprintf(secret_path, sizeof secret_path, "%s/secret", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unsetenv("TIDEMARK_MY_SHOP_PASSWORD");
    (void)unsetenv("TIDEMARK_MAIN_ENCRYPTION_KEY");
    return tide_remove_tree(dir, NULL) != TIDE_OK;
}

static struct config *loaded(const char *repository_lines, const char *instance_lines)
{
    char text[1000];
    struct config *c = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    (void)snprintf(text, sizeof text, "[repository main]\nurl = file:///b\n%s[instance my-shop]\n%s",
                   repository_lines, instance_lines);
    assert_int_equal(tide_file_replace(conf, text, strlen(text), 0600, NULL), TIDE_OK);
    if (config_load(&(struct config_sources){.file = conf}, &c, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    return c;
}

static struct config *loaded_with(const char *format, bool repository)
{
    char lines[400];
    (void)snprintf(lines, sizeof lines, "%s = %s\n", format, secret_path);
    return repository ? loaded(lines, "") : loaded("", lines);
}

static void write_secret(const char *text, size_t len, mode_t mode)
{
    assert_int_equal(tide_file_replace(secret_path, text, len, mode, NULL), TIDE_OK);
}

static tide_status password(const struct config *c, struct tide_secret *out, char *warning, struct tide_err *err)
{
    return config_secret(c, CONFIG_INSTANCE, "my-shop", "password", out, warning, err);
}

static void assert_password(const struct config *c, const char *want)
{
    struct tide_secret s = TIDE_SECRET_INIT;
    struct tide_err err = TIDE_ERR_INIT;
    if (password(c, &s, NULL, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    assert_string_equal((char *)s.data, want);
    assert_int_equal(s.len, strlen(want));
    tide_secret_clear(&s);
}

static void a_password_comes_from_its_file_without_the_lines_end(void **state)
{
    (void)state;
    write_secret("pass word \n", 11, 0600);
    struct config *c = loaded_with("password_file", false);
    assert_password(c, "pass word ");
    config_free(c);
}

static void an_encryption_key_is_taken_byte_by_byte(void **state)
{
    (void)state;
    static const char key[] = "\0binary\r\n";
    struct tide_secret s = TIDE_SECRET_INIT;
    write_secret(key, 9, 0600);
    struct config *c = loaded_with("encryption_key_file", true);
    assert_int_equal(config_secret(c, CONFIG_REPOSITORY, "main", "encryption_key", &s, NULL, NULL), TIDE_OK);
    assert_int_equal(s.len, 9);
    assert_memory_equal(s.data, key, 9);
    tide_secret_clear(&s);
    config_free(c);
}

static void a_file_that_others_can_read_is_warned_of(void **state)
{
    (void)state;
    struct tide_secret s = TIDE_SECRET_INIT;
    char warning[CONFIG_WARNING] = "old";
    struct config *c = loaded_with("password_file", false);
    write_secret("x", 1, 0600);
    assert_int_equal(chmod(secret_path, 0600), 0);
    assert_int_equal(password(c, &s, warning, NULL), TIDE_OK);
    assert_string_equal(warning, "");
    assert_int_equal(chmod(secret_path, 0640), 0);
    assert_int_equal(password(c, &s, warning, NULL), TIDE_OK);
    assert_non_null(strstr(warning, secret_path));
    assert_non_null(strstr(warning, "0640"));
    tide_secret_clear(&s);
    config_free(c);
}

static void a_password_comes_from_a_command(void **state)
{
    (void)state;
    struct config *c = loaded("", "password_command = printf '%s\\n' from-command\n");
    assert_password(c, "from-command");
    config_free(c);
}

static void a_command_that_fails_or_is_silent_is_denied(void **state)
{
    (void)state;
    struct tide_secret s = TIDE_SECRET_INIT;
    struct tide_err err = TIDE_ERR_INIT;
    struct config *c = loaded("", "password_command = echo leaked; exit 3\n");
    assert_int_equal(password(c, &s, NULL, &err), TIDE_DENIED);
    assert_non_null(strstr(err.msg, "exit code 3"));
    assert_non_null(strstr(err.msg, "t.conf:4"));
    assert_null(strstr(err.msg, "leaked"));
    config_free(c);
    c = loaded("", "password_command = true\n");
    assert_int_equal(password(c, &s, NULL, &err), TIDE_DENIED);
    config_free(c);
}

static void a_password_comes_from_the_environment_last(void **state)
{
    (void)state;
    struct tide_secret s = TIDE_SECRET_INIT;
    struct config *c = loaded("", "");
    assert_int_equal(password(c, &s, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(setenv("TIDEMARK_MY_SHOP_PASSWORD", "from-env", 1), 0);
    assert_password(c, "from-env");
    config_free(c);
    c = loaded("", "password_command = echo from-command\n");
    assert_password(c, "from-command");
    config_free(c);
}

static void a_secret_file_that_is_missing_or_empty_is_no_absent_secret(void **state)
{
    (void)state;
    struct tide_secret s = TIDE_SECRET_INIT;
    struct tide_err err = TIDE_ERR_INIT;
    struct config *c = loaded_with("password_file", false);
    assert_int_equal(password(c, &s, NULL, &err), TIDE_DENIED);
    assert_int_equal(err.status, TIDE_DENIED);
    assert_non_null(strstr(err.msg, secret_path));
    write_secret("", 0, 0600);
    assert_int_equal(password(c, &s, NULL, &err), TIDE_INVALID);
    config_free(c);
}

static void file_and_command_together_are_a_mistake(void **state)
{
    (void)state;
    struct tide_secret s = TIDE_SECRET_INIT;
    struct tide_err err = TIDE_ERR_INIT;
    struct config *c = loaded("", "password_file = /x\npassword_command = echo y\n");
    assert_int_equal(password(c, &s, NULL, &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "both set"));
    config_free(c);
}

static void the_manual_names_every_key_and_is_the_one_in_the_tree(void **state)
{
    (void)state;
    TIDE_AUTO(tide_freep) char *text = NULL;
    size_t len = 0, n;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    assert_int_equal(config_write_man(f, NULL), TIDE_OK);
    assert_int_equal(fclose(f), 0);
    const struct config_option *o = config_options(&n);
    for (size_t i = 0; i < n; i++)
        assert_non_null(strstr(text, o[i].key));
    TIDE_AUTO(tide_buf_clear) struct tide_buf page = TIDE_BUF_INIT(1 << 20);
    assert_int_equal(tide_file_read("orchestrator/config/tidemark.conf.5", &page, NULL), TIDE_OK); /* make man */
    if (strcmp(tide_buf_cstr(&page), text) != 0)
        fail_msg("tidemark.conf.5 is older than the option table: run \"make man\"");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_password_comes_from_its_file_without_the_lines_end),
        TEST(an_encryption_key_is_taken_byte_by_byte),
        TEST(a_file_that_others_can_read_is_warned_of),
        TEST(a_password_comes_from_a_command),
        TEST(a_command_that_fails_or_is_silent_is_denied),
        TEST(a_password_comes_from_the_environment_last),
        TEST(a_secret_file_that_is_missing_or_empty_is_no_absent_secret),
        TEST(file_and_command_together_are_a_mistake),
        TEST(the_manual_names_every_key_and_is_the_one_in_the_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
