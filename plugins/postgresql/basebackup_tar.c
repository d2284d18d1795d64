#include "plugins/postgresql/basebackup_tar.h"

#include <string.h>

/* The ustar header. */
enum {
    AT_NAME = 0,
    AT_MODE = 100,
    AT_SIZE = 124,
    AT_MTIME = 136,
    AT_CHECKSUM = 148,
    AT_TYPE = 156,
    AT_LINK = 157,
    AT_MAGIC = 257,
    AT_PREFIX = 345,
};

enum { NAME_LEN = 100, SIZE_LEN = 12, CHECKSUM_LEN = 8, PREFIX_LEN = 155 };

/* Octal text, or what PostgreSQL and GNU write where that is too short: 0x80 and big-endian bytes. */
static bool parse_number(const uint8_t *p, size_t len, uint64_t *out)
{
    uint64_t v = 0;

    if (p[0] == 0x80) {
        for (size_t i = 1; i < len; i++) {
            if (v >> 56 != 0)
                return false;
            v = v << 8 | p[i];
        }
        *out = v;
        return true;
    }
    size_t i = 0;
    while (i < len && p[i] == ' ')
        i++;
    for (; i < len && p[i] != '\0' && p[i] != ' '; i++) {
        if (p[i] < '0' || p[i] > '7' || v >> 60 != 0)
            return false;
        v = v << 3 | (uint64_t)(p[i] - '0');
    }
    *out = v;
    return true;
}

static uint64_t header_sum(const uint8_t *h)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < PG_TAR_BLOCK; i++)
        sum += i >= AT_CHECKSUM && i < AT_CHECKSUM + CHECKSUM_LEN ? ' ' : h[i];
    return sum;
}

static bool is_all_zero(const uint8_t *h)
{
    return h[0] == 0 && memcmp(h, h + 1, PG_TAR_BLOCK - 1) == 0;
}

static void copy_name(const uint8_t *h, struct pg_tar_entry *out)
{
    size_t prefix = strnlen((const char *)h + AT_PREFIX, PREFIX_LEN);
    size_t name = strnlen((const char *)h + AT_NAME, NAME_LEN);
    size_t n = 0;

    if (prefix > 0) {
        memcpy(out->name, h + AT_PREFIX, prefix);
        n = prefix;
        out->name[n++] = '/';
    }
    memcpy(out->name + n, h + AT_NAME, name);
    n += name;
    while (n > 0 && out->name[n - 1] == '/')
        n--;
    out->name[n] = '\0';
    if (strncmp(out->name, "./", 2) == 0)
        memmove(out->name, out->name + 2, strlen(out->name + 2) + 1);
}

/* It becomes a path below the restored directory. */
static bool is_safe_name(const char *name)
{
    if (*name == '\0' || *name == '/')
        return false;
    for (const char *p = name; *p != '\0';) {
        size_t len = strcspn(p, "/");
        if (len == 0 || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += len + (p[len] == '/' ? 1 : 0);
    }
    return true;
}

const char *pg_tar_parse_header(const uint8_t header[PG_TAR_BLOCK], struct pg_tar_entry *out)
{
    uint64_t sum, mode, mtime;

    memset(out, 0, sizeof *out);
    if (is_all_zero(header))
        return NULL;
    if (memcmp(header + AT_MAGIC, "ustar", 5) != 0)
        return "it has no ustar header";
    if (!parse_number(header + AT_CHECKSUM, CHECKSUM_LEN, &sum) || sum != header_sum(header))
        return "a header's checksum is wrong";
    if (!parse_number(header + AT_MODE, 8, &mode) || !parse_number(header + AT_SIZE, SIZE_LEN, &out->size) ||
        !parse_number(header + AT_MTIME, SIZE_LEN, &mtime) || out->size > (uint64_t)INT64_MAX)
        return "a header's number cannot be read";
    out->mode = (uint32_t)(mode & 07777u);
    out->mtime_s = (int64_t)mtime;
    switch (header[AT_TYPE]) {
    case '0':
    case '\0':
        out->kind = PG_TAR_FILE;
        break;
    case '2':
        out->kind = PG_TAR_LINK;
        break;
    case '5':
        out->kind = PG_TAR_DIRECTORY;
        break;
    default:
        return "an entry is neither file, directory nor link";
    }
    copy_name(header, out);
    memcpy(out->link, header + AT_LINK, NAME_LEN);
    if (!is_safe_name(out->name))
        return "an entry's name leads outside";
    if (out->kind != PG_TAR_FILE && out->size != 0)
        return "a directory or link has content";
    return NULL;
}

static int begin_entry(const struct tide_host *host, struct pg_tar *tar, const struct pg_tar_events *events,
                       struct tide_err *err)
{
    const char *wrong = pg_tar_parse_header(tar->header, &tar->entry);

    if (wrong != NULL)
        return tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "the server's archive cannot be read: %s", wrong);
    tar->have = 0;
    if (tar->entry.kind == 0) {
        tar->ended = true;
        return TIDE_OK;
    }
    tar->left = tar->entry.size;
    tar->padding = (PG_TAR_BLOCK - tar->entry.size % PG_TAR_BLOCK) % PG_TAR_BLOCK;
    tar->in_entry = true;
    return events->begin(events->ctx, &tar->entry, err);
}

static size_t smaller(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

int pg_tar_feed(const struct tide_host *host, struct pg_tar *tar, const void *data, size_t len,
                const struct pg_tar_events *events, struct tide_err *err)
{
    const uint8_t *p = data;
    int s = TIDE_OK;

    while (s == TIDE_OK && !tar->ended && (len > 0 || (tar->in_entry && tar->left == 0))) {
        size_t n;
        if (tar->in_entry && tar->left > 0) {
            n = smaller(tar->left, len);
            s = events->data(events->ctx, &tar->entry, tar->entry.size - tar->left, p, n, err);
            tar->left -= n;
        } else if (tar->in_entry) {
            n = 0;
            tar->in_entry = false;
            s = events->end(events->ctx, &tar->entry, err);
        } else if (tar->padding > 0) {
            n = smaller(tar->padding, len);
            tar->padding -= n;
        } else {
            n = smaller(PG_TAR_BLOCK - tar->have, len);
            memcpy(tar->header + tar->have, p, n);
            tar->have += n;
            if (tar->have == PG_TAR_BLOCK)
                s = begin_entry(host, tar, events, err);
        }
        p += n;
        len -= n;
    }
    return s;
}

int pg_tar_finish(const struct tide_host *host, const struct pg_tar *tar, struct tide_err *err)
{
    if (tar->in_entry || tar->padding > 0 || tar->have > 0)
        return tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "the server's archive ends in the middle of \"%s\"",
                                tar->entry.name);
    return TIDE_OK;
}
