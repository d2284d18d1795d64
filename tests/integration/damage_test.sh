#!/bin/bash
# Whatever is damaged or lost in a repository: verify names it and what is lost by it, a restore refuses or recovery
# stops, and no database is ever opened short.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
head -c 32 /dev/urandom | base64 >"$tmp/key"

# The n-th commit lies in a log object of its own: sets object to its path below the repository.
object_of() { # N
    python3 - "$repo" "${shop_at[$(($1 - 1))]}" "${shop_at[$1]}" <<'PY'
import os, sys
repo, after, before = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for d, _, names in os.walk(repo + "/instances/shop/log"):
    for n in names:
        latest = int(n.split("-")[3], 16)
        if after < latest <= before:
            print(os.path.relpath(d + "/" + n, repo))
PY
}

# A copy of the repository to damage; $conf knows it and nothing else, as a host to which all was lost.
case_no=0
fresh() {
    case_no=$((case_no + 1))
    rm -rf "$tmp/case"
    cp -a "$tmp/repo" "$tmp/case"
    repo=$tmp/case conf=$tmp/case.conf
    shop_only "$repo" "$conf"
}
tc() { "$TIDE_BUILD/tidemark" -c "$conf" "$@"; }
absent() { if [ -e "$tmp/restored" ]; then not_ok "$1" "$(ls -A "$tmp/restored")"; else ok "$1"; fi; }

# Every way to refuse or to stop, for a target that needs what was damaged.
never_short() { # NAME EXIT [EXIT]
    local name=$1 rc=0
    shift
    restore_to "${shop_at[5]}" >"$tmp/.out" 2>"$tmp/.err" || rc=$?
    case " $* " in
    *" $rc "*) ok "$name: the restore ends with $rc" ;;
    *) not_ok "$name: the restore ends with $*" "exit $rc
$(cat "$tmp/.out") $(tail -5 "$tmp/.err")" ;;
    esac
    stays_shut "$name: nothing is opened short"
    gone
}

verify_names() { # NAME KEY
    exits 5 "$1: verify is exit 5" tc verify shop
    if grep -qF -- "$2" <<<"$out"; then ok "$1: verify names it"; else not_ok "$1: verify names it" "$2 is not in
$out
$err"; fi
}

lose_log() { # a missing object in the middle
    local w=$1 object
    fresh
    object=$(object_of 4)
    rm "$repo/$object"
    exits 0 "$w, a lost log object: status reads" tc status shop --json
    is "$(json 'len(d["instances"][0]["gaps"])')" 1 "$w, a lost log object: status shows the gap"
    is "$(json 'd["instances"][0]["state"]')" alert "$w, a lost log object: it is an alert"
    exits 4 "$w, a lost log object: a target behind it is refused" restore_to "${shop_at[5]}"
    like "$(json 'd["error"]["nearest"]["before"]')" "^20" "$w, a lost log object: the nearest time before is named"
    absent "$w, a lost log object: nothing is written"
    exits 4 "$w, a lost log object: latest is refused" restore_to latest
    absent "$w, a lost log object: nothing is written for latest"
    exits 5 "$w, a lost log object: verify is exit 5" tc verify shop --json
    like "$(json '[b["state"] for b in d["bad"]]')" "MISSING" "$w, a lost log object: verify says missing"
    is "$(json 'd["lost"][0]["to"]')" None "$w, a lost log object: all behind it is lost"
    exits 5 "$w, a lost log object: log verify is exit 5" tc log verify shop
    like "$out" "FOUND" "$w, a lost log object: log verify shows what is there"
    like "$out" "MISSING" "$w, a lost log object: log verify shows what is missing"
    exits 0 "$w, a lost log object: a target before it is restored" restore_to "${shop_at[2]}"
    is "$(rows)" "1 2" "$w, a lost log object: with the rows of that moment"
    gone
}

damage_log() { # one byte of an object in the middle, at several places
    local w=$1 object at
    for at in 20 -1 -400; do
        fresh
        object=$(object_of 3)
        flip "$repo/$object" "$at"
        verify_names "$w, byte $at of a log object" "$object"
        exits 5 "$w, byte $at of a log object: log verify is exit 5" tc log verify shop
        like "$out" "CORRUPT" "$w, byte $at of a log object: log verify shows it"
    done
    never_short "$w, a damaged log object" 5
}

