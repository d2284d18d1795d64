#include "orchestrator/base/zone.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "orchestrator/base/zone_rule.h"

#include <stdlib.h>
#include <string.h>

#define ZONE_DIRECTORY  "/usr/share/zoneinfo"
#define ZONE_FILE_MAX   ((size_t)256 << 10)
#define TRANSITIONS_MAX 20000
#define TYPES_MAX       256
#define OFFSET_LIMIT    (26 * 3600)

struct tide_zone {
    size_t n_transitions, n_types;
    int64_t *at;     /* ascending */
    uint8_t *type;   /* in force from at[i] */
    int32_t *offset; /* of each type */
    bool has_rule;
    struct tide_zone_rule rule; /* after the last transition */
};

/* The counts of a TZif header, in its order. */
struct counts {
    uint32_t isut, isstd, leap, time, type, chars;
};

void tide_zone_free(struct tide_zone *z)
{
    if (z == NULL)
        return;
    free(z->at);
    free(z->type);
    free(z->offset);
    free(z);
}

static void zone_freep(struct tide_zone **z)
{
    tide_zone_free(*z);
}

static bool read_header(struct tide_cursor *c, char *version, struct counts *n)
{
    const uint8_t *magic = tide_read_bytes(c, 4);
    if (magic == NULL || memcmp(magic, "TZif", 4) != 0)
        return false;
    *version = (char)tide_read_u8(c);
    (void)tide_read_bytes(c, 15);
    n->isut = tide_read_be32(c);
    n->isstd = tide_read_be32(c);
    n->leap = tide_read_be32(c);
    n->time = tide_read_be32(c);
    n->type = tide_read_be32(c);
    n->chars = tide_read_be32(c);
    return !c->bad && n->time <= TRANSITIONS_MAX && n->type >= 1 && n->type <= TYPES_MAX && n->chars <= 65536 &&
           n->leap <= 1024 && n->isstd <= TYPES_MAX && n->isut <= TYPES_MAX;
}

static size_t skipped_size(const struct counts *n, size_t time_size)
{
    return n->time * (time_size + 1) + n->type * (size_t)6 + n->chars + n->leap * (time_size + 4) + n->isstd +
           n->isut;
}

static tide_status allocate(struct tide_zone **out, const struct counts *n)
{
    TIDE_AUTO(zone_freep) struct tide_zone *z = calloc(1, sizeof(*z));
    if (z == NULL)
        return TIDE_NO_MEMORY;
    z->n_transitions = n->time;
    z->n_types = n->type;
    z->at = calloc(n->time + (size_t)1, sizeof(*z->at));
    z->type = calloc(n->time + (size_t)1, sizeof(*z->type));
    z->offset = calloc(n->type, sizeof(*z->offset));
    if (z->at == NULL || z->type == NULL || z->offset == NULL)
        return TIDE_NO_MEMORY;
    *out = TIDE_TAKE(z);
    return TIDE_OK;
}

/* Transition times, their types, and the types; false when they make no sense. */
static bool read_table(struct tide_cursor *c, struct tide_zone *z)
{
    for (size_t i = 0; i < z->n_transitions; i++) {
        z->at[i] = (int64_t)tide_read_be64(c);
        if (i > 0 && z->at[i] <= z->at[i - 1])
            return false;
    }
    for (size_t i = 0; i < z->n_transitions; i++) {
        z->type[i] = tide_read_u8(c);
        if (z->type[i] >= z->n_types)
            return false;
    }
    for (size_t i = 0; i < z->n_types; i++) {
        z->offset[i] = (int32_t)tide_read_be32(c);
        (void)tide_read_bytes(c, 2); /* daylight flag, name */
        if (z->offset[i] < -OFFSET_LIMIT || z->offset[i] > OFFSET_LIMIT)
            return false;
    }
    return !c->bad;
}

/* "\nTZ string\n"; empty when no rule describes the future. */
static bool read_footer(struct tide_cursor *c, struct tide_zone *z)
{
    char text[256];
    size_t len = 0;
    if (tide_read_u8(c) != '\n')
        return false;
    for (;;) {
        char ch = (char)tide_read_u8(c);
        if (c->bad || len == sizeof(text) - 1)
            return false;
        if (ch == '\n')
            break;
        text[len++] = ch;
    }
    text[len] = '\0';
    z->has_rule = len > 0;
    return !z->has_rule || tide_zone_rule_parse(text, &z->rule);
}

