#!/usr/bin/env bash
# The include table: who may include whom.  Fails, naming file and line, when an include goes upward, sideways
# between layers of one rank, or out of a plugin into the core.
#
#   layers.sh [DIR]        check the tree at DIR (default: the project)
#   layers.sh --self-test  prove that the check can fail
set -u
here=$(cd "$(dirname "$0")/.." && pwd)

# layer: the layers it may include besides itself
declare -A may=(
    [base]=""
    [config]="base"
    [store]="base"
    [pipe]="base"
    [repository]="base config store pipe"
    [wal]="base config store pipe repository"
    [pitr]="base config store pipe repository wal"
    [plugin]="base config store pipe repository wal pitr"
    [daemon]="base config store pipe repository wal pitr plugin"
    [cli]="base config store pipe repository wal pitr plugin daemon"
)

layer_of() {
    case $1 in
    plugins/tide_plugin.h) echo abi ;;
    plugins/*/*) echo "plugins/$(cut -d/ -f2 <<<"$1")" ;;
    examples/*/*) echo "examples/$(cut -d/ -f2 <<<"$1")" ;;
    orchestrator/*/*) cut -d/ -f2 <<<"$1" ;;
    wal/*) echo wal ;;
    pitr/*) echo pitr ;;
    *) echo other ;;
    esac
}

allowed() { # layer, included layer
    local from=$1 to=$2
    [ "$from" = "$to" ] && return 0
    [ "$from" = abi ] && return 1
    [ "$to" = abi ] && return 0
    [ -n "${may[$from]+x}" ] || return 1
    [[ " ${may[$from]} " == *" $to "* ]]
}

check_tree() {
    local dir=$1 bad=0 seen=0 file line path from to
    cd "$dir" || return 2
    while IFS=: read -r file line path; do
        seen=$((seen + 1))
        from=$(layer_of "$file") to=$(layer_of "$path")
        if ! allowed "$from" "$to"; then
            echo "$file:$line: $from may not include \"$path\" ($to)"
            bad=$((bad + 1))
        fi
    done < <(find orchestrator wal pitr plugins examples -name '*.[ch]' -print0 2>/dev/null | sort -z |
        xargs -0 -r grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' |
        sed -E 's/^([^:]*:[0-9]+):[^"]*"([^"]*)".*/\1:\2/')
    # The core knows no client library.
    if grep -rnE '#[[:space:]]*include[[:space:]]*[<"](libpq-fe|postgres|mysql|mariadb)' --include='*.[ch]' \
        orchestrator wal pitr 2>/dev/null; then
        echo "the core may not include a database client's header"
        bad=$((bad + 1))
    fi
    [ "$bad" -eq 0 ] && echo "layers: $seen includes, all downward"
    [ "$bad" -eq 0 ]
}

expect_refusal() { # file, include
    local t
    t=$(mktemp -d) || return 1
    mkdir -p "$t/$(dirname "$1")"
    printf '#include "%s"\n' "$2" >"$t/$1"
    if (check_tree "$t") >/dev/null; then
        echo "layers: \"$1\" including \"$2\" was not noticed"
        rm -rf "$t"
        return 1
    fi
    rm -rf "$t"
}

if [ "${1-}" = --self-test ]; then
    expect_refusal orchestrator/base/x.c orchestrator/store/store.h &&
        expect_refusal orchestrator/config/x.c orchestrator/pipe/pipe.h &&
        expect_refusal wal/x.c pitr/pitr.h &&
        expect_refusal pitr/x.c orchestrator/plugin/plugin.h &&
        expect_refusal plugins/e/x.c orchestrator/base/err.h &&
        expect_refusal plugins/e/x.c plugins/other/other.h &&
        expect_refusal plugins/tide_plugin.h orchestrator/base/err.h &&
        expect_refusal wal/x.c plugins/e/e.h &&
        expect_refusal wal/x.c err.h
    exit
fi
check_tree "${1:-$here}"
