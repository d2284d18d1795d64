#!/usr/bin/env bash
# The command line itself: help, versions, words in any order, the documents of failures.  Needs no server.

. "$(dirname "$0")/../support/lib.sh"
tide_tmp
cat >"$tmp/tidemark.conf" <<CONF
[repository main]
url = file://$tmp/repo
[daemon]
state_directory = $tmp/run/tidemark
[instance shop]
engine = postgresql
connection = host=$tmp/run port=1 user=tidemark
CONF
t="$TIDE_BUILD/tidemark"

exits 0 "--help is help" "$t" --help
for command in init check backup ship status list "log show" "log get" "log put" "log verify" restore activate verify keep \
    "config check" "config show"; do
    like "$out" "^  $command +[a-z]" "... and lists $command"
done
unlike "$out" "^  (worker|run|expire|drill|find|key|copy|jobs) " "a command that does not exist yet is absent, hidden ones too"
exits 0 "help COMMAND is help" "$t" help restore
like "$out" "\\-\\-to TARGET" "... with its options"
exits 0 "COMMAND --help is help" "$t" log get --help
like "$out" "restore_command" "... with what it is for"
exits 2 "no command is a mistake" "$t"
like "$err" "usage:" "... and help"
exits 0 "--version" "$t" --version
like "$out" "^tidemark [0-9]+\\.[0-9]+" "... is a version"
exits 2 "half of a command is a mistake" tm log
like "$err" "needs one" "... and says so"
exits 2 "an unknown option is a mistake" tm backup --slow
like "$err" "\"--slow\"" "... and named"
exits 2 "an option without its value is a mistake" tm restore shop --to
exits 2 "a flag with a value is a mistake" tm backup --fast=yes
exits 2 "a number that is none is a mistake" tm backup shop --jobs many
exits 2 "a size that is none is a mistake" tm backup shop --limit fast
exits 2 "a note that is none is a mistake" tm backup shop --note novalue
exits 2 "one word too many is a mistake" tm status shop now
like "$err" "\"now\"" "... and named"
exits 2 "an instance's name is no path" tm status ../shop

exits 7 "global options may stand behind" "$t" status shop --json -c "$tmp/tidemark.conf"
is "$(python3 -c 'import json,sys; d=json.load(sys.stdin); print(d["schema"], d["error"]["exit"], sorted(d["error"]), sorted(d["error"]["nearest"]))' <<<"$out")" \
    "1 7 ['code', 'exit', 'hint', 'message', 'nearest'] ['after', 'before']" "a failure is a document on stdout"
is "$err" "" "... and nothing on stderr"
exits 7 "... and in front" "$t" -c "$tmp/tidemark.conf" --json status shop
exits 2 "a mistake with --json is a document, too" "$t" --json nonsense
is "$(python3 -c 'import json,sys; print(json.load(sys.stdin)["error"]["code"])' <<<"$out")" invalid "... with its code"

# The conventions of others.
exits 3 "check says unknown (3) when it could not look" tm check nosuch/../x
exits 255 "log get: arguments that are wrong are 255" tm log get shop
exits 255 "log get: an unknown option is 255" tm log get shop a b --no-such
exits 255 "log get: a configuration that is not there is 255" "$t" -c "$tmp/none.conf" log get shop 000000010000000000000001 "$tmp/x"
exits 255 "log get: a repository that is not there is 255" tm log get shop 000000010000000000000001 "$tmp/x"
exits 2 "log put: arguments that are wrong" tm log put shop
mkdir "$tmp/closed"
touch "$tmp/closed/000000010000000000000001"
rc=0
tm log put shop "$tmp/closed/000000010000000000000001" 2>/dev/null || rc=$?
if [ "$rc" -ge 1 ] && [ "$rc" -le 125 ]; then ok "log put fails between 1 and 125"; else not_ok "log put fails between 1 and 125" "$rc"; fi

exits 2 "a worker is not started by hand" tm worker status shop
like "$err" "not by hand" "... and says so"
exits 0 "the configuration is shown" tm config show --effective shop
like "$out" "^ship_interval +2s +default" "... with defaults"
like "$out" "^engine +postgresql +$tmp/tidemark.conf:6" "... with file and line"
unlike "$out" "^password " "... without secrets"
exits 0 "... as a document" tm config show shop --json
like "$out" "\"key\": \"ship_interval\"" "... too"
exits 0 "output may be cut" bash -c "'$t' --help | head -1"
exits 1 "output that cannot be written is a failure" bash -c "'$t' --help >/dev/full"
done_testing
