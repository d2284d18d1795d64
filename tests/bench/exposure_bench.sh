#!/bin/bash
# Exposure as the live shipper reports it, sampled under a pgbench load and then idle; prints the distributions.
#
#   BENCH_SECONDS (60) of each

. "$(dirname "$0")/../support/lib.sh"
seconds=${BENCH_SECONDS:-60}
pg_need
tide_tmp
port=$(free_port)
pg_init "$tmp/db" && pg_start "$tmp/db" "$port" || exit 2
tide_conf shop "$port" "$tmp/db" </dev/null
"$PGBIN/pgbench" -h "$tmp/run" -p "$port" -U postgres -i -q -s 10 postgres >/dev/null 2>&1
tm init shop >/dev/null 2>&1 || exit 1
background ship tm ship shop
sleep 3
tm backup shop --fast >/dev/null 2>&1

sample() { # NAME
    local end=$((SECONDS + seconds))
    while [ "$SECONDS" -lt "$end" ]; do
        tm status shop --json 2>/dev/null
        sleep 0.1
    done | python3 -c "
import json, sys
d, text, v = json.JSONDecoder(), sys.stdin.read().strip(), []
while text:
    doc, n = d.raw_decode(text)
    text = text[n:].lstrip()
    v.append(doc['instances'][0]['exposure_seconds'])
v = sorted(x for x in v if x is not None)
q = lambda p: v[min(len(v) - 1, int(p * len(v)))]
print('exposure %-6s n=%d  median %.2f s  p99 %.2f s  max %.2f s' % ('$1', len(v), q(.5), q(.99), v[-1]))"
}
"$PGBIN/pgbench" -h "$tmp/run" -p "$port" -U postgres -n -c 4 -T "$((seconds + 5))" postgres >/dev/null 2>&1 &
load=$!
sample load
wait "$load"
sleep 3
sample idle
