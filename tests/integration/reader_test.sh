#!/bin/bash
# The independent reader, written from FORMAT.md alone, gets out of a real repository what the server has: a table's file
# and a range of the log, plain and encrypted, before and after merging.

. "$(dirname "$0")/../support/lib.sh"
reader=$TIDE_ROOT/tests/support/read_repository.py
pg_need
/usr/bin/python3 -c 'import cryptography, xxhash' 2>/dev/null || skip_all "python3-cryptography and python3-xxhash are not installed"
tide_tmp
port=$(free_port)
pg_init "$tmp/db" -k || exit 2
as_pg tee -a "$tmp/db/postgresql.conf" >/dev/null <<<"wal_keep_size = 1GB" # to compare with
pg_start "$tmp/db" "$port" || exit 2
sql "$port" "create table big as select i, md5(i::text) t, repeat(md5((i % 7)::text), i % 40) f from generate_series(1, 60000) i"
sql "$port" "vacuum (freeze) big"
sql "$port" checkpoint
file=$(sql "$port" "select pg_relation_filepath('big')")

as_hex() { printf '%x' "$1"; }

read_back() { # NAME KEY OPTION...
    local name=$1 backup from end
    shift
    tide_conf shop "$port" "$tmp/db" </dev/null
    exits 0 "$name: init" tm init shop
    background "ship-$name" tm ship shop
    local shipper=$pid
    exits 0 "$name: a backup" tm backup shop --fast
    sql "$port" "create table more_$name as select generate_series(1, 30000) n"
    exits 0 "$name: a second one, which reuses blocks of the first" tm backup shop --fast
    sleep 3
    end=$(sql "$port" "select pg_current_wal_flush_lsn() - '0/0'")
    wait_for 20 stored_to "$end"
    stop "$shipper"
    backup=$(tm list shop --json | python3 -c "import json,sys; print(json.load(sys.stdin)['backups'][-1]['id'])")
    exits 0 "$name: the reader lists it" /usr/bin/python3 "$reader" "$tmp/repo" "$@" list
    like "$out" "$backup" "$name: by its id"
    /usr/bin/python3 "$reader" "$tmp/repo" "$@" cat shop "$backup" "$file" >"$tmp/read" 2>"$tmp/read.err"
    if cmp -s "$tmp/read" "$tmp/db/$file"; then ok "$name: a table's file is what the server has"; else
        not_ok "$name: a table's file is what the server has" "$(cmp "$tmp/read" "$tmp/db/$file" 2>&1; tail -3 "$tmp/read.err")"
    fi
    # From the segment in which the backup begins, up to its end or what is flushed.
    from=$(($(tm list shop --json | python3 -c "
import json, sys
hi, lo = json.load(sys.stdin)['backups'][-1]['start_position'].split('/')
print((int(hi, 16) << 32) + int(lo, 16))") / 16777216 * 16777216))
    local to=$((from + 16777216))
    [ "$to" -le "$end" ] || to=$end
    /usr/bin/python3 "$reader" "$tmp/repo" "$@" log shop 1 "0:$(as_hex "$from")" "0:$(as_hex "$to")" >"$tmp/read" 2>"$tmp/read.err"
    as_pg head -c "$((to - from))" "$tmp/db/pg_wal/$(sql "$port" "select pg_walfile_name('0/1'::pg_lsn + $from)")" >"$tmp/want"
    is "$(stat -c %s "$tmp/read")" "$((to - from))" "$name: the log range is whole"
    if cmp -s "$tmp/read" "$tmp/want"; then ok "$name: and byte for byte the server's"; else
        not_ok "$name: and byte for byte the server's" "$(cmp "$tmp/read" "$tmp/want" 2>&1; tail -3 "$tmp/read.err")"
    fi
    rm -rf "$tmp/repo"
    sql "$port" "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active" >/dev/null
}

# Merged or not, the stored log reaches a position once heartbeats pass it; status speaks only of times.
stored_to() { [ "$(tm status shop --json | python3 -c "import json,sys; print(json.load(sys.stdin)['instances'][0]['unshipped_bytes'])")" = 0 ]; }

read_back plain
TIDE_REPO_LINES="encryption_key_file = $tmp/key"
read_back encrypted --key "$tmp/key"
done_testing
