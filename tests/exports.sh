#!/usr/bin/env bash
# What was built keeps its promises to the linker: a plugin exports one symbol, and the programs need no
# database client library.
set -u
out=$1 bad=0
for so in "$out"/plugins/*.so "$out"/plugins-test/*.so; do
    [ -e "$so" ] || continue
    # Sanitizers and coverage add symbols of their own.
    names=$(nm -D --defined-only "$so" | awk '$2 ~ /[TDBRV]/ {print $3}' | grep -vE '^(__|_init$|_fini$)' | tr '\n' ' ')
    if [ "$names" != "tide_plugin_entry " ]; then
        echo "$so exports \"${names% }\", not just \"tide_plugin_entry\""
        bad=1
    fi
done
for program in "$out"/tidemark "$out"/tidemark-fetch; do
    [ -e "$program" ] || continue
    if readelf -d "$program" | grep -E 'NEEDED.*(libpq|libmysql|libmariadb)'; then
        echo "$program needs a database client library"
        bad=1
    fi
done
if [ -e "$out/tidemark-fetch" ] && readelf -d "$out/tidemark-fetch" | grep NEEDED |
    grep -vE 'libc\.so|libasan|libubsan|libtsan|libgcov|libgcc|libm\.so'; then
    echo "$out/tidemark-fetch needs more than the C library"
    bad=1
fi
exit $bad
