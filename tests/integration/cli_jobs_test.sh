#!/usr/bin/env bash
# Jobs as processes: one at a time, crashes, hangs, cancellation; and the documents that others build on.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
shop_server "progress_deadline = 5s"
for i in 1 2 3; do shop_commit "$i"; done

sessions() { sql "$port" "select count(*) from pg_stat_activity where application_name like 'tidemark%'"; }
no_sessions() { [ "$(sessions)" = "$1" ]; }
backups() { tm list shop --json | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["backups"]))'; }
worker_of() { pgrep -P "$1" | head -1; }
keys() { python3 -c '
import json, sys
def walk(v, path):
    if isinstance(v, dict):
        for k in v: walk(v[k], path + "." + k)
    elif isinstance(v, list):
        for i in v[:1]: walk(i, path + "[]")
        if not v: print(path + "[]")
    else: print(path)
walk(json.load(open(sys.argv[1])), "")' "$tmp/.out" | sort -u; }
has() { # NAME KEY...
    local name=$1 all k
    shift
    all=$(keys)
    for k in "$@"; do
        if ! grep -qF -- "$k" <<<"$all"; then
            not_ok "$name" "no $k in
$all"
            return
        fi
    done
    ok "$name"
}

# ---- nobody ships

exits 3 "a backup that nobody ships for is done, but degraded" tm backup shop --fast --note reason=first --note 'who=a b'
like "$out" "only its" "... and says that only its end can be restored"
exits 0 "it is listed" tm list shop --json
is "$(json 'd["backups"][0]["restorable"], d["backups"][0]["only_its_end"], d["backups"][0]["notes"]')" \
    "(True, True, {'reason': 'first', 'who': 'a b'})" "... with what it is and its notes"
has "list has every key" .schema '.backups[].id' '.backups[].started' '.backups[].finished' '.backups[].kind' \
    '.backups[].method' '.backups[].lineage' '.backups[].start_position' '.backups[].end_position' '.backups[].bytes' \
    '.backups[].stored_bytes' '.backups[].new_bytes' '.backups[].server_version' '.backups[].kept' \
    '.backups[].restorable' '.backups[].verified' '.backups[].notes'
exits 0 "status can be read" tm status shop --json
like "$(json 'd["instances"][0]["state"]')" "warning|alert" "an instance without a shipper is never protected"
exits 1 "check warns" tm check shop -q

# ---- one shipper

shop_ship || not_ok "the shipper streams"
exits 6 "a second shipper is told that there is one" tm ship shop
like "$err" "held|ship" "... and says so"
worker=$(worker_of "$shipper")
is "$(tr '\0' ' ' <"/proc/$worker/cmdline")" "tidemark worker ship shop " "the shipper's worker says what it is, and no more"
is "$(stat -c %a "$tmp/run/tidemark")" 700 "the state directory is ours alone"
exits 0 "a backup with a shipper is whole" tm backup shop --fast --keep
kept=$(sed -n 's/^backup *//p' <<<"$out")
exits 0 "status, of a live shipper" tm status shop --json
has "status has every key" .schema '.instances[].name' '.instances[].engine' '.instances[].state' '.instances[].reasons' \
    '.instances[].windows[].earliest' '.instances[].windows[].latest' '.instances[].windows[].lineage' \
    '.instances[].windows[].precision_seconds' '.instances[].latest_restorable' '.instances[].exposure_seconds' \
    '.instances[].unshipped_bytes' '.instances[].held_back_bytes' '.instances[].gaps' '.instances[].last_backup.id' \
    '.instances[].last_backup.finished' '.instances[].last_backup.bytes' '.instances[].last_backup.stored_bytes' \
    '.instances[].next_backup' '.instances[].running[].job' '.instances[].running[].kind' \
    '.instances[].running[].started' '.instances[].running[].bytes_done' '.instances[].running[].bytes_total' \
    '.instances[].running[].eta_seconds'
is "$(json 'd["instances"][0]["state"]') $(json 'd["instances"][0]["reasons"]')" "protected []" "it is protected"
exits 0 "status for people" tm status
like "$out" "^shop +postgresql +protected" "... begins with the state"
like "$out" "restorable .* to " "... and has the window"
is "$(json 'json.dumps([b["kept"] for b in d["backups"]])' <(tm list shop --json))" "[false, true]" "--keep pins"
exits 9 "to unpin without a terminal needs --yes" tm keep shop "$kept" --off
exits 0 "... and works with it" tm keep shop "$kept" --off --yes
is "$(json 'json.dumps([b["kept"] for b in d["backups"]])' <(tm list shop --json))" "[false, false]" "... so that it is not pinned"
exits 1 "a backup that is not there cannot be kept" tm keep shop 20200101T000000Z-00000000

# ---- crashes and hangs cost their job only

kill -KILL "$worker"
wait "$shipper"
is "$?" 1 "a shipper whose worker is killed ends with 1"
like "$(cat "$tmp/ship.log")" "worker \"ship\" died of signal 9" "... and says so"
shop_ship || not_ok "the shipper streams again"

TIDE_FAILPOINTS=backup-before-log=kill exits 1 "a backup whose worker dies ends with 1" tm backup shop --fast
like "$err" "died of signal" "... and says so"
is "$(backups)" 2 "... and is not listed"
wait_for 10 no_sessions "$(sessions)" # those of the shipper stay
TIDE_FAILPOINTS=backup-before-commit=error exits 1 "a backup that fails before its commit" tm backup shop --fast
is "$(backups)" 2 "... is not listed either"

begun=$SECONDS
TIDE_FAILPOINTS=backup-before-log=hang exits 1 "a backup that hangs is stopped" tm backup shop --fast
like "$err" "no progress for 5 s" "... and says why"
if [ $((SECONDS - begun)) -lt 60 ]; then ok "... in time"; else not_ok "... in time" $((SECONDS - begun)); fi
exits 0 "the next backup is taken as if nothing had been" tm backup shop --fast

# ---- one backup at a time; cancelled, it lets the server go

background slow tm backup shop --fast --limit 2MiB
slow=$pid
wait_for 10 grep -q "backup.started" "$tmp/slow.log"
exits 6 "a second backup is told that one runs" tm backup shop --fast
exits 0 "status shows the one that runs" tm status shop --json
is "$(json 'sorted(r["job"] for r in d["instances"][0]["running"])')" "['backup', 'ship']" "... beside the shipper"
is "$(json '[r["kind"] for r in d["instances"][0]["running"] if r["job"] == "backup"]')" "['full']" "... and what it is"
before=$(sessions)
stop "$slow" INT
is "$?" 130 "Ctrl-C ends it with 130"
wait_for 10 eval '[ "$(sessions)" -lt "$before" ]' && ok "its session is gone, and hot-backup mode with it" ||
    not_ok "its session is gone, and hot-backup mode with it" "$(sessions) of $before"
is "$(backups)" 3 "... and it is not listed"

background slow tm backup shop --fast --limit 2MiB
slow=$pid
wait_for 10 grep -q "backup.started" "$tmp/slow.log"
sleep 1
worker=$(worker_of "$slow")
kill -KILL "$slow"
wait_for 20 tide_gone "$worker" && ok "a worker whose parent is killed ends by itself" ||
    not_ok "a worker whose parent is killed ends by itself"
is "$(backups)" 3 "... without a backup"

# ---- log files by name

segment=$(sql "$port" "select pg_walfile_name(pg_switch_wal())")
shop_commit 4
shop_reach
exits 0 "log get fetches a segment" tm log get shop "$segment" "$tmp/fetched"
is "$(stat -c %s "$tmp/fetched")" 16777216 "... whole"
cmp -s "$tmp/fetched" "$tmp/db/pg_wal/$segment" && ok "... byte for byte" || not_ok "... byte for byte"
exits 1 "log get says 1 for what is proved absent" tm log get shop 0000000100000F0000000001 "$tmp/none"
exits 1 "... for a history file, too" tm log get shop 00000009.history "$tmp/none"
exits 255 "a name that is none is 255" tm log get shop nonsense "$tmp/none"
exits 255 "a place that cannot be written is 255" tm log get shop "$segment" "$tmp/no/such/dir/x"
is "$(find "$tmp" -maxdepth 1 -name '*.tidemark-*')" "" "no temporary file is left"
(cd "$tmp" && tm log get shop "$segment" relative) && cmp -s "$tmp/relative" "$tmp/fetched" && ok "a path may be relative" ||
    not_ok "a path may be relative"
# A signal is passed on: 1 to 125 would be taken for the end of the log.
sed 's|url = file://|url = faulty+file://|' "$tmp/tidemark.conf" >"$tmp/slow.conf"
TIDE_FAULTY='get=slow:20s' background getter "$TIDE_BUILD/tidemark" -c "$tmp/slow.conf" log get shop "$segment" "$tmp/none"
sleep 0.5
stop "$pid"
is "$?" 143 "log get dies of the signal it gets"

exits 0 "log show" tm log show shop
like "$out" "lineage 1, branch 1" "... names the lineage"
exits 0 "log show, as a document" tm log show shop --json
has "... with its ranges" '.lineages[].ranges[].from' '.lineages[].ranges[].objects' '.lineages[].ranges[].last_commit'
exits 0 "log verify" tm log verify shop
like "$out" "^FOUND" "... finds what is there"
exits 0 "verify" tm verify shop --json
has "verify has its keys" .schema .instance '.bad[]' '.lost[]' .backups .bytes .percent .seconds
exits 0 "verify of a sample" tm verify shop --sample 5%
exits 2 "... of more than everything is a mistake" tm verify shop --sample 200%

# ---- a repository that is known, and nothing else

shop_only "$tmp/repo" "$tmp/only.conf"
to() { "$TIDE_BUILD/tidemark" -c "$tmp/only.conf" "$@"; }
exits 0 "status without an instance in the configuration" to status
like "$out" "^shop +postgresql" "... knows it from the repository"
exits 0 "list, too" to list shop
exits 0 "verify, too" to verify shop -q
exits 2 "backup cannot" to backup shop
stop "$shipper"
is "$?" 0 "a shipper that is told to stop ends with 0"
exits 0 "status goes on without it" tm status shop --json
like "$(json '[r["code"] for r in d["instances"][0]["reasons"]]')" "\\[\\]|ship.silent" "... and soon says that it is silent"
sleep 4
exits 0 "three heartbeats later" tm status shop --json
like "$(json '[r["code"] for r in d["instances"][0]["reasons"]]')" "ship.silent" "it is silent"
done_testing
