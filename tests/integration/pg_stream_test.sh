#!/bin/bash
# Streaming against real servers: what is confirmed, how it ends, and what is refused.  A primary and a standby that
# is promoted in the middle.

. "$(dirname "$0")/../support/lib.sh"
pg_need
tide_tmp
plugin_log=$TIDE_BUILD/tools/plugin_log
[ -x "$plugin_log" ] || skip_all "plugin_log is not built"
so=$TIDE_PLUGIN_DIR/postgresql.so
p1=$(free_port) p2=$(free_port)
one="host=$tmp/run port=$p1 user=tidemark dbname=postgres"
two="host=$tmp/run port=$p2 user=tidemark dbname=postgres"
both="host=$tmp/run,$tmp/run port=$p1,$p2 user=tidemark dbname=postgres"

log() { "$plugin_log" "$so" "$@"; } # CONNECTION COMMAND ...
field() { sed -n "s/^$1 //p" <<<"$out" | head -1; }
slot() { sql "$1" "select coalesce(restart_lsn::text, 'unreserved'), active from pg_replication_slots where slot_name = '${2-tidemark_shop}'"; }
slot_is_free() { [ "$(slot "$1" | cut -d'|' -f2)" = f ]; }
flushed() { sql "$1" "select pg_current_wal_flush_lsn()"; }
at_least() { [ "$(sql "$1" "select '$2'::pg_lsn >= '$3'::pg_lsn")" = t ]; }

pg_init "$tmp/one" --data-checksums
as_pg tee -a "$tmp/one/postgresql.conf" >/dev/null <<<"wal_keep_size = 1GB
lc_messages = 'C'"
pg_start "$tmp/one" "$p1"
sql "$p1" "create table t(a int)"

# ------------------------------------------------------------------- set-up

exits 0 "check says that the slot is missing" log "$one" check
like "$out" "^critical postgresql.slot.missing .*\"tidemark_shop\"" "... critically"
like "$out" "fix: tidemark init shop" "... and what makes it"
exits 0 "set-up makes the slot" log "$one" setup
is "$(slot "$p1")" "unreserved|f" "... which holds nothing back"
exits 0 "set-up may be repeated" log "$one" setup
exits 0 "check is content" log "$one" check
unlike "$out" "^critical postgresql.(slot|role|replication|version|wal)" "... with slot, role and log"
INSTANCE=other exits 0 "another instance has another slot" log "$one" setup
is "$(slot "$p1" tidemark_other)" "unreserved|f" "... by its name"
INSTANCE=other exits 0 "remove takes it back" log "$one" remove
is "$(slot "$p1" tidemark_other)" "" "... and only that one"
is "$(slot "$p1")" "unreserved|f" "... not the first one's"

# ------------------------------------------------------------------ identity

# Two hosts of which one is away: whoever answers does, and the primary once it is there.
exits 0 "of two hosts one may be away" log "host=$tmp/run,$tmp/run port=$p2,$p1 user=tidemark dbname=postgres" clock
exits 0 "check names the host that is away" log "$both" check
like "$out" "^critical postgresql.connection .*:$p2" "... critically"

exits 0 "the log has an identity" log "$one" identify
is "$(field branch)" 1 "... on timeline 1"
like "$out" "^system_identifier=$(sql "$p1" "select system_identifier from pg_control_system()")$" "... with the system's identifier"
from=$(field from)
is "$(sql "$p1" "select ('$from'::pg_lsn - '0/0') % 16777216")" 0 "shipping begins where a segment does"
evidence1=$(sed -n '/^system_identifier/,$p' <<<"$out")

# ----------------------------------------------------------------- streaming

sql "$p1" "insert into t select generate_series(1, 20000)"
end=$(flushed "$p1")
STOP_AT=$end exits 0 "the log is streamed" log "$one" stream - - 30 "$tmp/stream"
is "$(field end)" cancelled "... until it is cancelled"
at_least "$p1" "$(field whole)" "$end" && ok "... whole to the end" || not_ok "... whole to the end" "$out"
is "$(field idle)" yes "... and idle is told"
segment=$(sql "$p1" "select pg_walfile_name('$from'::pg_lsn + 1)")
bytes=$(stat -c %s "$tmp/stream")
[ "$bytes" -gt 16777216 ] && bytes=16777216
cmp -s -n "$bytes" "$tmp/stream" "$tmp/one/pg_wal/$segment" && ok "what came is what lies in pg_wal" || not_ok "what came is what lies in pg_wal"
at_least "$p1" "$(slot "$p1" | cut -d'|' -f1)" "$end" && ok "what is durable is confirmed" || not_ok "what is durable is confirmed" "$(slot "$p1")"

