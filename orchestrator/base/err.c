#include "orchestrator/base/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tide_status status_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return TIDE_NOT_FOUND;
    case EEXIST:
        return TIDE_EXISTS;
    case EACCES:
    case EPERM:
        return TIDE_DENIED;
    case ENOSPC:
    case EDQUOT:
        return TIDE_FULL;
    case ENOMEM:
        return TIDE_NO_MEMORY;
    default:
        return TIDE_IO;
    }
}

/* Cuts what does not fit: losing the end of a text is no failure of its own. */
static void append_text(char *out, size_t size, const char *text)
{
    size_t len = strlen(out), more = strlen(text);
    if (more > size - 1 - len)
        more = size - 1 - len;
    memcpy(out + len, text, more);
    out[len + more] = '\0';
}

/* The text is formatted beside err first: the arguments may point into err itself. */
__attribute__((format(printf, 4, 0))) static void set_message(struct tide_err *err, tide_status s, int errnum,
                                                              const char *fmt, va_list ap)
{
    char text[sizeof(err->msg)];
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    if (n < 0)
        text[0] = '\0';
    tide_err_clear(err);
    err->status = s;
    err->os_errno = errnum;
    append_text(err->msg, sizeof(err->msg), text);
}

tide_status tide_fail(struct tide_err *err, tide_status s, const char *fmt, ...)
{
    if (err != NULL) {
        va_list ap;
        va_start(ap, fmt);
        set_message(err, s, 0, fmt, ap);
        va_end(ap);
    }
    return s;
}

tide_status tide_fail_errno(struct tide_err *err, int errnum, const char *fmt, ...)
{
    tide_status s = status_of_errno(errnum);
    if (err != NULL) {
        va_list ap;
        va_start(ap, fmt);
        set_message(err, s, errnum, fmt, ap);
        va_end(ap);

        char space[128];
        const char *reason = strerror_r(errnum, space, sizeof(space));
        size_t tail = strlen(reason) + 2;
        size_t len = strlen(err->msg);
        /* The reason matters more than the end of a very long name. */
        if (len + tail >= sizeof(err->msg) && tail < sizeof(err->msg))
            len = sizeof(err->msg) - 1 - tail;
        err->msg[len] = '\0';
        append_text(err->msg, sizeof(err->msg), ": ");
        append_text(err->msg, sizeof(err->msg), reason);
    }
    return s;
}

tide_status tide_wrap(struct tide_err *err, tide_status s, const char *fmt, ...)
{
    if (err != NULL) {
        char old[sizeof(err->msg)], text[sizeof(err->msg)];
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        if (n < 0)
            text[0] = '\0';
        memcpy(old, err->msg, sizeof(old));
        err->status = s;
        err->msg[0] = '\0';
        append_text(err->msg, sizeof(err->msg), text);
        if (old[0] != '\0') {
            append_text(err->msg, sizeof(err->msg), ": ");
            append_text(err->msg, sizeof(err->msg), old);
        }
    }
    return s;
}

tide_status tide_hint(struct tide_err *err, tide_status s, const char *fmt, ...)
{
    if (err != NULL) {
        char text[sizeof(err->hint)];
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        if (n < 0)
            text[0] = '\0';
        err->hint[0] = '\0';
        append_text(err->hint, sizeof(err->hint), text);
    }
    return s;
}

void tide_err_clear(struct tide_err *err)
{
    if (err == NULL)
        return;
    err->status = TIDE_OK;
    err->os_errno = 0;
    err->msg[0] = '\0';
    err->hint[0] = '\0';
    err->before[0] = '\0';
    err->after[0] = '\0';
}

const char *tide_status_name(tide_status s)
{
    static const char *const names[] = {
        [TIDE_OK] = "ok",
        [TIDE_NOT_FOUND] = "not found",
        [TIDE_EXISTS] = "exists",
        [TIDE_AGAIN] = "try again",
        [TIDE_DENIED] = "denied",
        [TIDE_INVALID] = "invalid",
        [TIDE_CORRUPT] = "corrupt",
        [TIDE_UNSUPPORTED] = "unsupported",
        [TIDE_CANCELLED] = "cancelled",
        [TIDE_NO_MEMORY] = "out of memory",
        [TIDE_IO] = "input/output error",
        [TIDE_BUSY] = "busy",
        [TIDE_REFUSED] = "refused",
        [TIDE_OUTSIDE] = "outside the restore window",
        [TIDE_UNAVAILABLE] = "unavailable",
        [TIDE_FULL] = "no space left",
    };
    size_t i = (size_t)s;
    if (i >= sizeof(names) / sizeof(names[0]) || names[i] == NULL)
        return "unknown";
    return names[i];
}

int tide_status_exit(tide_status s)
{
    switch (s) {
    case TIDE_OK:
        return 0;
    case TIDE_INVALID:
    case TIDE_UNSUPPORTED:
        return 2;
    case TIDE_OUTSIDE:
        return 4;
    case TIDE_CORRUPT:
        return 5;
    case TIDE_BUSY:
        return 6;
    case TIDE_UNAVAILABLE:
        return 7;
    case TIDE_DENIED:
        return 8;
    case TIDE_REFUSED:
    case TIDE_EXISTS:
        return 9;
    case TIDE_CANCELLED:
        return 130;
    case TIDE_NOT_FOUND:
    case TIDE_AGAIN:
    case TIDE_NO_MEMORY:
    case TIDE_IO:
    case TIDE_FULL:
        break;
    }
    return 1;
}

_Noreturn void tide_assert_failed(const char *cond, const char *file, int line, const char *func)
{
    char text[512];
    int n =
        snprintf(text, sizeof(text), "tidemark: broken invariant \"%s\" in %s at %s:%d\n", cond, func, file, line);
    if (n > 0) {
        size_t len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
        ssize_t ignored = write(STDERR_FILENO, text, len);
        (void)ignored;
    }
    abort();
}
