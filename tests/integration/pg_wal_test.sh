#!/bin/bash
# What the plugin reads in the log, compared with what PostgreSQL itself reads there, on every major that can be had:
# each record's start and end, every commit, every block reference.  pg_waldump is the reference where it is
# installed, pg_walinspect on 16 and later; 14 has neither in npm's packages and is compared by its commits.

. "$(dirname "$0")/../support/lib.sh"
here=$(dirname "$0")
tide_tmp
plugin_log=$TIDE_BUILD/tools/plugin_log
so=$TIDE_PLUGIN_DIR/postgresql.so

workload() { # PORT
    sql "$1" "create table t(a int primary key, b text)"
    sql "$1" "insert into t select i, repeat(md5(i::text), 1 + i % 90) from generate_series(1, 6000) i"
    sql "$1" "checkpoint"
    sql "$1" "update t set b = b || 'x' where a % 3 = 0"
    sql "$1" "create index on t(b)" 2>/dev/null
    sql "$1" "create index on t using hash (a)"
    sql "$1" "begin; create table x(a int); insert into x select generate_series(1, 5000); savepoint s; insert into x values (1); prepare transaction 'first one'"
    sql "$1" "commit prepared 'first one'"
    sql "$1" "begin; drop table x; prepare transaction 'second'"
    sql "$1" "rollback prepared 'second'"
    sql "$1" "begin; drop table x; prepare transaction 'third'"
    sql "$1" "commit prepared 'third'"
    sql "$1" "begin; insert into t values (-1); rollback"
    sql "$1" "select pg_create_restore_point('half way')" >/dev/null
    sql "$1" "select pg_switch_wal()" >/dev/null
    sql "$1" "do \$\$ begin for i in 1..300 loop perform txid_current(); insert into t values (10000 + i, 'y'); commit; end loop; end \$\$"
    sql "$1" "do \$\$ begin for i in 1..400 loop begin insert into t values (20000 + i, 'z'); exception when others then null; end; end loop; end \$\$"
    sql "$1" "vacuum t"
    sql "$1" "checkpoint"
    sql "$1" "select pg_switch_wal()" >/dev/null
}