# Nothing that is not durable is confirmed.
before=$(slot "$p1" | cut -d'|' -f1)
sql "$p1" "insert into t select generate_series(1, 1000)"
DURABLE=600000 background never "$plugin_log" "$so" "$one" stream - - 600
never=$pid
everything_is_sent() { [ "$(sql "$p1" "select count(*) from pg_stat_replication where sent_lsn >= pg_current_wal_flush_lsn() and application_name = 'tidemark_shop'")" = 1 ]; }
wait_for 20 everything_is_sent
is "$(slot "$p1")" "$before|t" "what is not durable is not confirmed"
exits 1 "a slot in use is busy" log "$one" stream - - 3
like "$out" "failed stream: busy: .*active for PID" "... and says so"
kill -9 "$never"
wait "$never" 2>/dev/null

# But an unreserved slot holds the log from the first moment, or a checkpoint could take what is being sent.
wait_for 20 slot_is_free "$p1"
log "$one" remove >/dev/null
log "$one" setup >/dev/null
DURABLE=600000 background never "$plugin_log" "$so" "$one" stream "$from" - 600
never=$pid
wait_for 20 everything_is_sent
is "$(slot "$p1")" "$from|t" "a slot holds the log from where we began"
kill -9 "$never"
wait "$never" 2>/dev/null

# A commit waits for us, and only as long as it has to.
wait_for 20 slot_is_free "$p1"
sql "$p1" "alter system set synchronous_standby_names = 'tidemark_shop'" && sql "$p1" "select pg_reload_conf()" >/dev/null
exits 0 "check sees a synchronous candidate" log "$one" check
like "$out" "^warning postgresql.synchronous.only_candidate" "... and warns that it is the only one"
for level in remote_write on remote_apply; do
    DURABLE=700 background sync "$plugin_log" "$so" "$one" stream - - 60
    sync=$pid
    wait_for 20 eval 'test "$(sql "$p1" "select sync_state from pg_stat_replication where application_name = '\''tidemark_shop'\''")" = sync'
    begin=$(date +%s%3N)
    sql "$p1" "set synchronous_commit = $level; insert into t values (1)"
    took=$(($(date +%s%3N) - begin))
    [ "$took" -ge 600 ] && [ "$took" -lt 5000 ] && ok "with $level a commit waits until it is durable" || not_ok "with $level a commit waits until it is durable" "$took ms"
    kill -9 "$sync"
    wait "$sync" 2>/dev/null
done
sql "$p1" "alter system set synchronous_commit = remote_apply" && sql "$p1" "select pg_reload_conf()" >/dev/null
exits 0 "check sees remote_apply" log "$one" check
like "$out" "^critical postgresql.synchronous.remote_apply" "... critically"
sql "$p1" "alter system reset synchronous_standby_names" && sql "$p1" "alter system reset synchronous_commit" && sql "$p1" "select pg_reload_conf()" >/dev/null

# ------------------------------------------------------------------- clock

# What was acknowledged before the clock was read lies below the end, also what is not flushed yet.
good=0
for i in 1 2 3 4 5 6 7 8 9 10; do
    acked=$(sql "$p1" "set synchronous_commit = off; insert into t values ($i); select pg_current_wal_insert_lsn(), (extract(epoch from clock_timestamp()) * 1000000)::bigint" | tail -1)
    out=$(log "$one" clock)
    [ "$(field clock)" -gt "${acked#*|}" ] && at_least "$p1" "$(field end)" "${acked%|*}" && good=$((good + 1))
done
is "$good" 10 "a clock covers what was acknowledged before it"
sql "$p1" "select pg_switch_wal()" >/dev/null
sleep 0.5
out=$(log "$one" clock)
STOP_AT=$(field end) exits 0 "after a switch the end can be reached" log "$one" stream - - 20
at_least "$p1" "$(field at)" "$(log "$one" clock | sed -n 's/^end //p')" && ok "... without page headers" || not_ok "... without page headers" "$out"

