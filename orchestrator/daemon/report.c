#include "orchestrator/daemon/report.h"

#include "orchestrator/daemon/values.h"

static const char *const severity_names[] = {"ok", "warning", "critical"};

tide_status report_init(struct report *r, struct job *job, struct tide_err *err)
{
    *r = (struct report){.job = job, .list = json_array()};
    return r->list == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : TIDE_OK;
}

void report_clear(struct report *r)
{
    json_decref(r->list);
    r->list = NULL;
}

static void add(struct report *r, uint32_t severity, const char *code, const char *message, const char *fix)
{
    if (severity > 2)
        severity = 2;
    if (severity > r->worst)
        r->worst = severity;
    json_t *one = json_pack("{s:s, s:o, s:o, s:o}", "severity", severity_names[severity], "code", value_string(code),
                            "message", value_string(message), "fix", value_string(fix));
    if (one == NULL)
        return;
    worker_send_event(r->job->channel, one);
    (void)json_array_append_new(r->list, one);
}

void report_add(struct report *r, uint32_t severity, const char *code, const char *fix, const char *fmt, ...)
{
    char message[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    add(r, severity, code, message, fix);
}

void report_failure(struct report *r, uint32_t severity, const char *code, const struct tide_err *err)
{
    add(r, severity, code, err->msg, err->hint);
}

static void from_plugin(void *ctx, const struct tide_finding *f)
{
    if (f == NULL || f->struct_size < sizeof *f)
        return;
    add(ctx, f->severity, f->code, f->message, f->fix);
}

struct tide_findings report_sink(struct report *r)
{
    return (struct tide_findings){.struct_size = sizeof(struct tide_findings), .ctx = r, .add = from_plugin};
}
