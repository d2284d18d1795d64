#include "orchestrator/daemon/values.h"

#include "orchestrator/base/clock.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

json_t *value_time(int64_t us)
{
    char text[TIDE_TIME_TEXT];

    if (us == TIDE_TIME_NONE)
        return json_null();
    tide_time_format(us, text);
    return json_string(text);
}

json_t *value_string(const char *text)
{
    if (text == NULL || text[0] == '\0')
        return json_null();
    json_t *v = json_string(text);
    if (v != NULL)
        return v;
    char *ascii = strdup(text);
    if (ascii == NULL)
        return json_null();
    for (char *c = ascii; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    v = json_string(ascii);
    free(ascii);
    return v != NULL ? v : json_null();
}

json_t *value_position(const struct tide_plugin *plugin, struct tide_pos pos)
{
    char text[128];

    if (tide_pos_is_none(pos))
        return json_null();
    if (plugin != NULL && plugin->pos_format != NULL)
        plugin->pos_format(pos, text, sizeof text);
    else
        (void)snprintf(text, sizeof text, "%" PRIX64 "/%016" PRIX64, pos.hi, pos.lo);
    return json_string(text);
}

json_t *value_seconds(int64_t us)
{
    return json_real((double)(us / 1000) / 1000.0);
}
