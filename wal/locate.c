#include "wal/locate.h"

#include "wal/pos.h"

#define LIST_AGAIN 3u
/* A record that spans more objects than this is given up on: the scanner then finds its way by itself. */
#define SPAN_MAX 128u

tide_status log_object_at(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos pos,
                          struct log_name *out, struct tide_err *err)
{
    struct log_walk *w = NULL;
    tide_status s = log_walk_open(r, instance, lineage, pos, &w, err);

    if (s == TIDE_OK)
        s = log_walk_next(w, out, err);
    log_walk_close(w);
    return s;
}

tide_status log_info_at(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos pos,
                        struct log_info *out, struct tide_err *err)
{
    for (unsigned i = 1;; i++) {
        struct log_name name;
        char key[REPO_KEY_MAX];
        tide_status s = log_object_at(r, instance, lineage, pos, &name, err);
        if (s == TIDE_OK)
            s = log_name_key(instance, &name, key, err);
        if (s != TIDE_OK)
            return s;
        s = log_object_info(r, key, out, err);
        if (s != TIDE_NOT_FOUND)
            return s;
        if (i == LIST_AGAIN)
            return tide_wrap(err, TIDE_CORRUPT, "a log object is listed and gone");
        tide_err_clear(err);
    }
}

tide_status log_scan_start(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos pos,
                           struct tide_pos *start, bool *record, struct tide_err *err)
{
    struct tide_pos at = pos;

    *record = false;
    for (unsigned i = 0; i < SPAN_MAX && at.lo > 0; i++) {
        struct log_info info = {0};
        tide_status s = log_info_at(r, instance, lineage, pos_sub(at, 1), &info, err);
        struct log_name name = info.name;
        struct tide_pos last = info.last_record_start, first = info.first_record;
        log_info_clear(&info);
        if (s == TIDE_NOT_FOUND && i > 0) {
            tide_err_clear(err);
            return TIDE_OK; /* *start is the beginning of what is stored */
        }
        if (s != TIDE_OK)
            return s;
        *record = true;
        if (!tide_pos_is_none(last) && pos_before(last, pos)) {
            *start = last;
            return TIDE_OK;
        }
        if (!tide_pos_is_none(first) && pos_before(first, pos)) {
            *start = first;
            return TIDE_OK;
        }
        *record = false;
        *start = at = name.start;
    }
    return pos_before(at, pos) ? TIDE_OK : tide_fail(err, TIDE_NOT_FOUND, "no log is stored before this position");
}
