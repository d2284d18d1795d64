#!/bin/bash
# With synchronous_standby_names naming the shipper a commit waits until it is durable in the repository: killed right
# after an acknowledgement, the server has lost nothing that was acknowledged.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
# An interval that no commit could wait for: when commits wait, it does not count.
SHOP_INTERVAL=1h shop_server
shop_ship
holds_back() { [ -n "$(sql "$port" "select restart_lsn from pg_replication_slots")" ]; }
wait_for 10 holds_back
like "$(sql "$port" "select restart_lsn from pg_replication_slots")" "/" "the slot holds log back as soon as it is streamed"
shop_backup
name=$(sql "$port" "select application_name from pg_stat_replication")
like "$name" "^tidemark" "the shipper has a name to be named by: $name"
sql "$port" "alter system set synchronous_standby_names = '$name'" && sql "$port" "select pg_reload_conf()" >/dev/null
is_sync() { [ "$(sql "$port" "select sync_state from pg_stat_replication")" = sync ]; }
wait_for 10 is_sync
is "$(sql "$port" "select sync_state from pg_stat_replication")" sync "the server waits for it"

# Commits one by one, each noted once it is acknowledged; the server is killed in the middle of them.
: >"$tmp/acknowledged"
(
    trap - EXIT
    for n in $(seq 1 2000); do
        sql "$port" "insert into rows values ($n, 'x')" || exit
        echo "$n" >>"$tmp/acknowledged"
    done
) >/dev/null 2>&1 &
writer=$!
sleep 4
kill -9 "$(head -1 "$tmp/db/postmaster.pid")"
wait "$writer"
acknowledged=$(tail -1 "$tmp/acknowledged")
[ "${acknowledged:-0}" -gt 10 ] && ok "commits are let go one by one" || not_ok "commits are let go one by one" "$acknowledged"
diag "$acknowledged commits were acknowledged in 4 s"
stop "$shipper" TERM

# The server and all it had are gone.
sleep 1
rm -rf "$tmp/db"
exits 0 "what is stored is restored without the server" restore_to latest
got=$(rows)
is "$(tr ' ' '\n' <<<"$got" | head -n "$acknowledged" | tail -1)" "$acknowledged" "every acknowledged commit is there"
[ "$(wc -w <<<"$got")" -le $((acknowledged + 1)) ] && ok "... and at most the one in flight beside" || not_ok "... and at most the one in flight beside" "$got"
gone

done_testing
