#include "orchestrator/cli/progress.h"

#include "orchestrator/base/buf.h"
#include "orchestrator/base/clock.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_INTERVAL_US (30 * TIDE_SECOND_US)
#define BAR_WIDTH        24
#define LINE_MAX_BYTES   512u

void progress_init(struct progress *p, bool quiet)
{
    *p = (struct progress){.bar = !quiet && isatty(STDERR_FILENO) == 1, .quiet = quiet};
}

/* "10:03:22" of a moment, in UTC. */
static void clock_text(int64_t us, char out[16])
{
    char text[TIDE_TIME_TEXT];

    tide_time_format(us, text);
    (void)snprintf(out, 16, "%.8s", strlen(text) > 19 ? text + 11 : "-");
}

static void add_bytes(struct tide_buf *line, const struct progress *p, const struct worker_progress *w, int64_t now)
{
    char done[32], total[32], rate[32];
    int64_t elapsed = now - p->phase_at_us;
    uint64_t moved = w->bytes_done > p->phase_bytes ? w->bytes_done - p->phase_bytes : 0;

    tide_size_format(w->bytes_done, done, sizeof done);
    tide_buf_printf(line, "  %s", done);
    if (w->bytes_total > 0) {
        tide_size_format(w->bytes_total, total, sizeof total);
        tide_buf_printf(line, " of %s", total);
    }
    if (elapsed < TIDE_SECOND_US || moved == 0)
        return;
    double per_us = (double)moved / (double)elapsed;
    tide_size_format((uint64_t)(per_us * (double)TIDE_SECOND_US), rate, sizeof rate);
    tide_buf_printf(line, "  %s/s", rate);
    if (w->bytes_total > w->bytes_done) {
        tide_duration_format((int64_t)((double)(w->bytes_total - w->bytes_done) / per_us), rate, sizeof rate);
        tide_buf_printf(line, "  %s left", rate);
    }
}

static void build_line(struct tide_buf *line, const struct progress *p, const struct worker_progress *w, int64_t now)
{
    tide_buf_printf(line, "%s", w->phase);
    if (w->bytes_total > 0 && (p->bar || now > p->phase_at_us)) {
        double part = w->bytes_done >= w->bytes_total ? 1.0 : (double)w->bytes_done / (double)w->bytes_total;
        if (p->bar) {
            int full = (int)(part * BAR_WIDTH);
            tide_buf_printf(line, "  [%.*s%.*s]", full, "========================", BAR_WIDTH - full,
                            "                        ");
        }
        tide_buf_printf(line, " %3d%%", (int)(part * 100));
    }
    if ((w->bytes_done > 0 || w->bytes_total > 0) && (p->bar || now > p->phase_at_us))
        add_bytes(line, p, w, now);
    if (w->time_us != TIDE_TIME_NONE) {
        char at[16], until[16];
        clock_text(w->time_us, at);
        tide_buf_printf(line, "  replayed to %s", at);
        if (w->until_us != TIDE_TIME_NONE) {
            clock_text(w->until_us, until);
            tide_buf_printf(line, " of %s", until);
        }
    }
}

void progress_show(void *ctx, const struct worker_progress *w)
{
    struct progress *p = ctx;
    int64_t now = tide_monotonic_us();

    if (p->quiet)
        return;
    bool changed = strcmp(p->phase, w->phase) != 0;
    if (changed) {
        (void)snprintf(p->phase, sizeof p->phase, "%s", w->phase);
        p->phase_at_us = now;
        p->phase_bytes = w->bytes_done;
    }
    /* Without a terminal: when a phase begins, then now and then. */
    if (!p->bar && !changed && now - p->printed_at_us < LINE_INTERVAL_US)
        return;
    p->printed_at_us = now;

    struct tide_buf line = TIDE_BUF_INIT(LINE_MAX_BYTES);
    build_line(&line, p, w, now);
    if (p->bar) {
        (void)fprintf(stderr, "\r\033[K%s", tide_buf_cstr(&line));
        p->shown = true;
    } else {
        (void)fprintf(stderr, "%s\n", tide_buf_cstr(&line));
    }
    (void)fflush(stderr);
    tide_buf_clear(&line);
}

void progress_log(void *ctx, const char *line)
{
    struct progress *p = ctx;

    progress_end(p);
    (void)fprintf(stderr, "%s\n", line);
}

void progress_end(struct progress *p)
{
    if (!p->shown)
        return;
    (void)fputs("\r\033[K", stderr);
    (void)fflush(stderr);
    p->shown = false;
}