damage_other() {
    local w=$1 f
    fresh
    f=$(find "$repo/instances/shop/packs" -type f -size +100k | head -1)
    flip "$f" $(($(stat -c %s "$f") / 2))
    verify_names "$w, a pack" "$(basename "$f")"
    never_short "$w, a pack" 5
    fresh
    f=$(find "$repo/instances/shop/packs" -type f -size +100k | head -1)
    rm "$f"
    verify_names "$w, a lost pack" "$(basename "$f")"
    never_short "$w, a lost pack" 5
    fresh
    f=$(ls "$repo"/instances/shop/backups/*)
    flip "$f" -20
    verify_names "$w, a commit object" "backups/$(basename "$f")"
    exits 3 "$w, a commit object: list goes on without it" tc list shop --json
    is "$(json 'len(d["backups"])')" 0 "$w, a commit object: it is not listed"
    exits 0 "$w, a commit object: status reads" tc status shop --json
    is "$(json 'd["instances"][0]["state"]')" alert "$w, a commit object: it is an alert"
    never_short "$w, a commit object" 4 5
    fresh
    f=$(ls "$repo"/instances/shop/lineages/*)
    flip "$f" -20
    exits 5 "$w, a lineage: verify is exit 5" tc verify shop
    like "$out$err" "lineages/$(basename "$f")" "$w, a lineage: it is named"
    never_short "$w, a lineage" 5
    for at in 3 60 -5; do
        fresh
        flip "$repo/tidemark.json" "$at"
        exits 5 "$w, byte $at of the descriptor: verify is exit 5" tc verify shop
        like "$out$err" "tidemark.json" "$w, byte $at of the descriptor: it is named"
        exits 5 "$w, byte $at of the descriptor: the restore refuses" restore_to "${shop_at[5]}"
        absent "$w, byte $at of the descriptor: nothing is written"
    done
}

# Planned, then lost: the plan has read what it needs before the object is gone for good.
lose_while_restoring() {
    local w=$1 object rule
    for rule in "get~OBJECT=missing" "get~OBJECT=unavailable" "get~OBJECT=corrupt"; do
        fresh
        object=$(basename "$(object_of 3)")
        shop_only "faulty+file://$repo" "$conf"
        export TIDE_FAULTY=${rule/OBJECT/${object:0:65}}
        never_short "$w, ${rule#*=} during recovery" 5 7
        unset TIDE_FAULTY
    done
    # The whole repository, once the server replays.
    fresh
    object=$(basename "$(object_of 3)")
    shop_only "faulty+file://$repo" "$conf"
    export TIDE_FAULTY="get~${object:0:65}=slow:2s;down=$tmp/down"
    rm -f "$tmp/down"
    (wait_for 30 grep -q recovering "$tmp/restored/.tidemark-restore" && sleep 0.5 && : >"$tmp/down") &
    never_short "$w, an unreachable repository during recovery" 7
    unset TIDE_FAULTY
}

# --no-start leaves recovery to the server alone, which asks `log get`.
by_hand() {
    local w=$1 start object
    fresh
    exits 0 "$w, by hand: a directory is left" restore_to "${shop_at[5]}" --no-start
    chmod -R a+rX "$repo" "$conf"
    cp "$tmp/.out" "$tmp/by-hand.json"
    start=$(json 'd["start_command"]')
    exits 0 "$w, by hand: it is started" timeout 60 bash -c "$start"
    is "$(json 'd["endpoint"]' "$tmp/by-hand.json")" None "$w, by hand: it has no endpoint before it is started"
    hand_port=$(sed -n 4p "$tmp/restored/postmaster.pid")
    recovered() {
        [ "$(PG_SQL_HOST=$tmp/restored/tidemark_socket sql "$hand_port" "select pg_is_in_recovery() || ' ' || string_agg(n::text, ' ' order by n) from rows")" = "false 1 2 3 4 5" ]
    }
    wait_for 20 recovered && ok "$w, by hand: it recovers to that moment" || not_ok "$w, by hand: it recovers to that moment" "$(tail -20 "$tmp"/restored/*.log)"
    gone
    exits 0 "$w, by hand: another directory is left" restore_to "${shop_at[5]}" --no-start
    start=$(json 'd["start_command"]')
    chmod -R a+rX "$repo"
    object=$(object_of 3)
    rm "$repo/$object"
    timeout 60 bash -c "$start" >"$tmp/by-hand.log" 2>&1
    ended() { ! kill -0 "$(head -1 "$tmp/restored/postmaster.pid" 2>/dev/null)"; }
    wait_for 20 ended
    stays_shut "$w, by hand: with log missing it does not open"
    gone
}

all() { # WORD
    shop_server
    shop_ship
    shop_backup
    for n in 1 2 3 4 5 6; do
        shop_commit $n
        shop_reach
    done
    stop "$shipper" >/dev/null
    if [ "$1" = plain ]; then lose_log "$1"; fi
    damage_log "$1"
    damage_other "$1"
    if [ "$1" = plain ]; then lose_while_restoring "$1" && by_hand "$1"; fi
    pg_stop "$tmp/db"
    rm -rf "$tmp/repo" "$tmp/db"
    conf=
}
shop_at[0]=0
all plain
TIDE_REPO_LINES="encryption_key_file = $tmp/key"
export TIDE_REPO_LINES
all encrypted
done_testing
