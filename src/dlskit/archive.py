"""Vendor archives on the control node: what they hold, and the checksum to pin.

The rules for members, and the reader of .tar.gz, are dlsctl's. Here is the reader of .zip, for Windows releases. The
standard library's reader looks for a directory in more than one place, cuts names at a NUL and contents at the size
announced, so the records are read here. Format: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dlsctl.archives import (
    DAMAGED_HINT,
    DEFAULT_LIMITS,
    FETCH_HINT,
    Archive,
    ArchiveLimits,
    Member,
    Progress,
    archive_name,
    identify,
)
from dlsctl.gunzip import Meter, open_archive
from dlsctl.members import check_members
from dlsctl.problems import Refused, shown
from dlsctl.tarballs import read_tar

_PIECE = 1 << 18  # bytes handled at a time
_LONGEST_DIRECTORY = 64 << 20  # bytes of a central directory: some 500 for each of the members allowed by default
_GZIP_MAGIC, _ZIP_MAGIC = b"\x1f\x8b", b"PK\x03\x04"
_CENTRAL = struct.Struct("<4s6H3L5H2L")  # central directory header
_END = struct.Struct("<4s4H2LH")  # end of central directory record
_LOCAL = struct.Struct("<4s5H3L2H")  # local file header
_DESCRIPTOR = struct.Struct("<3L")  # data descriptor, after an optional signature
_STORED, _DEFLATED = 0, 8
_FLAG_ENCRYPTED, _FLAG_DESCRIPTOR, _FLAG_UTF8 = 0x1, 0x8, 0x800
_KNOWN_FLAGS = 0x6 | _FLAG_DESCRIPTOR | _FLAG_UTF8  # bits 1 and 2: how hard deflate tried
_UNICODE_PATH = 0x7075  # extra field with a second name
_DOS_FOLDER = 0x10


class Pin(NamedTuple):
    """The inventory's variables that name one vendor archive and nothing else."""

    dls_server_version: str
    dls_server_archive: str
    dls_server_archive_checksum: str


def inspect(path: str | Path, limits: ArchiveLimits = DEFAULT_LIMITS, progress: Progress | None = None) -> Archive:
    """Read a vendor archive to its end and return what it holds; nothing is written.

    Whether it is a .tar.gz or a .zip is told by its first bytes. `progress` is called with bytes read and bytes in
    all. Raises Refused when the archive is damaged, breaks a rule, outgrows `limits` or is not a DLS release.
    """
    path = os.fspath(path)
    with open_archive(path) as file:
        magic = file.read(4)
    if magic[:2] == _GZIP_MAGIC:
        return read_tar(path, limits, progress)
    if magic == _ZIP_MAGIC:
        return read_zip(path, limits, progress)
    got = f"a file that begins with {shown(magic)}" if magic else "an empty file"
    raise Refused(archive_name(path), "must be a .tar.gz or a .zip", got, DAMAGED_HINT)


def pin(path: str | Path, limits: ArchiveLimits = DEFAULT_LIMITS, progress: Progress | None = None) -> Pin:
    """Inspect a vendor archive and return the variables that pin it: version, absolute path, checksum."""
    archive = inspect(path, limits, progress)
    return Pin(archive.version, str(Path(path).absolute()), "sha256:" + archive.sha256)


def read_zip(path: str, limits: ArchiveLimits = DEFAULT_LIMITS, progress: Progress | None = None) -> Archive:
    """Read a .zip with a Windows release and return what it holds; nothing is written and memory stays bounded.

    Local headers must say what the central directory says, and headers, contents and directory must fill the file
    without a gap: then every reader sees the same members. Raises Refused.
    """
    name = archive_name(path)
    with open_archive(path) as file:
        sha256, size = _file_sha256(file, progress)
        reader = _Zip(file, name, limits)
        entries, directory = reader.entries(size)
        members = []
        position = 0
        for entry in entries:
            member, position = reader.read_member(entry, position)
            members.append(member)
        if position != directory:
            raise reader.refuse("must be one zip file with nothing before, between or after its parts", "a gap")
    check_members(members, windows=True, archive=name)
    platform, version, top = identify(members, path)
    if platform != "win_x64":
        raise reader.refuse("must hold a Windows release: Linux releases come as .tar.gz", platform)
    return Archive(path, platform, version, top, sha256, size, members)


