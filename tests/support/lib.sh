# shellcheck shell=bash
# For test scripts: TAP lines, temporary directories, throw-away PostgreSQL servers.  Source it, then:
#
#   . "$(dirname "$0")/../support/lib.sh"
#   tide_tmp                      # sets $tmp; everything started is stopped and $tmp removed at exit (KEEP=1 keeps it)
#   pg_need                       # skips the script when no PostgreSQL is installed
#   port=$(free_port)
#   pg_init "$tmp/db"; pg_start "$tmp/db" "$port"
#   sql "$port" "select 1"
#   tide_conf shop "$port" "$tmp/db"
#   exits 0 "a backup is taken" tm backup shop
#   done_testing
#
# As root, servers run as user postgres and everything below $tmp is open to it.

set -u
TIDE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TIDE_BUILD=${TIDE_BUILD:-$TIDE_ROOT/build/release}
export TIDE_PLUGIN_DIR=${TIDE_PLUGIN_DIR:-$TIDE_BUILD/plugins}
export LC_ALL=C.UTF-8 PGTZ=UTC TZ=UTC
unset PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS
PG_USER=postgres # of the operating system, when we are root
PGBIN=${PGBIN:-}
if [ -z "$PGBIN" ]; then
    for v in ${PG_MAJOR:-15 16 17 18 14}; do
        [ -x "/usr/lib/postgresql/$v/bin/postgres" ] && PGBIN=/usr/lib/postgresql/$v/bin && break
    done
fi

PSQL=$PGBIN/psql # packages of bare servers have none
[ -x "$PSQL" ] || PSQL=$(command -v psql || true)

# ------------------------------------------------------------------ TAP

tap_n=0 tap_failed=0

plan() { echo "1..$1"; }

ok() { # NAME
    tap_n=$((tap_n + 1))
    echo "ok $tap_n - $*"
}

not_ok() { # NAME [MORE]: the second and later words become diagnostics
    tap_n=$((tap_n + 1)) tap_failed=$((tap_failed + 1))
    echo "not ok $tap_n - $1"
    shift
    [ $# -eq 0 ] || diag "$*"
}

diag() { printf '%s\n' "$*" | sed 's/^/# /'; }

skip() { # NAME WHY
    tap_n=$((tap_n + 1))
    echo "ok $tap_n - $1 # SKIP $2"
}

skip_all() { # WHY
    echo "1..0 # SKIP $*"
    exit 77
}

is() { # GOT WANT NAME
    if [ "$1" = "$2" ]; then ok "$3"; else not_ok "$3" "got  \"$1\"
want \"$2\""; fi
}

like() { # TEXT REGEX NAME
    if grep -qE -- "$2" <<<"$1"; then ok "$3"; else not_ok "$3" "does not match $2:
$1"; fi
}

unlike() { # TEXT REGEX NAME
    if grep -qE -- "$2" <<<"$1"; then not_ok "$3" "matches $2:
$1"; else ok "$3"; fi
}

# Runs a command, its output in $out and $err (texts); ok when it exits with CODE.
# shellcheck disable=SC2034
out='' err=''
exits() { # CODE NAME COMMAND...
    local want=$1 name=$2 rc
    shift 2
    rc=0
    "$@" >"$tmp/.out" 2>"$tmp/.err" </dev/null || rc=$?
    # shellcheck disable=SC2034
    out=$(cat "$tmp/.out") err=$(cat "$tmp/.err")
    if [ "$rc" -eq "$want" ]; then
        ok "$name"
    else
        not_ok "$name" "exit $rc, not $want: $*
$(head -c 4000 "$tmp/.out")
$(tail -c 4000 "$tmp/.err")"
    fi
}

done_testing() {
    echo "1..$tap_n"
    [ "$tap_failed" -eq 0 ] || exit 1
    exit 0
}

# Repeats a command until it succeeds; false after SECONDS.
wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}

# ------------------------------------------------------- scratch and children

tmp='' tide_pids=() pg_dirs=()

