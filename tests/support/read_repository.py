#!/usr/bin/python3
"""Reads a Tidemark repository in a directory.  Written from orchestrator/repository/FORMAT.md, section numbers in comments.

  read_repository.py DIR [--key FILE] list
  read_repository.py DIR [--key FILE] files INSTANCE BACKUP          names, sizes, modes
  read_repository.py DIR [--key FILE] cat INSTANCE BACKUP FILE       to stdout
  read_repository.py DIR [--key FILE] extract INSTANCE BACKUP DIR    every regular file
  read_repository.py DIR [--key FILE] log INSTANCE LINEAGE FROM TO   positions: 32 hex digits, or HI:LO in hex

Needs python3-cryptography, python3-xxhash, and python3-zstandard or the zstd program; python3-lz4 for lz4.
"""

import hashlib
import json
import os
import re
import struct
import subprocess
import sys

import xxhash
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

try:
    import zstandard
except ImportError:
    zstandard = None

BLOCK = 131072
LEAF_BLOCKS = 512
LEAF_BYTES = BLOCK * LEAF_BLOCKS
PART_LEAVES = 1024
MAX_PLAIN = 4 << 20

INSTANCE, LINEAGE, INTENT, PACK, BACKUP, LOG, PIN, TOMBSTONE, LEASE, HEARTBEAT, RELOCATION = range(1, 12)
DATA, PATCH, LEAF, TABLE, ROOT, INDEX, DESCRIPTION, LOG_FRAME, REFS = range(1, 10)
LAST = 1


