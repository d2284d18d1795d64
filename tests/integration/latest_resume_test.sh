#!/bin/bash
# "latest" moves on while the source lives; a restore to it that was cut off is gone on with by the same command all the same.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
shop_server
shop_ship
shop_backup
shop_commit 1
shop_reach
for stage in after-files before-recovery; do
    TIDE_FAILPOINTS=restore-$stage=kill restore_to latest >/dev/null 2>&1
    last=$((${last:-1} + 1))
    shop_commit $last
    shop_reach
    exits 9 "killed at $stage it does not go on to another target" restore_to "${shop_at[1]}"
    exits 0 "... but to what is latest now" restore_to latest
    is "$(rows)" "$(seq -s ' ' 1 $last)" "... with what came since"
    gone
done
stop "$shipper" TERM
done_testing
