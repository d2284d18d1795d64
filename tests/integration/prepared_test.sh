#!/bin/bash
# A transaction that was prepared is promised to whoever coordinates it: it is there after a restore, although no commit
# follows it in the log, until a commit says otherwise.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
PG_QUIET+=$'\nmax_prepared_transactions = 8'
restored_sql() {
    as_pg "$PSQL" -h "$(json 'd["endpoint"]["socket"]')" -p "$(json 'd["endpoint"]["port"]')" -U postgres -d postgres -AtqX -c "$1"
}
shop_server
shop_ship
shop_backup
sql "$port" "insert into rows values (1, 'committed')"
sql "$port" "begin; insert into rows values (2, 'in doubt'); prepare transaction 'doubt'"
sleep 3
before=$(now_us)
sleep 4

exits 0 "latest is restored" restore_to latest
is "$(restored_sql "select gid from pg_prepared_xacts")" doubt "latest has the transaction that was prepared last"
restored_sql "commit prepared 'doubt'"
is "$(rows)" "1 2" "... and it can be committed"
gone

sql "$port" "commit prepared 'doubt'"
sql "$port" "insert into rows values (3, 'later')"
sleep 3
exits 0 "a time before it was committed is restored" restore_to "$before"
is "$(restored_sql "select gid from pg_prepared_xacts")" doubt "then it is in doubt still"
is "$(rows)" "1" "... and shows nothing"
gone

stop "$shipper" TERM
done_testing
