#!/bin/bash
# Disks that are full, a repository that goes away under a running shipper and comes back, two shippers: nothing that
# was acknowledged is lost, nothing is written where the repository is not, and each says what it is that fails.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
mounts=()
unmount_all() { for m in ${mounts[@]+"${mounts[@]}"}; do umount -l "$m" 2>/dev/null; done; }
trap 'unmount_all; tide_cleanup' EXIT
small() { # DIR SIZE: a file system of its own
    mkdir -p "$1"
    mount -t tmpfs -o "size=$2,mode=0755" tmpfs "$1" 2>/dev/null || return 1
    mounts+=("$1")
}
state() { tm status shop --json >"$tmp/.status" 2>/dev/null && json "$1" "$tmp/.status"; }
reasons() { state '" ".join(r["code"] + ": " + r["message"] for r in d["instances"][0]["reasons"])'; }
says() { reasons | grep -qiE "$1"; }

shop_server
n=0
commit() { n=$((n + 1)) && shop_commit $n; }

# ---- two shippers

shop_ship
first=$shipper
exits 6 "a second shipper is exit 6" timeout 60 "$TIDE_BUILD/tidemark" -c "$tmp/tidemark.conf" ship shop
like "$err" "(lease|holds|another|runs)" "... and says that somebody else ships"
tide_gone "$first" && not_ok "... and the first one goes on" || ok "... and the first one goes on"
shop_backup
commit
shop_reach

# ---- the repository goes away under the shipper: moved, and an empty directory left behind, as when it is unmounted

mv "$tmp/repo" "$tmp/away"
mkdir "$tmp/repo"
commit
commit
sleep 2
is "$(find "$tmp/repo" | wc -l)" 1 "nothing is written to where the repository is not"
tide_gone "$shipper" && not_ok "the shipper waits for it" "$(tail -3 "$tmp/ship.log")" || ok "the shipper waits for it"
exits 7 "a backup ends with 7 meanwhile" tm backup shop --fast
is "$(find "$tmp/repo" | wc -l)" 1 "... and writes nothing either"
rmdir "$tmp/repo"
mv "$tmp/away" "$tmp/repo"
commit
shop_reach
exits 0 "once it is back nothing is missing" restore_to latest
is "$(rows)" "$(seq -s ' ' 1 $n)" "... of what was committed meanwhile"
gone

# ---- a store that fails for a while, in every way it may

stop "$shipper" >/dev/null
cp "$tmp/tidemark.conf" "$tmp/good.conf"
sed -i "s|url = file://|url = faulty+file://|" "$tmp/tidemark.conf"
TIDE_FAULTY="put@5=io;put@7=unavailable;put@9=lost;put@11=full;put@13=denied;list@3=unavailable;get@4=io" background faulty tm ship shop
shipper=$pid
wait_for 15 shop_streams
for _ in 1 2 3 4 5 6 7 8 9 10; do commit && sleep 0.25; done
cp "$tmp/good.conf" "$tmp/tidemark.conf"
tide_gone "$shipper" && not_ok "the shipper outlives a faulty store" "$(tail -5 "$tmp/faulty.log")" || ok "the shipper outlives a faulty store"
shop_reach
exits 0 "every stored byte proves" tm verify shop
exits 0 "... and nothing is missing" restore_to latest
is "$(rows)" "$(seq -s ' ' 1 $n)" "... of all that was committed"
gone
stop "$shipper" >/dev/null

# ---- unmounted under the shipper, and mounted again

mv "$tmp/repo" "$tmp/real" && mkdir "$tmp/repo"
if mount --bind "$tmp/real" "$tmp/repo" 2>/dev/null; then
    mounts+=("$tmp/repo")
    shop_ship
    commit
    shop_reach
    umount -l "$tmp/repo"
    before=$(find "$tmp/real" | sort | sha256sum)
    commit
    sleep 2
    is "$(find "$tmp/repo" -mindepth 1 | wc -l)" 0 "nothing is written to where it was mounted"
    is "$(find "$tmp/real" | sort | sha256sum)" "$before" "... nor to what nobody sees any more"
    says "ship.stands" && ok "... and status says that the shipper stands still" || exits 7 "... and status says that it is not there" tm status shop
    mount --bind "$tmp/real" "$tmp/repo"
    commit
    shop_reach
    exits 0 "mounted again, nothing is missing" restore_to latest
    is "$(rows)" "$(seq -s ' ' 1 $n)" "... of what was committed meanwhile"
    gone
    stop "$shipper" >/dev/null
    umount "$tmp/repo"
else
    skip "an unmounted repository" "mounting needs root"
fi
rmdir "$tmp/repo" && mv "$tmp/real" "$tmp/repo"

# ---- full disks, where we may mount small ones

