#!/bin/bash
# Base backups through the command line, by files and over the replication protocol: all that a cluster can hold, damage,
# options, what an interrupted one leaves to the next, and a restore that is finished by hand.  The cluster has log files
# of 1 MiB and its configuration outside of the data directory, as Debian's have.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp

# ---- a cluster with a bit of everything

port=$(free_port)
pg_init "$tmp/db" -k --wal-segsize=1 || exit 2
mkdir "$tmp/etc" "$tmp"/space-{one,two,three}
mv "$tmp/db/postgresql.conf" "$tmp/db/pg_hba.conf" "$tmp/db/pg_ident.conf" "$tmp/etc"
printf '%s\n' "data_directory = '$tmp/db'" "hba_file = '$tmp/etc/pg_hba.conf'" "ident_file = '$tmp/etc/pg_ident.conf'" "$PG_QUIET" \
    "max_wal_size = 1GB" "work_mem = 7531kB" "include_if_exists = '$tmp/etc/more.conf'" >>"$tmp/etc/postgresql.conf"
echo "maintenance_work_mem = 76543kB" >"$tmp/etc/more.conf"
echo "# a mark of ours" >>"$tmp/etc/pg_hba.conf"
chown -R "$(stat -c %U "$tmp/db")" "$tmp/etc" "$tmp"/space-*
pg_start "$tmp/etc" "$port" || exit 2
for name in one two three; do sql "$port" "create tablespace $name location '$tmp/space-$name'"; done
sql "$port" "create table rows (n int primary key, filler text);
    create table one (n int) tablespace one; insert into one select generate_series(1, 1111);
    create table two (n int) tablespace two; insert into two select generate_series(1, 2222);
    create table three (n int) tablespace three; insert into three select generate_series(1, 3333);
    create unlogged table unlogged (n int primary key); insert into unlogged select generate_series(1, 5000);
    create table big (n int, filler text); insert into big select n, md5(n::text) || repeat('y', 500) from generate_series(1, 20000) n;
    select lo_from_bytea(77, convert_to(repeat('large ', 200000), 'UTF8'))" >/dev/null
head -c 67108864 /dev/urandom >"$tmp/random" # packs are closed at 48 MiB: two of them
chmod 644 "$tmp/random"
sql "$port" "select lo_import('$tmp/random', 78)" >/dev/null
sql "$port" "grant select on pg_file_settings to tidemark; grant execute on function pg_show_all_file_settings() to tidemark"
tide_conf shop "$port" "$tmp/db" <<CONF
lease_time = 3s
heartbeat_interval = 1s
ship_interval = 200ms
log_object_size = 1MiB
CONF
sed 's/^repository = .*/&\nbackup_method = stream/' "$tmp/tidemark.conf" >"$tmp/stream.conf"
tstream() { "$TIDE_BUILD/tidemark" -c "$tmp/stream.conf" "$@"; }
exits 0 "the repository and the slot are made" tm init shop
shop_ship && ok "it ships log files of 1 MiB" || not_ok "it ships log files of 1 MiB" "$(tail -5 "$tmp/ship.log")"

# ---- a first backup is cut off, and what it stored is reused

stored() { du -sb "$tmp/repo/instances/shop/packs" 2>/dev/null | cut -f1; }
background cut tm backup shop --fast --limit 32MiB
some() { [ "$(stored)" -gt 40000000 ]; }
wait_for 30 some
kill -9 "$pid" $(pgrep -P "$pid") 2>/dev/null
wait "$pid" 2>/dev/null
left=$(stored)
exits 0 "nothing is listed" tm list shop --json
is "$(json 'd["backups"]')" "[]" "... of a backup that was killed"

