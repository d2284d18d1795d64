#!/bin/bash
# The oracle, long: minutes of writing, a kill every few seconds, many random moments.  For `make crash`, not for CI.
#
#   ORACLE_ROUNDS (3), and what oracle_test.sh takes

. "$(dirname "$0")/../support/lib.sh"
tide_tmp
for ((round = 1; round <= ${ORACLE_ROUNDS:-3}; round++)); do
    exits 0 "round $round" env ORACLE_SECONDS="${ORACLE_SECONDS:-120}" ORACLE_SEEDS="${ORACLE_SEEDS:-10}" \
        ORACLE_KILLS="${ORACLE_KILLS:-15}" "$(dirname "$0")/../integration/oracle_test.sh"
    diag "$(grep -E '^(not )?ok|seeds from|killing' <<<"$out")"
done
done_testing
