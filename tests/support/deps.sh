#!/usr/bin/env bash
# Install the Debian packages that building, testing and the demo need, when one is missing.  Needs no compiler.
#
#   deps.sh [--check] [base|bench|dev]...      default: base; --check only says what is missing
set -eu

base="gcc make pkg-config libc6-dev binutils libpq-dev libssl-dev libzstd-dev liblz4-dev libxxhash-dev libjansson-dev
 libcmocka-dev postgresql-15 postgresql-client-15 python3 python3-cryptography python3-xxhash zstd procps
    util-linux tzdata faketime btrfs-progs xfsprogs"
bench="pgbackrest"
dev="clang clang-format-14 clang-14"

check=0 wanted=
for a in "$@"; do
    case $a in
    --check) check=1 ;;
    base | bench | dev) wanted="$wanted ${!a}" ;;
    *)
        echo "usage: deps.sh [--check] [base|bench|dev]..." >&2
        exit 2
        ;;
    esac
done
[ -n "$wanted" ] || wanted=$base

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is no Debian; the packages are:" $wanted >&2
    exit 0
fi

missing=
for p in $wanted; do
    # shellcheck disable=SC2016
    state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null || true)
    [ "${state:0:2}" = ii ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "$check" -eq 1 ]; then
    echo "missing:$missing"
    exit 1
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: these packages are missing, and installing them needs root or sudo:$missing" >&2
        exit 1
    fi
    as_root=sudo
fi

echo "deps: installing$missing"
# Debian's server package makes and starts a cluster of its own on port 5432.  Nobody asked for that; the drop-in
# keeps it from happening while we install, and goes afterwards.
dropin=/etc/postgresql-common/createcluster.d/tidemark-deps.conf
remove_dropin() {
    $as_root rm -f "$dropin"
    $as_root rmdir --ignore-fail-on-non-empty /etc/postgresql-common/createcluster.d 2>/dev/null || true
}
trap remove_dropin EXIT
$as_root mkdir -p "${dropin%/*}"
echo "create_main_cluster = false" | $as_root tee "$dropin" >/dev/null

$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
