#!/usr/bin/env bash
# The template plugin against its toy "server", a directory, passes what every plugin must pass.
# shellcheck source=tests/support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
tide_tmp

mkdir "$tmp/toy"
echo hello >"$tmp/toy/first"
echo world >"$tmp/toy/second"
python3 - "$tmp/toy/toy.log" <<'PY'
import struct, sys
def checksum(data):
    h = 2166136261
    for byte in data:
        h = ((h ^ byte) * 16777619) & 0xFFFFFFFF
    return h
log = b"TOYLOG1\n" + bytes(range(8))
for i in range(2000):
    payload = b"x" * (i % 77)
    record = struct.pack("<cBHIq", b"R", 1 + i % 4, len(payload), i, 1700000000000000 + i * 1000) + payload
    log += record + struct.pack("<I", checksum(record))
open(sys.argv[1], "wb").write(log)
PY
"$TIDE_BUILD/tidemark-conformance" "$TIDE_BUILD/plugins-test/template.so" "data_directory=$tmp/toy"
