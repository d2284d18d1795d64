#!/bin/bash
# The server's clock jumps: an hour ahead for one commit, and back.  A time that then has more than one meaning is
# refused with what it may mean, and no acknowledged commit disappears behind the wrong stamp.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
fake=$(find /usr/lib -name libfaketimeMT.so.1 2>/dev/null | head -1)
[ -n "$fake" ] || skip_all "faketime is not installed"
tide_tmp
as_pg tee "$tmp/clock" >/dev/null <<<"+0"
jump() { as_pg tee "$tmp/clock" >/dev/null <<<"$1"; }

# The server alone sees the other clock.
as_pg() {
    local with=()
    case $* in *pg_ctl*start*) with=(env "LD_PRELOAD=$fake" FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1 "FAKETIME_TIMESTAMP_FILE=$tmp/clock") ;; esac
    if [ "$(id -u)" -eq 0 ]; then runuser -u "$PG_USER" -- "${with[@]}" "$@"; else "${with[@]}" "$@"; fi
}
shop_server
server_us() { sql "$port" "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"; }
jump +3600
ahead=$(($(server_us) - $(now_us)))
if [ "$ahead" -lt 3500000000 ]; then skip_all "faketime does not work here"; fi
jump +0
shop_ship
shop_backup
shop_commit 1
shop_reach
shop_commit 2
sleep 2

jump +3600
sql "$port" "insert into rows values (3)"
wrong=$(server_us)
sleep 1
jump +0
sleep 1
shop_commit 4
shop_commit 5
sleep 1
settled() { tm status shop --json >"$tmp/.status" 2>/dev/null && [ "$(json '[r["code"] for r in d["instances"][0]["reasons"] if r["code"] == "log.ambiguous"]' "$tmp/.status")" = "['log.ambiguous']" ]; }
wait_for 15 settled && ok "status says that the clock ran back" || not_ok "status says that the clock ran back" "$(cat "$tmp/.status")"
exits 1 "check warns of it" tm check shop
like "$out" "ran back" "... in words"

exits 0 "a time before the jump is restored" restore_to "${shop_at[1]}"
is "$(rows)" 1 "... as it was"
gone
exits 4 "a time after the jump back has two meanings" restore_to "${shop_at[4]}"
like "$(json 'd["error"]["message"]')" "more than one moment" "... and is refused as that"
hint=$(json 'd["error"]["hint"]')
like "$hint" "lsn:[0-9A-F]+/[0-9A-F]+ .*; lsn:[0-9A-F]+/[0-9A-F]+ " "... with the positions that it may mean"
if [ -e "$tmp/restored" ]; then not_ok "... and nothing is written"; else ok "... and nothing is written"; fi
exits 4 "a time of the wrong hour is refused" restore_to "$wrong"
first=$(grep -oE "lsn:[0-9A-F]+/[0-9A-F]+" <<<"$hint" | head -1) second=$(grep -oE "lsn:[0-9A-F]+/[0-9A-F]+" <<<"$hint" | tail -1)
exits 0 "the first position is restored" restore_to "$first"
is "$(rows)" "1 2" "... to before the wrong stamp"
gone
exits 0 "the second position is restored" restore_to "$second"
is "$(rows)" "1 2 3 4" "... to where the clock said so again"
gone
exits 0 "latest is restored" restore_to latest
is "$(rows)" "1 2 3 4 5" "... with everything that was acknowledged"
gone

# ---- the shipper's own clock is of no importance

stop "$shipper" >/dev/null
background ship2 env "LD_PRELOAD=$fake" DONT_FAKE_MONOTONIC=1 FAKETIME=+7200 "$TIDE_BUILD/tidemark" -c "$tmp/tidemark.conf" ship shop
wait_for 15 shop_streams
shop_commit 6
shop_commit 7
sleep 3
latest=$(shop_latest)
[ "$latest" -lt "$(($(now_us) + 5000000))" ] && ok "a shipper two hours ahead says nothing of the future" || not_ok "a shipper two hours ahead says nothing of the future" "$latest"
shop_backup
shop_reach
exits 0 "... and what it ships is restored" restore_to latest
is "$(rows)" "1 2 3 4 5 6 7" "... whole"
gone
done_testing
