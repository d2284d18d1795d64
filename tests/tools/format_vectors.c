/* Prints the vectors of section 10 of FORMAT.md, as they stand there. */

#include "tests/support/format_vectors.h"

#include <stdio.h>

int main(void)
{
    struct vectors *v = vectors_make();
    for (size_t i = 0; i < v->n; i++) {
        const struct vector *item = &v->items[i];
        (void)printf("`%s`: %s\n\n", item->name, item->about);
        (void)printf("```%s %s\n", item->text ? "text" : "hex", item->name);
        if (item->text)
            (void)fputs(tide_buf_cstr(&item->bytes), stdout);
        for (size_t k = 0; !item->text && k < item->bytes.len; k++)
            (void)printf("%02x%s", item->bytes.data[k], k % 32 == 31 || k + 1 == item->bytes.len ? "\n" : "");
        (void)printf("```\n\n");
    }
    vectors_free(v);
    return 0;
}
