#!/bin/bash
# The oracle, short, on every PostgreSQL major that can be had besides the one that oracle_test.sh runs.

. "$(dirname "$0")/../support/lib.sh"
here=$(dirname "$0")
tide_tmp
majors=$("$here/../support/pg_majors.sh" 14 16 17 18)
[ -n "$majors" ] || skip_all "no other PostgreSQL major can be had here"
while read -r major bin; do
    exits 0 "the oracle holds on PostgreSQL $major" env PGBIN="$bin" ORACLE_SECONDS=8 ORACLE_SEEDS=1 ORACLE_KILLS=1 "$here/oracle_test.sh"
    diag "$(grep -E '^ok.*restored' <<<"$out")"
done <<<"$majors"
done_testing
