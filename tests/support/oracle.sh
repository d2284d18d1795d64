# shellcheck shell=bash
# The oracle's test, for scripts that have sourced lib.sh and started a server:
#
#   oracle_begin PORT CONNECTIONS SECONDS    writes in the background; the journal is $tmp/journal
#   oracle_keep_shipping                     a shipper that is started again whenever it ends
#   oracle_end                               waits for the writers, then until the window holds all they wrote
#   oracle_restore NAME AT_US [OPTION...]    restores to that microsecond and lets the oracle judge
#   oracle_random SEED                       a microsecond of the time in which the writers wrote

oracle_tool=$TIDE_BUILD/tools/oracle

now_us() { date +%s%6N; }

oracle_begin() {
    local port=$1
    sql "$port" "create table oracle (txn bigint, part int, filler text, primary key (txn, part))" || return 1
    : >"$tmp/journal"
    oracle_from=$(now_us)
    background writer "$oracle_tool" write "host=$tmp/run port=$port user=postgres dbname=postgres connect_timeout=2" "$tmp/journal" "$2" "$3" "${ORACLE_RATE:-0}"
    oracle_writer=$pid
}

oracle_keep_shipping() {
    (
        trap - EXIT INT
        trap 'kill "$child" 2>/dev/null; wait "$child"; exit 0' TERM
        while :; do
            "$TIDE_BUILD/tidemark" -c "$tmp/tidemark.conf" ship shop >>"$tmp/ship.log" 2>&1 </dev/null &
            child=$!
            echo "$child" >"$tmp/ship.pid"
            wait "$child"
            echo "shipper ended with status $?" >>"$tmp/ship.log"
            sleep 0.3
        done
    ) &
    oracle_shipper=$!
    tide_pids+=("$oracle_shipper")
}

# The newest restorable time as microseconds, 0 without one.
oracle_latest() {
    tm status shop --json 2>/dev/null | python3 -c '
import datetime, json, sys
try:
    t = json.load(sys.stdin)["instances"][0]["latest_restorable"]
    d = datetime.datetime.fromisoformat(t.replace("Z", "+00:00"))
    print(int((d - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1)))
except Exception:
    print(0)'
}

oracle_reached() { [ "$(oracle_latest)" -ge "$1" ]; }

# Writers wrote until $oracle_until; it may be asked for once the window reaches it.
oracle_end() {
    wait "$oracle_writer"
    oracle_until=$(now_us)
    wait_for "${1:-60}" oracle_reached "$oracle_until"
}

oracle_random() { # SEED: within [oracle_first, oracle_until]
    python3 -c "import random; random.seed($1); print(random.randint(${oracle_first:-$oracle_from}, $oracle_until))"
}

# Restores, and gives the oracle the rows; the instance is stopped and removed.
oracle_restore() { # NAME AT_US [OPTION...]
    local name=$1 at=$2 into=$tmp/restored port socket rc=0
    shift 2
    [ -n "${ORACLE_GO_ON-}" ] || rm -rf "$into" "$into.tablespaces" # set: with what a killed restore left
    "$TIDE_BUILD/tidemark" -c "$tmp/tidemark.conf" restore shop --to "@${at:0:-6}.${at: -6}" --into "$into" --bin-dir "$PGBIN" --json "$@" \
        >"$tmp/restore.json" 2>"$tmp/restore.err" </dev/null || rc=$?
    if [ $rc -ne 0 ]; then
        not_ok "$name" "restore to @$at exited with $rc
$(cat "$tmp/restore.json")
$(tail -20 "$tmp/restore.err")
$(tail -5 "$into/tidemark_recovery.log" 2>/dev/null)"
    else
        port=$(python3 -c "import json; print(json.load(open('$tmp/restore.json'))['endpoint']['port'])")
        socket=$(python3 -c "import json; print(json.load(open('$tmp/restore.json'))['endpoint']['socket'] or '127.0.0.1')")
        as_pg "$PSQL" -h "$socket" -p "$port" -U postgres -d postgres -AtqX -F ' ' -c "select txn, part from oracle" >"$tmp/rows" 2>"$tmp/rows.err"
        if "$oracle_tool" check "$tmp/journal" "$tmp/rows" "$at" >"$tmp/judged" 2>&1; then
            ok "$name: $(cat "$tmp/judged")"
        else
            not_ok "$name" "target @$at: $(cat "$tmp/judged" "$tmp/rows.err")
$(cat "$tmp/restore.json")"
        fi
    fi
    pg_stop "$into" immediate
    if [ -n "${KEEP-}" ] && [ "$tap_failed" -gt 0 ]; then exit 1; fi
    rm -rf "$into" "$into.tablespaces"
}
