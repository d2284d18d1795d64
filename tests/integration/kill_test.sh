#!/bin/bash
# kill -9 at every fail point of init, ship, backup, merge and restore; then it goes on: nothing that was acknowledged is
# lost, no half backup is listed, no session is left behind, and a second run finishes.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
head -c 32 /dev/urandom | base64 >"$tmp/key"
export TIDE_REPO_LINES="encryption_key_file = $tmp/key"
struck='' # fail points that killed somebody

# Runs a command that a fail point kills; ok when it was reached.
killed_at() { # POINT[:N] COMMAND...
    local point=$1
    shift
    TIDE_FAILPOINTS=${point/:*/}=kill${point/${point/:*/}/} "$@" >"$tmp/.out" 2>"$tmp/.err" </dev/null
    if grep -qiE "kill|signal" "$tmp/.err" "$tmp/.out"; then
        struck="$struck ${point/:*/}"
        ok "${point/:*/}: it is killed there"
    else
        not_ok "${point/:*/}: it is killed there" "$(cat "$tmp/.out" "$tmp/.err")"
    fi
}
listed() { tm list shop --json 2>/dev/null | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["backups"]))'; }

# ---- init

pg_need
port=$(free_port)
pg_init "$tmp/db" || exit 2
printf '%s\n' "$PG_QUIET" | as_pg tee -a "$tmp/db/postgresql.conf" >/dev/null
pg_start "$tmp/db" "$port" || exit 2
tide_conf shop "$port" "$tmp/db" <<CONF
lease_time = 3s
heartbeat_interval = 1s
ship_interval = 200ms
CONF
killed_at init-before-key tm init shop
exits 0 "init: a second run finishes" tm init shop
exits 0 "init: and a third has nothing to do" tm init shop
sql "$port" "create table rows (n int primary key, filler text)"
shop_ship

# ---- backup

backups=0
sessions() { sql "$port" "select count(*) from pg_stat_activity where usename = 'tidemark' and application_name like 'tidemark%' and backend_type = 'client backend' and pid <> pg_backend_pid() and query ~ 'backup'"; }
no_session() { [ "$(sessions)" = 0 ]; }
for point in pack-before-commit backup-before-tables backup-before-log backup-before-commit backup-after-commit; do
    killed_at $point tm backup shop --fast
    [ $point = backup-after-commit ] && backups=$((backups + 1))
    is "$(listed)" $backups "$point: no half backup is listed"
    wait_for 15 no_session && ok "$point: no session is left in hot-backup mode" || not_ok "$point: no session is left in hot-backup mode" "$(sql "$port" "select * from pg_stat_activity")"
done
exits 0 "backup: a second run finishes" tm backup shop --fast -q
backups=$((backups + 1))
is "$(listed)" $backups "backup: and is listed"

# ---- ship

n=0
for point in ship-before-put:2 ship-after-put:2 ship-before-confirm:2; do
    stop "$shipper" >/dev/null
    TIDE_FAILPOINTS=${point/:*/}=kill:2 background doomed tm ship shop
    doomed=$pid
    for _ in 1 2 3 4 5 6 7 8; do
        n=$((n + 1))
        shop_commit $n
        sleep 0.3
        tide_gone "$doomed" && break
    done
    wait_for 10 tide_gone "$doomed" && struck="$struck ${point/:*/}"
    wait "$doomed"
    is "$((${?} != 0))" 1 "${point/:*/}: the shipper is killed there"
    shop_ship
    n=$((n + 1))
    shop_commit $n
    shop_reach
done
# ---- merge: many small objects, as when commits wait for us

sql "$port" "alter system set synchronous_standby_names = '$(sql "$port" "select application_name from pg_stat_replication")'" && sql "$port" "select pg_reload_conf()" >/dev/null
many() { # from N rows on
    for ((i = 1; i <= 150; i++)); do echo "insert into rows values ($((n + i)));"; done >"$tmp/many.sql"
    "$PSQL" -h "$tmp/run" -p "$port" -U postgres -AtqX -f "$tmp/many.sql" postgres >"$tmp/many.log" 2>&1
}
for point in merge-before-put merge-before-tombstone; do
    stop "$shipper" >/dev/null
    TIDE_FAILPOINTS=$point=kill background doomed tm ship shop
    doomed=$pid
    wait_for 15 shop_streams
    many &
    writer=$!
    wait_for 40 tide_gone "$doomed" && struck="$struck $point"
    wait "$doomed"
    is "$((${?} != 0))" 1 "$point: the shipper is killed there"
    shop_ship
    wait "$writer"
    n=$((n + 150))
    shop_reach