class Damage(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damage(what)


def hkdf(key, salt, info, length):
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(key)


def expand_zstd(data, size):
    if zstandard is not None:
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    return subprocess.run(['zstd', '-d', '-c', '-q'], input=data, stdout=subprocess.PIPE, check=True).stdout


def expand(codec, data, size):
    if codec == 0:
        return data
    if codec == 1:
        plain = expand_zstd(data, size)
    else:
        need(codec == 2, 'unknown codec %d' % codec)
        import lz4.block
        plain = lz4.block.decompress(data, uncompressed_size=size)
    need(len(plain) == size, 'a frame expands to another length than it says')
    return plain


class Header:
    """3.1"""

    def __init__(self, data, repository):
        need(len(data) >= 96 and data[:8] == b'TIDEMARK', 'no object')
        (version, self.type, self.cipher, self.epoch, incompatible, _, _, self.id, self.salt, ext_len,
         reserved) = struct.unpack('>HBBIQQQ16s32sH6s', data[8:96])
        need(version == 1 and incompatible == 0 and reserved == bytes(6), 'a header of another version')
        need(ext_len <= 256 and len(data) >= 96 + ext_len, 'a header that is cut')
        need(self.cipher == repository.cipher and (self.epoch == 0) == (self.cipher == 0), 'a header of another cipher')
        self.version = version
        self.size = 96 + ext_len
        self.bytes = data[:self.size]
        self.ext = self.bytes[96:]
        self.digest = hashlib.sha256(self.bytes).digest()
        self.key = None
        if self.cipher:  # 3.2
            info = b'tidemark object' + struct.pack('>BH', self.type, version)
            self.key = hkdf(repository.epoch_key(self.epoch), self.salt, info, 32)


class Frame:
    """3.3"""

    def __init__(self, header, stored, number, kind, flags=None):
        need(len(stored) >= 32, 'a frame that is cut')
        length, plain, codec, self.flags, its_kind, reserved, its_number = struct.unpack('>IIBBBBI', stored[:16])
        tag, payload = stored[16:32], stored[32:]
        need(plain <= MAX_PLAIN and length == len(payload), 'a frame with a wrong length')
        need(codec <= 2 and self.flags & ~LAST == 0 and reserved == 0, 'a frame with unknown bits')
        need(length == plain if codec == 0 else 0 < length < plain, 'a frame with impossible lengths')
        need(its_number == number, 'frame %d where %d belongs' % (its_number, number))
        if header.cipher:
            try:
                payload = AESGCM(header.key).decrypt(bytes(8) + struct.pack('>I', number), payload + tag,
                                                     header.digest + stored[:16])
            except InvalidTag:
                raise Damage('frame %d does not prove' % number) from None
        else:
            need(hashlib.sha256(header.digest + stored[:16] + payload).digest()[:16] == tag,
                 'frame %d does not prove' % number)
        need(its_kind == kind, 'a frame of kind %d where %d belongs' % (its_kind, kind))
        need(flags is None or flags == self.flags, 'a frame with wrong flags')
        self.plain = expand(codec, payload, plain)


class Reader:
    """Takes bytes apart from the front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        need(self.at + length <= len(self.data), 'bytes that end too early')
        self.at += length
        return self.data[self.at - length:self.at]

    def unpack(self, form):
        return struct.unpack('>' + form, self.take(struct.calcsize('>' + form)))

    def number(self, form):
        return self.unpack(form)[0]

    def end(self):
        need(self.at == len(self.data), 'bytes behind the end')


class Ref:
    """6.2"""

    def __init__(self, pack, number, stored, offset, hash_):
        self.pack, self.number, self.stored, self.offset, self.hash = pack, number, stored, offset, hash_

    @staticmethod
    def read(r):
        return Ref(*r.unpack('16sIIQ16s'))


class Repository:
    def __init__(self, directory, key_file):
        self.directory = directory
        self.keys = {}
        self.secret = open(key_file, 'rb').read() if key_file else None
        descriptor = self.document('tidemark.json', 'tidemark repository')  # 1.2
        need(int(descriptor['features']['incompatible'], 16) == 0, 'a repository with unknown features')
        self.id = bytes.fromhex(descriptor['id'])
        self.cipher = {'none': 0, 'aes-256-gcm': 1}[descriptor['cipher']]
        need(self.cipher or self.secret is None, 'a key was given, but the repository is not encrypted')

    def get(self, key, offset=0, length=None):
        with open(os.path.join(self.directory, key), 'rb') as f:
            f.seek(offset)
            data = f.read() if length is None else f.read(length)
        return data

    def exists(self, key):
        return os.path.exists(os.path.join(self.directory, key))

    def names(self, folder):
        path = os.path.join(self.directory, folder)
        return sorted(n for n in os.listdir(path) if not n.startswith('.')) if os.path.isdir(path) else []

    def document(self, key, form):  # 1.1
        data = self.get(key)
        head, _, tail = data.rpartition(b'  "check": "')
        need(tail == hashlib.sha256(head).hexdigest().encode() + b'"\n}\n', '%s is damaged' % key)
        doc = json.loads(data)
        need(doc['format'] == form and doc['version'] == 1, '%s is of another format' % key)
        return doc

    def epoch_key(self, epoch):  # 2
        if epoch not in self.keys:
            self.keys[epoch] = self.unwrap(epoch)
        return self.keys[epoch]

    def unwrap(self, epoch):
        need(self.secret is not None, 'the repository is encrypted: give --key')
        folder = 'keys/%08x/' % epoch
        for slot in self.names(folder):
            doc = self.document(folder + slot + '/' + self.names(folder + slot)[-1], 'tidemark key slot')
            need(bytes.fromhex(doc['repository']) == self.id and doc['epoch'] == epoch and doc['slot'] == int(slot, 16),
                 'a key slot in the wrong place')
            salt = bytes.fromhex(doc.get('salt', ''))
            if doc['kind'] in ('keyfile', 'command'):
                key = hkdf(self.secret, salt, b'tidemark slot ' + doc['kind'].encode(), 32)
            elif doc['kind'] == 'scrypt':
                key = Scrypt(salt=salt, length=32, n=1 << doc['log_n'], r=doc['r'], p=doc['p']).derive(self.secret)
            else:
                continue
            try:
                return AESGCM(key).decrypt(bytes(12), bytes.fromhex(doc['wrapped']),
                                           self.id + struct.pack('>II', epoch, int(slot, 16)))
            except InvalidTag:
                continue
        raise Damage('no slot of epoch %d opens with this key' % epoch)

    def seed(self, epoch):  # 1.3
        key = self.epoch_key(epoch) if epoch else self.id
        return struct.unpack('>Q', hkdf(key, self.id, b'tidemark hash seed', 8))[0]

    def small(self, key, type_):  # 3.4
        data = self.get(key)
        header = Header(data, self)
        need(header.type == type_, '%s is of another type' % key)
        return Frame(header, data[header.size:], 0, DATA, LAST).plain

    def record(self, key, type_):  # 4
        doc = json.loads(self.small(key, type_))
        need(doc['key'] == key, '%s holds another record' % key)
        return doc


class Backup:
    """6 to 8"""

    def __init__(self, repository, instance, id_):
        self.repository = repository
        self.folder = 'instances/%s/' % instance
        self.doc = repository.record(self.folder + 'backups/' + id_, BACKUP)
        need(self.doc['version'] == 1, 'a backup of another version')
        self.seed = repository.seed(self.doc['hash_epoch'])
        self.packs = {}

    def root(self, member):
        d = self.doc[member]
        return Ref(bytes.fromhex(d['pack']), d['number'], d['stored'], d['offset'], bytes.fromhex(d['hash']))

    def hash(self, plain):
        return xxhash.xxh3_128_digest(plain, seed=self.seed)

    def open_pack(self, pack):
        """(header, key of the object with the frames, where they are or None)"""
        key = self.folder + 'packs/' + pack.hex()
        if self.repository.exists(key):
            header, places = Header(self.repository.get(key, 0, 352), self.repository), None
        else:
            header, key, places = self.relocated(pack)
        need(header.type == PACK and header.id == pack, '%s is another pack' % key)
        return header, key, places

    def relocated(self, pack):  # 8
        folder = self.folder + 'relocations/' + pack.hex()
        numbers = self.repository.names(folder)
        need(numbers, 'pack %s is missing' % pack.hex())
        r = Reader(self.repository.small(folder + '/' + numbers[-1], RELOCATION))
        version, reserved, length, now = r.unpack('BBH16s')
        need(version == 1 and reserved == 0, 'a relocation of another version')
        header = Header(r.take(length), self.repository)
        places = {}
        for _ in range(r.number('I')):
            number, stored, offset = r.unpack('IIQ')
            places[number] = (stored, offset)
        r.end()
        return header, self.folder + 'packs/' + now.hex(), places

    def frame(self, ref, kind, check=True):
        if ref.pack not in self.packs:
            self.packs[ref.pack] = self.open_pack(ref.pack)
        header, key, places = self.packs[ref.pack]
        offset = ref.offset
        if places is not None:
            need(ref.number in places and places[ref.number][0] == ref.stored, '%s lacks a frame' % key)
            offset = places[ref.number][1]
        try:
            plain = Frame(header, self.repository.get(key, offset, ref.stored), ref.number, kind).plain
        except Damage as e:
            raise Damage('%s: %s' % (key, e)) from None
        need(not check or self.hash(plain) == ref.hash, '%s: frame %d is not what was referred to' % (key, ref.number))
        return plain

    # -- tables, 7.2

    def node(self, ref, type_, root):
        plain = self.frame(ref, ROOT if root else TABLE)
        r = Reader(plain)
        version, level, its_type, n = r.unpack('BBHI')
        need(version == 1 and its_type == type_ and level <= 7 and (level > 0) == root, 'a node that is none')
        records = []
        for _ in range(n):
            key_len, value_len = r.unpack('HI')
            key = r.take(key_len)
            need(not records or records[-1][0] < key, 'a node out of order')
            records.append((key, r.take(value_len)))
        r.end()
        return level, records

    def records(self, ref, type_, root=True):
        level, records = self.node(ref, type_, root)
        for key, value in records:
            if level == 0:
                yield key, value
            else:
                yield from self.records(Ref.read(Reader(value)), type_, level > 1)

    def find(self, ref, type_, wanted):
        level, records = self.node(ref, type_, True)
        while level > 0:
            below = [v for k, v in records if k <= wanted]
            if not below:
                return None
            its_level, records = self.node(Ref.read(Reader(below[-1])), type_, level > 1)
            need(its_level == level - 1, 'a node of the wrong level')
            level = its_level
        return dict(records).get(wanted)

    # -- files, 7.3

    def entry(self, name, value):
        r = Reader(value)
        kind, layout, reserved, flags, mode, size, mtime, a, b, c = r.unpack('BBHIIQqHHH')
        need(reserved == 0 and kind in (1, 2, 3) and layout in (0, 1, 2), 'an entry that is none')
        e = {'name': name, 'kind': kind, 'layout': layout, 'flags': flags, 'mode': mode, 'size': size, 'mtime_us': mtime,
             'link': r.take(a).decode(), 'owner': r.take(b).decode(), 'group': r.take(c).decode(), 'rest': r}
        if layout == 2:
            e['n'] = r.number('I')
            need(e['n'] == (size + LEAF_BYTES - 1) // LEAF_BYTES, 'an entry with a wrong number of leaves')
        return e

    def entries(self):
        """Each with its leaves, from the parts that follow it."""
        now = None
        for key, value in self.records(self.root('files'), 1):
            name, part = key[:-5].decode(), struct.unpack('>I', key[-4:])[0]
            need(key[-5:-4] == b'\0', 'a key without its end')
            if part == 0:
                if now is not None:
                    yield now
                now = self.entry(name, value)
                now['parts'] = []
            else:
                need(now is not None and now['name'] == name and part == len(now['parts']) + 1, 'a part out of place')
                now['parts'].append(Reader(value))
        if now is not None:
            yield now

    def one(self, name):
        wanted = name.encode() + b'\0'
        value = self.find(self.root('files'), 1, wanted + struct.pack('>I', 0))
        need(value is not None, 'no file "%s"' % name)
        e = self.entry(name, value)
        parts = (e.get('n', 0) + PART_LEAVES - 1) // PART_LEAVES
        e['parts'] = [Reader(self.find(self.root('files'), 1, wanted + struct.pack('>I', k))) for k in range(1, parts)]
        return e

    def content(self, e):
        if e['layout'] == 1:
            yield self.block(self.read_block(e['rest'], Ref.read), e['size'])
        for i in range(e.get('n', 0)):
            part = i // PART_LEAVES
            r = e['rest'] if part == 0 else e['parts'][part - 1]
            size = min(LEAF_BYTES, e['size'] - i * LEAF_BYTES)
            if r.number('B') == 0:
                yield bytes(size)
                continue
            blocks = self.leaf(Ref.read(r))
            need(len(blocks) == (size + BLOCK - 1) // BLOCK, 'a leaf with a wrong number of blocks')
            for k, block in enumerate(blocks):
                yield self.block(block, min(BLOCK, size - k * BLOCK))

    @staticmethod
    def read_block(r, read):
        kind = r.number('B')
        need(kind <= 2, 'a block of unknown kind')
        return [read(r) for _ in range(kind)]

    def leaf(self, ref):  # 6.4
        r = Reader(self.frame(ref, LEAF))
        version, reserved, n, packs, more = r.unpack('BBHHH')
        need(version == 1 and reserved == 0 and more == 0 and 1 <= n <= LEAF_BLOCKS, 'a leaf that is none')
        ids = [r.take(16) for _ in range(packs)]

        def read(r):
            pack, number, stored, offset, hash_ = r.unpack('HIIQ16s')
            need(pack < packs, 'a leaf without that pack')
            return Ref(ids[pack], number, stored, offset, hash_)

        blocks = [self.read_block(r, read) for _ in range(n)]
        r.end()
        return blocks

    def block(self, refs, size):  # 6.3
        if not refs:
            return bytes(size)
        plain = self.frame(refs[0], DATA, check=len(refs) == 1)
        if len(refs) == 2:
            plain = self.patched(plain, self.frame(refs[1], PATCH))
            need(self.hash(plain) == refs[0].hash, 'a patched block is not what was referred to')
        need(len(plain) == size, 'a block of a wrong length')
        return plain

    def patched(self, base, patch):  # 6.5
        r = Reader(patch)
        version, shift, n, length, hash_ = r.unpack('BBHI16s')
        need(version == 1 and 9 <= shift <= 17 and 1 <= length <= BLOCK, 'a patch that is none')
        need(self.hash(base) == hash_, 'a patch for another base')
        page, out = 1 << shift, bytearray(base[:length].ljust(length, b'\0'))
        pages = (length + page - 1) // page
        bitmap = r.take((pages + 7) // 8)
        changed = [i for i in range(len(bitmap) * 8) if bitmap[i // 8] >> (i % 8) & 1]
        need(len(changed) == n and all(i < pages for i in changed), 'a patch with a wrong bitmap')
        for i in changed:
            size = min(page, length - i * page)
            out[i * page:i * page + size] = r.take(size)
        r.end()
        return bytes(out)


class Log:
    """5"""
    NAME = re.compile('^([0-9a-f]{32})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{8})-([0-9a-f]{2})$')

    def __init__(self, repository, instance):
        self.repository, self.folder = repository, 'instances/%s/' % instance

    def objects(self, lineage):
        """(level, start, end, key), highest level first"""
        found = []
        for level in (3, 2, 1, 0):
            folder = '%slog/%08x/%d/' % (self.folder, lineage, level)
            for name in self.repository.names(folder):
                m = self.NAME.match(name)
                if m:
                    found.append((level, int(m[1], 16), int(m[2], 16), folder + name))
        return found

    def read(self, key):
        """Extents [(start, end, bytes)]"""
        data = self.repository.get(key)
        header = Header(data, self.repository)
        need(header.type == LOG and len(header.ext) == 40, '%s is no log' % key)
        name = self.NAME.match(key.rsplit('/', 1)[1])
        at, number = header.size, 0

        def frame(kind, size, flags):
            nonlocal at, number
            f = Frame(header, data[at:at + size], number, kind, flags)
            at, number = at + size, number + 1
            return f.plain

        length = struct.unpack('>I', data[at:at + 4])[0]
        r = Reader(frame(DESCRIPTION, 32 + length, 0))
        n_log, n_ref, size, digest, _, _, _, n_ext = r.unpack('IIQ32sQQII')
        r.take(176 - r.at)
        extents = [r.unpack('16s16sI') for _ in range(n_ext)]
        sizes = [r.number('I') for _ in range(n_log + n_ref)]
        log = b''.join(frame(LOG_FRAME, sizes[i], LAST if i + 1 == n_log + n_ref else 0) for i in range(n_log))
        need(len(log) == size and hashlib.sha256(log).digest() == digest, '%s: the log is not what it says' % key)
        need(header.ext[8:40].hex() == name[1] + name[2], '%s holds another range' % key)
        if not extents:
            return [(int(name[1], 16), int(name[2], 16), log)]
        parts, at = [], 0
        for start, end, length in extents:
            parts.append((int.from_bytes(start, 'big'), int.from_bytes(end, 'big'), log[at:at + length]))
            at += length
        return parts

    def path(self, lineage):
        """From the oldest ancestor: (lineage, position where the next one takes over or None)"""
        steps, end = [], None
        while lineage:
            steps.insert(0, (lineage, end))
            doc = self.repository.record('%slineages/%08x' % (self.folder, lineage), LINEAGE)
            lineage, end = doc['parent'], int(doc['fork'], 16)
        return steps

    def range(self, lineage, start, end):
        at = start
        for number, until in self.path(lineage):
            stop = end if until is None else min(end, until)
            objects = self.objects(number) if at < stop else []
            while at < stop:
                have = [o for o in objects if o[1] <= at < o[2]]
                need(have, 'no log at %032x in lineage %d' % (at, number))
                best = max(have, key=lambda o: (o[0], o[2]))
                for first, last, data in self.read(best[3]):
                    if first <= at < last:
                        yield data[at - first:][:max(0, stop - at)]
                        at = min(last, stop)


def position(text):
    if ':' in text:
        hi, lo = text.split(':')
        return int(hi, 16) << 64 | int(lo, 16)
    return int(text, 16)


def extract(backup, target):
    for e in backup.entries():
        if e['kind'] != 1:
            continue
        path = os.path.join(target, e['name'])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            for data in backup.content(e):
                f.write(data)


def run(args):
    key_file = None
    if '--key' in args:
        i = args.index('--key')
        key_file = args[i + 1]
        del args[i:i + 2]
    if len(args) < 2:
        sys.exit(__doc__)
    repository = Repository(args[0].removeprefix('file://'), key_file)
    command, rest = args[1], args[2:]
    if command == 'list':
        for instance in repository.names('instances'):
            for id_ in repository.names('instances/%s/backups' % instance):
                doc = Backup(repository, instance, id_).doc
                print(instance, id_, doc['method'], doc['start'], doc['stop'], doc['totals']['bytes'])
    elif command == 'files':
        for e in Backup(repository, *rest).entries():
            print('%o %12d %s' % (e['mode'], e['size'], e['name']))
    elif command == 'cat':
        backup = Backup(repository, rest[0], rest[1])
        for data in backup.content(backup.one(rest[2])):
            sys.stdout.buffer.write(data)
    elif command == 'extract':
        extract(Backup(repository, rest[0], rest[1]), rest[2])
    elif command == 'log':
        for data in Log(repository, rest[0]).range(int(rest[1]), position(rest[2]), position(rest[3])):
            sys.stdout.buffer.write(data)
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    try:
        run(sys.argv[1:])
    except Damage as e:
        sys.exit('read_repository.py: %s' % e)
