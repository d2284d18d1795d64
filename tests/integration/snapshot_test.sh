#!/bin/bash
# backup_method = snapshot with commands as a DBA writes them: a read-only subvolume of Btrfs, a reflink copy in XFS, a
# frozen XFS copied below itself; of a primary and of a standby.  Whatever happens, the snapshot is released.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
. "$(dirname "$0")/../support/oracle.sh"
pg_need
[ "$(id -u)" -eq 0 ] || skip_all "mounting needs root"
for tool in mkfs.btrfs btrfs mkfs.xfs xfs_freeze; do
    command -v "$tool" >/dev/null || skip_all "$tool is not installed"
done
tide_tmp

# ---- two file systems: XFS in a file that lies on Btrfs

unmount_all() {
    local d
    for d in "$tmp/run"/snapshot-* "$tmp/run"/tidemark/snapshot-* "$tmp/xfs" "$tmp/btrfs"; do
        if mountpoint -q "$d"; then umount "$d" || umount -l "$d"; fi
    done
}
# What uses the mounts goes first; the rest is the library's.
snapshot_cleanup() {
    local rc=$? p
    [ "$BASHPID" = "$$" ] || exit "$rc"
    trap - EXIT
    xfs_freeze -u "$tmp/xfs" 2>/dev/null
    for p in ${tide_pids[@]+"${tide_pids[@]}"}; do kill "$p" 2>/dev/null; done
    for p in "$tmp"/btrfs/live/db "$tmp"/xfs/live/db; do pg_stop "$p" immediate; done
    unmount_all
    (exit "$rc")
    tide_cleanup
}
trap snapshot_cleanup EXIT
mkdir "$tmp/btrfs" "$tmp/xfs"
truncate -s 2G "$tmp/btrfs.img"
if ! mkfs.btrfs -q "$tmp/btrfs.img" >"$tmp/mount.log" 2>&1 || ! mount -o loop "$tmp/btrfs.img" "$tmp/btrfs" >>"$tmp/mount.log" 2>&1; then
    skip_all "no Btrfs can be mounted here: $(tail -1 "$tmp/mount.log")"
fi
truncate -s 1G "$tmp/btrfs/xfs.img"
if ! mkfs.xfs -q -m reflink=1 "$tmp/btrfs/xfs.img" >>"$tmp/mount.log" 2>&1 || ! mount -o loop "$tmp/btrfs/xfs.img" "$tmp/xfs" >>"$tmp/mount.log" 2>&1; then
    skip_all "no XFS can be mounted here: $(tail -1 "$tmp/mount.log")"
fi
btrfs -q subvolume create "$tmp/btrfs/live" >/dev/null
mkdir "$tmp/xfs/live" "$tmp/btrfs/live/space" "$tmp/xfs/live/space"
chmod 711 "$tmp/btrfs" "$tmp/xfs"
chown -R "$PG_USER" "$tmp/btrfs/live" "$tmp/xfs/live"

# ---- the DBA's commands, with a note of each call

: >"$tmp/calls"
cat >"$tmp/snap" <<SH
#!/bin/bash
# snap HOW take|mount|release
set -e
echo "\$2 \$1 \$TIDEMARK_INSTANCE \$TIDEMARK_BACKUP" >>"$tmp/calls"
if [ -f "$tmp/trouble-\$2" ]; then . "$tmp/trouble-\$2"; fi
case \$1-\$2 in
btrfs-take) btrfs -q subvolume snapshot -r "$tmp/btrfs/live" "$tmp/btrfs/snap-\$TIDEMARK_BACKUP" ;;
btrfs-mount) echo "$tmp/btrfs/snap-\$TIDEMARK_BACKUP" ;;
btrfs-release) [ ! -d "$tmp/btrfs/snap-\$TIDEMARK_BACKUP" ] || btrfs -q subvolume delete "$tmp/btrfs/snap-\$TIDEMARK_BACKUP" ;;
reflink-take) cp -a --reflink=always "$tmp/xfs/live" "$tmp/xfs/snap-\$TIDEMARK_BACKUP" ;;
reflink-mount) echo "$tmp/xfs/snap-\$TIDEMARK_BACKUP" ;;
reflink-release) rm -rf "$tmp/xfs/snap-\$TIDEMARK_BACKUP" ;;
frozen-take)
    xfs_freeze -f "$tmp/xfs"
    trap 'xfs_freeze -u "$tmp/xfs"' EXIT
    cp --reflink=always "$tmp/btrfs/xfs.img" "$tmp/btrfs/snap-\$TIDEMARK_BACKUP.img"
    ;;
