#!/bin/bash
# Tidemark installed where the server's user cannot reach (a build below /root): a restore still gets its log.

. "$(dirname "$0")/../support/lib.sh"
pg_need
[ "$(id -u)" -eq 0 ] || skip_all "only root has a directory that the server's user cannot reach"
tide_tmp
mkdir -m 700 "$tmp/private"
cp -r "$TIDE_BUILD/tidemark" "$TIDE_BUILD/tidemark-fetch" "$TIDE_BUILD/plugins" "$tmp/private/"
TIDE_BUILD=$tmp/private TIDE_PLUGIN_DIR=$tmp/private/plugins TIDEMARK_PLUGIN_DIR=$tmp/private/plugins
port=$(free_port)
pg_init "$tmp/db" && pg_start "$tmp/db" "$port" || exit 2
tide_conf shop "$port" "$tmp/db" </dev/null
sql "$port" "create table kept as select generate_series(1, 1000) n"
exits 0 "init" tm init shop
exits 3 "a backup that ships its own log" tm backup shop --fast
id=$(tm list shop --json | python3 -c "import json,sys; print(json.load(sys.stdin)['backups'][-1]['id'])")
exits 0 "a restore whose server cannot reach the programs" tm restore shop --to "backup:$id" --into "$tmp/into" --json
to_port=$(python3 -c "import json; print(json.load(open('$tmp/.out'))['endpoint']['port'])")
to_socket=$(python3 -c "import json; print(json.load(open('$tmp/.out'))['endpoint']['socket'])")
is "$(as_pg "$PSQL" -h "$to_socket" -p "$to_port" -U postgres -d postgres -Atc 'select count(*) from kept')" 1000 "its rows are there"
is "$(find "$tmp/into" -name '.tidemark-log')" "" "nothing of the fetching is left behind"
done_testing
