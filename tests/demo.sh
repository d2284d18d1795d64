#!/bin/bash
# The whole road on a throw-away PostgreSQL: back up, ship, lose a table, restore to the moment before, prove it.
#
#   make demo                    run it; leaves a restored instance to connect to
#   tests/demo.sh --remove       stop and remove everything that it made
#
# Everything lives below $DEMO (/tmp/tidemark-demo); no other server, port or file is touched.

set -u -o pipefail
exec 3>&1 # where commands are shown, whatever their output goes to
root=$(cd "$(dirname "$0")/.." && pwd)
DEMO=${DEMO:-/tmp/tidemark-demo}
build=${TIDE_BUILD:-$root/build/release}
export LC_ALL=C.UTF-8 TZ=UTC PGTZ=UTC
unset PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS
export TIDEMARK_PLUGIN_DIR=$build/plugins

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' off=$'\e[0m'; else bold='' dim='' green='' red='' off=''; fi

PGBIN=
for v in 15 16 17 18 14; do
    [ -x "/usr/lib/postgresql/$v/bin/postgres" ] && PGBIN=/usr/lib/postgresql/$v/bin && break
done

as_server() { if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

remove() {
    local pid dir
    [ -d "$DEMO" ] || return 0
    for pid in "$DEMO"/*.pid; do
        [ -f "$pid" ] && kill "$(cat "$pid")" 2>/dev/null
    done
    for dir in "$DEMO"/source "$DEMO"/restored; do
        [ -f "$dir/postmaster.pid" ] && as_server "$PGBIN/pg_ctl" -D "$dir" -m immediate -w stop >/dev/null 2>&1
    done
    rm -rf "$DEMO"
}

fail() {
    printf '\n%sthe demonstration failed: %s%s\n' "$red" "$*" "$off" >&2
    printf 'logs are in %s; remove everything with: %s --remove\n' "$DEMO" "$0" >&2
    exit 1
}

step() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
say() { printf '%s\n' "$*"; }

# Shows a command as one would type it, and runs it.
shown() {
    local word line=''
    for word; do
        case $word in
        *[!A-Za-z0-9_./:@=+,%-]* | '') line+=" '$word'" ;;
        *) line+=" $word" ;;
        esac
    done
    line=${line# }
    line=${line//"$build/"/}
    line=${line//" -c $DEMO/tidemark.conf"/}
    printf '%s$ %s%s\n' "$green" "${line//"$DEMO/"/}" "$off" >&3
    "$@" 3>&-
}

tm() { shown "$build/tidemark" -c "$DEMO/tidemark.conf" "$@"; }

sql() { # PORT STATEMENT
    "$PGBIN/psql" -h "$DEMO/run" -p "$1" -U postgres -d postgres -AtqX -v ON_ERROR_STOP=1 -c "$2"
}

free_port() {
    local p
    for p in $(shuf -i 20100-31900 -n 50); do
        (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p" && return; }
    done
    return 1
}

if [ "${1-}" = --remove ]; then
    remove
    echo "removed $DEMO"
    exit 0
fi
[ -n "$PGBIN" ] || fail "no PostgreSQL server is installed; make deps installs it"
remove
mkdir -m 711 "$DEMO" && mkdir -m 1777 "$DEMO/run" || fail "could not make $DEMO"
[ "$(id -u)" -eq 0 ] && chown postgres "$DEMO"
trap 'fail interrupted' INT TERM

# ------------------------------------------------------------------- a server

port=$(free_port)
step "1. A PostgreSQL $("$PGBIN/postgres" --version | grep -oE '[0-9]+\.[0-9]+' | head -1) with a shop in it, on port $port"
as_server "$PGBIN/initdb" -D "$DEMO/source" -U postgres -A trust --no-sync -E UTF8 --locale=C -k >"$DEMO/initdb.log" 2>&1 || fail "initdb: see $DEMO/initdb.log"
as_server tee -a "$DEMO/source/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$DEMO/run'
max_slot_wal_keep_size = 1GB
timezone = 'UTC'
CONF
as_server "$PGBIN/pg_ctl" -D "$DEMO/source" -o "-p $port" -l "$DEMO/source.log" -w start >/dev/null 3>&- || fail "see $DEMO/source.log"
# The role and the grants that the README names.
sql "$port" "
create role tidemark login replication;
grant pg_monitor, pg_read_all_settings to tidemark;
grant execute on function pg_create_restore_point(text), pg_switch_wal() to tidemark;
create table orders (id bigserial primary key, placed timestamptz not null default clock_timestamp(), item text, price numeric);
insert into orders (item, price) select 'item ' || i, i % 100 from generate_series(1, 100000) i;" || fail "could not make the shop"
if [ "$(sql "$port" 'show server_version_num')" -ge 150000 ]; then
    sql "$port" "grant execute on function pg_backup_start(text, boolean), pg_backup_stop(boolean) to tidemark"
else
    sql "$port" "grant execute on function pg_start_backup(text, boolean, boolean), pg_stop_backup(boolean, boolean) to tidemark"
fi
cat >"$DEMO/order.sql" <<'SQL'
insert into orders (item, price) values ('item ' || (random() * 1000)::int, (random() * 100)::int);
SQL
cat >"$DEMO/tidemark.conf" <<CONF
[repository main]
url                 = file://$DEMO/repository
encryption_key_file = $DEMO/tidemark.key

[daemon]
state_directory     = $DEMO/run/tidemark

[instance shop]
engine              = postgresql
connection          = host=$DEMO/run port=$port user=tidemark dbname=postgres
data_directory      = $DEMO/source
repository          = main
CONF
say "${dim}$(cat "$DEMO/tidemark.conf")${off}"

step "2. The repository, the slot; then the log is shipped every two seconds, and a base backup is taken under load"
tm init shop || fail init
"$build/tidemark" -c "$DEMO/tidemark.conf" ship shop >"$DEMO/ship.log" 2>&1 </dev/null 3>&- &
echo $! >"$DEMO/ship.pid"
printf '%s$ tidemark ship shop &%s\n' "$green" "$off"
"$PGBIN/pgbench" -h "$DEMO/run" -p "$port" -U postgres -n -c 4 -R 200 -T 600 -f "$DEMO/order.sql" postgres >"$DEMO/workload.log" 2>&1 </dev/null 3>&- &
echo $! >"$DEMO/workload.pid"
say "${dim}(four customers place 200 orders a second)${off}"
tm backup shop --fast || fail backup

# ------------------------------------------------------------------ a disaster

step "3. Business as usual for ten seconds, then somebody drops the table"
sleep 10
before=$(sql "$port" "select count(*) from orders")
moment=$(sql "$port" "select to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS.US')||'+00:00'")
sleep 1
last=$(sql "$port" "select count(*) from orders")
drop_at=$(sql "$port" "select to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS.US')||'+00:00'")
shown sql "$port" "drop table orders"
kill "$(cat "$DEMO/workload.pid")" 2>/dev/null
say "orders at $moment: at least $before"
say "orders one second later: at least $last; dropped at $drop_at"
say "orders now: $(sql "$port" "select count(*) from orders" 2>&1)"
sql "$port" "create table guestbook (entry text); insert into guestbook values ('life goes on')"
sleep 3

step "4. What can be restored?"
tm status shop || fail status

step "5. The moment before: first the plan, then the restore"
tm restore shop --to "$moment" --into "$DEMO/restored" --plan || fail plan
began=$(date +%s.%N)
tm restore shop --to "$moment" --into "$DEMO/restored" --json >"$DEMO/restore.json" || {
    cat "$DEMO/restore.json"
    fail restore
}
took=$(awk "BEGIN { printf \"%.1f\", $(date +%s.%N) - $began }")
get() { python3 -c "import json,sys; d=json.load(open('$DEMO/restore.json')); print(eval(sys.argv[1], {'d': d}))" "$1"; }
to_port=$(get "d['endpoint']['port']")
to_socket=$(get "d['endpoint']['socket'] or '127.0.0.1'")
restored() { "$PGBIN/psql" -h "$to_socket" -p "$to_port" -U postgres -d postgres -AtqX -v ON_ERROR_STOP=1 -c "$1"; }
[ "$(id -u)" -eq 0 ] && restored() { runuser -u postgres -- "$PGBIN/psql" -h "$to_socket" -p "$to_port" -U postgres -d postgres -AtqX -v ON_ERROR_STOP=1 -c "$1"; }

step "6. The proof"
rows=$(restored "select count(*) from orders") || fail "the restored instance does not answer"
newest=$(restored "select to_char(max(placed), 'YYYY-MM-DD HH24:MI:SS.US')||'+00:00' from orders")
late=$(restored "select count(*) from orders where placed > timestamptz '$moment'")
printf '  %-44s %s\n' \
    "asked for" "$moment" \
    "last commit included" "$(get "(d['last_commit_included'] or {}).get('time') if isinstance(d['last_commit_included'], dict) else d['last_commit_included']")" \
    "first commit excluded" "$(get "(d['first_commit_excluded'] or {}).get('time') if isinstance(d['first_commit_excluded'], dict) else d['first_commit_excluded']")" \
    "newest order in the restored instance" "$newest" \
    "orders before the drop, counted just before" "$before" \
    "orders in the restored instance" "$rows" \
    "of these placed after the moment asked for" "$late" \
    "orders in the source after the drop" "$(sql "$port" "select count(*) from orders" 2>&1 | head -1)" \
    "seconds from command to answering queries" "$took"
[ "$rows" -ge "$before" ] && [ "$rows" -le "$last" ] && [ "$late" -eq 0 ] || fail "the restored instance is not what was asked for"

# ------------------------------------------------------------------ the refusal

step "7. One log object is deleted on a copy of the repository: a restore across the hole is refused"
cp -r "$DEMO/repository" "$DEMO/damaged"
sed "s,file://$DEMO/repository,file://$DEMO/damaged," "$DEMO/tidemark.conf" >"$DEMO/damaged.conf"
victim=$(find "$DEMO/damaged/instances/shop/log" -type f | sort | awk '{ name[NR] = $0 } END { print name[int(NR / 2) + 1] }')
shown rm "$victim"
shown "$build/tidemark" -c "$DEMO/damaged.conf" restore shop --to "$moment" --into "$DEMO/refused"
rc=$?
say "exit status $rc"
[ $rc -eq 4 ] || fail "the restore was not refused"
[ ! -e "$DEMO/refused" ] || fail "something was written"

kill "$(cat "$DEMO/ship.pid")" 2>/dev/null
step "Yours to look at"
if [ "$(id -u)" -eq 0 ]; then user='runuser -u postgres -- '; else user=''; fi
say "  ${user}$PGBIN/psql -h $to_socket -p $to_port -U postgres postgres"
say "This removes everything the demonstration made:"
say "  $root/tests/demo.sh --remove"
