#!/usr/bin/env bash
# Line coverage by folder, from what the tests of a BUILD=coverage tree left behind.
set -eu
out=$1
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
find "$out/obj" -name '*.gcda' -not -path '*/tests/*' -print0 | sort -z >"$scratch/list"
[ -s "$scratch/list" ] || { echo "coverage: no data below $out; run: make BUILD=coverage check" >&2; exit 1; }
xargs -0 gcov -n -r <"$scratch/list" 2>/dev/null |
    awk -F"'" '
        /^File/ { file = $2; next }
        /^Lines executed/ && file ~ /\.c$/ {
            split($0, a, /[:% ]+/)           # Lines executed:PERCENT% of N
            n = a[5]; hit = n * a[3] / 100
            folder = file; sub(/\/[^\/]*$/, "", folder)
            if (!(file in seen)) { seen[file] = 1; lines[folder] += n; hits[folder] += hit; all += n; got += hit }
            file = ""
        }
        END {
            for (f in lines) printf "%6.1f %%  %6d lines  %s\n", 100 * hits[f] / lines[f], lines[f], f | "sort -k4"
            close("sort -k4")
            if (all > 0) printf "%6.1f %%  %6d lines  all\n", 100 * got / all, all
        }'