def _file_sha256(file: BinaryIO, progress: Progress | None) -> tuple[str, int]:
    digest, done, size = hashlib.sha256(), 0, os.fstat(file.fileno()).st_size
    while piece := file.read(_PIECE):
        digest.update(piece)
        done += len(piece)
        if progress:
            progress(done, size)
    return digest.hexdigest(), done


class _Entry(NamedTuple):
    """What the central directory says of a member; sizes and offset are in bytes."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    attributes: int
    offset: int


class _Zip:
    """A .zip that is read from its first to its last byte."""

    def __init__(self, file: BinaryIO, archive: str, limits: ArchiveLimits) -> None:
        self.archive, self.meter = archive, Meter(archive, limits)
        self._file = file

    def refuse(self, rule: str, got: object = None, hint: str = FETCH_HINT) -> Refused:
        return Refused(self.archive, rule, got, hint)

    def refuse_member(self, name: str | bytes, rule: str, got: object = None, hint: str = FETCH_HINT) -> Refused:
        return Refused(f"{self.archive}, member {shown(name)}", rule, got, hint)

    def entries(self, size: int) -> tuple[list[_Entry], int]:
        """Return the members in the order of their content, and where the central directory starts."""
        self._file.seek(max(0, size - _END.size))
        end = self._file.read(_END.size)
        if len(end) < _END.size or end[:4] != b"PK\x05\x06":
            raise self.refuse("must end with its directory", "a file cut short or with data after it", DAMAGED_HINT)
        _, disk, first_disk, here, count, length, start, comment = _END.unpack(end)
        if 0xFFFF in (here, count) or 0xFFFFFFFF in (length, start):
            raise self.refuse("must not use zip64: a release is far smaller", "zip64")
        if disk or first_disk or here != count or comment or start + length + _END.size != size:
            raise self.refuse("must be one zip file with nothing before, between or after its parts", "another layout")
        if length > _LONGEST_DIRECTORY:
            raise self.refuse(f"must have a directory of at most {_LONGEST_DIRECTORY} bytes", length)
        self._file.seek(start)
        directory = self._file.read(length)
        entries = []
        at = 0
        for _ in range(count):
            self.meter.add_member()
            entry, at = self._entry(directory, at)
            entries.append(entry)
        if at != length:
            raise self.refuse("must have a directory of just its members", "more")
        return sorted(entries, key=lambda entry: entry.offset), start

    def _entry(self, directory: bytes, at: int) -> tuple[_Entry, int]:
        if len(directory) < at + _CENTRAL.size or directory[at : at + 4] != b"PK\x01\x02":
            raise self.refuse("must have an intact directory", None, DAMAGED_HINT)
        fields = _CENTRAL.unpack_from(directory, at)
        flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
        name_length, extra_length, comment_length, disk, _, attributes, offset = fields[10:]
        end_of_name = at + _CENTRAL.size + name_length
        end = end_of_name + extra_length + comment_length
        if end > len(directory):
            raise self.refuse("must have an intact directory", None, DAMAGED_HINT)
        raw_name = directory[at + _CENTRAL.size : end_of_name]
        self._check_extra(raw_name, directory[end_of_name : end_of_name + extra_length])
        if flags & _FLAG_ENCRYPTED:
            raise self.refuse_member(raw_name, "must not be encrypted")
        if flags & ~_KNOWN_FLAGS or disk or 0xFFFFFFFF in (packed, size, offset):
            raise self.refuse_member(raw_name, "must be a plain member: no zip64, patch or second file", "another")
        if method not in (_STORED, _DEFLATED):
            raise self.refuse_member(raw_name, "must be stored or deflated", f"method {method}")
        name = self._decoded(raw_name, flags)
        return _Entry(name, raw_name, flags, method, crc, packed, size, attributes, offset), end

    def _decoded(self, raw_name: bytes, flags: int) -> str:
        try:
            return raw_name.decode("utf-8" if flags & _FLAG_UTF8 else "ascii")
        except UnicodeDecodeError:
            raise self.refuse_member(raw_name, "must have a name in UTF-8, and marked so unless it is ASCII") from None

    def _check_extra(self, raw_name: bytes, extra: bytes) -> None:
        at = 0
        while at + 4 <= len(extra):
            kind, length = struct.unpack_from("<2H", extra, at)
            if kind == _UNICODE_PATH:
                raise self.refuse_member(raw_name, "must not have a second name in an extra field")
            at += 4 + length

    def read_member(self, entry: _Entry, position: int) -> tuple[Member, int]:
        """Return the member at `position`, its content read and checked, and the position behind it."""
        if entry.offset != position:
            rule = "must follow the member before it without gap or overlap"
            raise self.refuse_member(entry.name, rule, f"offset {entry.offset} instead of {position}")
        self._file.seek(position)
        self._check_local_header(entry)
        digest, crc, size = hashlib.sha256(), 0, 0
        for piece in self._content(entry):
            digest.update(piece)
            crc = zlib.crc32(piece, crc)
            size += len(piece)
            self.meter.add_bytes(len(piece), self._file.tell())
        if (crc, size) != (entry.crc, entry.size):
            raise self.refuse_member(entry.name, "must have the CRC and size of its header", None, DAMAGED_HINT)
        if entry.flags & _FLAG_DESCRIPTOR:
            self._check_descriptor(entry)
        return self._member(entry, digest.hexdigest()), self._file.tell()

    def _check_local_header(self, entry: _Entry) -> None:
        header = self._file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
            raise self.refuse_member(entry.name, "must have a local header", None, DAMAGED_HINT)
        _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(header)
        raw_name = self._file.read(name_length)
        self._check_extra(raw_name, self._file.read(extra_length))
        sums = (crc, packed, size)
        later = bool(flags & _FLAG_DESCRIPTOR) and sums == (0, 0, 0)
        if (raw_name, flags, method) != (entry.raw_name, entry.flags, entry.method) or not (
            later or sums == (entry.crc, entry.packed, entry.size)
        ):
            raise self.refuse_member(entry.name, "must have a local header that agrees with the directory", "another")

    def _content(self, entry: _Entry) -> Iterator[bytes]:
        """Yield the unpacked content in pieces; exactly the announced packed bytes must make it."""
        inflate = zlib.decompressobj(-15)  # a deflate stream without header
        left = entry.packed
        while left:
            packed = self._file.read(min(left, _PIECE))
            if not packed:
                raise self.refuse_member(entry.name, "must not be cut short", None, DAMAGED_HINT)
            left -= len(packed)
            if entry.method == _STORED:
                yield packed
            else:
                yield from self._inflated(inflate, packed, entry)
        if entry.method == _DEFLATED:
            yield from self._inflated(inflate, b"", entry)
            if not inflate.eof or inflate.unused_data:
                raise self.refuse_member(entry.name, "must be one whole deflate stream", None, DAMAGED_HINT)

    def _inflated(self, inflate: zlib._Decompress, packed: bytes, entry: _Entry) -> Iterator[bytes]:
        try:
            piece = inflate.decompress(packed, _PIECE)
            while piece:
                yield piece
                piece = inflate.decompress(inflate.unconsumed_tail, _PIECE)
        except zlib.error as error:
            raise self.refuse_member(entry.name, "must be intact deflate", error, DAMAGED_HINT) from None

    def _check_descriptor(self, entry: _Entry) -> None:
        sums = self._file.read(4)
        sums = (b"" if sums == b"PK\x07\x08" else sums) + self._file.read(_DESCRIPTOR.size - 4)
        sums += self._file.read(_DESCRIPTOR.size - len(sums))
        if sums != _DESCRIPTOR.pack(entry.crc, entry.packed, entry.size):
            raise self.refuse_member(
                entry.name, "must have a data descriptor that agrees with the directory", "another"
            )

    def _member(self, entry: _Entry, sha256: str) -> Member:
        mode = entry.attributes >> 16  # written by Unix tools; 0 from most others
        kinds = {0: None, stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
        if stat.S_IFMT(mode) not in kinds:
            raise self.refuse_member(entry.name, "must be a file, folder or link", "a device")
        kind = kinds[stat.S_IFMT(mode)] or ("dir" if entry.attributes & _DOS_FOLDER else None)
        by_name = "dir" if entry.name.endswith("/") else "file"
        if (kind == "link" and by_name == "dir") or (kind in ("file", "dir") and kind != by_name):
            raise self.refuse_member(entry.name, "must be a folder both by name and by attributes, or by neither")
        if by_name == "dir":
            if entry.size:
                raise self.refuse_member(entry.name, "must have no content unless it is a file", entry.size)
            return Member(entry.name[:-1], "dir", stat.S_IMODE(mode) or 0o755)
        if kind == "link":
            return Member(entry.name, "link", stat.S_IMODE(mode))
        return Member(entry.name, "file", stat.S_IMODE(mode) or 0o644, entry.size, sha256)
