# shellcheck shell=bash
# A shop that is protected, for scripts that have sourced lib.sh:
#
#   shop_server [LINE...]     server on $port, repository, slot; LINEs go into [instance shop]
#                             ($SHOP_INTERVAL: its ship_interval)
#   shop_ship                 a shipper in the background; its pid in $shipper
#   shop_backup [OPTION...]   a base backup, quick
#   shop_commit N             row N; $shop_at[N] is a microsecond after it was acknowledged, before the next commit
#   shop_reach [SECONDS]      waits until all that was committed so far can be restored
#   shop_only REPO FILE       a configuration FILE that knows the repository (a directory or a URL) and nothing else
#   restore_to AT_US [OPTION...]        tidemark restore into $tmp/restored with --json; its exit status
#   rows                      the restored instance's rows, blank-separated
#   gone                      stops and removes what restore_to made
#   json EXPRESSION [FILE]    of the document d, in Python; FILE: $tmp/.out
#   log_objects               paths of the log objects, in order of positions

# shellcheck disable=SC2154,SC2034
shop_at=()
PG_QUIET="autovacuum = off
checkpoint_timeout = 1h
max_wal_size = 4GB"

shop_server() {
    pg_need
    port=$(free_port)
    # shellcheck disable=SC2086
    pg_init "$tmp/db" ${PG_INIT_OPTIONS-} || exit 2
    printf '%s\n' "$PG_QUIET" | as_pg tee -a "$tmp/db/postgresql.conf" >/dev/null
    pg_start "$tmp/db" "$port" || exit 2
    printf '%s\n' "lease_time = 3s" "heartbeat_interval = 1s" "ship_interval = ${SHOP_INTERVAL:-200ms}" "$@" |
        tide_conf shop "$port" "$tmp/db"
    exits 0 "the repository and the slot are made" tm init shop
    sql "$port" "create table rows (n int primary key, filler text)" || exit 2
}

shop_ship() {
    background ship tm ship shop
    shipper=$pid
    wait_for 15 shop_streams
}

shop_streams() { [ "$(sql "$port" "select count(*) from pg_replication_slots where active")" = 1 ]; }

shop_backup() { exits 0 "a base backup is taken" tm backup shop --fast -q "$@"; }

now_us() { date +%s%6N; }

shop_commit() {
    sql "$port" "insert into rows values ($1, repeat('x', 500))" || return
    sleep 0.01
    shop_at[$1]=$(now_us)
    sleep 0.01
}

shop_latest() {
    tm status shop --json 2>/dev/null | python3 -c '
import datetime, json, sys
t = json.load(sys.stdin)["instances"][0]["latest_restorable"]
d = datetime.datetime.fromisoformat(t.replace("Z", "+00:00"))
print(int((d - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1)))' 2>/dev/null || echo 0
}

shop_reached() { [ "$(shop_latest)" -ge "$1" ]; }

shop_reach() {
    local want
    want=$(now_us)
    wait_for "${1:-30}" shop_reached "$want" || {
        not_ok "the window moves on" "$(tm status shop 2>&1)
$(tail -20 "$tmp/ship.log")"
        done_testing
    }
}

shop_only() {
    cat >"$2" <<CONF
[repository main]
url = ${1/#\//file:///}
${TIDE_REPO_LINES-}

[daemon]
state_directory = $tmp/run/elsewhere
plugin_directory = $TIDE_PLUGIN_DIR
CONF
}

restore_to() {
    local at=$1
    shift
    case $at in *[!0-9]*) ;; *) at="@${at:0:-6}.${at: -6}" ;; esac
    "$TIDE_BUILD/tidemark" -c "${conf:-$tmp/tidemark.conf}" restore shop --to "$at" --into "$tmp/restored" --bin-dir "$PGBIN" --json "$@"
}

rows() {
    local p s
    p=$(json 'd["endpoint"]["port"]' "${1:-$tmp/.out}") s=$(json 'd["endpoint"]["socket"]' "${1:-$tmp/.out}")
    as_pg "$PSQL" -h "$s" -p "$p" -U postgres -d postgres -AtqX -c "select string_agg(n::text, ' ' order by n) from rows"
}

gone() {
    pg_stop "$tmp/restored" immediate
    rm -rf "$tmp/restored" "$tmp/restored.tablespaces"
}

json() {
    python3 -c "import json, sys
d = json.load(open(sys.argv[2]))
try:
    v = eval(sys.argv[1])
except Exception as e:
    v = 'no such thing: %r' % e
print(v)" "$1" "${2:-$tmp/.out}"
}

log_objects() { find "${1:-$tmp/repo}/instances/shop/log" -type f | awk -F/ '{ print $NF "\t" $0 }' | sort | cut -f2; }

# Another byte at OFFSET (from the end, when negative) of FILE.
flip() { # FILE OFFSET
    python3 - "$1" "$2" <<'PY'
import os, sys
path, at = sys.argv[1], int(sys.argv[2])
with open(path, "r+b") as f:
    size = os.fstat(f.fileno()).st_size
    at = at if at >= 0 else size + at
    f.seek(at)
    b = f.read(1)[0]
    f.seek(at)
    f.write(bytes([b ^ 0x20]))
PY
}

# Nothing that runs opened the directory for writing, and starting it by hand does not either.
can_be_written() { # PORT
    [ "$(sql "$1" "select pg_is_in_recovery() or current_setting('transaction_read_only')::bool" 2>/dev/null)" = f ]
}

stays_shut() { # NAME
    local p out rc=0
    if [ -f "$tmp/restored/postmaster.pid" ] && kill -0 "$(head -1 "$tmp/restored/postmaster.pid")" 2>/dev/null; then
        not_ok "$1" "a server is running in it"
        return
    fi
    if [ ! -d "$tmp/restored" ]; then ok "$1" && return; fi
    p=$(free_port)
    timeout 30 bash -c ". '$TIDE_ROOT/tests/support/lib.sh'; as_pg '$PGBIN/pg_ctl' -D '$tmp/restored' -o '-p $p -k $tmp/run' -w -t 15 start" >"$tmp/by-hand.log" 2>&1 || rc=$?
    # It may be on its way for a moment, letting nobody in, before it gives up: what counts is that nobody ever can write.
    if [ $rc -eq 0 ] && wait_for 5 can_be_written "$p"; then
        not_ok "$1" "started by hand it can be written to
$(cat "$tmp/by-hand.log")"
    else
        ok "$1"
    fi
    pg_stop "$tmp/restored" immediate
}