# ---------------------------------------------------------------- interruptions

background cut "$plugin_log" "$so" "$one" stream - - 60
cut=$pid
wait_for 20 eval 'test "$(slot "$p1" | cut -d"|" -f2)" = t'
sql "$p1" "select pg_terminate_backend(pid) from pg_stat_replication where application_name = 'tidemark_shop'" >/dev/null
wait "$cut"
like "$(cat "$tmp/cut.log")" "failed stream: try again" "a connection that is ended may be tried again"
sql "$p1" "select pg_drop_replication_slot('tidemark_shop')" >/dev/null
STOP_AT=$(flushed "$p1") exits 0 "a slot that vanished is made anew" log "$one" stream - - 20
like "$err" "postgresql.slot.recreated" "... and that is said"

background stopped "$plugin_log" "$so" "$one" stream - - 60
stopped=$pid
wait_for 20 eval 'test "$(slot "$p1" | cut -d"|" -f2)" = t'
pg_stop "$tmp/one" fast && ok "a server can be stopped while we stream" || not_ok "a server can be stopped while we stream"
wait "$stopped"
like "$(cat "$tmp/stopped.log")" "failed stream: try again" "... and we may try again"
exits 1 "nobody answers" log "$one" identify
like "$out" "try again: could not connect" "... and we may try again"
pg_start "$tmp/one" "$p1"

# -------------------------------------------------------------------- refusals

end=$(flushed "$p1")
exits 0 "a position that is not there yet is ahead" log "$one" stream 7F/0 - 10
is "$(field end)" ahead "... it says"
EVIDENCE=$(sed 's/^system_identifier=.*/system_identifier=1/' <<<"$evidence1") exits 0 "another system is no continuation" log "$one" stream "$from" 1 10
is "$(field end)" foreign "... it says"
exits 1 "a wrong role is denied" log "host=$tmp/run port=$p1 user=nobody dbname=postgres" identify
like "$out" "denied: could not connect" "... for good"
sql "$p1" "create role secret login replication password 'right'"
as_pg sed -i "1i host all secret 127.0.0.1/32 scram-sha-256" "$tmp/one/pg_hba.conf"
as_pg sed -i "1i host replication secret 127.0.0.1/32 scram-sha-256" "$tmp/one/pg_hba.conf"
sql "$p1" "select pg_reload_conf()" >/dev/null
tcp="host=127.0.0.1 port=$p1 user=secret dbname=postgres"
PASSWORD=wrong exits 1 "a wrong password is denied" log "$tcp" clock
like "$out" "denied: .*password" "... for good"
unlike "$out$err" "wrong" "... and not repeated"
exits 1 "no password is denied" log "$tcp" clock
like "$out" "denied: " "... for good"
PASSWORD=right exits 0 "the right one is taken" log "$tcp" clock
exits 0 "check names what the role lacks" env PASSWORD=right "$plugin_log" "$so" "$tcp" check
like "$out" "GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_stop\(boolean\) TO secret" "... with the statement"
like "$out" "GRANT pg_monitor TO secret" "... for each"

# ---------------------------------------------------------- standby and failover

as_pg "$PGBIN/pg_basebackup" -h "$tmp/run" -p "$p1" -U postgres -D "$tmp/two" -R -X stream -c fast >/dev/null 2>&1
pg_start "$tmp/two" "$p2"
exits 0 "a standby makes no promise" log "$two" clock
is "$(field standby) $(field end)" "1 0/0" "... about its log"
exits 0 "check sees that one host lacks the slot" log "$both" check
like "$out" "^critical postgresql.slot.missing .*:$p2\"" "... and names it"
exits 0 "every host gets its slot" log "$both" setup
is "$(slot "$p2")" "unreserved|f" "... the standby too"
exits 0 "of several hosts the primary is asked" log "host=$tmp/run,$tmp/run port=$p2,$p1 user=tidemark dbname=postgres" clock
is "$(field standby)" 0 "... wherever it stands in the list"

