#!/usr/bin/env bash
# Run tests and count.
#
#   run.sh [-q] [-t SECONDS] NAME TEST...
#
# A TEST is a command line ("build/release/unit/x_test", "program argument", "tests/integration/x_test.sh") or
# make:GOAL.  Lines "ok ...", "not ok ..." and "... # SKIP why" on its output are counted one by one; a test that
# prints none counts as one, by its exit status: 0 passed, 77 skipped (the last line says why), else failed.  One
# that ends badly without having said "not ok" is a failure more.  -q: of what passed, only a line.
#
# The last line is "N passed, N failed, N skipped"; the exit status is 0 when nothing failed.
set -u
quiet=0 limit=${TIDE_TEST_TIMEOUT:-600}
while getopts qt: o; do
    case $o in
    q) quiet=1 ;;
    t) limit=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
name=${1:?usage: run.sh [-q] [-t SECONDS] NAME TEST...}
shift
cd "$(dirname "$0")/.." || exit 2

export CMOCKA_MESSAGE_OUTPUT=TAP LC_ALL=C.UTF-8
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=0:second_deadlock_stack=1}

scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0
failures=()

command_of() {
    case $1 in
    make:*) echo "${TIDE_MAKE:-make} --no-print-directory -s ${1#make:}" ;;
    *) echo "$1" ;;
    esac
}

run_one() {
    local test=$1 log=$scratch/log begin=$SECONDS p f s rc line
    # shellcheck disable=SC2046
    timeout --kill-after=10 "$limit" $(command_of "$test") >"$log" 2>&1 </dev/null
    rc=$?
    s=$(grep -cE '^(not )?ok\b.*# SKIP' "$log")
    p=$(grep -E '^ok\b' "$log" | grep -vc '# SKIP')
    f=$(grep -E '^not ok\b' "$log" | grep -vc '# SKIP')
    if [ $((p + f + s)) -eq 0 ]; then
        case $rc in
        0) p=1 ;;
        77) s=1 ;;
        *) f=1 ;;
        esac
    elif [ "$rc" -ne 0 ] && [ "$rc" -ne 77 ] && [ "$f" -eq 0 ]; then
        f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    line="$test ($((SECONDS - begin)) s)"
    if [ "$f" -gt 0 ]; then
        [ "$rc" -eq 124 ] && line="$line: no end after $limit s"
        echo "FAILED  $line, exit $rc"
        sed 's/^/    /' "$log" | tail -n 200
        failures+=("$test")
    elif [ "$p" -eq 0 ] && [ "$s" -gt 0 ]; then
        echo "skipped $line: $(tail -n 1 "$log")"
    else
        echo "ok      $line: $p passed$([ "$s" -gt 0 ] && echo ", $s skipped")"
        if [ "$s" -gt 0 ]; then grep -E '# SKIP' "$log" | sed 's/^/        /'; fi
        if [ "$quiet" -eq 0 ] && [ -n "${V-}" ]; then sed 's/^/    /' "$log"; fi
    fi
}

for test in "$@"; do
    run_one "$test"
done
if [ ${#failures[@]} -gt 0 ]; then
    printf '%s: these failed:\n' "$name"
    printf '    %s\n' "${failures[@]}"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
