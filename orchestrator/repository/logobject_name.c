#include "orchestrator/base/bytes.h"
#include "orchestrator/repository/logobject_internal.h"

#include <string.h>

/* An object never holds more pieces of log files than extents, so it begins at most this many files before its end.
 */
#define FILES_BEFORE (LOG_EXTENTS_MAX - 1u)

static bool times_are_possible(const struct log_name *n)
{
    if (n->min_us == TIDE_TIME_NONE || n->max_us == TIDE_TIME_NONE)
        return n->min_us == n->max_us && n->back_ms == 0;
    return n->min_us > 0 && n->min_us <= n->max_us;
}

static bool name_is_possible(const struct log_name *n)
{
    return n->lineage != 0 && n->level <= LOG_LEVEL_MAX && tide_pos_cmp(n->start, n->end) < 0 &&
           times_are_possible(n);
}

static uint64_t stored_time(int64_t us)
{
    return us == TIDE_TIME_NONE ? 0 : (uint64_t)us;
}

void log_level_folder(const char *instance, uint32_t lineage, unsigned level, char out[REPO_KEY_MAX])
{
    (void)snprintf(out, REPO_KEY_MAX, "instances/%s/log/%08x/%u/", instance, lineage, level);
}

void log_level_after(const char *instance, uint32_t lineage, unsigned level, struct tide_pos pos,
                     char out[REPO_KEY_MAX])
{
    struct tide_pos from = pos;
    if (pos.lo >= LOG_OBJECT_MAX_BYTES) {
        from.lo = pos.lo - LOG_OBJECT_MAX_BYTES;
    } else {
        from.hi = pos.hi < FILES_BEFORE ? 0 : pos.hi - FILES_BEFORE;
        from.lo = 0;
    }
    char folder[REPO_KEY_MAX];
    log_level_folder(instance, lineage, level, folder);
    /* A start without what follows it sorts before every name with that start. */
    (void)snprintf(out, REPO_KEY_MAX, "%.*s%016llx%016llx", REPO_KEY_MAX - 33, folder, (unsigned long long)from.hi,
                   (unsigned long long)from.lo);
}

tide_status log_name_key(const char *instance, const struct log_name *n, char key[REPO_KEY_MAX], struct tide_err *err)
{
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    if (!name_is_possible(n))
        return tide_fail(err, TIDE_INVALID, "a log object of lineage %u of \"%s\" has an impossible range or time",
                         n->lineage, instance);
    (void)snprintf(
        key, REPO_KEY_MAX, "instances/%s/log/%08x/%u/%016llx%016llx-%016llx%016llx-%016llx-%016llx-%08x-%02x",
        instance, n->lineage, n->level, (unsigned long long)n->start.hi, (unsigned long long)n->start.lo,
        (unsigned long long)n->end.hi, (unsigned long long)n->end.lo, (unsigned long long)stored_time(n->min_us),
        (unsigned long long)stored_time(n->max_us), n->back_ms, n->marks);
    return TIDE_OK;
}

/* Takes `digits` hex digits and the separator behind them, unless that is 0. */
static bool take_hex(const char **at, size_t digits, char separator, uint64_t *v)
{
    if (strnlen(*at, digits) < digits || !tide_parse_hex64(*at, digits, v))
        return false;
    *at += digits;
    if (separator == 0)
        return true;
    return *(*at)++ == separator;
}

static bool take_pos(const char **at, char separator, struct tide_pos *p)
{
    return take_hex(at, 16, 0, &p->hi) && take_hex(at, 16, separator, &p->lo);
}

/* "instances/NAME/log/"; *at moves behind it. */
static bool take_instance(const char **at, char instance[REPO_NAME_MAX])
{
    static const char root[] = "instances/", log[] = "/log/";
    if (strncmp(*at, root, sizeof(root) - 1) != 0)
        return false;
    *at += sizeof(root) - 1;
    size_t len = strcspn(*at, "/");
    if (len == 0 || len >= REPO_NAME_MAX || strncmp(*at + len, log, sizeof(log) - 1) != 0)
        return false;
    memcpy(instance, *at, len);
    instance[len] = '\0';
    *at += len + sizeof(log) - 1;
    return repo_name_is_valid(instance);
}

bool log_name_parse_key(const char *key, char instance[REPO_NAME_MAX], struct log_name *n)
{
    const char *at = key;
    uint64_t lineage, level, min, max, back, marks;
    struct log_name f;
    if (!take_instance(&at, instance) || !take_hex(&at, 8, '/', &lineage) || !take_hex(&at, 1, '/', &level) ||
        !take_pos(&at, '-', &f.start) || !take_pos(&at, '-', &f.end) || !take_hex(&at, 16, '-', &min) ||
        !take_hex(&at, 16, '-', &max) || !take_hex(&at, 8, '-', &back) || !take_hex(&at, 2, 0, &marks) || *at != '\0')
        return false;
    /* One range has one name: no upper-case digits. */
    if (min > INT64_MAX || max > INT64_MAX || strpbrk(key, "ABCDEF") != NULL)
        return false;
    f.lineage = (uint32_t)lineage;
    f.level = (uint8_t)level;
    f.min_us = min == 0 ? TIDE_TIME_NONE : (int64_t)min;
    f.max_us = max == 0 ? TIDE_TIME_NONE : (int64_t)max;
    f.back_ms = (uint32_t)back;
    f.marks = (uint8_t)marks;
    if (!name_is_possible(&f))
        return false;
    *n = f;
    return true;
}

bool log_name_parse(const char *key, struct log_name *n)
{
    char instance[REPO_NAME_MAX];
    return log_name_parse_key(key, instance, n);
}

bool log_name_equal(const struct log_name *a, const struct log_name *b)
{
    return a->lineage == b->lineage && a->level == b->level && tide_pos_cmp(a->start, b->start) == 0 &&
           tide_pos_cmp(a->end, b->end) == 0 && a->min_us == b->min_us && a->max_us == b->max_us &&
           a->back_ms == b->back_ms && a->marks == b->marks;
}

/* ---- what the header says of it */

static void put_pos(uint8_t *p, struct tide_pos pos)
{
    tide_put_be64(p, pos.hi);
    tide_put_be64(p + 8, pos.lo);
}

static struct tide_pos get_pos(const uint8_t *p)
{
    return (struct tide_pos){.hi = tide_get_be64(p), .lo = tide_get_be64(p + 8)};
}

void log_ext_encode(const struct log_name *n, uint8_t ext[LOG_EXT_SIZE])
{
    memset(ext, 0, LOG_EXT_SIZE);
    tide_put_be32(ext, n->lineage);
    ext[4] = n->level;
    put_pos(ext + 8, n->start);
    put_pos(ext + 24, n->end);
}

bool log_ext_decode(const struct object_header *h, struct log_name *n)
{
    if (h->ext_len != LOG_EXT_SIZE || h->ext[5] != 0 || h->ext[6] != 0 || h->ext[7] != 0)
        return false;
    n->lineage = tide_get_be32(h->ext);
    n->level = h->ext[4];
    n->start = get_pos(h->ext + 8);
    n->end = get_pos(h->ext + 24);
    return true;
}
