#include "wal/window.h"

/* The latest unambiguous time at or before us in w; NONE when there is none. */
static int64_t at_or_before(const struct window_set *set, const struct restore_window *w, int64_t us)
{
    if (us > w->latest_us)
        us = w->latest_us;
    for (bool moved = true; moved && us >= w->earliest_us;) {
        moved = false;
        for (size_t i = 0; i < set->n_ambiguous; i++) {
            const struct ambiguous_range *a = &set->ambiguous[i];
            if (a->lineage == w->lineage && us >= a->from_us && us < a->to_us) {
                us = a->from_us - 1;
                moved = true;
            }
        }
    }
    return us >= w->earliest_us ? us : TIDE_TIME_NONE;
}

static int64_t at_or_after(const struct window_set *set, const struct restore_window *w, int64_t us)
{
    if (us < w->earliest_us)
        us = w->earliest_us;
    for (bool moved = true; moved && us <= w->latest_us;) {
        moved = false;
        for (size_t i = 0; i < set->n_ambiguous; i++) {
            const struct ambiguous_range *a = &set->ambiguous[i];
            if (a->lineage == w->lineage && us >= a->from_us && us < a->to_us) {
                us = a->to_us;
                moved = true;
            }
        }
    }
    return us <= w->latest_us ? us : TIDE_TIME_NONE;
}

void window_nearest(const struct window_set *w, uint32_t lineage, int64_t us, int64_t *before, int64_t *after)
{
    *before = *after = TIDE_TIME_NONE;
    for (size_t i = 0; i < w->n; i++) {
        const struct restore_window *r = &w->windows[i];
        if (lineage != 0 && r->lineage != lineage)
            continue;
        int64_t b = at_or_before(w, r, us), a = at_or_after(w, r, us);
        if (b != TIDE_TIME_NONE && (*before == TIDE_TIME_NONE || b > *before))
            *before = b;
        if (a != TIDE_TIME_NONE && (*after == TIDE_TIME_NONE || a < *after))
            *after = a;
    }
}