done
sql "$port" "alter system reset synchronous_standby_names" && sql "$port" "select pg_reload_conf()" >/dev/null
exits 0 "merge: every stored byte proves" tm verify shop

# ---- spool

if [ -d /dev/shm ] && [ "$(stat -c %d /dev/shm)" != "$(stat -c %d "$tmp")" ]; then
    spool=$(mktemp -d /dev/shm/tide-test.XXXXXX)
    chmod 700 "$spool"
    stop "$shipper" >/dev/null
    printf '%s\n' "confirm = spool" "spool_directory = $spool/spool" "spool_limit = 64MiB" >>"$tmp/tidemark.conf"
    TIDE_FAILPOINTS=spool-before-drain-delete=kill:2 background doomed tm ship shop
    doomed=$pid
    for _ in 1 2 3 4 5 6 7 8; do
        n=$((n + 1))
        shop_commit $n
        sleep 0.3
        tide_gone "$doomed" && break
    done
    wait_for 10 tide_gone "$doomed" && struck="$struck spool-before-drain-delete"
    wait "$doomed"
    is "$((${?} != 0))" 1 "spool-before-drain-delete: the shipper is killed there"
    shop_ship
    n=$((n + 1))
    shop_commit $n
    shop_reach
    is "$(find "$spool" -type f -path '*/log/*' | wc -l)" 0 "spool-before-drain-delete: what was spooled is drained"
    rm -rf "$spool"
else
    skip "spool-before-drain-delete" "there is no second file system"
    struck="$struck spool-before-drain-delete"
fi
stop "$shipper" >/dev/null

# ---- restore

for point in extract-mid:30 restore-after-files restore-before-recovery; do
    killed_at $point restore_to latest
    stays_shut "${point/:*/}: the directory does not open"
done
exits 0 "restore: a second run finishes" restore_to latest
is "$(rows)" "$(seq -s ' ' 1 $n)" "restore: with every row that was acknowledged"
gone

# In the middle of recovery, with the server at work.
sed "s|url = file://|url = faulty+file://|" "$tmp/tidemark.conf" >"$tmp/slow.conf"
sed -i "/^confirm/d; /^spool/d" "$tmp/tidemark.conf" "$tmp/slow.conf"
TIDE_FAULTY="get~/log/=slow:300ms" background restoring "$TIDE_BUILD/tidemark" -c "$tmp/slow.conf" restore shop --to latest --into "$tmp/restored" --bin-dir "$PGBIN"
wait_for 60 test -s "$tmp/restored/postmaster.pid"
victims="$pid $(ps -o pid= --ppid "$pid")"
# shellcheck disable=SC2086
kill -9 $victims
server=$(head -1 "$tmp/restored/postmaster.pid")
wait_for 15 tide_gone "$server" && ok "recovery: a private server does not outlive the restore" || not_ok "recovery: a private server does not outlive the restore"
stays_shut "recovery: the directory does not open"
exits 0 "recovery: a second run finishes" restore_to latest
is "$(rows)" "$(seq -s ' ' 1 $n)" "recovery: with every row"
gone

# When the instance runs already, its files are not taken from under it.
killed_at restore-before-end restore_to latest
server=$(head -1 "$tmp/restored/postmaster.pid")
exits 9 "restore-before-end: a running instance is left alone" restore_to latest
like "$out" "process $server " "restore-before-end: and named"
tide_gone "$server" && not_ok "restore-before-end: it goes on running" || ok "restore-before-end: it goes on running"
pg_stop "$tmp/restored" fast
exits 0 "restore-before-end: once it is stopped, a second run finishes" restore_to latest
is "$(rows)" "$(seq -s ' ' 1 $n)" "restore-before-end: with every row"
gone

# ---- all

missing=''
for point in $(grep -rhoE 'TIDE_FAILPOINT\("[^"]*"' "$TIDE_ROOT/orchestrator" "$TIDE_ROOT/wal" "$TIDE_ROOT/pitr" | cut -d'"' -f2 | sort -u); do
    case " $struck " in *" $point "*) ;; *) missing="$missing $point" ;; esac
done
is "$missing" "" "every fail point was reached"
exits 0 "every stored byte proves" tm verify shop
done_testing
