#!/bin/bash
# A primary dies and its standby is promoted, a little behind what was shipped; the old one is rewound, follows, and is
# promoted in its turn.  The shipper follows, and every moment of every branch stays restorable.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
PG_INIT_OPTIONS=-k
PG_QUIET="$PG_QUIET
wal_log_hints = on
wal_keep_size = 256MB
hot_standby = on"
shop_server
port_a=$port
port_b=$(free_port)

# ---- a standby, and both hosts in the connection

standby() { # DIR PORT PRIMARY_PORT
    printf '%s\n' "primary_conninfo = 'host=$tmp/run port=$3 user=postgres application_name=standby'" \
        "recovery_target_timeline = latest" | as_pg tee -a "$1/postgresql.auto.conf" >/dev/null
    as_pg touch "$1/standby.signal"
    pg_start "$1" "$2"
}
as_pg "$PGBIN/pg_basebackup" -h "$tmp/run" -p "$port_a" -U postgres -D "$tmp/standby" -c fast -X stream 2>/dev/null
standby "$tmp/standby" "$port_b" "$port_a"
sed -i "s|^connection.*|connection = host=$tmp/run,$tmp/run port=$port_a,$port_b user=tidemark dbname=postgres|" "$tmp/tidemark.conf"
exits 0 "init makes a slot on each host" tm init shop
is "$(sql "$port_b" "select count(*) from pg_replication_slots")" 1 "... on the standby, too"
shop_ship
shop_backup
shop_commit 1
shop_commit 2
shop_reach
caught_up() { [ "$(sql "$port_b" "select pg_last_wal_replay_lsn() >= '$(sql "$port_a" "select pg_current_wal_lsn()")'")" = t ]; }
wait_for 10 caught_up

# ---- commit 3 is acknowledged and shipped, and never reaches the standby

pg_stop "$tmp/standby" immediate
shop_commit 3
shop_reach
kill -9 "$(head -1 "$tmp/db/postmaster.pid")"
sleep 0.5
pg_start "$tmp/standby" "$port_b"
as_pg "$PGBIN/pg_ctl" -D "$tmp/standby" -w promote >/dev/null
port=$port_b
followed() { [ "$(ls "$tmp/repo/instances/shop/lineages" | wc -l)" -ge "$1" ]; }
wait_for 30 followed 2 && ok "the shipper follows the promotion" || not_ok "the shipper follows the promotion" "$(tail -20 "$tmp/ship.log")"
shop_commit 4
shop_reach
shop_commit 5
shop_reach
exits 0 "status shows both" tm status shop --json
is "$(json '[w["lineage"] for w in d["instances"][0]["windows"]]')" "[1, 2]" "... with a window each"
like "$(cat "$tmp/ship.log")" "orphaned" "what the old branch holds beyond the fork is reported"

restored() { # NAME AT ROWS [OPTION...]
    local name=$1 at=$2 want=$3
    shift 3
    exits 0 "$name" restore_to "$at" "$@"
    is "$(rows)" "$want" "... with the rows of that branch"
    gone
}
planned() { # NAME AT LINEAGE
    exits 0 "$1" restore_to "$2" --plan
    is "$(json 'd["plan"]["lineage"]')" "$3" "... on lineage $3"
}
restored "a moment before the fork" "${shop_at[2]}" "1 2"
restored "an acknowledged commit that the new primary never had" "${shop_at[3]}" "1 2 3"
restored "a moment on the new branch" "${shop_at[4]}" "1 2 4"
planned "latest is the live branch" latest 2
restored "the old branch to its end" latest "1 2 3" --lineage 1

# ---- the old primary is rewound and follows; promoted, it is followed

as_pg "$PGBIN/pg_ctl" -D "$tmp/db" -o "-p $port_a" -l "$tmp/db.log" -w start >/dev/null 2>&1 # crash recovery first
pg_stop "$tmp/db" fast
as_pg "$PGBIN/pg_rewind" -D "$tmp/db" --source-server="host=$tmp/run port=$port_b user=postgres dbname=postgres" >"$tmp/rewind.log" 2>&1 || diag "$(cat "$tmp/rewind.log")"
as_pg sed -i '/primary_conninfo/d' "$tmp/db/postgresql.auto.conf"
standby "$tmp/db" "$port_a" "$port_b"
replays() { [ "$(sql "$port_a" "select count(*) from rows")" = 4 ]; }
wait_for 20 replays && ok "the rewound server follows" || not_ok "the rewound server follows" "$(tail -5 "$tmp/db.log")"
exits 0 "the slot is made on it again" tm init shop
shop_commit 6
shop_reach
replays() { [ "$(sql "$port_a" "select count(*) from rows")" = 5 ]; }
wait_for 20 replays
pg_stop "$tmp/standby" fast
as_pg "$PGBIN/pg_ctl" -D "$tmp/db" -w promote >/dev/null
port=$port_a
wait_for 30 followed 3 && ok "the shipper follows the second promotion" || not_ok "the shipper follows the second promotion" "$(tail -20 "$tmp/ship.log")"
shop_commit 7
shop_reach
restored "a moment on the third branch" "${shop_at[7]}" "1 2 4 5 6 7"
planned "a moment on the second" "${shop_at[4]}" 2
planned "... and the abandoned one is still there" "${shop_at[3]}" 1
shop_backup
shop_commit 8
shop_reach
restored "from a backup of the third branch" "${shop_at[8]}" "1 2 4 5 6 7 8"
exits 0 "every stored byte proves" tm verify shop
done_testing
