#!/bin/bash
# What people get wrong: each mistake has its exit code, says what it is, and leaves everything as it was.

. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/shop.sh"
pg_need
tide_tmp
head -c 32 /dev/urandom | base64 >"$tmp/key"
head -c 32 /dev/urandom | base64 >"$tmp/other-key"
export TIDE_REPO_LINES="encryption_key_file = $tmp/key"
shop_server
shop_ship
shop_backup
shop_commit 1
shop_commit 2
shop_reach

# A configuration with one line changed.
changed() { sed "$1" "$tmp/tidemark.conf" >"$tmp/changed.conf"; }
tc() { "$TIDE_BUILD/tidemark" -c "$tmp/changed.conf" "$@"; }

# ---- keys and credentials

changed "s|/key|/other-key|"
exits 8 "a wrong key is exit 8" tc status shop
like "$err" "key" "... and said"
exits 8 "a wrong key does not take a backup" tc backup shop --fast
exits 8 "a wrong key does not restore" tc restore shop --to latest --into "$tmp/none"
changed "/encryption_key_file/d"
exits 8 "a missing key is exit 8" tc list shop
like "$err" "encrypt" "... and said"
changed "s|/key|/no-such-key|"
exits 8 "a key file that is not there is exit 8" tc list shop
like "$err" "no-such-key" "... and named"
mkdir "$tmp/plain"
changed "s|url = .*|url = file://$tmp/plain/repo|; /encryption_key_file/d"
exits 0 "a repository without encryption is made" tc init shop
like "$err$out" "not encrypted" "... with a warning"
changed "s|url = .*|url = file://$tmp/plain/repo|"
exits 9 "a key for a repository without encryption is refused" tc status shop

# A password that the server does not take.
as_pg sed -i '1i local all tidemark scram-sha-256\nlocal replication tidemark scram-sha-256' "$tmp/db/pg_hba.conf"
sql "$port" "alter role tidemark password 'right'; select pg_reload_conf()" >/dev/null
echo wrong >"$tmp/password"
chmod 600 "$tmp/password"
sed "/^connection/a password_file = $tmp/password" "$tmp/tidemark.conf" >"$tmp/changed.conf"
exits 8 "a wrong password is exit 8" tc backup shop --fast
unlike "$err" "wrong$|right" "... and no secret is printed"
exits 2 "check calls it critical" tc check shop
echo right >"$tmp/password"
exits 0 "the right password is let in" tc backup shop --fast -q
as_pg sed -i '1,2d' "$tmp/db/pg_hba.conf"
sql "$port" "select pg_reload_conf()" >/dev/null

# ---- configuration

changed "s|^lease_time|leese_time|"
exits 2 "an unknown key is exit 2" tc backup shop
line=$(grep -n '^leese_time' "$tmp/changed.conf" | cut -d: -f1)
like "$err" "changed.conf:$line" "... with file and line"
like "$err" "leese_time" "... and its name"
exits 2 "... for a check of the configuration, too" tc config check
changed "s|^state_directory|state_dir|"
exits 2 "an unknown key of the daemon is exit 2 for every command" tc status shop
changed "s|^ship_interval.*|ship_interval = 2|"
exits 2 "a duration without a unit is exit 2" tc status shop
changed "s|dbname=postgres|dbname=postgres password=secret-word|"
exits 2 "a password in the connection string is refused" tc status shop
unlike "$err$out" "secret-word" "... and not printed"
exits 2 "a configuration that is not there is exit 2" "$TIDE_BUILD/tidemark" -c "$tmp/none.conf" status
exits 2 "an unknown command is exit 2" tm restor shop
exits 2 "an unknown option is exit 2" tm restore shop --two latest --into "$tmp/none"
changed "s|url = .*|url = file://$tmp/nowhere/repo|"
exits 7 "a repository that is not there is exit 7" tc status shop
mkdir "$tmp/unmounted"
changed "s|url = .*|url = file://$tmp/unmounted|"
exits 7 "a directory that is no repository is exit 7" tc backup shop --fast
is "$(ls -A "$tmp/unmounted")" "" "... and nothing is written to it"

# ---- targets

