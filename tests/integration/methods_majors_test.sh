#!/bin/bash
# Base backups over the replication protocol on the other majors, whose conversation differs: tablespaces, log files of
# 64 MiB, and a restore to a moment.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
here=$(dirname "$0")
majors=$("$here/../support/pg_majors.sh" ${METHODS_MAJORS:-14 17 18})
[ -n "$majors" ] || skip_all "no other PostgreSQL major can be had here"
[ -n "$PSQL" ] || skip_all "no psql is installed"
tide_tmp

one_major() { # MAJOR BINDIR
    local name="PostgreSQL $1"
    PGBIN=$2
    port=$(free_port)
    rm -rf "$tmp/repo" "$tmp/db" "$tmp/db.log" "$tmp/space"
    mkdir "$tmp/space"
    pg_init "$tmp/db" -k --wal-segsize=64 || return
    chown "$(stat -c %U "$tmp/db")" "$tmp/space"
    printf '%s\n' "$PG_QUIET" | as_pg tee -a "$tmp/db/postgresql.conf" >/dev/null
    pg_start "$tmp/db" "$port" || return
    tide_conf shop "$port" /nowhere <<<"$(printf '%s\n' "lease_time = 3s" "heartbeat_interval = 1s" "ship_interval = 200ms" "backup_method = stream")"
    exits 0 "$name: the repository and the slot are made" tm init shop
    sql "$port" "create tablespace space location '$tmp/space'"
    sql "$port" "create table rows (n int primary key, filler text);
        create table placed (n int) tablespace space; insert into placed select generate_series(1, 1234);
        create unlogged table unlogged (n int); insert into unlogged values (1)"
    shop_ship && ok "$name: it ships log files of 64 MiB" || not_ok "$name: it ships log files of 64 MiB" "$(tail -5 "$tmp/ship.log")"
    shop_commit 1
    exits 0 "$name: a backup over the protocol" tm backup shop --fast --json
    is "$(json 'd["method"], d["damaged_pages"]')" "('stream', 0)" "... by that method, undamaged"
    shop_commit 2
    shop_commit 3
    shop_reach
    exits 0 "$name: restored to a moment" restore_to "${shop_at[2]}" --tablespaces-into "$tmp/put"
    is "$(rows)" "1 2" "... to the row"
    is "$(as_pg "$PSQL" -h "$(json 'd["endpoint"]["socket"]')" -p "$(json 'd["endpoint"]["port"]')" -U postgres -d postgres -AtqX \
        -c "select (select count(*) from placed), (select count(*) from unlogged), (select pg_tablespace_location(oid) from pg_tablespace where spcname = 'space')")" \
        "1234|0|$tmp/put/space" "... with its tablespace, and unlogged tables empty"
    gone
    rm -rf "$tmp/put"
    stop "$shipper"
    pg_stop "$tmp/db" immediate
}
while read -r major bin; do
    one_major "$major" "$bin" || not_ok "PostgreSQL $major can be tried" "$(tail -5 "$tmp/db.log" "$tmp/initdb.log" 2>&1)"
done <<<"$majors"
done_testing
