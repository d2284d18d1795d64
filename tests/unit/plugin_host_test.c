#include "orchestrator/plugin/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

struct fixture {
    struct plugin_host *host;
    const struct tide_host *table;
    struct tide_cancel *cancel;
    unsigned looked_up;
    struct tide_progress last;
};

static tide_status option(void *ctx, const char *key, struct tide_secret *value, struct tide_err *err)
{
    struct fixture *f = ctx;

    f->looked_up++;
    if (strcmp(key, "password") == 0)
        return tide_secret_set(value, "secret", 6, err);
    if (strcmp(key, "broken") == 0)
        return tide_fail(err, TIDE_DENIED, "could not read it");
    return tide_fail(err, TIDE_NOT_FOUND, "no such option");
}

static void progress(void *ctx, const struct tide_progress *p)
{
    struct fixture *f = ctx;
    f->last = *p;
}

static int setup(void **state)
{
    static struct fixture f;
    struct tide_err err = TIDE_ERR_INIT;

    f = (struct fixture){0};
    assert_int_equal(tide_cancel_new(&f.cancel, &err), TIDE_OK);
    assert_int_equal(plugin_host_new(&(struct plugin_host_options){.instance = "shop",
                                                                   .cancel = f.cancel,
                                                                   .option = option,
                                                                   .option_ctx = &f,
                                                                   .progress = progress,
                                                                   .progress_ctx = &f},
                                     &f.host, &err),
                     TIDE_OK);
    f.table = plugin_host_table(f.host);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    plugin_host_free(f->host);
    tide_cancel_free(f->cancel);
    return 0;
}

static void every_service_is_there(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(f->table->struct_size, sizeof(struct tide_host));
    assert_int_equal(f->table->abi, TIDE_PLUGIN_ABI);
    assert_non_null(f->table->log);
    assert_non_null(f->table->set_error);
    assert_string_equal(f->table->instance(f->table->ctx), "shop");
}

static void option_is_looked_up_once_and_stays_where_it_is(void **state)
{
    const struct fixture *f = *state;
    const char *first = f->table->option(f->table->ctx, "password");
    assert_string_equal(first, "secret");
    assert_ptr_equal(f->table->option(f->table->ctx, "password"), first);
    assert_int_equal(f->looked_up, 1);
}

static void option_without_a_value_is_null(void **state)
{
    const struct fixture *f = *state;
    assert_null(f->table->option(f->table->ctx, "nothing"));
    assert_null(f->table->option(f->table->ctx, "broken"));
}

static void cancellation_shows_both_ways(void **state)
{
    const struct fixture *f = *state;
    assert_false(f->table->cancelled(f->table->ctx));
    assert_int_equal(f->table->cancel_fd(f->table->ctx), tide_cancel_fd(f->cancel));
    tide_cancel_set(f->cancel);
    assert_true(f->table->cancelled(f->table->ctx));
}

static void error_has_text_reason_and_hint(void **state)
{
    const struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    int s = f->table->set_error(f->table->ctx, &err, TIDE_DENIED, EACCES, "could not open it", "chmod it");
    assert_int_equal(s, TIDE_DENIED);
    assert_int_equal(err.status, TIDE_DENIED);
    assert_int_equal(err.os_errno, EACCES);
    assert_string_equal(err.msg, "could not open it: Permission denied");
    assert_string_equal(err.hint, "chmod it");
}

static void failure_that_claims_success_is_a_failure(void **state)
{
    const struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(f->table->set_error(f->table->ctx, &err, TIDE_OK, 0, "oops", NULL), TIDE_IO);
    assert_int_equal(f->table->set_error(f->table->ctx, &err, 9999, 0, NULL, NULL), TIDE_IO);
    assert_true(err.msg[0] != '\0');
    assert_int_equal(f->table->set_error(f->table->ctx, NULL, TIDE_IO, 0, "nobody listens", NULL), TIDE_IO);
}

static void progress_of_an_older_plugin_is_completed(void **state)
{
    const struct fixture *f = *state;
    struct tide_progress p = {
        .struct_size = offsetof(struct tide_progress, time_us), .phase = "files", .bytes_done = 3, .time_us = 1234};
    f->table->progress(f->table->ctx, &p);
    assert_int_equal(f->last.bytes_done, 3);
    assert_true(f->last.time_us == TIDE_TIME_NONE); /* it did not know of it */
    assert_int_equal(f->last.struct_size, sizeof p);
    p.struct_size = 4;
    p.bytes_done = 9;
    f->table->progress(f->table->ctx, &p);
    assert_int_equal(f->last.bytes_done, 3); /* too short to say anything */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_service_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(option_is_looked_up_once_and_stays_where_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(option_without_a_value_is_null, setup, teardown),
        cmocka_unit_test_setup_teardown(cancellation_shows_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(error_has_text_reason_and_hint, setup, teardown),
        cmocka_unit_test_setup_teardown(failure_that_claims_success_is_a_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(progress_of_an_older_plugin_is_completed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