frozen-mount) mount -o loop,nouuid "$tmp/btrfs/snap-\$TIDEMARK_BACKUP.img" "\$TIDEMARK_MOUNT" ;;
frozen-release)
    xfs_freeze -u "$tmp/xfs" 2>/dev/null || true
    ! mountpoint -q "\$TIDEMARK_MOUNT" || umount "\$TIDEMARK_MOUNT"
    rm -f "$tmp/btrfs/snap-\$TIDEMARK_BACKUP.img"
    ;;
esac
SH
chmod 755 "$tmp/snap"
leftovers() { find "$tmp/btrfs" "$tmp/xfs" -maxdepth 1 -name 'snap-*'; }
by_snapshot() { # CONF HOW [DIRECTORY]
    sed -i '/^backup_method/d; /_command =/d; /^snapshot_/d' "$1"
    printf '%s\n' "backup_method = snapshot" "snapshot_data_directory = ${3:-db}" "snapshot_command = $tmp/snap $2 take" \
        "mount_command = $tmp/snap $2 mount" "release_command = $tmp/snap $2 release" >>"$1"
}

# ---- a primary on Btrfs, its standby on XFS, a tablespace in each

port=$(free_port)
port_b=$(free_port)
pg_init "$tmp/btrfs/live/db" -k || exit 2
printf '%s\n' "autovacuum = off" "wal_keep_size = 256MB" "full_page_writes = on" | as_pg tee -a "$tmp/btrfs/live/db/postgresql.conf" >/dev/null
pg_start "$tmp/btrfs/live/db" "$port" || exit 2
sql "$port" "create tablespace space location '$tmp/btrfs/live/space'"
sql "$port" "create table placed (n int) tablespace space; insert into placed select generate_series(1, 1000)"
tide_conf shop "$port" "$tmp/btrfs/live/db" <<<"heartbeat_interval = 1s"
by_snapshot "$tmp/tidemark.conf" btrfs
exits 0 "the repository and the slot are made" tm init shop
oracle_keep_shipping
wait_for 15 shop_streams
as_pg "$PGBIN/pg_basebackup" -h "$tmp/run" -p "$port" -U postgres -D "$tmp/xfs/live/db" -c fast -X stream -R \
    -T "$tmp/btrfs/live/space=$tmp/xfs/live/space" 2>"$tmp/basebackup.log" || diag "$(cat "$tmp/basebackup.log")"
pg_start "$tmp/xfs/live/db" "$port_b" || exit 2
sed "s|port=$port |port=$port_b |; s|^data_directory.*|data_directory = $tmp/xfs/live/db|" "$tmp/tidemark.conf" >"$tmp/standby.conf"
ts() { "$TIDE_BUILD/tidemark" -c "$tmp/standby.conf" "$@"; }

oracle_begin "$port" 3 "${SNAPSHOT_SECONDS:-8}"
sleep 1
taken() { # HOW STANDBY: of what the last backup printed
    is "$(json 'd["method"], d["from_standby"]')" "('snapshot', $2)" "... by that method, from there"
    is "$(tail -3 "$tmp/calls" | cut -d' ' -f1,2,3 | tr '\n' ',')" "take $1 shop,mount $1 shop,release $1 shop," "... with each command once"
    is "$(leftovers)" "" "... and nothing of the snapshot is left"
    ids+=("$(json 'd["id"]')")
}
ids=()
exits 0 "a primary under load is backed up from a read-only subvolume" tm backup shop --fast --json
taken btrfs False
by_snapshot "$tmp/standby.conf" reflink
exits 0 "a standby is backed up from a reflink copy" ts backup shop --fast --json
taken reflink True
by_snapshot "$tmp/standby.conf" frozen live/db
exits 0 "a standby is backed up from an image of its frozen file system" ts backup shop --fast --json
taken frozen True
oracle_first=$(now_us)
oracle_end 60 && ok "the window reaches the end of the writing" || not_ok "the window reaches the end of the writing" "$(tm status shop 2>&1)"
for id in "${ids[@]}"; do
    seed=$RANDOM
    oracle_restore "from $id, seed $seed" "$(oracle_random $seed)" --backup "$id"
