#include "orchestrator/store/store_internal.h"

#include "orchestrator/base/bytes.h"

#include <string.h>

static tide_status check(const char *key, size_t len, struct tide_err *err)
{
    if (len == 0 || len > STORE_KEY_MAX)
        return tide_fail(err, TIDE_INVALID, "an object's key has %zu bytes; 1 to %d are possible", len,
                         STORE_KEY_MAX);
    bool start = true;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)key[i];
        if (c < 0x20 || c == 0x7f)
            return tide_fail(err, TIDE_INVALID, "an object's key holds a control character");
        if (start && (c == '/' || c == '.'))
            return tide_fail(err, TIDE_INVALID, "the key \"%s\" has a component that is empty or starts with a dot",
                             key);
        start = c == '/';
    }
    if (start)
        return tide_fail(err, TIDE_INVALID, "the key \"%s\" ends in a slash", key);
    return TIDE_OK;
}

tide_status store_key_check(const char *key, struct tide_err *err)
{
    return check(key, strlen(key), err);
}

tide_status store_prefix_check(const char *prefix, struct tide_err *err)
{
    size_t len = strlen(prefix);
    if (len == 0)
        return TIDE_OK;
    if (prefix[len - 1] != '/')
        return tide_fail(err, TIDE_INVALID, "the folder \"%s\" does not end in a slash", prefix);
    return check(prefix, len - 1, err);
}

tide_status store_url_decode(const char *text, size_t len, char *out, size_t size, struct tide_err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            uint8_t byte;
            char digits[3] = {0};
            if (i + 2 < len)
                memcpy(digits, text + i + 1, 2);
            if (!tide_unhex(digits, &byte, 1) || byte == 0)
                return tide_fail(err, TIDE_INVALID, "\"%s\" has a %% that two hex digits do not follow", text);
            c = (char)byte;
            i += 2;
        }
        if (n + 1 >= size)
            return tide_fail(err, TIDE_INVALID, "\"%s\" is too long", text);
        out[n++] = c;
    }
    out[n] = '\0';
    return TIDE_OK;
}
