#include "tests/conformance/conformance.h"

#include <stdio.h>

static unsigned n_checks, n_failed;

__attribute__((format(printf, 2, 0))) static void line(const char *begin, const char *fmt, va_list ap)
{
    (void)printf("%s %u - ", begin, ++n_checks);
    (void)vprintf(fmt, ap);
}

bool tap_check(bool good, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    line(good ? "ok" : "not ok", fmt, ap);
    va_end(ap);
    (void)putchar('\n');
    (void)fflush(stdout);
    n_failed += !good;
    return good;
}

void tap_skip(const char *why, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    line("ok", fmt, ap);
    va_end(ap);
    (void)printf(" # SKIP %s\n", why);
    (void)fflush(stdout);
}

void tap_diag(const char *fmt, ...)
{
    va_list ap;

    (void)fputs("# ", stdout);
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)putchar('\n');
    (void)fflush(stdout);
}

int tap_finish(void)
{
    (void)printf("1..%u\n", n_checks);
    return n_failed == 0 ? 0 : 1;
}