# The next one is slow enough for a database to be made, filled and dropped under it.
(
    trap - EXIT
    exec "$TIDE_BUILD/tidemark" -c "$tmp/tidemark.conf" backup shop --fast --limit 25MiB --keep --note why=test --note "who=a b" --json \
        >"$tmp/first.json" 2>"$tmp/first.err" </dev/null
) &
first=$!
begun() { grep -q "backup.started" "$tmp/first.err"; }
wait_for 20 begun
sql "$port" "create database born"
sql "$port" "create table child (n int); insert into child select generate_series(1, 4444)" born
sql "$port" "create database doomed" && sql "$port" "drop database doomed"
sql "$port" "create table doomed as select generate_series(1, 50000) n; drop table doomed; truncate two; insert into two select generate_series(1, 22)"
kill -0 "$first" 2>/dev/null && ok "it is still copying when all that has happened" || not_ok "it is still copying when all that has happened"
wait "$first"
is $? 0 "a backup is taken while a database is made" || diag "$(cat "$tmp/first.err")"
id=$(json 'd["id"]' "$tmp/first.json")
new=$(json 'd["new_bytes"]' "$tmp/first.json") full=$(json 'd["stored_bytes"]' "$tmp/first.json") seconds=$(json 'd["seconds"]' "$tmp/first.json")
[ "$new" -lt $((full - left / 2)) ] && ok "what the killed one stored is reused" || not_ok "what the killed one stored is reused" "new $new of $full, the killed one stored $left"
python3 -c "import sys; sys.exit(not $seconds * 25 * 1048576 >= 0.7 * $(json 'd["bytes"]' "$tmp/first.json"))" && ok "--limit holds it back: $seconds s" || not_ok "--limit holds it back" "$seconds s for $(json 'd["bytes"]' "$tmp/first.json") bytes"
shop_commit 1
exits 0 "list" tm list shop --json
is "$(json 'd["backups"][0]["kept"], sorted(d["backups"][0]["notes"].items())')" "(True, [('who', 'a b'), ('why', 'test')])" "--keep and --note are with it"

# ---- records larger than an object, and than many log files

sql "$port" "select pg_logical_emit_message(true, 'large', repeat('m', 40000000))" >/dev/null
sql "$port" "do \$\$ begin for n in 1001..4000 loop begin insert into rows values (n, 's'); exception when others then raise; end; end loop; end \$\$"
shop_commit 2
shop_reach 60

# ---- where tablespaces go, and all that is in the cluster

restored_sql() { as_pg "$PSQL" -h "$(json 'd["endpoint"]["socket"]')" -p "$(json 'd["endpoint"]["port"]')" -U postgres -d "${2:-postgres}" -AtqX -c "$1"; }
whole() { # WHERE EACH TABLESPACE IS...
    is "$(restored_sql "select (select count(*) from rows), (select count(*) from one), (select count(*) from two), (select count(*) from three)")" \
        "3002|1111|22|3333" "... with the rows of all tablespaces and 3000 subtransactions"
    is "$(restored_sql "select count(*), (select relpersistence from pg_class where relname = 'unlogged') from unlogged")" "0|u" "... unlogged tables are empty"
    is "$(restored_sql "insert into unlogged values (1) returning n")" 1 "... and sound"
    is "$(restored_sql "select md5(lo_get(77))")" "$(sql "$port" "select md5(lo_get(77))")" "... with the large object"
    is "$(restored_sql "select count(*) from child" born)" 4444 "... and the database that was made meanwhile"
    is "$(restored_sql "select string_agg(pg_tablespace_location(oid), ' ' order by spcname) from pg_tablespace where spcname in ('one', 'two', 'three')")" \
        "$*" "... tablespaces are where they were put"
}
exits 0 "restored with --tablespace and --tablespaces-into" restore_to "${shop_at[2]}" --tablespace "one=$tmp/put/first" --tablespaces-into "$tmp/put/rest"
whole "$tmp/put/first" "$tmp/put/rest/three" "$tmp/put/rest/two"
is "$(restored_sql "show work_mem")|$(restored_sql "show maintenance_work_mem")" "7531kB|76543kB" "... with the settings that lay outside"
like "$(cat "$tmp/restored/tidemark_config$tmp/etc/more.conf")" 76543kB "... and a copy of what was included"
like "$(cat "$tmp/restored/tidemark_config$tmp/etc/pg_hba.conf")" "a mark of ours" "... and of pg_hba.conf"
unlike "$(restored_sql "show data_directory")$(restored_sql "show hba_file")" "$tmp/(db|etc)" "... and never uses the source's"
gone
rm -rf "$tmp/put"

# ---- the other method stores next to nothing of what is there already

