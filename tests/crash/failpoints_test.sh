#!/bin/bash
# The oracle's test with killers at fail points drawn at random: whatever is being done, it is killed there, again and
# again, and every restore still holds what it must.
#
#   CRASH_SECONDS, CRASH_RESTORES, CRASH_SEED      how long, how many restores, which draw

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/oracle.sh"
seconds=${CRASH_SECONDS:-120} restores=${CRASH_RESTORES:-12}
RANDOM=${CRASH_SEED:-$RANDOM} first=$RANDOM
pg_need
tide_tmp
port=$(free_port)
pg_init "$tmp/db" -k && pg_start "$tmp/db" "$port" || exit 2
head -c 32 /dev/urandom | base64 >"$tmp/key"
export TIDE_REPO_LINES="encryption_key_file = $tmp/key"
tide_conf shop "$port" "$tmp/db" <<CONF
lease_time = 3s
heartbeat_interval = 1s
ship_interval = 300ms
log_object_size = 256KiB
CONF
diag "the draw begins with $first"

pick() { # WORD...
    eval "echo \${$((RANDOM % $# + 1))}"
}

# Shippers that are killed sooner or later, each at another place.
keep_shipping() {
    (
        trap - EXIT INT
        trap 'kill "$child" 2>/dev/null; wait "$child"; exit 0' TERM
        while :; do
            point=$(pick ship-before-put ship-after-put ship-before-confirm merge-before-put merge-before-tombstone)
            TIDE_FAILPOINTS=$point=kill:$((RANDOM % 8 + 1)) "$TIDE_BUILD/tidemark" -c "$tmp/tidemark.conf" ship shop >>"$tmp/ship.log" 2>&1 </dev/null &
            child=$!
            wait "$child"
            echo "shipper with $point ended with status $?" >>"$tmp/ship.log"
            sleep 0.2
        done
    ) &
    shipper=$!
    tide_pids+=("$shipper")
}

exits 0 "the repository and the slot are made" tm init shop
keep_shipping
oracle_begin "$port" 4 "$seconds"
rc=0
tm backup shop --fast -q >/dev/null 2>&1 || rc=$?
case $rc in 0 | 3) ok "a base backup is taken under load" ;; *) not_ok "a base backup is taken under load" "exit $rc" ;; esac # 3: it had to ship its log itself
oracle_first=$(now_us)
end=$((SECONDS + seconds)) committed=1
while [ "$SECONDS" -lt "$end" ]; do
    case $((RANDOM % 4)) in
    0)
        kill -9 "$(head -1 "$tmp/db/postmaster.pid")" 2>/dev/null
        sleep 1
        pg_start "$tmp/db" "$port" 2>/dev/null || { sleep 2 && pg_start "$tmp/db" "$port"; }
        ;;
    *)
        point=$(pick pack-before-commit backup-before-tables backup-before-log backup-before-commit backup-after-commit none)
        rc=0
        TIDE_FAILPOINTS=$point=kill:1 tm backup shop --fast -q >>"$tmp/backup.log" 2>&1 || rc=$?
        case $rc,$point in 0,* | 3,* | *,backup-after-commit) committed=$((committed + 1)) ;; esac
        ;;
    esac
    sleep 1
done
wait_for 30 sql "$port" "select 1"
listed=$(tm list shop --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["backups"]))')
[ "$listed" -le "$committed" ] && [ "$listed" -ge 1 ] && ok "no half backup is listed: $listed of $committed" || not_ok "no half backup is listed" "$listed of $committed"
kill "$shipper" 2>/dev/null
wait "$shipper"
oracle_keep_shipping
if oracle_end 120; then ok "the window reaches the end of the writing"; else
    not_ok "the window reaches the end of the writing" "$(tm status shop 2>&1)
$(tail -20 "$tmp/ship.log")"
fi
diag "$(grep -c 'ended with status' "$tmp/ship.log") shippers were killed; $(cat "$tmp/writer.log" | tail -1)"
for ((i = 0; i < restores; i++)); do
    if [ $((RANDOM % 3)) -eq 0 ]; then
        point=$(pick extract-mid:$((RANDOM % 50 + 1)) restore-after-files restore-before-recovery)
        at=$(oracle_random "$((first + i))")
        case $point in *:*) order=${point%:*}=kill:${point#*:} ;; *) order=$point=kill ;; esac
        TIDE_FAILPOINTS=$order "$TIDE_BUILD/tidemark" -c "$tmp/tidemark.conf" restore shop --to "@${at:0:-6}.${at: -6}" --into "$tmp/restored" --bin-dir "$PGBIN" >/dev/null 2>&1
        ORACLE_GO_ON=1
    fi
    oracle_restore "seed $((first + i))" "$(oracle_random "$((first + i))")"
    ORACLE_GO_ON=''
done
oracle_restore "the last moment" "$oracle_until"
exits 0 "every stored byte proves" tm verify shop
done_testing
