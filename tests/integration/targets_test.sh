#!/bin/bash
# Every kind of target on a real server, each with the rows that it must give: times with and without commits, positions,
# transactions, restore points, backups, "just before", and what is made around them.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
shop_server
shop_ship
shop_backup
first=$(tm list shop --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["backups"][0]["id"])')

# The transaction's number and end, and the microsecond of its stamp.
sql "$port" "alter system set track_commit_timestamp = on" && pg_stop "$tmp/db" fast && pg_start "$tmp/db" "$port"
wait_for 20 shop_streams
commit() { # N
    xid[$1]=$(sql "$port" "begin; insert into rows values ($1); select pg_current_xact_id(); commit")
    lsn[$1]=$(sql "$port" "select pg_current_wal_flush_lsn()")
    stamp[$1]=$(sql "$port" "select (extract(epoch from pg_xact_commit_timestamp('${xid[$1]}'::xid)) * 1000000)::bigint")
    shop_at[$1]=$(now_us)
    sleep 0.05
}
xid=() lsn=() stamp=()
commit 1
commit 2
sql "$port" "select pg_create_restore_point('before upgrade')" >/dev/null
commit 3
sleep 1.5
quiet=$(($(now_us) - 700000)) # nothing was committed for a while
commit 4
# Rolled back: no target.
lost=$(sql "$port" "begin; insert into rows values (99); select pg_current_xact_id(); rollback")
commit 5
shop_backup
second=$(tm list shop --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["backups"][1]["id"])')
commit 6
shop_reach
idle=$(now_us)
sleep 2
shop_reach

gives() { # NAME ROWS TARGET [OPTION...]
    local name=$1 want=$2 to=$3
    shift 3
    exits 0 "$name" restore_to "$to" "$@"
    is "$(rows)" "$want" "... with its rows"
    cp "$tmp/.out" "$tmp/last.json"
    gone
}
plans() { # NAME LAST_XID FIRST_XID TARGET [OPTION...]; - : none
    local name=$1 last=$2 next=$3 to=$4
    shift 4
    exits 0 "$name" restore_to "$to" --plan "$@"
    is "$(json '(d["plan"]["last_commit_included"] or {}).get("transaction", "-")') $(json '(d["plan"]["first_commit_excluded"] or {}).get("transaction", "-")')" "$last $next" "... between the right commits"
}

plans "a commit's own microsecond holds it" "${xid[2]}" "${xid[3]}" "${stamp[2]}"
plans "the microsecond before does not" "${xid[1]}" "${xid[2]}" $((stamp[2] - 1))
plans "nor does its own with --exclusive" "${xid[1]}" "${xid[2]}" "${stamp[2]}" --exclusive
plans "a second without a commit" "${xid[3]}" "${xid[4]}" "$quiet"
plans "a second behind the last commit" "${xid[6]}" - "$idle"
plans "a position holds what ends there" "${xid[3]}" "${xid[4]}" "lsn:${lsn[3]}"
plans "... and with --exclusive what ends before" "${xid[2]}" "${xid[3]}" "lsn:${lsn[3]}" --exclusive
plans "a transaction" "${xid[4]}" "${xid[5]}" "xid:${xid[4]}"
plans "... and just before it" "${xid[3]}" "${xid[4]}" "xid:${xid[4]}" --exclusive
plans "a restore point" "${xid[2]}" "${xid[3]}" "name:before upgrade"
plans "latest" "${xid[6]}" - latest
plans "latest from the first backup" "${xid[6]}" - latest --backup "$first"
is "$(json 'd["plan"]["backup"]')" "$first" "... which is taken"
plans "otherwise the second one" "${xid[6]}" - latest
is "$(json 'd["plan"]["backup"]')" "$second" "... is taken"
exits 4 "a transaction that was rolled back is no target" restore_to "xid:$lost" --plan
exits 4 "a backup that is too young for the target" restore_to "${stamp[2]}" --plan --backup "$second"
if [ -e "$tmp/restored" ]; then not_ok "a plan writes nothing"; else ok "a plan writes nothing"; fi

gives "restored to a restore point" "1 2" "name:before upgrade"
gives "restored to a transaction" "1 2 3 4" "xid:${xid[4]}"
gives "restored to a backup alone" "1 2 3 4 5" "backup:$second"
gives "restored to a moment in which nothing happened" "1 2 3" "$quiet"
is "$(json 'd["recovered_to"]["time"][:19]' "$tmp/last.json")" "$(date -u -d "@${quiet:0:-6}" +%FT%T)" "... and that moment is told"
echo "insert into rows values (1000); create table made as select 1" >"$tmp/run.sql"
chmod 644 "$tmp/run.sql"
want_port=$(free_port)
exits 0 "with a port and statements of one's own" restore_to "${stamp[4]}" --exclusive --port "$want_port" --run "$tmp/run.sql"
is "$(rows) $(json 'd["endpoint"]["port"]')" "1 2 3 1000 $want_port" "... both are honoured"
clone_socket=$(json 'd["endpoint"]["socket"]')
quiet_setting() { PG_SQL_HOST=$clone_socket sql "$want_port" "show $1"; }
is "$(quiet_setting archive_mode) $(quiet_setting listen_addresses) $(quiet_setting primary_slot_name)$(quiet_setting synchronous_standby_names)" "off 127.0.0.1 " "it is in quarantine"
exits 0 "activate takes it out" tm activate "$tmp/restored"
gone
exits 0 "the source was not touched: every stored byte proves" tm verify shop
exits 0 "... and its shipper goes on" tm status shop --json
is "$(json 'd["instances"][0]["state"]')" protected "... and protects it"
done_testing