sql "$p1" "insert into t select generate_series(1, 5000)"
background kept "$plugin_log" "$so" "$both" stream - - 120
kept=$pid
wait_for 40 eval 'test "$(slot "$p2" | cut -d"|" -f1)" != unreserved' && ok "the standby's slot holds log now" || not_ok "the standby's slot holds log now"
sql "$p1" "insert into t select generate_series(1, 5000)"
want=$(flushed "$p1")
wait_for 40 eval 'at_least "$p1" "$(slot "$p2" | cut -d"|" -f1)" "$want"' && ok "... and is moved along" || not_ok "... and is moved along" "$(slot "$p2") is behind $want"
kill -TERM "$kept"
wait "$kept" 2>/dev/null

out=$(log "$two" identify)
from=$(field from)

exits 0 "check sees that nobody streams" log "$both" check
like "$out" "^warning postgresql.slot.idle .* nobody streams" "... though log is held back"

# The standby is promoted while it streams to us.
wait_for 20 slot_is_free "$p2"
background promoted "$plugin_log" "$so" "$two" stream - - 60
promoted=$pid
wait_for 20 eval 'test "$(slot "$p2" | cut -d"|" -f2)" = t'
as_pg "$PGBIN/pg_ctl" -D "$tmp/two" -w promote >/dev/null
wait "$promoted"
out=$(cat "$tmp/promoted.log")
is "$(field end)" branch-end "a promotion ends the branch"
is "$(field next)" 2 "... and names the next"
fork=$(awk '$1 == 1 { print $2 }' "$tmp/two/pg_wal/00000002.history")
is "$(field at)" "$fork" "... at the fork"
is "$(field whole)" "$fork" "... up to which all is whole"
like "$out" "^history=1\\\\t$fork" "... with the server's history as evidence"
evidence2=$(sed -n '/^system_identifier/,/^history/p' <<<"$out")

EVIDENCE=$evidence1 exits 0 "a stored timeline 1 is streamed to its end by the new primary" log "$two" stream "$from" 1 20
is "$(field end) $(field at)" "branch-end $fork" "... it says"
EVIDENCE=$evidence1 exits 0 "so it is from the fork itself" log "$two" stream "$fork" 1 20
is "$(field end) $(field at) $(field bytes)" "branch-end $fork 0" "... it says"
sql "$p1" "insert into t select generate_series(1, 3000)"
EVIDENCE=$evidence1 exits 0 "what the old primary wrote beyond it is ahead" log "$two" stream "$(flushed "$p1")" 1 20
is "$(field end) $(field at) $(field next)" "ahead $fork 2" "... it says, and names the fork"
EVIDENCE=$evidence2 exits 0 "the old primary does not continue timeline 2" log "$one" stream "$fork" 2 20
is "$(field end)" foreign "... it says"
sql "$p2" "insert into t values (1)"
STOP_AT=$(flushed "$p2") EVIDENCE=$evidence2 exits 0 "timeline 2 goes on at the fork" log "$two" stream "$from" 2 20
like "$out" "commits [1-9]" "... with commits"

# ------------------------------------------------------------------- log removed

sql "$p2" "alter system set wal_keep_size = 0"
sql "$p2" "alter system set max_slot_wal_keep_size = '1MB'"
sql "$p2" "select pg_reload_conf()" >/dev/null
for i in 1 2 3 4; do sql "$p2" "insert into t values ($i); select pg_switch_wal()" >/dev/null; done
sql "$p2" "checkpoint; insert into t values (1); select pg_switch_wal(); checkpoint" >/dev/null
exits 0 "check sees a slot that the server gave up" log "$two" check
like "$out" "^critical postgresql.slot.lost" "... critically"
EVIDENCE=$evidence2 exits 0 "log that is gone" log "$two" stream "$fork" 2 20
is "$(field end)" removed "... is removed"
oldest=$(find "$tmp/two/pg_wal" -maxdepth 1 -name '00000002????????????????' -printf '%f\n' | sort | head -1)
is "$(field oldest)" "$(printf '%X/%X' $((16#${oldest:8:8})) $((16#${oldest:16:8} * 16777216)))" "... and what is left is told"
STOP_AT=$(flushed "$p2") exits 0 "from there it goes on" log "$two" stream "$(field oldest)" 2 20
is "$(field end)" cancelled "... with the slot made anew"
done_testing
