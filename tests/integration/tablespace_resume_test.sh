#!/bin/bash
# A restore that was cut off goes on only with the directories of tablespaces that it began with: another one that is
# named then may hold anything, and is not touched.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
shop_server
mkdir "$tmp/space" "$tmp/precious"
[ "$(id -u)" = 0 ] && chown postgres: "$tmp/space"
sql "$port" "create tablespace fast location '$tmp/space'"
sql "$port" "create table spaced (n int) tablespace fast"
shop_ship
shop_backup
sql "$port" "insert into rows values (1, 'x')"
sql "$port" "insert into spaced values (1)"
stop "$shipper" TERM
echo "somebody's" >"$tmp/precious/file"

for stage in after-files before-recovery; do
    TIDE_FAILPOINTS=restore-$stage=kill restore_to latest --tablespaces-into "$tmp/spaces" >/dev/null 2>&1
    exits 9 "killed at $stage it does not go on with another directory" restore_to latest --tablespace "fast=$tmp/precious"
    is "$(cat "$tmp/precious/file")" "somebody's" "... and that one is left alone"
    is "$(ls "$tmp/precious")" "file" "... entirely"
    exits 0 "the same command finishes" restore_to latest --tablespaces-into "$tmp/spaces"
    is "$(rows)" "1" "... with every row"
    is "$(ls "$tmp/spaces")" "fast" "... and the tablespace where it was sent"
    gone
    rm -rf "$tmp/spaces"
done
done_testing
