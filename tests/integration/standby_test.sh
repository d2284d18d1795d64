#!/bin/bash
# Base backups read from a standby while its primary is under load, restored to random moments; a standby that is too far
# behind, one that is promoted under the copy; and a shipper that knows only a standby.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
. "$(dirname "$0")/../support/oracle.sh"
pg_need
tide_tmp
port=$(free_port)
port_b=$(free_port)
pg_init "$tmp/db" -k || exit 2
printf '%s\n' "autovacuum = off" "wal_keep_size = 512MB" "hot_standby_feedback = on" | as_pg tee -a "$tmp/db/postgresql.conf" >/dev/null
pg_start "$tmp/db" "$port" || exit 2
tide_conf shop "$port" "$tmp/db" <<<"heartbeat_interval = 1s"
exits 0 "the repository and the slot are made" tm init shop
oracle_keep_shipping
wait_for 15 shop_streams
as_pg "$PGBIN/pg_basebackup" -h "$tmp/run" -p "$port" -U postgres -D "$tmp/standby" -c fast -X stream -R 2>"$tmp/basebackup.log" || diag "$(cat "$tmp/basebackup.log")"
pg_start "$tmp/standby" "$port_b" || exit 2

# Another configuration of the same instance and repository: a backup host's, beside the shipper's.
configured() { # FILE HOSTS PORTS LINE...
    sed "s|^connection.*|connection = host=$2 port=$3 user=tidemark dbname=postgres|; s|^data_directory.*|data_directory = $tmp/standby|" \
        "$tmp/tidemark.conf" >"$tmp/$1"
    printf '%s\n' "${@:4}" >>"$tmp/$1"
}
two="$tmp/run,$tmp/run"
configured only.conf "$tmp/run" "$port_b"
configured prefer.conf "$two" "$port,$port_b" "backup_from = prefer-standby"
configured stream.conf "$two" "$port,$port_b" "backup_from = prefer-standby" "backup_method = stream"
tc() { "$TIDE_BUILD/tidemark" -c "$tmp/$1" "${@:2}"; }

# ---- under load: by name, by preference, by files, over the protocol

oracle_begin "$port" 3 "${STANDBY_SECONDS:-10}"
sleep 1
ids=()
taken() { # METHOD STANDBY
    is "$(json 'd["method"], d["from_standby"]')" "('$1', $2)" "... by \"$1\", from a standby: $2"
    ids+=("$(json 'd["id"]')")
}
exits 0 "the standby that the connection names is backed up" tc only.conf backup shop --fast --json
taken files True
exits 0 "of two hosts the standby is preferred" tc prefer.conf backup shop --fast --json
taken files True
exits 0 "... over the replication protocol, too" tc stream.conf backup shop --fast --json
taken stream True
oracle_first=$(now_us)
oracle_end 60 && ok "the window reaches the end of the writing" || not_ok "the window reaches the end of the writing" "$(tm status shop 2>&1)"
for id in "${ids[@]}"; do
    seed=$RANDOM
    oracle_restore "from $id, seed $seed" "$(oracle_random $seed)" --backup "$id"
done
exits 0 "the first moment that the standby's backup serves is restored" restore_to "backup:${ids[2]}"
gone

# ---- a standby that is behind

behind() { [ "$(sql "$port_b" "select now() - pg_last_xact_replay_timestamp() > interval '3 s' and pg_last_wal_replay_lsn() < pg_last_wal_receive_lsn()")" = t ]; }
sql "$port_b" "select pg_wal_replay_pause()" >/dev/null
sql "$port" "create table rows (n int primary key, filler text)"
shop_commit 1
wait_for 10 behind
configured lag.conf "$two" "$port,$port_b" "backup_from = prefer-standby" "backup_method = stream" "max_lag = 1s"
exits 0 "one that is further behind than max_lag is not read from" tc lag.conf backup shop --fast --json
taken stream False
like "$err" "behind.*max_lag" "... which is said"
configured lag-only.conf "$tmp/run" "$port_b" "backup_from = prefer-standby" "max_lag = 1s"
exits 1 "... and where there is no other, there is no backup" tc lag-only.conf backup shop --fast
like "$err" "behind.*max_lag" "... and it is said why"
exits 0 "within max_lag it is read from" tc stream.conf backup shop --fast --json
taken stream True
sql "$port_b" "select pg_wal_replay_resume()" >/dev/null

# ---- promoted under the copy

backups=$(find "$tmp/repo/instances/shop/backups" -type f | wc -l)
replayed() { [ "$(sql "$port_b" "select count(*) from rows")" = 1 ]; }
wait_for 10 replayed
background backup "$TIDE_BUILD/tidemark" -c "$tmp/only.conf" backup shop --fast --limit 6MiB
backing=$pid
copies() { grep -q "backup.started" "$tmp/backup.log"; }
wait_for 20 copies
sleep 1
as_pg "$PGBIN/pg_ctl" -D "$tmp/standby" -w promote >/dev/null
rc=0
wait "$backing" || rc=$?
[ $rc -ne 0 ] && ok "a standby that is promoted under the copy fails the backup: exit $rc" || not_ok "a standby that is promoted under the copy fails the backup" "$(cat "$tmp/backup.log")"
like "$(cat "$tmp/backup.log")" "promoted|left recovery" "... which says so"
is "$(find "$tmp/repo/instances/shop/backups" -type f | wc -l)" "$backups" "... and nothing is listed"
pg_stop "$tmp/standby" immediate

# ---- a shipper that knows only a standby: commits move the window, nothing else does, and status says so

rm -rf "$tmp/standby"
as_pg "$PGBIN/pg_basebackup" -h "$tmp/run" -p "$port" -U postgres -D "$tmp/standby" -c fast -X stream -R 2>/dev/null
pg_start "$tmp/standby" "$port_b" || exit 2
kill "$oracle_shipper" && wait "$oracle_shipper" 2>/dev/null
exits 0 "init makes the slot on the standby" tc only.conf init shop
background ship "$TIDE_BUILD/tidemark" -c "$tmp/only.conf" ship shop
streams_b() { [ "$(sql "$port_b" "select count(*) from pg_replication_slots where active")" = 1 ]; }
wait_for 20 streams_b && ok "it ships from the standby" || not_ok "it ships from the standby" "$(tail -5 "$tmp/ship.log")"
shop_commit 2
shop_commit 3
moved() { [ "$(shop_latest)" -ge "$((shop_at[2]))" ]; }
wait_for 30 moved && ok "a commit moves the window" || not_ok "a commit moves the window" "$(tm status shop; tail -5 "$tmp/ship.log")"
sleep 4
before=$(shop_latest)
sleep 3
is "$(shop_latest)" "$before" "nothing else does"
exits 0 "status" tc only.conf status shop --json
like "$(json '[r["message"] for r in d["instances"][0]["reasons"]]')" "standby" "... and status says so"
exits 0 "what came through the standby is restored" restore_to "${shop_at[2]}"
is "$(rows)" "1 2" "... to the row"
gone
exits 0 "every stored byte proves" tm verify shop
done_testing
