#!/bin/bash
# Full backup and full restore of a pgbench database beside pgBackRest, in interleaved pairs in one run; prints ratios.
#
#   BENCH_SCALE (150: about 2.2 GB), BENCH_PAIRS (3)
#
# Both: two processes or threads, zstd level 3, a directory repository on the same file system; pgBackRest with bundles.
# Restores put the files in place; neither starts the server.

. "$(dirname "$0")/../support/lib.sh"
scale=${BENCH_SCALE:-150} pairs=${BENCH_PAIRS:-3}
pg_need
command -v pgbackrest >/dev/null || skip_all "pgbackrest is not installed"
tide_tmp
port=$(free_port)
pg_init "$tmp/db" -k || exit 2
as_pg tee -a "$tmp/db/postgresql.conf" >/dev/null <<CONF
shared_buffers = 256MB
max_wal_size = 4GB
archive_mode = on
archive_command = 'true'
CONF
pg_start "$tmp/db" "$port" || exit 2
"$PGBIN/pgbench" -h "$tmp/run" -p "$port" -U postgres -i -q -s "$scale" postgres >/dev/null 2>&1
"$PGBIN/pgbench" -h "$tmp/run" -p "$port" -U postgres -n -c 2 -T 10 postgres >/dev/null 2>&1
sql "$port" checkpoint
size=$(du -sb "$tmp/db/base" | cut -f1)
echo "database: $((size / 1000000)) MB; $(nproc) cores"

tide_conf shop "$port" "$tmp/db" </dev/null
cat >"$tmp/pgbackrest.conf" <<CONF
[global]
repo1-path=$tmp/br
repo1-bundle=y
compress-type=zst
compress-level=3
process-max=2
log-path=$tmp/brlog
lock-path=$tmp/brlock
log-level-console=error
log-level-file=off

[shop]
pg1-path=$tmp/db
pg1-port=$port
pg1-socket-path=$tmp/run
pg1-user=postgres
CONF
br() { as_pg pgbackrest --config="$tmp/pgbackrest.conf" --stanza=shop "$@"; }
timed() { # VARIABLE COMMAND...
    local t0 t1 var=$1 rc=0
    shift
    sync
    t0=$(date +%s%6N)
    "$@" >"$tmp/out" 2>&1 || rc=$?
    sync
    t1=$(date +%s%6N)
    [ $rc -eq 0 ] || { echo "exit $rc: $*"; tail -5 "$tmp/out"; exit 1; }
    printf -v "$var" %s "$((t1 - t0))"
}

one_pair() {
    rm -rf "$tmp/repo" "$tmp/br" "$tmp/r1" "$tmp/r2"
    as_pg mkdir "$tmp/br"
    tm init shop >/dev/null 2>&1 || exit 1
    background ship tm ship shop
    local shipper=$pid
    sleep 3
    br stanza-create >"$tmp/out" 2>&1 || { cat "$tmp/out"; exit 1; }
    if [ $(($1 % 2)) -eq 0 ]; then
        timed tb tm backup shop --fast --jobs 2
        timed bb br --type=full --start-fast --no-archive-check backup
    else
        timed bb br --type=full --start-fast --no-archive-check backup
        timed tb tm backup shop --fast --jobs 2
    fi
    local id stored
    id=$(tm list shop --json | python3 -c "import json,sys; b=json.load(sys.stdin)['backups'][-1]; print(b['id'])")
    stored=$(du -sb "$tmp/repo/instances/shop/packs" | cut -f1)
    local brstored
    brstored=$(du -sb "$tmp/br/backup" | cut -f1)
    as_pg mkdir -m 700 "$tmp/r2"
    if [ $(($1 % 2)) -eq 0 ]; then
        timed tr tm restore shop --to "backup:$id" --into "$tmp/r1" --no-start
        timed rr br --pg1-path="$tmp/r2" --type=none restore
    else
        timed rr br --pg1-path="$tmp/r2" --type=none restore
        timed tr tm restore shop --to "backup:$id" --into "$tmp/r1" --no-start
    fi
    stop "$shipper" >/dev/null 2>&1
    awk -v a="$tb" -v b="$bb" -v c="$tr" -v d="$rr" -v e="$stored" -v f="$brstored" 'BEGIN {
        printf "backup  tidemark %6.2f s  pgbackrest %6.2f s  ratio %.2f\n", a/1e6, b/1e6, a/b
        printf "restore tidemark %6.2f s  pgbackrest %6.2f s  ratio %.2f\n", c/1e6, d/1e6, c/d
        printf "stored  tidemark %6.1f MB pgbackrest %6.1f MB ratio %.2f\n", e/1e6, f/1e6, e/f }'
}
for ((i = 0; i < pairs; i++)); do
    echo "pair $((i + 1))"
    one_pair "$i"
done
