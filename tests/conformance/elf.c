#include "tests/conformance/conformance.h"

#include "orchestrator/base/cleanup.h"
#include <elf.h>
#include <stdlib.h>
#include <string.h>

/* A plugin exports one symbol: read from the file's own table, before anything of it runs. */

#define FILE_LIMIT (256u << 20)

/* Sanitizers and coverage add names of their own. */
static bool is_ours(const char *name)
{
    return strncmp(name, "__", 2) != 0 && strcmp(name, "_init") != 0 && strcmp(name, "_fini") != 0;
}

static const Elf64_Shdr *section(const struct tide_buf *file, size_t i)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)(const void *)file->data;
    size_t at = head->e_shoff + i * sizeof(Elf64_Shdr);

    return i < head->e_shnum && at + sizeof(Elf64_Shdr) <= file->len
               ? (const Elf64_Shdr *)(const void *)(file->data + at)
               : NULL;
}

/* Counts exported names; *entry: the one that must be there is. */
static unsigned count_exports(const struct tide_buf *file, const Elf64_Shdr *table, bool *entry)
{
    const Elf64_Shdr *strings = section(file, table->sh_link);
    unsigned others = 0;

    if (strings == NULL || table->sh_offset + table->sh_size > file->len ||
        strings->sh_offset + strings->sh_size > file->len)
        return 1;
    const Elf64_Sym *symbols = (const Elf64_Sym *)(const void *)(file->data + table->sh_offset);
    for (size_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
        unsigned bind = ELF64_ST_BIND(symbols[i].st_info), visibility = ELF64_ST_VISIBILITY(symbols[i].st_other);
        if (symbols[i].st_shndx == SHN_UNDEF || bind == STB_LOCAL || visibility == STV_HIDDEN ||
            symbols[i].st_name >= strings->sh_size)
            continue;
        const char *name = (const char *)file->data + strings->sh_offset + symbols[i].st_name;
        if (strcmp(name, TIDE_PLUGIN_ENTRY) == 0) {
            *entry = true;
        } else if (is_ours(name)) {
            tap_diag("exported: %s", name);
            others++;
        }
    }
    return others;
}

void check_exports(const struct subject *s)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf file = TIDE_BUF_INIT(FILE_LIMIT);
    struct tide_err err = TIDE_ERR_INIT;
    bool entry = false;
    unsigned others = 0;

    if (!tap_check(tide_file_read(s->path, &file, &err) == TIDE_OK, "the file can be read") ||
        !tap_check(file.len > sizeof(Elf64_Ehdr) && memcmp(file.data, ELFMAG, SELFMAG) == 0, "it is an ELF file"))
        return;
    for (size_t i = 0; section(&file, i) != NULL; i++)
        if (section(&file, i)->sh_type == SHT_DYNSYM)
            others += count_exports(&file, section(&file, i), &entry);
    tap_check(entry, "it exports \"%s\"", TIDE_PLUGIN_ENTRY);
    tap_check(others == 0, "it exports nothing else");
}