done
# What is consistent at its very end: nothing after it helps out.
exits 0 "the end of the standby's reflink copy is restored" restore_to "backup:${ids[1]}"
restored_sql() { as_pg "$PSQL" -h "$(json 'd["endpoint"]["socket"]')" -p "$(json 'd["endpoint"]["port"]')" -U postgres -d postgres -AtqX -c "$1"; }
is "$(restored_sql "select count(*), pg_relation_filepath('placed') like 'pg_tblspc/%' from placed")" "1000|t" "... with the table in its tablespace"
like "$(readlink "$tmp"/restored/pg_tblspc/*)" "^$tmp/restored.tablespaces/space$" "... which is the copy's own"
gone

# ---- whatever goes wrong, the snapshot is released, hot-backup mode is left and nothing is listed

sessions() { sql "$port" "select count(*) from pg_stat_activity where usename = 'tidemark' and backend_type = 'client backend'"; }
left() { [ "$(sessions)" = "$sessions" ]; }
sessions=$(sessions) # the shipper's
backups=$(find "$tmp/repo/instances/shop/backups" -type f | wc -l)
fails() { # NAME
    wait_for 15 released || true
    is "$(tail -1 "$tmp/calls" | cut -d' ' -f1)" release "$1: the snapshot is released"
    is "$(leftovers)" "" "... nothing of it is left"
    is "$(find "$tmp/repo/instances/shop/backups" -type f | wc -l)" "$backups" "... no backup is listed"
    wait_for 10 left || true
    is "$(sessions)" "$sessions" "... and no session that could hold hot-backup mode"
    rm -f "$tmp"/trouble-*
}
released() { [ "$(tail -1 "$tmp/calls" | cut -d' ' -f1)" = release ] && [ -z "$(leftovers)" ]; }
begun() { [ "$(tail -1 "$tmp/calls" | cut -d' ' -f1)" = "$1" ]; }

echo 'btrfs -q subvolume snapshot -r '"$tmp/btrfs/live"' '"$tmp/btrfs"'/snap-$TIDEMARK_BACKUP; exit 3' >"$tmp/trouble-take"
exits 1 "a snapshot_command that fails half-way fails the backup" tm backup shop --fast
like "$err" "snapshot_command.* 3" "... and is said, with its exit code"
fails "snapshot_command failed"
echo 'exit 4' >"$tmp/trouble-mount"
exits 1 "a mount_command that fails fails the backup" tm backup shop --fast
fails "mount_command failed"
echo 'echo /nowhere; exit 0' >"$tmp/trouble-mount"
exits 1 "a mount that is not there fails the backup" tm backup shop --fast
fails "the mount is not there"
sed -i 's/^snapshot_data_directory.*/snapshot_data_directory = elsewhere/' "$tmp/tidemark.conf"
exits 2 "a data directory that is not in the snapshot fails the backup" tm backup shop --fast
fails "no data directory"
by_snapshot "$tmp/tidemark.conf" btrfs
echo "snapshot_deadline = 1s" >>"$tmp/tidemark.conf"
echo 'sleep 60' >"$tmp/trouble-take"
began=$SECONDS
exits 1 "a deadline that passes fails the backup" tm backup shop --fast
like "$err" "deadline" "... and is said"
[ $((SECONDS - began)) -lt 20 ] && ok "... soon" || not_ok "... soon" "$((SECONDS - began)) s"
fails "the deadline passed"
by_snapshot "$tmp/tidemark.conf" btrfs

# The worker is the process below the one that was started.
interrupted() { # NAME SIGNAL WHOM...
    local name=$1 signal=$2
    shift 2
    echo 'sleep 60' >"$tmp/trouble-mount"
    : >"$tmp/calls"
    background backup tm backup shop --fast
    local tm_pid=$pid worker
    wait_for 20 begun mount || diag "$(cat "$tmp/backup.log")"
    worker=$(pgrep -P "$tm_pid")
    case $* in
    both) kill "-$signal" "$tm_pid" "$worker" ;;
    worker) kill "-$signal" "$worker" ;;
    *) kill "-$signal" "$tm_pid" ;;
    esac
    wait "$tm_pid" 2>/dev/null
    fails "$name"
}
interrupted "cancelled" INT tidemark
interrupted "tidemark was killed" KILL tidemark
interrupted "its worker was killed" KILL worker
interrupted "both were killed" KILL both

exits 0 "after all that a backup is taken" tm backup shop --fast --json
taken btrfs False

grep -v release_command "$tmp/tidemark.conf" >"$tmp/changed.conf"
: >"$tmp/calls"
exits 2 "without release_command no snapshot is taken" "$TIDE_BUILD/tidemark" -c "$tmp/changed.conf" backup shop --fast
is "$(cat "$tmp/calls")" "" "... no command is run"
like "$err" "release_command" "... and what is missing is said"
done_testing
