#!/usr/bin/env bash
# The PostgreSQL plugin against a server: what every plugin must pass, for each of its ways to take a base backup.
# shellcheck source=tests/support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
tide_tmp
pg_need

port=$(free_port)
pg_init "$tmp/db" -k && pg_start "$tmp/db" "$port" || exit 2
sql "$port" "create table t (id int, filler text)" >/dev/null
sql "$port" "insert into t select i, repeat('x', 100) from generate_series(1, 2000) i" >/dev/null
sql "$port" "select pg_create_restore_point('conformance')" >/dev/null

bad=0
for method in files stream; do
    echo "# backup_method=$method"
    "$TIDE_BUILD/tidemark-conformance" "$TIDE_PLUGIN_DIR/postgresql.so" \
        "connection=host=$tmp/run port=$port user=tidemark dbname=postgres" "data_directory=$tmp/db" \
        "backup_method=$method" | sed -E '/^1\.\./d; s/^((not )?ok [0-9]+ -)/\1 '"$method"':/'
    [ "${PIPESTATUS[0]}" -eq 0 ] || bad=1
done
# Nothing of a cancelled or failed backup stays behind on the server.
sessions=$(sql "$port" "select count(*) from pg_stat_activity where application_name like 'tidemark%'")
is "$sessions" 0 "no session is left on the server"
exit "$((bad | tap_failed))"