if small "$tmp/disk" 40m; then
    cp -a "$tmp/repo" "$tmp/disk/repo"
    sed -i "s|url = .*|url = file://$tmp/disk/repo|" "$tmp/tidemark.conf"
    shop_ship
    commit
    shop_reach
    dd if=/dev/zero of="$tmp/disk/ballast" bs=64k >/dev/null 2>&1
    sql "$port" "create table big as select g n, md5(g::text) t from generate_series(1, 30000) g" >/dev/null
    commit
    wait_for 20 says "ship.stands" && ok "a full repository is a reason" || not_ok "a full repository is a reason" "$(reasons)"
    like "$(reasons)" "(full|space)" "... that says so"
    tide_gone "$shipper" && not_ok "the shipper waits for room" "$(tail -3 "$tmp/ship.log")" || ok "the shipper waits for room"
    exits 1 "a backup fails" tm backup shop --fast
    like "$err" "(full|space)" "... for want of room"
    is "$(tm list shop --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["backups"]))')" 1 "... and no half one is listed"
    rm "$tmp/disk/ballast"
    commit
    shop_reach
    halves() { find "$tmp/disk/repo" -type f -path '*.tmp*'; }
    whole() { [ -z "$(halves)" ]; }
    wait_for 5 whole && ok "no half object is left" || not_ok "no half object is left" "$(halves)"

    # The disk on which the restored instance should go.
    small "$tmp/target" 16m
    into=$tmp/target/db
    exits 1 "a target that is too small is refused" tm restore shop --to latest --into "$into" --bin-dir "$PGBIN"
    like "$err" "needed, .*available" "... with what is needed and what there is"
    is "$(find "$tmp/target" -mindepth 1 | wc -l)" 0 "... and nothing is written"
    as_pg mkdir "$tmp/space"
    sql "$port" "create tablespace fast location '$tmp/space'"
    sql "$port" "create table in_space tablespace fast as select g n, repeat('x', 900) t from generate_series(1, 22000) g" >/dev/null
    shop_backup
    exits 1 "a tablespace's own disk that is too small is refused" tm restore shop --to latest --into "$tmp/into" --tablespace "fast=$tmp/target/fast" --bin-dir "$PGBIN"
    like "$err" "not enough space in \"$tmp/target" "... and named"
    exits 1 "... in a plan, too" tm restore shop --to latest --into "$tmp/into" --tablespace "fast=$tmp/target/fast" --bin-dir "$PGBIN" --plan --json
    like "$(json 'd["plan"]["problems"]')" "$tmp/target" "... among its problems"
    if [ -e "$tmp/into" ] || [ -e "$tmp/target/fast" ]; then not_ok "... and nothing is written"; else ok "... and nothing is written"; fi
    sql "$port" "drop table in_space" && sql "$port" "drop tablespace fast"
    shop_backup
    umount "$tmp/target" && mount -t tmpfs -o size=340m,mode=0755 tmpfs "$tmp/target"
    TIDE_FAILPOINTS=restore-after-files=kill tm restore shop --to latest --into "$into" --bin-dir "$PGBIN" >/dev/null 2>&1
    dd if=/dev/zero of="$tmp/target/ballast" bs=64k >/dev/null 2>&1
    exits 1 "a target that fills up fails" tm restore shop --to latest --into "$into" --bin-dir "$PGBIN"
    like "$err" "(No space|full|space)" "... for want of room"
    rm -f "$tmp/target/ballast"
    exits 0 "with room again the same command finishes" tm restore shop --to latest --into "$into" --bin-dir "$PGBIN" --json
    is "$(rows)" "$(seq -s ' ' 1 $n)" "... with every row"
    pg_stop "$into" immediate
    umount "$tmp/target"

    # The spool.
    stop "$shipper" >/dev/null
    small "$tmp/spooldisk" 8m
    cp "$tmp/tidemark.conf" "$tmp/plain.conf"
    printf '%s\n' "confirm = spool" "spool_directory = $tmp/spooldisk/spool" "spool_limit = 3MiB" >>"$tmp/tidemark.conf"
    sed -i "s|url = file://|url = faulty+file://|" "$tmp/tidemark.conf"
    cp "$tmp/tidemark.conf" "$tmp/spool.conf"
    sed -i "s|url = faulty+file://|url = file://|" "$tmp/tidemark.conf"
    TIDE_FAULTY="down=$tmp/down" background spooling "$TIDE_BUILD/tidemark" -c "$tmp/spool.conf" ship shop
    shipper=$pid
    wait_for 15 shop_streams
    commit
    shop_reach
    before=$(sql "$port" "select restart_lsn from pg_replication_slots")
    : >"$tmp/down"
    commit
    moved() { [ "$(sql "$port" "select restart_lsn > '$before' from pg_replication_slots")" = t ]; }
    wait_for 10 moved && ok "in an outage the spool is confirmed" || not_ok "in an outage the spool is confirmed" "$before"
    sql "$port" "create table bigger as select g n, md5(g::text) t from generate_series(1, 60000) g" >/dev/null
    commit
    wait_for 20 says "spool" && ok "a full spool is a reason" || not_ok "a full spool is a reason" "$(reasons)"
    held=$(sql "$port" "select pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > 1000000 from pg_replication_slots")
    is "$held" t "... and then the server keeps the log"
    rm "$tmp/down"
    shop_reach 60
    exits 0 "afterwards nothing is missing" restore_to latest
    is "$(rows)" "$(seq -s ' ' 1 $n)" "... of what was committed meanwhile"
    gone
else
    skip "full disks" "mounting a small file system needs root"
fi
done_testing