exits 0 "over the replication protocol" tstream backup shop --fast --json
is "$(json 'd["method"], d["parent"]')" "('stream', '$id')" "... with the first one for a parent"
python3 -c "import sys; sys.exit(not $(json 'd["new_bytes"]') < 0.1 * $full)" && ok "... what files stored is not stored again" || not_ok "... what files stored is not stored again" "$(json 'd["new_bytes"]') of $full"
exits 0 "... and of an unchanged cluster" tstream backup shop --fast --json
python3 -c "import sys; sys.exit(not $(json 'd["new_bytes"]') < 0.03 * $(json 'd["stored_bytes"]'))" && ok "... less than 3 % is new" || not_ok "... less than 3 % is new" "$(json 'd["new_bytes"]') of $(json 'd["stored_bytes"]')"
exits 0 "... by files, too" tm backup shop --fast --json
python3 -c "import sys; sys.exit(not $(json 'd["new_bytes"]') < 0.03 * $(json 'd["stored_bytes"]'))" && ok "... less than 3 % is new" || not_ok "... less than 3 % is new" "$(json 'd["new_bytes"]') of $(json 'd["stored_bytes"]')"
exits 0 "list" tm list shop --json
stream_id=$(json '[b["id"] for b in d["backups"] if b["method"] == "stream"][-1]')
shop_commit 3
shop_commit 4
shop_reach

# ---- --no-start, and the rest by hand with what was printed

exits 0 "a restore without a start, of a backup over the protocol" restore_to "${shop_at[3]}" --backup "$stream_id" --no-start
is "$(json 'd["endpoint"]')" None "... has no endpoint"
like "$(json 'd["must_read"]')" "$tmp/tidemark.conf.*$tmp/repo" "... and what the server's user must be able to read is said"
chmod -R a+rX "$tmp/tidemark.conf" "$tmp/repo"
start=$(json 'd["start_command"]') halt=$(json 'd["stop_command"]')
[ ! -f "$tmp/restored/postmaster.pid" ] && ok "... nothing runs" || not_ok "... nothing runs"
exits 0 "the printed command starts it" timeout 60 sh -c "$start"
by_hand=$(sed -n 4p "$tmp/restored/postmaster.pid")
hand_sql() { as_pg "$PSQL" -h "$tmp/restored/tidemark_socket" -p "$by_hand" -U postgres -d postgres -AtqX -c "$1"; }
ready() { [ "$(hand_sql "select pg_is_in_recovery()")" = f ]; }
wait_for 30 ready && ok "... it recovers by itself" || not_ok "... it recovers by itself" "$(tail -10 "$tmp/restored"/tidemark_*.log)"
is "$(hand_sql "select string_agg(n::text, ' ' order by n) from rows where n < 1000")" "1 2 3" "... to the target and no further"
is "$(hand_sql "select string_agg(pg_tablespace_location(oid), ' ' order by spcname) from pg_tablespace where spcname in ('one', 'two', 'three')")" \
    "$tmp/restored.tablespaces/one $tmp/restored.tablespaces/three $tmp/restored.tablespaces/two" "... tablespaces lie beside it"
exits 0 "activate takes it out of quarantine" tm activate "$tmp/restored"
exits 0 "the printed command stops it" timeout 60 sh -c "$halt"
gone

# ---- a damaged page is told, named and in the catalogue, by either method

relation=$(sql "$port" "select pg_relation_filepath('big')")
sql "$port" checkpoint
flip "$tmp/db/$relation" $((5 * 8192 + 4000))
damaged() { # of what the last backup printed
    is "$(json 'd["damaged_pages"]')" 1 "... and counted"
    exits 0 "list" tm list shop --json
    is "$(json 'd["backups"][-1]["damaged_pages"], d["backups"][-1]["damage"]')" "(1, [{'file': '$relation', 'page': 5}])" "... and named in the catalogue"
}
exits 3 "a damaged page is exit 3" tm backup shop --fast --json
damaged
exits 3 "... over the protocol, too" tstream backup shop --fast --json
damaged
exits 0 "status" tm status shop --json
like "$(json '[r["code"] for r in d["instances"][0]["reasons"]]')" "backup.damaged_pages" "... and status says so"
flip "$tmp/db/$relation" $((5 * 8192 + 4000))
exits 0 "once it is mended, the next is sound" tm backup shop --fast --json
is "$(json 'd["damaged_pages"]')" 0 "... without a damaged page"
exits 0 "every stored byte proves" tm verify shop
done_testing
