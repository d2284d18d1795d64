#!/bin/bash
# Who is who: a clone under a name of its own, a copy and a new server under an old name, a slot that vanished or that
# nobody drains.  What is stored of one history is never touched by another.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
shop_server
shop_ship
shop_backup
shop_commit 1
shop_commit 2
shop_reach

stored() { (cd "$tmp/repo/instances/shop" && find log lineages backups packs -type f -exec sha256sum {} + | sort -k2); }

# ---- a slot that holds log back while nobody streams

stop "$shipper" >/dev/null
sql "$port" "create table ballast as select generate_series(1, 200000) n" >/dev/null
sleep 4 # three heartbeats
exits 1 "check warns of a slot that nobody drains" tm check shop
like "$out" "postgresql.slot.idle" "... as that"
like "$out" "ship.silent" "... and of the shipper that does not run"
exits 0 "status says so, too" tm status shop --json
like "$(json '[r["code"] for r in d["instances"][0]["reasons"]]')" "ship.silent" "... as a reason"

# ---- a copy of the data directory, which goes its own way on the same timeline, under the same name

pg_stop "$tmp/db" fast
cp -a "$tmp/db" "$tmp/copy"
pg_start "$tmp/db" "$port"
shop_ship
shop_commit 3
shop_reach
stop "$shipper" >/dev/null
before=$(stored)
sed "s/port=$port/port=$(free_port)/" "$tmp/tidemark.conf" >"$tmp/copy.conf"
copy_port=$(sed -n 's/^connection.*port=\([0-9]*\).*/\1/p' "$tmp/copy.conf")
pg_start "$tmp/copy" "$copy_port"
sql "$copy_port" "create table other as select generate_series(1, 20000) n" >/dev/null
exits 5 "a copy that went its own way is refused" timeout 60 "$TIDE_BUILD/tidemark" -c "$tmp/copy.conf" ship shop
like "$err" "another copy" "... loudly"
is "$(stored)" "$before" "... and nothing stored is touched"
pg_stop "$tmp/copy" immediate
rm -rf "$tmp/copy"

# ---- a server made anew under the same name

as_pg "$PGBIN/initdb" -D "$tmp/new" -U postgres -A trust --no-sync -E UTF8 --locale=C >/dev/null 2>&1
as_pg cp "$tmp/db/postgresql.conf" "$tmp/new/postgresql.conf"
new_port=$(free_port)
pg_start "$tmp/new" "$new_port"
sed "s/port=$port/port=$new_port/; s|/db$|/new|" "$tmp/tidemark.conf" >"$tmp/new.conf"
exits 9 "a server made anew is refused" timeout 60 "$TIDE_BUILD/tidemark" -c "$tmp/new.conf" ship shop
like "$err" "no child" "... loudly"
exits 9 "... for a backup, too" timeout 60 "$TIDE_BUILD/tidemark" -c "$tmp/new.conf" backup shop --fast
exits 2 "check is critical" timeout 60 "$TIDE_BUILD/tidemark" -c "$tmp/new.conf" check shop
is "$(stored)" "$before" "... and nothing stored is touched"
pg_stop "$tmp/new" immediate

# ---- a restored clone that is protected under a name of its own

exits 0 "a clone is made" restore_to "${shop_at[1]}"
clone_port=$(json 'd["endpoint"]["port"]') clone_socket=$(json 'd["endpoint"]["socket"]')
exits 0 "it is taken out of quarantine" tm activate "$tmp/restored"
as_pg "$PGBIN/pg_ctl" -D "$tmp/restored" -w -m fast restart >/dev/null 2>&1
cat >>"$tmp/tidemark.conf" <<CONF

[instance clone]
engine = postgresql
connection = host=$clone_socket port=$clone_port user=tidemark dbname=postgres
data_directory = $tmp/restored
repository = main
lease_time = 3s
heartbeat_interval = 1s
ship_interval = 200ms
CONF
exits 0 "it gets a slot under its own name" tm init clone
background clone tm ship clone
clone_shipper=$pid
wait_for 10 grep -q "wal.ship.stream " "$tmp/clone.log"
PG_SQL_HOST=$clone_socket sql "$clone_port" "insert into rows values (201)"
exits 0 "it is backed up" tm backup clone --fast -q
is "$(stored)" "$before" "nothing of the first one is touched"
exits 0 "both are listed" tm list clone --json
is "$(json 'len(d["backups"])')" 1 "... each with its own"
stop "$clone_shipper" >/dev/null
gone
shop_ship
shop_commit 4
shop_reach
exits 0 "the first one goes on" restore_to "${shop_at[4]}"
is "$(rows)" "1 2 3 4" "... and has what is its own"
gone

# ---- a slot that vanished, and log with it

stop "$shipper" >/dev/null
shop_commit 5
slot=$(sql "$port" "select slot_name from pg_replication_slots")
wait_for 10 sql "$port" "select pg_drop_replication_slot('$slot')"
exits 2 "check is critical without the slot" tm check shop
like "$out" "postgresql.slot.missing" "... and says so"
for _ in 1 2 3 4 5 6; do sql "$port" "create table filler as select 1; drop table filler; select pg_switch_wal(); checkpoint" >/dev/null; done
shop_ship
wait_for 20 grep -q "take a new base backup" "$tmp/ship.log"
like "$(cat "$tmp/ship.log")" "log was removed on the server before it was stored: take a new base backup" "the shipper says that log is lost"
is "$(sql "$port" "select count(*) from pg_replication_slots where slot_name = '$slot' and active")" 1 "... makes the slot again, and goes on"
exits 0 "status reads" tm status shop --json
is "$(json 'd["instances"][0]["state"]')" alert "the lost log is an alert"
is "$(json 'len(d["instances"][0]["gaps"])')" 1 "... and a gap"
like "$(json 'd["instances"][0]["gaps"][0]["reason"]')" "removed" "... with its reason"
exits 4 "a moment in the gap is refused" restore_to "${shop_at[5]}"
like "$(json 'd["error"]["message"]')" "gap" "... as in a gap"
shop_backup
shop_commit 6
shop_reach
exits 0 "after a new backup the window goes on" restore_to "${shop_at[6]}"
is "$(rows)" "1 2 3 4 5 6" "... with everything"
gone
exits 0 "... and a moment before the gap is still there" restore_to "${shop_at[3]}"
is "$(rows)" "1 2 3" "... as it was"
gone
exits 0 "status reads again" tm status shop --json
is "$(json 'd["instances"][0]["state"] != "alert"')" True "it is no alert any more"
done_testing
