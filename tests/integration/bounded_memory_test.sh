#!/usr/bin/env bash
# Memory does not grow with the instance: 300,000 files, and 10 TB in 160,000 map leaves, each under 256 MiB of
# resident memory for every phase.  The 10 TB are holes with a block in every 64 MiB: each leaf is looked up, made, sorted
# and referred to as with real data; only the reading of 82 million blocks is left out.  That full leaves cost no more
# is shown by comparing 4 with 24 of them.

. "$(dirname "$0")/../support/lib.sh"
tide_tmp
load="$TIDE_BUILD/tools/tree_load"
LIMIT_KB=$((256 * 1024))
FILES=${FILES:-300000}
GIB=${GIB:-10000}
# A sanitizer's shadow memory says nothing about ours, and takes its time.
case $TIDE_BUILD in
*asan* | *tsan* | *coverage*) skip_all "resident memory is not measured in this build" ;;
esac

rss=0
phase() { # NAME ARGS...: runs tree_load, sets $rss and $out
    local name=$1
    shift
    if ! out=$("$load" "$tmp/load" "$@" 2>&1); then
        not_ok "$name" "$out"
        return
    fi
    rss=$(sed -n 's/.*rss_kb \([0-9]*\) .*/\1/p' <<<"$out")
    if [ "$rss" -lt $LIMIT_KB ]; then
        ok "$name: $((rss / 1024)) MiB resident, $(sed -n 's/.*seconds //p' <<<"$out") s"
    else
        not_ok "$name takes $((rss / 1024)) MiB" "$out"
    fi
}

fresh() {
    rm -rf "$tmp/load"
    mkdir -p "$tmp/load/repo"
    "$load" "$tmp/load" init >/dev/null || not_ok "init"
}

fresh
phase "a backup of $FILES files" backup small "$FILES"
phase "the same against its parent" again small "$FILES"
new=$(sed -n 's/.*new_bytes //p' <<<"$out" | head -1)
[ "${new:-999999999}" -lt 1000000 ] && ok "... stores next to nothing ($new bytes)" || not_ok "... stores $new bytes"
phase "reading its table" walk
phase "verifying it" verify

# Making 300,000 files takes a file system longer than all of the above: some of them must do.
fresh
phase "a backup of $((FILES / 8)) files" backup small $((FILES / 8))
phase "restoring it" extract

fresh
phase "a backup of $GIB GiB" backup sparse "$GIB"
phase "the same against its parent" again sparse "$GIB"
new=$(sed -n 's/.*new_bytes //p' <<<"$out" | head -1)
[ "${new:-999999999}" -lt 1000000 ] && ok "... stores next to nothing ($new bytes)" || not_ok "... stores $new bytes"
phase "verifying it" verify

fresh
phase "a backup of 4 full leaves" backup dense 4
few=$rss
phase "a backup of 24 full leaves" backup dense 24
[ "$rss" -lt $((few * 115 / 100 + 4096)) ] && ok "... takes no more" || not_ok "... takes $few kB and $rss kB"
phase "verifying it" verify
phase "restoring it" extract
done_testing
