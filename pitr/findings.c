#include "pitr/restore.h"

#include <stdlib.h>
#include <string.h>

static char *copy(const char *text)
{
    return text == NULL ? NULL : strdup(text);
}

static void add(void *ctx, const struct tide_finding *f)
{
    struct tide_finding_list *l = ctx;
    struct finding *grown = realloc(l->items, (l->n + 1) * sizeof *grown);

    if (grown == NULL)
        return; /* a finding more or less must not stop a restore */
    l->items = grown;
    l->items[l->n++] = (struct finding){
        .severity = f->severity, .code = copy(f->code), .message = copy(f->message), .fix = copy(f->fix)};
}

struct tide_findings finding_list_sink(struct tide_finding_list *l)
{
    return (struct tide_findings){.struct_size = sizeof(struct tide_findings), .ctx = l, .add = add};
}

void finding_list_free(struct tide_finding_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->items[i].code);
        free(l->items[i].message);
        free(l->items[i].fix);
    }
    free(l->items);
    memset(l, 0, sizeof *l);
}