tide_status tide_zone_parse(const void *data, size_t len, struct tide_zone **out, struct tide_err *err)
{
    struct tide_cursor c = tide_cursor_of(data, len);
    struct counts n;
    char version = 0;
    if (!read_header(&c, &version, &n))
        return tide_fail(err, TIDE_CORRUPT, "not a time zone file");
    if (version < '2')
        return tide_fail(err, TIDE_CORRUPT, "a time zone file of the old 32-bit version");
    (void)tide_read_bytes(&c, skipped_size(&n, 4));
    if (!read_header(&c, &version, &n))
        return tide_fail(err, TIDE_CORRUPT, "damaged time zone file");
    if (n.leap > 0)
        return tide_fail(err, TIDE_CORRUPT, "a time zone file that counts leap seconds");

    TIDE_AUTO(zone_freep) struct tide_zone *z = NULL;
    if (allocate(&z, &n) != TIDE_OK)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a time zone");
    if (!read_table(&c, z) || tide_read_bytes(&c, n.chars + n.isstd + n.isut) == NULL || !read_footer(&c, z))
        return tide_fail(err, TIDE_CORRUPT, "damaged time zone file");
    *out = TIDE_TAKE(z);
    return TIDE_OK;
}

/* Letters, digits and _ + - in parts between slashes: no way out of the directory. */
static bool is_zone_name(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > 64 || name[0] == '/' || name[0] == '-' || name[len - 1] == '/' ||
        strstr(name, "//") != NULL)
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") == len;
}

tide_status tide_zone_load(const char *name, struct tide_zone **out, struct tide_err *err)
{
    if (!is_zone_name(name))
        return tide_fail(err, TIDE_INVALID, "\"%.64s\" is not a time zone", name);
    char path[TIDE_PATH_MAX];
    tide_status s = tide_path_join(path, ZONE_DIRECTORY, name, err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(tide_buf_clear) struct tide_buf file = TIDE_BUF_INIT(ZONE_FILE_MAX);
    s = tide_file_read(path, &file, err);
    if (s == TIDE_OK)
        s = tide_zone_parse(file.data, file.len, out, err);
    if (s == TIDE_OK || s == TIDE_NO_MEMORY)
        return s;
    if (s == TIDE_NOT_FOUND)
        (void)tide_fail(err, TIDE_INVALID, "unknown time zone \"%s\"", name);
    else
        (void)tide_wrap(err, TIDE_INVALID, "reading time zone \"%s\"", name);
    return tide_hint(err, TIDE_INVALID,
                     "names are those of the IANA database (%s, package tzdata), as in "
                     "\"Europe/Berlin\"; an offset such as +01:00 always works",
                     ZONE_DIRECTORY);
}

int32_t tide_zone_offset_at(const struct tide_zone *z, int64_t at)
{
    if (z->n_transitions == 0 || at < z->at[0])
        return z->n_transitions == 0 && z->has_rule ? tide_zone_rule_offset_at(&z->rule, at) : z->offset[0];
    if (at >= z->at[z->n_transitions - 1] && z->has_rule)
        return tide_zone_rule_offset_at(&z->rule, at);
    size_t low = 0, high = z->n_transitions; /* at[low] <= at < at[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (z->at[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    return z->offset[z->type[low]];
}

/* Every offset that the zone ever has: its types', and those of the rule. */
static size_t all_offsets(const struct tide_zone *z, int32_t out[TYPES_MAX + 2])
{
    size_t n = 0;
    memcpy(out, z->offset, z->n_types * sizeof(*out));
    n = z->n_types;
    if (z->has_rule) {
        out[n++] = z->rule.std;
        out[n++] = z->rule.has_dst ? z->rule.dst : z->rule.std;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        size_t j = 0;
        while (j < kept && out[j] != out[i])
            j++;
        if (j == kept)
            out[kept++] = out[i];
    }
    return kept;
}

/*
 * Tried with each offset the zone ever had: a moment that has the offset with which it was computed is what the
 * local time means.  None: two offsets point at each other, which is a gap.
 */
struct tide_local tide_zone_from_local(const struct tide_zone *z, int64_t local)
{
    int32_t offsets[TYPES_MAX + 2];
    size_t n = all_offsets(z, offsets), found = 0;
    struct tide_local l = {.kind = TIDE_LOCAL_UNIQUE};
    for (size_t i = 0; i < n && found < 2; i++) {
        if (tide_zone_offset_at(z, local - offsets[i]) == offsets[i])
            l.at[found++] = local - offsets[i];
    }
    if (found == 2)
        l.kind = TIDE_LOCAL_REPEATED;
    for (size_t i = 0; i < n && found == 0; i++) {
        int32_t other = tide_zone_offset_at(z, local - offsets[i]);
        if (tide_zone_offset_at(z, local - other) == offsets[i]) {
            l = (struct tide_local){.kind = TIDE_LOCAL_SKIPPED, .at = {local - offsets[i], local - other}};
            found = 2;
        }
    }
    if (found == 0) {
        /* Clocks put forward twice within hours; no zone did, but a file may say so. */
        l = (struct tide_local){.kind = TIDE_LOCAL_SKIPPED,
                                .at = {local - tide_zone_offset_at(z, local - 2 * 86400),
                                       local - tide_zone_offset_at(z, local + 2 * 86400)}};
        found = 2;
    }
    if (found == 2 && l.at[0] > l.at[1]) {
        int64_t later = l.at[0];
        l.at[0] = l.at[1];
        l.at[1] = later;
    }
    return l;
}
