#!/usr/bin/env bash
# backup_method = snapshot: the DBA's commands around a snapshot, on a plain copy and on real ones (Btrfs, XFS reflink).

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
mkdir "$tmp/snap"
chmod 777 "$tmp/snap"

lines() { # TAKE
    printf '%s\n' "backup_method = snapshot" "snapshot_deadline = 3s" \
        "snapshot_command = echo take \$TIDEMARK_INSTANCE \$TIDEMARK_BACKUP >>$tmp/snap/log && $1" \
        "mount_command = echo mounting; echo mount >>$tmp/snap/log; echo $tmp/snap/copy" \
        "release_command = echo release \$TIDEMARK_MOUNT >>$tmp/snap/log; rm -rf $tmp/snap/copy"
}
configure() { # TAKE
    { printf '%s\n' "lease_time = 3s" "heartbeat_interval = 1s" "ship_interval = 200ms" && lines "$1"; } |
        tide_conf shop "$port" "$tmp/db"
}

shop_server
configure "cp -a \$TIDEMARK_DATA_DIRECTORY $tmp/snap/copy"
shop_ship || not_ok "the shipper streams"
shop_commit 1
exits 0 "a backup of a snapshot is taken" tm backup shop --fast --json
is "$(json 'd["method"]')" snapshot "... and says so"
like "$(cat "$tmp/snap/log")" "^take shop 20[0-9]+T[0-9]+Z-[0-9a-f]+" "the commands know instance and backup"
is "$(cut -d' ' -f1 "$tmp/snap/log" | tr '\n' ' ')" "take mount release " "taken, mounted, released, in this order"
like "$(cat "$tmp/snap/log")" "^release $tmp/snap/copy" "release is told where it was mounted"
[ ! -e "$tmp/snap/copy" ] && ok "nothing of it is left" || not_ok "nothing of it is left"
shop_commit 2
shop_reach
exits 0 "it restores" restore_to "${shop_at[2]}"
is "$(rows)" "1 2" "... with its rows"
gone

# ---- commands that fail

: >"$tmp/snap/log"
configure "false"
exits 1 "a snapshot command that fails" tm backup shop --fast
like "$err" "snapshot_command ended with exit code 1" "... is named"
is "$(cut -d' ' -f1 "$tmp/snap/log" | tr '\n' ' ')" "take release " "... and what it may have taken is released"
: >"$tmp/snap/log"
configure "sleep 60"
begun=$SECONDS
exits 1 "a snapshot command that does not end is stopped" tm backup shop --fast
like "$err" "deadline" "... and says so"
if [ $((SECONDS - begun)) -lt 20 ]; then ok "... in time"; else not_ok "... in time" $((SECONDS - begun)); fi
is "$(cut -d' ' -f1 "$tmp/snap/log" | tr '\n' ' ')" "take release " "... and released"
is "$(sql "$port" "select count(*) from pg_stat_activity where query ilike '%backup_st%' and pid <> pg_backend_pid()")" 0 \
    "hot-backup mode is left"
sed -i '/snapshot_command/d' "$tmp/tidemark.conf"
exits 2 "without a snapshot command it is a matter of configuration" tm backup shop --fast
stop "$shipper"
is "$(tm list shop --json | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["backups"]))')" 1 "only the first one is listed"
pg_stop "$tmp/db"

# ---- real snapshots

loop_mount() { # TYPE FILE MOUNTPOINT OPTION...
    local type=$1 file=$2 at=$3
    shift 3
    truncate -s 700M "$file" && "mkfs.$type" -q "$@" "$file" >/dev/null 2>&1 && mkdir -p "$at" && mount -o loop "$file" "$at" 2>/dev/null
}

# A mount that something still looks into goes when that does; the script ends with the status given.
unmount_all() { # STATUS
    local type
    for type in xfs btrfs; do
        pg_stop "$tmp/mnt-$type/live/db"
        if mountpoint -q "$tmp/mnt-$type"; then umount "$tmp/mnt-$type" 2>/dev/null || umount -l "$tmp/mnt-$type"; fi
    done
    return "$1"
}

real() { # TYPE TAKE RELEASE MKFS_OPTION...
    local type=$1 take=$2 release=$3 at=$tmp/mnt-$1
    shift 3
    if [ "$(id -u)" -ne 0 ] || ! command -v "mkfs.$type" >/dev/null; then
        skip "a backup of a real snapshot on $type" "needs root and mkfs.$type"
        return
    fi
    if ! loop_mount "$type" "$tmp/$type.img" "$at" "$@"; then
        skip "a backup of a real snapshot on $type" "no loop mount here"
        return
    fi
    trap 'unmount_all $?; tide_cleanup' EXIT
    if [ "$type" = btrfs ]; then btrfs subvolume create "$at/live" >/dev/null; else mkdir "$at/live"; fi
    chmod 755 "$at" "$at/live"
    chown "$PG_USER" "$at/live"
    port=$(free_port)
    pg_init "$at/live/db" -k && pg_start "$at/live/db" "$port" || exit 2
    sql "$port" "create table rows (n int primary key, filler text)"
    rm -rf "$tmp/repo"
    tide_conf shop "$port" "$at/live/db" <<CONF
backup_method = snapshot
ship_interval = 200ms
heartbeat_interval = 1s
lease_time = 3s
snapshot_data_directory = db
snapshot_command = $take
mount_command = echo $at/snap
release_command = $release
CONF
    exits 0 "$type: the repository is made" tm init shop
    shop_ship || not_ok "$type: the shipper streams"
    shop_commit 1
    exits 0 "$type: a backup of a real snapshot is taken" tm backup shop --fast --json
    is "$(json 'd["method"]')" snapshot "$type: ... and says so"
    [ ! -e "$at/snap" ] && ok "$type: the snapshot is gone" || not_ok "$type: the snapshot is gone"
    shop_commit 2
    shop_reach
    exits 0 "$type: it restores" restore_to "${shop_at[2]}"
    is "$(rows)" "1 2" "$type: ... with its rows"
    gone
    stop "$shipper"
    pg_stop "$at/live/db"
    umount "$at" 2>/dev/null || umount -l "$at"
}

real btrfs "btrfs subvolume snapshot -r $tmp/mnt-btrfs/live $tmp/mnt-btrfs/snap" "btrfs subvolume delete $tmp/mnt-btrfs/snap"
real xfs "cp -a --reflink=always $tmp/mnt-xfs/live $tmp/mnt-xfs/snap" "rm -rf $tmp/mnt-xfs/snap"
done_testing