compare() { # MAJOR BINDIR
    local major=$1 port id first evidence db=$tmp/db$1 from to
    PGBIN=$2
    PSQL=$PGBIN/psql
    [ -x "$PSQL" ] || PSQL=$(command -v psql)
    port=$(free_port)
    if ! pg_init "$db" --wal-segsize=4; then
        skip "PostgreSQL $major" "initdb failed"
        return
    fi
    as_pg tee -a "$db/postgresql.conf" >/dev/null <<<"wal_keep_size = 2GB
max_prepared_transactions = 5
autovacuum = off
wal_compression = on"
    LD_LIBRARY_PATH=$2/../lib pg_start "$db" "$port" || return
    from=$(sql "$port" "select pg_current_wal_insert_lsn()")
    workload "$port"
    sql "$port" "select xmin from t where a between 10001 and 10300" | sort >"$tmp/xmin"
    to=$(sql "$port" "select pg_current_wal_flush_lsn()")
    id=$(sql "$port" "select system_identifier from pg_control_system()")
    evidence="system_identifier=$id
major=$major
segment_size=4194304
timeline=1
history="
    # While a server runs its log grows; only pg_walinspect needs one.
    [ ! -x "$PGBIN/pg_waldump" ] || pg_stop "$db"
    mapfile -t files < <(find "$db/pg_wal" -maxdepth 1 -name '0000000100000*' | sort)
    first=$(basename "${files[0]}")
    first=$(printf '%X/%X' $((16#${first:8:8})) $((16#${first:16:8} * 4194304)))
    exits 0 "PostgreSQL $major: the whole log is read" "$plugin_log" "$so" "host=$tmp/run" scan "$evidence" "$first" - 100000 "${files[@]}"
    printf '%s\n' "$out" >"$tmp/all$major"
    exits 0 "PostgreSQL $major: in pieces of 8 bytes too" "$plugin_log" "$so" "host=$tmp/run" scan "$evidence" "$first" - 8 "${files[@]}"
    printf '%s\n' "$out" >"$tmp/records$major"
    is "$(grep '^event' "$tmp/all$major" | sort | md5sum)" "$(grep '^event' "$tmp/records$major" | sort | md5sum)" "PostgreSQL $major: both tell the same"
    is "$(grep '^mark' "$tmp/all$major")" "$(grep '^mark' "$tmp/records$major")" "PostgreSQL $major: and end at the same place"
    is "$(awk '$1 == "event" && $2 == 3 { print $7, $8 }' "$tmp/all$major")" "half way" "PostgreSQL $major: the restore point"
    is "$(awk '$1 == "event" && $2 == 6' "$tmp/all$major" | wc -l)" 3 "PostgreSQL $major: three were prepared"
    # Each transaction that was prepared ends by its own number, although another session ended it.
    is "$(awk '$1 == "event" && $2 == 6 { print $6 }' "$tmp/all$major" | sort)" \
        "$(awk '$1 == "event" && $2 == 6 { want[$6] = 1 } $1 == "event" && ($2 == 1 || $2 == 2) && ($6 in want) { print $6 }' "$tmp/all$major" | sort)" \
        "PostgreSQL $major: and ended"
    # Stamps are of today.
    is "$(awk -v now="$(date +%s)" '$1 == "event" && ($2 == 1 || $2 == 2) && ($5 / 1000000 > now + 60 || $5 / 1000000 < now - 600)' "$tmp/all$major" | wc -l)" 0 "PostgreSQL $major: commits have the time of now"
    is "$(awk '$1 == "event" && $2 == 1 { print $6 }' "$tmp/all$major" | sort | comm -13 - "$tmp/xmin" | wc -l) of $(wc -l <"$tmp/xmin")" "0 of 300" "PostgreSQL $major: no transaction lacks its commit"
    if [ -x "$PGBIN/pg_waldump" ]; then
        by_waldump "$major" "$db" "${files[0]##*/}"
    elif [ "$major" -ge 16 ] && sql "$port" "create extension pg_walinspect" 2>/dev/null; then
        by_walinspect "$major" "$port" "$from" "$to"
    fi
    pg_stop "$db" immediate
}

# "0/01ABCD" as the server writes it elsewhere
short_lsn() { sed -E 's#/0+([0-9A-F])#/\1#g'; }

by_waldump() { # MAJOR DATADIR FIRST
    "$PGBIN/pg_waldump" -p "$2/pg_wal" "$3" "$(find "$2/pg_wal" -maxdepth 1 -name '0000000100000*' -printf '%f\n' | sort | tail -1)" >"$tmp/wd" 2>/dev/null
    sed -E 's/.* lsn: ([0-9A-F]+\/[0-9A-F]+),.*/\1/' "$tmp/wd" | short_lsn >"$tmp/want"
    awk '$1 == "record" { print $2 }' "$tmp/records$1" >"$tmp/got"
    is "$(diff "$tmp/want" "$tmp/got" | head -5)" "" "PostgreSQL $1: $(wc -l <"$tmp/got") records begin where pg_waldump says"
    grep -oE 'rel [0-9]+/[0-9]+/[0-9]+( fork [a-z]+)? blk [0-9]+' "$tmp/wd" |
        sed -E 's/^rel //; s/ fork main/ 0/; s/ fork fsm/ 1/; s/ fork vm/ 2/; s/ fork init/ 3/; s/^([0-9\/]+) blk/\1 0/; s/ blk / /' |
        sort -u >"$tmp/want"
    awk '$1 == "block" { print $2, $3, $4 }' "$tmp/all$1" | sort -u >"$tmp/got"
    is "$(diff "$tmp/want" "$tmp/got" | head -5)" "" "PostgreSQL $1: $(wc -l <"$tmp/got") pages as pg_waldump says"
    is "$(awk '$1 == "event" && $2 == 1' "$tmp/all$1" | wc -l)" "$(grep -cE 'desc: COMMIT( |_PREPARED)' "$tmp/wd")" "PostgreSQL $1: as many commits"
}

by_walinspect() { # MAJOR PORT FROM TO
    sql "$2" "select start_lsn || ' ' || end_lsn from pg_get_wal_records_info('$3', '$4') where record_type <> 'SWITCH' order by start_lsn" >"$tmp/want"
    awk '$1 == "record" { print $2, $3 }' "$tmp/records$1" | sort >"$tmp/got"
    is "$(sort "$tmp/want" | comm -23 - "$tmp/got" | head -5)" "" "PostgreSQL $1: $(wc -l <"$tmp/want") records begin and end where pg_walinspect says"
    is "$(sql "$2" "select count(*) > 1000 from pg_get_wal_records_info('$3', '$4')")" t "PostgreSQL $1: it said something"
    sql "$2" "select distinct reltablespace || '/' || reldatabase || '/' || relfilenode || ' ' || relforknumber || ' ' || relblocknumber from pg_get_wal_block_info('$3', '$4')" | sort >"$tmp/want"
    awk '$1 == "block" { print $2, $3, $4 }' "$tmp/all$1" | sort -u >"$tmp/got"
    is "$(comm -23 "$tmp/want" "$tmp/got" | head -5)" "" "PostgreSQL $1: $(wc -l <"$tmp/want") pages as pg_walinspect says"
    sql "$2" "select start_lsn from pg_get_wal_records_info('$3', '$4') where record_type in ('COMMIT', 'COMMIT_PREPARED') order by 1" | sort >"$tmp/want"
    awk '$1 == "event" && $2 == 1 { print $3 }' "$tmp/all$1" | sort >"$tmp/got"
    is "$(comm -23 "$tmp/want" "$tmp/got" | head -5)" "" "PostgreSQL $1: $(wc -l <"$tmp/want") commits as pg_walinspect says"
}

[ -x "$plugin_log" ] || skip_all "plugin_log is not built"
majors=$("$here/../support/pg_majors.sh" 14 15 16 17 18)
[ -n "$majors" ] || skip_all "no PostgreSQL can be had here"
while read -r major bin; do
    compare "$major" "$bin" </dev/null
done <<<"$majors"
done_testing