tide_tmp() {
    tmp=$(mktemp -d /tmp/tide-test.XXXXXX) || exit 2
    chmod 711 "$tmp"
    mkdir -m 1777 "$tmp/run"
    if [ "$(id -u)" -eq 0 ]; then chown "$PG_USER" "$tmp"; fi
    export XDG_RUNTIME_DIR="$tmp/run"
    trap tide_cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

tide_cleanup() {
    local rc=$? p d
    trap - EXIT
    [ "$BASHPID" = "$$" ] || exit "$rc" # a child that has not executed its program yet
    for p in ${tide_pids[@]+"${tide_pids[@]}"}; do kill "$p" 2>/dev/null; done
    for p in ${tide_pids[@]+"${tide_pids[@]}"}; do
        wait_for 10 tide_gone "$p" || kill -9 "$p" 2>/dev/null
    done
    # Servers that a restore made are not in the list; a postmaster.pid below $tmp tells of them.
    while IFS= read -r d; do
        pg_stop "$(dirname "$d")" immediate
    done < <(find "$tmp" -name postmaster.pid 2>/dev/null)
    if [ -n "${KEEP-}" ]; then diag "kept: $tmp"; else rm -rf "$tmp"; fi
    exit "$rc"
}

tide_gone() { ! kill -0 "$1" 2>/dev/null; }

# Starts a program (or tm) in the background, stopped at exit; its pid in $pid, its output in $tmp/NAME.log.
pid=''
background() { # NAME COMMAND...
    local name=$1
    shift
    if [ "$1" = tm ]; then set -- "$TIDE_BUILD/tidemark" -c "$tmp/tidemark.conf" "${@:2}"; fi
    (
        trap - EXIT INT TERM
        exec "$@" >>"$tmp/$name.log" 2>&1 </dev/null
    ) &
    pid=$!
    tide_pids+=("$pid")
}

# Stops what background() started and gives its exit status.
stop() { # PID [SIGNAL]
    kill "-${2:-TERM}" "$1" 2>/dev/null
    wait "$1"
}

free_port() {
    python3 - <<'PY'
import random, socket
while True:
    port = random.randrange(20100, 31900)
    try:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            try:
                s = socket.socket(family)
            except OSError:
                continue
            s.bind((host, port))
            s.close()
        print(port)
        break
    except OSError as e:
        if e.errno == 99:  # no IPv6 here
            print(port)
            break
PY
}

# ------------------------------------------------------------- PostgreSQL

pg_need() {
    if [ -z "$PGBIN" ] || [ ! -x "$PGBIN/postgres" ]; then skip_all "no PostgreSQL server is installed"; fi
}

as_pg() { # COMMAND...: as the user that may run a server
    if [ "$(id -u)" -eq 0 ]; then
        runuser -u "$PG_USER" -- "$@"
    else
        "$@"
    fi
}

# A new cluster: superuser postgres, a role tidemark with what a backup needs, trust on the socket and on loopback.
pg_init() { # DIR [INITDB OPTION...]
    local dir=$1
    shift
    as_pg "$PGBIN/initdb" -D "$dir" -U postgres -A trust --no-sync -E UTF8 --locale=C "$@" >"$tmp/initdb.log" 2>&1 || {
        cat "$tmp/initdb.log" >&2
        return 1
    }
    as_pg tee -a "$dir/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$tmp/run'
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
max_slot_wal_keep_size = 4GB
fsync = off
log_line_prefix = '%m [%p] %a '
timezone = 'UTC'
CONF
}

# Starts it and, the first time, makes the role tidemark.
pg_start() { # DIR PORT
    as_pg "$PGBIN/pg_ctl" -D "$1" -o "-p $2" -l "$1.log" -w -t 60 start >/dev/null || {
        tail -n 30 "$1.log" >&2
        return 1
    }
    pg_dirs+=("$1")
    if [ "$(sql "$2" 'select pg_is_in_recovery()')" = f ]; then
        sql "$2" "do \$\$ begin
            if not exists (select from pg_roles where rolname = 'tidemark') then
                create role tidemark login replication;
                grant pg_monitor, pg_read_all_settings to tidemark;
                grant execute on function pg_switch_wal(), pg_create_restore_point(text) to tidemark;
            end if; end \$\$" >/dev/null
        if [ "$(sql "$2" 'show server_version_num')" -ge 150000 ]; then
            sql "$2" "grant execute on function pg_backup_start(text, boolean), pg_backup_stop(boolean) to tidemark"
        else
            sql "$2" "grant execute on function pg_start_backup(text, boolean, boolean),
                pg_stop_backup(boolean, boolean) to tidemark"
        fi
    fi
}

pg_stop() { # DIR [fast|immediate|smart]
    [ -f "$1/postmaster.pid" ] || return 0
    as_pg "$PGBIN/pg_ctl" -D "$1" -m "${2:-fast}" -w -t 60 stop >/dev/null 2>&1
}

sql() { # PORT STATEMENT [DATABASE]; host: the socket in $tmp/run, or $PG_SQL_HOST
    "$PSQL" -h "${PG_SQL_HOST:-$tmp/run}" -p "$1" -U postgres -d "${3:-postgres}" -AtqX -v ON_ERROR_STOP=1 -c "$2"
}

# --------------------------------------------------------------- tidemark

tm() { "$TIDE_BUILD/tidemark" -c "$tmp/tidemark.conf" "$@"; }

# $tmp/tidemark.conf: a repository in $tmp/repo and one instance.  Further lines of the instance come on stdin
# (</dev/null: none); lines of the repository in $TIDE_REPO_LINES.
tide_conf() { # INSTANCE PORT DATADIR
    cat >"$tmp/tidemark.conf" <<CONF
[repository main]
url = file://$tmp/repo
${TIDE_REPO_LINES-}

[daemon]
state_directory = $tmp/run/tidemark
plugin_directory = $TIDE_PLUGIN_DIR

[instance $1]
engine = postgresql
connection = host=$tmp/run port=$2 user=tidemark dbname=postgres
data_directory = $3
repository = main
CONF
    [ -t 0 ] || cat >>"$tmp/tidemark.conf"
}