none() { if [ -e "$tmp/none" ]; then not_ok "... and nothing is written"; else ok "... and nothing is written"; fi; }
exits 2 "restore wants --to" tm restore shop --into "$tmp/none"
exits 2 "a time without zone is exit 2" tm restore shop --to "2026-11-22 10:15:30" --into "$tmp/none"
like "$err" "zone" "... and says what is missing"
none
exits 2 "a time that came twice is exit 2" tm restore shop --to "2025-10-26 02:30:00 Europe/Berlin" --into "$tmp/none"
like "$err" "02:30:00\\+02:00.*02:30:00\\+01:00" "... with both that it may mean"
exits 2 "a time that never was is exit 2" tm restore shop --to "2025-03-30 02:30:00 Europe/Berlin" --into "$tmp/none"
exits 2 "an abbreviation is exit 2" tm restore shop --to "2025-11-22 10:15:30 IST" --into "$tmp/none"
exits 4 "a time before the window is exit 4" tm restore shop --to "2001-01-01 00:00:00Z" --into "$tmp/none" --json
like "$(json 'd["error"]["nearest"]["after"]')" "^20[0-9-]+T[0-9:.]+Z$" "... with the nearest time after"
is "$(json 'd["error"]["nearest"]["before"]')" "None" "... and none before"
is "$(json 'd["schema"]') $(json 'd["error"]["exit"]') $(json 'sorted(d["error"])')" "1 4 ['code', 'exit', 'hint', 'message', 'nearest']" "... in the document that DESIGN describes"
none
exits 4 "a time in the future is exit 4" tm restore shop --to "2101-01-01 00:00:00Z" --into "$tmp/none" --json
like "$(json 'd["error"]["nearest"]["before"]')" "^20" "... with the nearest time before"
is "$(json 'd["error"]["nearest"]["after"]')" "None" "... and none after"
exits 4 "an unknown backup is exit 4" tm restore shop --to backup:20200101T000000Z-00000000 --into "$tmp/none"
exits 4 "an unknown restore point is exit 4" tm restore shop --to name:nothing --into "$tmp/none"
exits 4 "an unknown transaction is exit 4" tm restore shop --to xid:4000000000 --into "$tmp/none"
exits 2 "a position that is none is exit 2" tm restore shop --to lsn:abc --into "$tmp/none"
exits 4 "a position that is not stored yet is exit 4" tm restore shop --to lsn:FF/0 --into "$tmp/none"
exits 2 "an unknown instance is exit 2" tm restore nosuch --to latest --into "$tmp/none"
like "$err" "nosuch" "... and named"
exits 2 "... also for a list" tm list nosuch
exits 2 "... for what log there is" tm log show nosuch
exits 2 "... for the configuration" tm config show nosuch
exits 2 "an empty target is exit 2" tm restore shop --to "" --into "$tmp/none"
like "$err" '"--to" is empty' "... and said"
exits 2 "an empty directory is exit 2" tm restore shop --to latest --into=
exits 2 "a word that is missing is exit 2" tm keep shop
like "$err" "keep INSTANCE BACKUP" "... with what was expected"
exits 2 "binaries that are not there are exit 2" tm restore shop --to latest --into "$tmp/none" --bin-dir /usr/bin
none
exits 2 "a port in use is exit 2" tm restore shop --to latest --into "$tmp/none" --port "$port"
none

# ---- directories

mkdir "$tmp/full"
echo precious >"$tmp/full/file"
exits 9 "a directory that is not empty is refused" tm restore shop --to latest --into "$tmp/full"
is "$(find "$tmp/full" -type f -exec cat {} +)" "precious" "... and untouched"
exits 9 "the source's own directory is refused" tm restore shop --to latest --into "$tmp/db"
is "$(sql "$port" 'select count(*) from rows')" 2 "... and the source lives"
TIDE_FAILPOINTS=restore-after-files=kill restore_to "${shop_at[1]}" >/dev/null 2>&1
exits 9 "another target into an unfinished restore is refused" restore_to "${shop_at[2]}"
like "$out" "unfinished" "... and said"
exits 0 "the same command goes on with it" restore_to "${shop_at[1]}"
is "$(rows)" 1 "... and the rows are those of that moment"
gone

# ---- log get

get() { tm log get shop "$1" "$tmp/got"; }
segment() { sql "$port" "select pg_walfile_name($1)"; }
first=$(segment "(select restart_lsn from pg_replication_slots)")
sql "$port" "select pg_switch_wal()" >/dev/null
shop_commit 3
shop_reach
exits 0 "a log file that is stored is exit 0" get "$first"
is "$(stat -c %s "$tmp/got")" "$((16 << 20))" "... and whole"
cmp -s "$tmp/got" "$tmp/db/pg_wal/$first" && ok "... and the server's own" || not_ok "... and the server's own"
rm -f "$tmp/got"
exits 1 "a log file beyond the end is exit 1" get 000000010000000000000099
exits 1 "a history file that is not there is exit 1" get 00000099.history
reserved=$(ls "$tmp/repo/instances/shop/branches" | tail -1)
exits 0 "the history file of a reserved timeline is exit 0" get "${reserved: -8}.history"
rm -f "$tmp/got"
exits 255 "a name that is no log file's is exit 255" get nonsense
exits 255 "a missing argument is exit 255" tm log get shop "$first"
exits 255 "an unknown instance is exit 255" tm log get nosuch "$first" "$tmp/got"
exits 255 "a place that cannot be written to is exit 255" tm log get shop "$first" "$tmp/none/got"
changed "s|/key|/other-key|"
exits 255 "a wrong key is exit 255" tc log get shop 000000010000000000000099 "$tmp/got"
changed "s|url = .*|url = file://$tmp/unmounted|"
exits 255 "a repository that is not there is exit 255" tc log get shop 000000010000000000000099 "$tmp/got"
mv "$tmp/repo/instances" "$tmp/repo/away"
exits 255 "a repository that lost everything is exit 255" get 000000010000000000000099
mv "$tmp/repo/away" "$tmp/repo/instances"
is "$(ls "$tmp"/got* 2>/dev/null)" "" "no half file is left"

# ---- the shipper's door

exits 6 "a second shipper is exit 6" tm ship shop
like "$err" "ship" "... and says why"
done_testing
