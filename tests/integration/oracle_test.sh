#!/bin/bash
# The test that defines the product: whatever was killed meanwhile, a restore to any microsecond holds every row that was
# acknowledged before it, none that was sent after it, and every transaction whole or not at all.
#
#   ORACLE_SECONDS, ORACLE_SEEDS, ORACLE_KILLS, ORACLE_FIRST_SEED   how long, how many restores, how many kills
#   PGBIN                                        the server's programs

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/oracle.sh"
seconds=${ORACLE_SECONDS:-16} seeds=${ORACLE_SEEDS:-3} kills=${ORACLE_KILLS:-3} first=${ORACLE_FIRST_SEED:-$RANDOM}
pg_need
tide_tmp
port=$(free_port)
pg_init "$tmp/db" -k && pg_start "$tmp/db" "$port" || exit 2
export TIDE_REPO_LINES="encryption_key_file = $tmp/key"
tide_conf shop "$port" "$tmp/db" <<CONF
lease_time = 4s
heartbeat_interval = 2s
CONF
diag "seeds from $first"

exits 0 "the repository and the slot are made" tm init shop
oracle_keep_shipping
oracle_begin "$port" 4 "$seconds"
exits 0 "a base backup is taken under load" tm backup shop --fast
oracle_first=$(now_us)

kill_one() {
    case $((RANDOM % 3)) in
    0) diag "killing the shipper" && kill -9 "$(cat "$tmp/ship.pid")" ;;
    1)
        diag "killing the server"
        kill -9 "$(head -1 "$tmp/db/postmaster.pid")"
        sleep 1
        pg_start "$tmp/db" "$port" || sleep 2 && pg_start "$tmp/db" "$port" 2>/dev/null
        ;;
    2)
        diag "killing a backup"
        background backup tm backup shop
        sleep 0.5
        kill -9 "$pid"
        sleep 1 # its worker goes with it
        ;;
    esac
}

for ((i = 0; i < kills; i++)); do
    sleep "$((seconds / (kills + 1)))"
    kill_one
done
exits 0 "a second base backup is taken after the kills" tm backup shop --fast
if oracle_end 90; then ok "the window reaches the end of the writing"; else
    not_ok "the window reaches the end of the writing" "$(tm status shop 2>&1)
$(tail -20 "$tmp/ship.log")"
fi
diag "$(cat "$tmp/writer.log")"
for ((i = 0; i < seeds; i++)); do
    oracle_restore "seed $((first + i))" "$(oracle_random "$((first + i))")"
done
oracle_restore "the last moment" "$oracle_until"
exits 0 "every stored byte proves" tm verify shop
done_testing
