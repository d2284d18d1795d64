#include "wal/ship_internal.h"

#include "orchestrator/repository/record.h"
#include <string.h>

static int put_time(json_t *doc, const char *name, int64_t us)
{
    return json_object_set_new(doc, name, us == TIDE_TIME_NONE ? json_null() : json_integer(us));
}

json_t *ship_state_json(const struct wal_ship_state *st)
{
    json_t *doc = json_pack(
        "{s:i, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "schema", 1, "lineage",
        (json_int_t)st->lineage, "received", record_pos_json(st->received), "durable", record_pos_json(st->durable),
        "confirmed", record_pos_json(st->confirmed), "unshipped_bytes", (json_int_t)st->unshipped_bytes,
        "held_back_bytes", (json_int_t)st->held_back_bytes, "spooled_bytes", (json_int_t)st->spooled_bytes, "objects",
        (json_int_t)st->objects, "bytes", (json_int_t)st->bytes, "commits", (json_int_t)st->commits, "reconnects",
        (json_int_t)st->reconnects, "skew_us", (json_int_t)st->skew_us, "problem", st->problem);

    if (doc != NULL && (json_object_set_new(doc, "standby", json_boolean(st->standby)) != 0 ||
                        put_time(doc, "restorable_us", st->restorable_us) != 0 ||
                        put_time(doc, "server_clock_us", st->server_clock_us) != 0)) {
        json_decref(doc);
        return NULL;
    }
    return doc;
}

static uint64_t number(const json_t *doc, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(doc, name));
    return v < 0 ? 0 : (uint64_t)v;
}

static int64_t time_of(const json_t *doc, const char *name)
{
    const json_t *v = json_object_get(doc, name);
    return json_is_integer(v) ? json_integer_value(v) : TIDE_TIME_NONE;
}

static bool position(const json_t *doc, const char *name, struct tide_pos *out)
{
    const char *text = json_string_value(json_object_get(doc, name));
    return text != NULL && record_pos_text(text, out);
}

bool ship_state_parse(const json_t *doc, struct wal_ship_state *out)
{
    const char *problem = json_string_value(json_object_get(doc, "problem"));

    *out = (struct wal_ship_state){.lineage = (uint32_t)number(doc, "lineage"),
                                   .restorable_us = time_of(doc, "restorable_us"),
                                   .server_clock_us = time_of(doc, "server_clock_us"),
                                   .unshipped_bytes = number(doc, "unshipped_bytes"),
                                   .held_back_bytes = number(doc, "held_back_bytes"),
                                   .spooled_bytes = number(doc, "spooled_bytes"),
                                   .objects = number(doc, "objects"),
                                   .bytes = number(doc, "bytes"),
                                   .commits = number(doc, "commits"),
                                   .reconnects = number(doc, "reconnects"),
                                   .standby = json_is_true(json_object_get(doc, "standby")),
                                   .skew_us = json_integer_value(json_object_get(doc, "skew_us"))};
    (void)snprintf(out->problem, sizeof out->problem, "%s", problem == NULL ? "" : problem);
    return json_is_object(doc) && position(doc, "received", &out->received) &&
           position(doc, "durable", &out->durable) && position(doc, "confirmed", &out->confirmed);
}
