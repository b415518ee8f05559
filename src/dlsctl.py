#!/usr/bin/env python3
"""Run and look after one Dynamsoft License Server (DLS) on this Linux host.

One file, standard library only, Python 3.6 and later: it is copied to every host, and an administrator at the console
of an air-gapped server reads and runs the same file that the deployment engines call. Everything that must be atomic,
or must survive a lost connection, happens here.

Exit codes
    0  done, or the answer is yes
    1  failed
    2  wrong usage
    3  the server is stopped
    4  the server runs but gave no healthy answer in time
    5  installed or licence files, or the host's identity, differ from what was recorded
    6  refused: an input or the host breaks a rule, nothing was changed
    7  busy: another dlsctl holds the lock
    8  blocked: an earlier run left something that only a person can decide
"""

import argparse
import base64
import contextlib
import difflib
import errno
import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import time
import unicodedata
import urllib.parse
import zlib
from typing import (
    Any,
    BinaryIO,
    Callable,
    Container,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED, EXIT_UNHEALTHY, EXIT_DIFFERS, EXIT_REFUSED, EXIT_BUSY, EXIT_BLOCKED = (
    range(9)
)


class Problem(Exception):
    """Something a person has to mend, told as: what, the rule, the value received, the next action.

    >>> print(Problem("dls_server_port", "must be 1 to 65535", 99999, "set it in group_vars/dls.yml"))
    dls_server_port: must be 1 to 65535, got 99999
    HINT: set it in group_vars/dls.yml
    """

    code = EXIT_FAILED

    def __init__(self, what: str, rule: str, got: object = None, hint: Optional[str] = None) -> None:
        if "PRIVATE KEY" in str(got):  # of a variable that is not meant for one
            got = "a private key"
        super().__init__(what, rule, got, hint)
        self.what, self.rule, self.got, self.hint = what, rule, got, hint

    def __str__(self) -> str:
        text = "{}: {}".format(self.what, self.rule)
        if self.got is not None:
            text += ", got {}".format(self.got)
        if self.hint:
            text += "\nHINT: {}".format(self.hint)
        return text

    def as_dict(self) -> Dict[str, object]:
        got = None if self.got is None else str(self.got)
        return {"what": self.what, "rule": self.rule, "got": got, "hint": self.hint}


class Refused(Problem):
    """An input or the host breaks a rule. Nothing was changed."""

    code = EXIT_REFUSED


# --- Archives: what a vendor archive holds, and what must never be unpacked ---


class Member(NamedTuple):
    """One entry of an archive or of an installed release.

    path is relative with "/" between folders; kind is "file", "dir" or "link" (symbolic); mode holds
    permission bits; size is in bytes and, like the SHA-256 in hex, belongs to files only; link is where a
    link points.
    """

    path: str
    kind: str
    mode: int
    size: int = 0
    sha256: str = ""
    link: str = ""


class ArchiveLimits(NamedTuple):
    """What an archive may grow to: bytes unpacked, times its packed size, number of members.

    A real release is about 200 MB packed and, with its Java runtime, two to three times that unpacked.
    """

    total: int = 4 << 30
    ratio: int = 100
    members: int = 50000


DEFAULT_LIMITS = ArchiveLimits()


class Archive(NamedTuple):
    """A vendor archive that was read to its end and broke no rule.

    platform is "linux_x64" or "win_x64"; top is the one folder that holds everything, or ""; sha256 and size
    are those of the archive file; members keep the archive's order and full paths.
    """

    path: str
    platform: str
    version: str
    top: str
    sha256: str
    size: int
    members: List[Member]


Progress = Callable[[int, int], None]  # bytes of the file read so far, bytes in all

FETCH_HINT = "do not unpack it; download it again with your vendor account and compare the SHA-256"
DAMAGED_HINT = "the file is damaged or cut short: download it again with your vendor account"
LIMIT_HINT = "raise the limit only if you know where the archive comes from"
OLD_HINT = "older releases had other file names and cannot be run by this kit; download a later release"
PLATFORM_FILES = {  # documented layout; the first file tells the platform
    "linux_x64": ("startup.sh", "linux/bin/dynamsoftdlsx", "linux/jre/bin/dynamsoftdls"),
    "win_x64": ("startup.bat", "win/bin/dynamsoftdlsx.exe", "win/jre/bin/dynamsoftdls.exe"),
}
OLDEST_RELEASE = (2, 2)  # before it the product was LTS, with other file names

_PIECE = 1 << 18  # bytes handled at a time: bounds memory, costs no speed
_RATIO_FROM = 1 << 20  # a file that unpacks to less is no bomb, whatever its ratio
_LONGEST_PATH = {"linux_x64": 1024, "win_x64": 180}  # bytes; Windows: 259 with the folder it is installed in
_LONGEST_PART = 255  # bytes, of a file or folder name on both systems
_LONGEST_HEADER = 1 << 20  # bytes of a tar extension header
_VENDOR_NAME = re.compile(r"dynamsoft_dls-(linux|win)_x64-v([0-9]+(?:\.[0-9]+)+)")
_JAR_NAME = re.compile(r"(dls|lts)-([0-9].*)\.jar\Z")
_VERSION = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}\Z")
_WINDOWS_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\xb9\xb2\xb3]) *(\..*)?\Z", re.IGNORECASE)


def shown(text: object) -> str:
    """Return untrusted text as quoted ASCII of bounded length, harmless on a terminal and in a log."""
    quoted = ascii(text)
    return quoted if len(quoted) <= 120 else quoted[:100] + "..." + quoted[-15:]


def archive_name(path: str) -> str:
    name = os.path.basename(path)
    return name if name.isprintable() else shown(name)


def _refuse(archive: str, rule: str, got: object = None, hint: str = FETCH_HINT) -> Refused:
    return Refused(archive, rule, got, hint)


def _refuse_member(archive: str, path: str, rule: str, got: object = None) -> Refused:
    return Refused("{}, member {}".format(archive, shown(path)), rule, got, FETCH_HINT)


# Rules for one path, in the order they are tried: the rule, and a test that is true when a path breaks it.
_PATH_RULES: Tuple[Tuple[str, Callable[[str], bool]], ...] = (
    ("must have a name", lambda path: not path),
    ("must have a name in printable UTF-8", lambda path: not path.isprintable()),
    ("must have a relative path", lambda path: path[0] in "/\\"),
    ("must not name a drive", lambda path: path[1:2] == ":" and path[0].isalpha()),
    ("must have '/' between folders, not a backslash", lambda path: "\\" in path),
    ("must not have empty or '.' parts in its path", lambda path: any(part in ("", ".") for part in path.split("/"))),
    ("must not have '..' in its path", lambda path: ".." in path.split("/")),
    (
        "must have parts of at most {} bytes".format(_LONGEST_PART),
        lambda path: any(len(part.encode()) > _LONGEST_PART for part in path.split("/")),
    ),
)

_WINDOWS_PART_RULES: Tuple[Tuple[str, Callable[[str], bool]], ...] = (
    ('must not use < > : " | ? *, which Windows forbids', lambda part: any(char in '<>:"|?*' for char in part)),
    ("must not end in a dot or space, which Windows drops", lambda part: part[-1] in ". "),
    ("must not have the name of a Windows device", lambda part: bool(_WINDOWS_DEVICE.match(part))),
)


def broken_path_rule(path: str, windows: bool = False) -> Optional[str]:
    """Return the rule that a member's path breaks, or None; `windows` adds the rules of its names."""
    for rule, broken in _PATH_RULES:
        if broken(path):
            return rule
    longest = _LONGEST_PATH["win_x64" if windows else "linux_x64"]
    if len(path.encode()) > longest:
        return "must have a path of at most {} bytes".format(longest)
    if windows:
        for rule, broken in _WINDOWS_PART_RULES:
            if any(broken(part) for part in path.split("/")):
                return rule
    return None


def broken_link_rule(path: str, link: str, top: str) -> Optional[str]:
    """Return the rule that a symbolic link breaks, or None.

    A target may go up only at its start. Since no member is reached through a link, going up from the link's
    own folder means on disk what it means on paper; every further step is a name, and each link it may pass
    is inside as well.
    """
    if not link or not link.isprintable():
        return "must point to a name in printable UTF-8"
    if link[0] in "/\\" or "\\" in link:
        return "must point to a relative path"
    parts = [part for part in link.split("/") if part not in ("", ".")]
    depth = path.count("/") - (1 if top else 0)
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    if ups > depth:
        return "must point to a place inside the release"
    if ".." in parts[ups:]:
        return "must have '..' only at the start of what it points to"
    return None


def top_folder(paths: Iterable[str]) -> str:
    """Return the folder that holds every path, or "" when there is none."""
    firsts, deeper = set(), False
    for path in paths:
        first, slash, _ = path.partition("/")
        firsts.add(first)
        deeper = deeper or bool(slash)
    return firsts.pop() if len(firsts) == 1 and deeper else ""


def check_members(members: Sequence[Member], windows: bool = False, archive: str = "archive") -> None:
    """Refuse members that must not be unpacked on the target, whatever kind of archive they come from.

    `windows` adds the rules of Windows names and compares names as Windows does: without case, composed
    (NFC). `archive` names the file in messages. Raises Refused.
    """
    top = top_folder(member.path for member in members)
    for member in members:
        rule = _broken_member_rule(member, top, windows)
        if rule:
            raise _refuse_member(archive, member.path, rule, shown(member.link) if member.link else None)
    _check_collisions(members, windows, archive)


def _broken_member_rule(member: Member, top: str, windows: bool) -> Optional[str]:
    rule = broken_path_rule(member.path, windows)
    if rule:
        return rule
    if member.mode & ~0o777:
        return "must have plain permission bits: no setuid, setgid or sticky bit"
    if member.kind == "link":
        if windows:
            return "must not be a link: a Windows release has none"
        return broken_link_rule(member.path, member.link, top)
    return None


def _check_collisions(members: Sequence[Member], windows: bool, archive: str) -> None:
    """Refuse two members for one name, and members below something that is not a folder."""

    key = _windows_key if windows else str
    kinds: Dict[str, str] = {}
    for member in members:
        if key(member.path) in kinds:
            raise _refuse_member(
                archive, member.path, "must be there once" + (", whatever its case" if windows else "")
            )
        kinds[key(member.path)] = member.kind
    spelling: Dict[str, str] = {}
    for member in members:
        for folder in _folders(member.path):
            if kinds.get(key(folder), "dir") != "dir":
                raise _refuse_member(archive, member.path, "must not lie below a file or a link", shown(folder))
            if spelling.setdefault(key(folder), folder) != folder:
                raise _refuse_member(archive, member.path, "must have its folders spelled one way", shown(folder))
        if member.kind == "dir" and spelling.setdefault(key(member.path), member.path) != member.path:
            raise _refuse_member(archive, member.path, "must have its folders spelled one way")


def _windows_key(path: str) -> str:
    """Return what is equal for all spellings that Windows takes for one name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _folders(path: str) -> Iterator[str]:
    """Yield the folders above a path, outermost first."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def identify(members: Sequence[Member], path: str) -> Tuple[str, str, str]:
    """Return platform, version and top folder of a release by its content, which a vendor file name must match.

    `path` is the archive's: only its base name is looked at, and a name of another form says nothing. The
    layout is the one the vendor documents, 2.2 and later. Raises Refused.
    """
    archive = archive_name(path)
    top = top_folder(member.path for member in members)
    start = len(top) + 1 if top else 0
    names = {member.path[start:] for member in members if member.kind != "dir"}
    version = _jar_version(names, archive)
    platform = _platform(names, archive)
    named = _VENDOR_NAME.match(os.path.basename(path))
    if named and (named.group(1) + "_x64", named.group(2)) != (platform, version):
        rule = "must hold what its name says, {} {}".format(named.group(1) + "_x64", named.group(2))
        raise _refuse(archive, rule, platform + " " + version)
    return platform, version, top


def _jar_version(names: Iterable[str], archive: str) -> str:
    jars = [jar for jar in (_JAR_NAME.match(name) for name in sorted(names)) if jar]
    if not jars:
        raise _refuse(archive, "must be a DLS release, with dls-<version>.jar at the top", "none")
    if len(jars) > 1:
        raise _refuse(archive, "must hold one release", ", ".join(shown(jar.group()) for jar in jars[:4]))
    product, version = jars[0].groups()
    if not _VERSION.match(version):
        raise _refuse(archive, "must have a jar with a version of 2 to 4 numbers", shown(jars[0].group()))
    if product == "lts" or tuple(int(number) for number in version.split(".")) < OLDEST_RELEASE:
        raise _refuse(archive, "must be release 2.2 or later", version, OLD_HINT)
    return version


def _platform(names: Container[str], archive: str) -> str:
    found = [platform for platform, files in sorted(PLATFORM_FILES.items()) if files[0] in names]
    if len(found) != 1:
        rule = "must be for one platform: startup.sh (Linux) or startup.bat (Windows)"
        raise _refuse(archive, rule, "both" if found else "neither")
    missing = [name for name in PLATFORM_FILES[found[0]] if name not in names]
    if missing:
        raise _refuse(archive, "must hold every file of the documented layout", "no " + ", ".join(missing))
    return found[0]


class Meter:
    """Counts what an archive unpacks to and stops it at the limits, whatever its headers promise."""

    def __init__(self, archive: str, limits: ArchiveLimits) -> None:
        self.archive, self.limits = archive, limits
        self.total = self.members = 0

    def add_bytes(self, unpacked: int, packed: int) -> None:
        """Count `unpacked` more bytes, made from the first `packed` bytes of the archive. Raises Refused."""
        self.total += unpacked
        if self.total > self.limits.total:
            rule = "must unpack to at most {} bytes".format(self.limits.total)
            raise _refuse(self.archive, rule, "more", LIMIT_HINT)
        if self.total > _RATIO_FROM and self.total > self.limits.ratio * packed:
            rule = "must unpack to at most {} times its size".format(self.limits.ratio)
            raise _refuse(self.archive, rule, "more", LIMIT_HINT)

    def add_member(self) -> None:
        """Count one more member. Raises Refused."""
        self.members += 1
        if self.members > self.limits.members:
            rule = "must hold at most {} members".format(self.limits.members)
            raise _refuse(self.archive, rule, "more", LIMIT_HINT)


class _Gunzip:
    """The content of one gzip file, unpacked piece by piece within limits.

    `sha256` and `packed` (bytes) are of the file itself. Exactly one gzip stream is taken. The format allows
    more of them in a row, but vendor archives have one, and what follows it is where things are hidden.
    """

    def __init__(self, file: BinaryIO, meter: Meter, progress: Optional[Progress] = None) -> None:
        self.meter, self.archive = meter, meter.archive
        self.sha256, self.packed = hashlib.sha256(), 0
        self._file, self._size, self._progress = file, os.fstat(file.fileno()).st_size, progress
        self._inflate = zlib.decompressobj(31)  # 31: gzip header and checksums required
        self._ready, self._at = b"", 0

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes in pieces of bounded length. Raises Refused when there are fewer."""
        while size:
            if self._at == len(self._ready):
                self._ready, self._at = self._unpack(), 0
                if not self._ready:
                    raise _refuse(self.archive, "must not end inside a member", None, DAMAGED_HINT)
            piece = self._ready[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def rest(self) -> Iterator[bytes]:
        """Yield all that is left, up to and including the check of the gzip file's own end."""
        while self._at < len(self._ready):
            yield self._ready[self._at :]
            self._ready, self._at = self._unpack(), 0
        piece = self._unpack()
        while piece:
            yield piece
            piece = self._unpack()

    def _unpack(self) -> bytes:
        """Return the next unpacked bytes, empty at a proper end."""
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._read()
            try:
                unpacked = self._inflate.decompress(packed, _PIECE)
            except zlib.error as error:
                raise _refuse(self.archive, "must be intact gzip", str(error), DAMAGED_HINT) from None
            if unpacked:
                self.meter.add_bytes(len(unpacked), self.packed)
                return unpacked
            if not packed and not self._inflate.eof:
                raise _refuse(self.archive, "must not end inside its gzip stream", None, DAMAGED_HINT)
        if self._inflate.unused_data or self._read():
            raise _refuse(self.archive, "must end with its one gzip stream", "data after it")
        return b""

    def _read(self) -> bytes:
        packed = self._file.read(_PIECE)
        self.sha256.update(packed)
        self.packed += len(packed)
        if packed and self._progress:
            self._progress(self.packed, self._size)
        return packed


class _Entry(NamedTuple):
    """What a tar header says of a member; kind may also be "copy", a hard link to the earlier file `link`."""

    path: str
    kind: str
    mode: int
    size: int
    link: str


# tarfile's own reader takes broken headers for the end of the archive, lets later headers override earlier
# ones and reads extension headers of any length into memory. So only its decoding of one 512-byte header is
# used here. Formats: POSIX.1-2017 pax "ustar Interchange Format" and "pax Header Block"; GNU tar manual,
# "Basic Tar Format".
_TAR_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "copy",
}
_TAR_REFUSED = {
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
_TAR_EXTENSIONS = {
    tarfile.GNUTYPE_LONGNAME: "path",
    tarfile.GNUTYPE_LONGLINK: "linkpath",
    tarfile.XHDTYPE: "pax",
    tarfile.XGLTYPE: "global pax",
}
_OCTAL = re.compile(rb" *[0-7]*[ \0]*\Z")
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^=\n]+)=")


def _entries(stream: _Gunzip) -> Iterator[_Entry]:
    """Yield the members of a tar stream.

    The caller takes each member's `size` bytes from the stream before it asks for the next.
    """
    extra: Dict[str, str] = {}
    while True:
        block = b"".join(stream.pieces(tarfile.BLOCKSIZE))
        if not block.strip(b"\0"):
            if extra:
                raise _refuse(stream.archive, "must have a member after each tar extension header", "the end")
            _check_tar_end(stream)
            return
        header = _tar_header(block, stream.archive)
        if header.type in _TAR_EXTENSIONS:
            _extend(extra, header, stream)
            continue
        stream.meter.add_member()
        entry = _entry(header, extra, stream.archive)
        extra = {}
        yield entry
        _skip_padding(stream, entry.size)


def _check_tar_end(stream: _Gunzip) -> None:
    """Refuse a tar stream without its second block of zeros, or with anything but zeros after it."""
    if b"".join(stream.pieces(tarfile.BLOCKSIZE)).strip(b"\0"):
        raise _refuse(stream.archive, "must end with two tar blocks of zeros", "one, then data")
    for piece in stream.rest():
        if piece.strip(b"\0"):
            raise _refuse(stream.archive, "must hold only zeros after the end of its tar stream", "data")


def _skip_padding(stream: _Gunzip, size: int) -> None:
    for _ in stream.pieces(-size % tarfile.BLOCKSIZE):
        pass


def _tar_header(block: bytes, archive: str) -> tarfile.TarInfo:
    numbers_plain = all(_OCTAL.match(block[at:end]) for at, end in ((100, 108), (124, 136)))  # mode, size
    ustar, plain = block[257:265] == b"ustar\x0000", block[257:265] in (b"ustar  \0", bytes(8))
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except UnicodeDecodeError:
        raise _refuse(archive, "must have member names in UTF-8", shown(block[:100].split(b"\0")[0])) from None
    except (tarfile.HeaderError, ValueError, IndexError, OverflowError) as error:
        raise _refuse(archive, "must have intact tar headers", str(error), DAMAGED_HINT) from None
    if not numbers_plain or not (ustar or plain) or (block[345] and not ustar):
        raise _refuse_member(archive, header.name, "must have a plain tar header", "an unknown dialect")
    return header


def _entry(header: tarfile.TarInfo, extra: Dict[str, str], archive: str) -> _Entry:
    name, link = extra.get("path", header.name), extra.get("linkpath", header.linkname)
    if header.type not in _TAR_KINDS:
        got = _TAR_REFUSED.get(header.type, "tar type {}".format(shown(header.type)))
        raise _refuse_member(archive, name, "must be a file, folder or link", got)
    kind = _TAR_KINDS[header.type]
    if header.size and kind != "file":
        raise _refuse_member(archive, name, "must have no content unless it is a file", header.size)
    if extra.get("size", str(header.size)) != str(header.size):
        raise _refuse_member(archive, name, "must have one size in all its headers", shown(extra["size"]))
    if link and kind in ("file", "dir"):
        raise _refuse_member(archive, name, "must point to nothing unless it is a link", shown(link))
    if name in (".", "./") and kind == "dir":
        path = "."
    else:
        path = _without_dot(name[:-1] if kind == "dir" and name.endswith("/") else name)
    mode = header.mode & 0o7777  # some writers keep the file type in the upper bits
    return _Entry(path, kind, mode, header.size, _without_dot(link) if kind == "copy" else link)


def _without_dot(path: str) -> str:
    """Return a path without the leading "./" that `tar -C folder .` writes."""
    return path[2:] if path.startswith("./") else path


def _extend(extra: Dict[str, str], header: tarfile.TarInfo, stream: _Gunzip) -> None:
    """Add what an extension header says of the next member. Raises Refused when two of them speak of one thing."""
    stream.meter.add_member()
    form = _TAR_EXTENSIONS[header.type]
    if header.size > _LONGEST_HEADER:
        rule = "must have tar extension headers of at most {} bytes".format(_LONGEST_HEADER)
        raise _refuse(stream.archive, rule, header.size)
    content = b"".join(stream.pieces(header.size))
    _skip_padding(stream, header.size)
    try:
        if form in ("path", "linkpath"):
            records = {form: _without_end(content, stream.archive).decode("utf-8")}
        else:
            records = _pax_records(content, stream.archive)
    except UnicodeDecodeError:
        raise _refuse(stream.archive, "must have member names in UTF-8", shown(content[:60])) from None
    if form == "global pax":
        if records:
            raise _refuse(
                stream.archive, "must not set names or sizes for all members at once", ", ".join(sorted(records))
            )
        return
    repeated = {form, *records} & set(extra)
    if repeated:
        raise _refuse(stream.archive, "must not describe a member twice", ", ".join(sorted(repeated)))
    extra.update(records)
    extra.setdefault(form, "")


def _without_end(content: bytes, archive: str) -> bytes:
    name, _, after = content.partition(b"\0")
    if after.strip(b"\0"):
        raise _refuse(archive, "must not have data behind a long member name", shown(after[:60]))
    return name


def _pax_records(content: bytes, archive: str) -> Dict[str, str]:
    """Return the pax records that change what is unpacked: path, linkpath and size.

    The others are owners, times and labels, which are not taken over.
    """
    records: Dict[str, str] = {}
    at = 0
    while at < len(content):
        match = _PAX_RECORD.match(content, at)
        end = at + int(match.group(1)) if match else 0
        if not match or match.end() >= end or content[end - 1 : end] != b"\n":
            raise _refuse(archive, "must have well-formed pax headers", shown(content[at : at + 40]))
        key, value = match.group(2).decode("utf-8"), content[match.end() : end - 1]
        if key.startswith("GNU.sparse") or key == "hdrcharset":
            raise _refuse(archive, "must not have sparse members or its own character set", shown(key))
        if key in ("path", "linkpath", "size"):
            if key in records:
                raise _refuse(archive, "must not describe a member twice", key)
            records[key] = value.decode("utf-8")
        at = end
    return records


def open_archive(path: str) -> BinaryIO:
    """Open a regular file for reading. Raises Refused."""
    hint = "give the path of the vendor archive"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # asked first: opening a named pipe would wait for ever
            raise Refused(shown(path), "must be a file", "a folder or device", hint)
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise Refused(shown(path), "must be a readable file", getattr(error, "strerror", None) or error, hint) from None


def read_tar(path: str, limits: ArchiveLimits = DEFAULT_LIMITS, progress: Optional[Progress] = None) -> Archive:
    """Read a .tar.gz to its end, once, and return what it holds; nothing is written and memory stays bounded.

    A hard link to an earlier file counts as a copy of that file. `progress` is called with the bytes read and
    the bytes in all. Raises Refused when the archive is damaged, breaks a rule of `check_members`, outgrows
    `limits` or is not a Linux release.
    """
    name = archive_name(path)
    with open_archive(path) as file:
        stream = _Gunzip(file, Meter(name, limits), progress)
        files: Dict[str, Member] = {}
        members = [
            _hashed(entry, stream, files)
            for entry in _entries(stream)
            if not (entry.path == "." and entry.kind == "dir")
        ]
    check_members(members, archive=name)
    platform, version, top = identify(members, path)
    if platform != "linux_x64":
        raise _refuse(name, "must hold a Linux release: Windows releases come as .zip", platform)
    return Archive(path, platform, version, top, stream.sha256.hexdigest(), stream.packed, members)


def _hashed(entry: _Entry, stream: _Gunzip, files: Dict[str, Member]) -> Member:
    """Return the member for an entry, its content taken from the stream; `files` collects those read so far."""
    if entry.kind == "copy":
        source = files.get(entry.link)
        if not source:
            rule = "must be a hard link to an earlier file of the archive"
            raise _refuse_member(stream.archive, entry.path, rule, shown(entry.link))
        stream.meter.add_bytes(source.size, stream.packed)
        member = source._replace(path=entry.path)
    elif entry.kind == "file":
        digest = hashlib.sha256()
        for piece in stream.pieces(entry.size):
            digest.update(piece)
        member = Member(entry.path, "file", entry.mode, entry.size, digest.hexdigest())
    else:
        return Member(entry.path, entry.kind, entry.mode, link=entry.link if entry.kind == "link" else "")
    files[entry.path] = member
    return member


def installed_members(archive: Archive) -> List[Member]:
    """Return the members as `unpack_tar` leaves them, sorted by path.

    The top folder is gone, folders that the archive only implies are named, and modes are at most 0755 and at
    least readable (folders: enterable) for the owner.
    """
    start = len(archive.top) + 1 if archive.top else 0
    members: Dict[str, Member] = {}
    for member in archive.members:
        path = member.path[start:]
        for folder in _folders(path):
            members.setdefault(folder, Member(folder, "dir", 0o755))
        if path:
            members[path] = member._replace(path=path, mode=_installed_mode(member))
    return [members[path] for path in sorted(members)]


def _installed_mode(member: Member) -> int:
    return {"file": member.mode & 0o755 | 0o400, "dir": member.mode & 0o755 | 0o700, "link": 0o777}[member.kind]


def unpack_tar(
    path: str, into: str, archive: Archive, limits: ArchiveLimits = DEFAULT_LIMITS, progress: Optional[Progress] = None
) -> List[Member]:
    """Unpack what `read_tar` returned as `archive` into the empty folder `into` and flush it to disk.

    The file is read again and every byte compared with `archive`, since it may have changed. The top folder
    is dropped, owners and times are not taken over, modes are those of `installed_members`. Links are made
    last, so nothing is written through one. Raises Refused when the file differs, Problem when `into` cannot
    be written; `into` then holds a part, which the caller removes. Returns the members as they are on disk.
    """
    installed = installed_members(archive)
    try:
        if os.listdir(into):
            raise Refused(into, "must be an empty folder", "files in it", "unpack into a new folder")
        for member in installed:
            if member.kind == "dir":
                os.mkdir(_disk_path(into, member.path), 0o700)
        with open_archive(path) as file:
            stream = _Gunzip(file, Meter(archive_name(path), limits), progress)
            _unpack_files(stream, into, archive)
        for member in installed:
            if member.kind == "link":
                os.symlink(member.link.encode(), _disk_path(into, member.path))
        _settle(installed, into)
    except OSError as error:
        hint = "check free space and rights there, then run again"
        raise Problem(into, "must be a writable folder with room for the release", error.strerror, hint) from None
    return installed


def _disk_path(into: str, path: str) -> bytes:
    """Return the path of a member on disk, in UTF-8 also where Python 3.6 takes the locale's encoding for granted."""
    return os.path.join(os.fsencode(into), path.encode("utf-8"))


def _unpack_files(stream: _Gunzip, into: str, archive: Archive) -> None:
    expected = {member.path: member for member in archive.members}
    files = set()
    start = len(archive.top) + 1 if archive.top else 0
    changed = _refuse(stream.archive, "must not change while it is read", "another content", "run again")
    for entry in _entries(stream):
        member = expected.pop(entry.path, None)
        if entry.path == "." and entry.kind == "dir":
            continue
        if not member or member.kind != ("file" if entry.kind == "copy" else entry.kind):
            raise changed
        if entry.kind == "copy" and entry.link not in files:
            raise changed
        if member.kind == "file":
            files.add(entry.path)
            copied = _disk_path(into, entry.link[start:]) if entry.kind == "copy" else None
            pieces = _file_pieces(copied) if copied else stream.pieces(entry.size)
            if _write_new(_disk_path(into, entry.path[start:]), pieces) != member.sha256:
                raise changed
    if stream.sha256.hexdigest() != archive.sha256:
        raise changed


def _file_pieces(path: bytes) -> Iterator[bytes]:
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
        piece = file.read(_PIECE)
        while piece:
            yield piece
            piece = file.read(_PIECE)


def _write_new(path: bytes, pieces: Iterable[bytes]) -> str:
    """Write a file that must not exist yet and return the SHA-256 of what was written."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _settle(installed: Sequence[Member], into: str) -> None:
    """Set modes and flush: files first, then their folders from the inside out, `into` last."""
    kept = [member for member in reversed(installed) if member.kind != "link"]
    for member in sorted(kept, key=lambda member: member.kind == "dir"):
        descriptor = os.open(_disk_path(into, member.path), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fchmod(descriptor, member.mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    descriptor = os.open(into, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- Archives end ---

# How the parts of this program pass things on. A release's record is {version, archive_sha256, installed, line,
# members}; an entry of a state {path, change, kind, mode, size, sha256}; a step of a plan {step, path or version}; an
# error of a schema (where, rule, got); the answer of a verb (exit code, JSON, text).
Account = Tuple[int, int]
Release = Dict[str, Any]
Entry = Dict[str, Any]
Step = Dict[str, Any]
Error = Tuple[str, str, Optional[str]]
Spec = Dict[str, Any]
Answer = Tuple[int, Any, str]
IPNetwork = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


# --- Files: nothing half-written is ever seen under its final name ---


def sync_folder(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: str, data: bytes, mode: int = 0o644, owner: Optional[Account] = None) -> None:
    """Replace the file `path` by the bytes `data` in one rename, flushed to disk; `owner` is (uid, gid)."""
    temporary = path + ".dlsctl-new"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        write_new(temporary, data, mode, owner)
        os.rename(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise OSError(error.errno, error.strerror, path) from None  # a failing write does not name its file
    sync_folder(os.path.dirname(path))


def write_new(path: str, data: bytes, mode: int, owner: Optional[Account]) -> None:
    """Write a file that must not exist yet, and flush it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
        if owner:
            os.fchown(stream.fileno(), *owner)
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())


# Of a file that is read whole. The server's user may put any file into a release; a real start script has some KiB.
LARGEST_FILE = 16 << 20


def open_regular(path: str) -> int:
    """Open a regular file for reading: not what a link points to, and without waiting for a named pipe's writer."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "something that is no regular file", path)


def read_bytes(path: str) -> Optional[bytes]:
    """The content of a regular file of bounded size, or None where there is none."""
    try:
        handle = open_regular(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        if error.errno in (errno.ELOOP, errno.EINVAL, errno.ENXIO):
            raise Refused(path, "must be a regular file", "something else", "look at it and remove it") from None
        raise
    with os.fdopen(handle, "rb") as stream:
        data = stream.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise Refused(path, "must have at most {} bytes".format(LARGEST_FILE), "more", "look at it and remove it")
    return data


def read_tail(path: str, size: int = 1 << 16) -> bytes:
    """The last bytes of a regular file, or nothing where it cannot be read."""
    try:
        handle = open_regular(path)
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as stream:
        stream.seek(max(os.fstat(handle).st_size - size, 0))
        return stream.read(size)


def relabel_command(paths: Sequence[str], enforce: Optional[str], restorecon: Optional[str]) -> List[str]:
    """The command that gives `paths`, with all below them, the labels of the host's SELinux policy; nothing if not due.

    `enforce` is what /sys/fs/selinux/enforce holds, `restorecon` the path of that program; None where there is none.
    """
    return [restorecon, "-R", "-i", *paths] if paths and restorecon and (enforce or "").strip() == "1" else []


def relabel(*paths: str) -> None:
    """Where SELinux is enforcing, label files that were written. A label that cannot be set is no failure."""
    command = relabel_command(paths, read_proc("/sys/fs/selinux/enforce"), shutil.which("restorecon"))
    if command:
        run(command)


def read_json(path: str) -> Any:
    """The JSON object in a file, or None where there is no file. Raises Refused for anything else."""
    data = read_bytes(path)
    if data is None:
        return None
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(path, "must be JSON", error, "correct or remove the file") from None
    if not isinstance(value, dict):
        raise Refused(path, "must be a JSON object", shown(value), "correct or remove the file")
    return value


def write_json(path: str, value: Any, mode: int = 0o644) -> None:
    write_atomic(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode(), mode)


def sha256_file(path: str) -> str:
    digest = hashlib.sha256()
    with os.fdopen(open_regular(path), "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


# --- Installation: where things are, from the rendered configuration ---

DEFAULT_CONFIG = "/etc/dls/dlsctl.json"


class Installation:
    """The paths and settings of one DLS on this host."""

    def __init__(self, settings: Dict[str, Any]) -> None:
        self.home = settings["home"]
        self.config_dir = settings["config_dir"]
        self.backup_dir = settings["backup_dir"]
        self.data_dir = settings["data_dir"]
        self.launch = settings["launch"]
        self.supervisor = settings["supervisor"]
        self.service = settings["service_name"]
        self.user = settings["user"]
        self.server_port = settings["port"]
        self.data_port = settings["data_port"]
        self.port_filter = settings["port_filter"]
        self.networks = settings["allowed_networks"]
        self.health_timeout = settings["health_timeout"]
        self.stop_timeout = settings["stop_timeout"]
        self.releases = os.path.join(self.home, "releases")
        self.archives = os.path.join(self.home, "archives")
        self.kit = os.path.join(self.home, "kit")
        self.licenses = os.path.join(self.data_dir, "licenses")
        self.current_link = os.path.join(self.home, "current")
        self.console_log = os.path.join(self.kit, "console.log")
        self.renewal_flag = os.path.join(self.kit, "renewing-address-filter")  # there while systemd is made to renew it

    @classmethod
    def load(cls, path: str) -> "Installation":
        settings = read_json(path)
        if settings is None:
            raise Problem(path, "must exist", None, "install the server first, or name its configuration with --config")
        try:
            return cls(settings)
        except (KeyError, TypeError) as error:
            raise Refused(
                path, "must hold every setting of the server", "no {}".format(error), "deploy the server again"
            ) from None

    def folders(self) -> Dict[str, int]:
        """The folders that hold licence files and backups, with their modes."""
        return {
            self.data_dir: 0o755,
            self.licenses: 0o700,
            self.backup_dir: 0o700,
        }

    def release_dir(self, version: str) -> str:
        return os.path.join(self.releases, version)

    def record_path(self, version: str) -> str:
        return os.path.join(self.kit, "releases", version + ".json")

    def unit_path(self) -> str:
        return "/etc/systemd/system/{}.service".format(self.service)

    def current_version(self) -> Optional[str]:
        """The version that `current` points to, or None."""
        try:
            return os.path.basename(os.readlink(self.current_link))
        except OSError:
            return None

    def release(self, version: Optional[str] = None) -> Release:
        """The record of a release: version, archive checksum, vendor facts of its line, manifest."""
        version = version or self.current_version()
        record: Optional[Release] = read_json(self.record_path(version)) if version else None
        if record is None:
            raise Problem(self.home, "must hold an installed release", version, "install one first")
        try:
            return dict(record, members=[Member(*fields) for fields in record["members"]])
        except (KeyError, TypeError) as error:
            raise Blocked(
                self.record_path(str(version)), "must be a release's record", error, "restore the file from a backup"
            ) from None

    def is_installed(self, version: str) -> bool:
        return os.path.isdir(self.release_dir(version)) and os.path.isfile(self.record_path(version))

    def account(self) -> Optional[Account]:
        """The (uid, gid) that owns and runs the server, or None for whoever runs this program."""
        if os.geteuid() != 0 or self.launch != "direct":
            return None
        try:
            entry = pwd.getpwnam(self.user)
        except KeyError:
            raise Refused("dls_server_user", "must be a user of this host", self.user, "create the user") from None
        return entry.pw_uid, entry.pw_gid


# --- Lock and journal: one change at a time, and none is left half done ---


@contextlib.contextmanager
def locked(inst: Installation) -> Iterator[None]:
    """Hold the installation's lock; refuse at once when another process holds it. Unfinished work is undone first."""
    for folder in (inst.home, inst.kit, os.path.join(inst.kit, "releases"), inst.releases, inst.archives):
        if not os.path.isdir(folder):
            os.makedirs(folder, 0o755)
    handle = os.open(os.path.join(inst.kit, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        take_lock(inst, handle)
        os.ftruncate(handle, 0)
        with contextlib.suppress(OSError):  # only a note for others; a full disk is no reason to refuse an uninstall
            os.pwrite(handle, "process {} ({})\n".format(os.getpid(), " ".join(sys.argv[1:3])).encode(), 0)
        recover(inst)
        yield
    finally:
        os.close(handle)


def take_lock(inst: Installation, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(handle, 100, 0).decode(errors="replace").strip()
        raise Busy(
            inst.home, "must not be changed by two at a time", "held by " + holder, "wait until it has ended"
        ) from None


def busy_problems(inst: Installation) -> Iterator[Problem]:
    """Whether another dlsctl is at work. Changes nothing."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        handle = os.open(os.path.join(inst.kit, "lock"), os.O_RDWR | os.O_CLOEXEC)
        try:
            take_lock(inst, handle)
        except Busy as problem:
            yield problem
        finally:
            os.close(handle)


class Busy(Problem):
    """Another dlsctl is at work."""

    code = EXIT_BUSY


class Blocked(Problem):
    """Only a person can decide how to go on."""

    code = EXIT_BLOCKED


@contextlib.contextmanager
def journaled(inst: Installation, verb: str, **facts: Any) -> Iterator[None]:
    """Record on disk that `verb` has begun; the record goes when the block ends without an error.

    A process that dies inside the block leaves the record, and `recover` undoes or finishes the work.
    """
    path = os.path.join(inst.kit, "journal.json")
    write_json(path, {"verb": verb, "facts": facts, "begun": utc_now()}, 0o600)
    try:
        yield
    except BaseException:
        RECOVERIES[verb](inst, facts)
        os.unlink(path)
        raise
    os.unlink(path)
    sync_folder(inst.kit)


def recover(inst: Installation) -> Optional[str]:
    """Undo or finish what a process that died has left; returns the verb, or None where nothing was left."""
    path = os.path.join(inst.kit, "journal.json")
    try:
        journal = read_json(path)
        if journal is None:
            return None
        verb, facts = str(journal["verb"]), dict(journal["facts"])
    except (Refused, KeyError, TypeError, ValueError) as error:
        raise Blocked(
            path,
            "must say what an earlier run has begun",
            str(error).splitlines()[0],
            "look at the releases; remove the file if none is half done",
        ) from None
    if verb not in RECOVERIES:
        raise Blocked(path, "must be of a verb this dlsctl knows", one_line(verb), "run the newer dlsctl that wrote it")
    RECOVERIES[verb](inst, facts)
    os.unlink(path)
    return verb


def utc_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


# --- Releases: an archive, unpacked and recorded ---


def staging_dir(inst: Installation, version: str) -> str:
    return os.path.join(inst.releases, ".{}.partial".format(version))


def undo_install(inst: Installation, facts: Dict[str, Any]) -> None:
    shutil.rmtree(staging_dir(inst, facts["version"]), ignore_errors=True)
    if not os.path.isdir(inst.release_dir(facts["version"])):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(inst.record_path(facts["version"]))


def install(inst: Installation, archive_path: str, sha256: str, version: str, line: Dict[str, Any]) -> bool:
    """Unpack a vendor archive as release `version` beside any other; True where it was not there before.

    `sha256` is the pinned checksum; `line` holds the vendor's facts of the release line: `argv`, `mode`, `server_port`,
    `data_port` and `health_path`. The release appears under its final name in one rename, complete or not at all.
    """
    if inst.is_installed(version):
        known = inst.release(version)["archive_sha256"]
        if known != sha256:
            raise Refused(
                "release " + version,
                "must come from the archive it was installed from",
                sha256,
                "its archive had " + known,
            )
        return False
    archive = pinned_archive(archive_path, sha256, version)
    needed = sum(member.size for member in archive.members) + archive.size
    free = free_bytes(inst.releases)
    if free < needed:
        raise Refused(
            inst.releases, "must have {} MiB free".format(needed >> 20), "{} MiB".format(free >> 20), "free some space"
        )
    with journaled(inst, "install", version=version):
        place_release(inst, archive_path, archive, line)
    return True


def pinned_archive(path: str, sha256: str, version: str) -> Archive:
    """Read a Linux archive and refuse it unless it is the one that was pinned."""
    archive = read_tar(path)
    for what, wanted, found in (
        ("SHA-256", sha256, archive.sha256),
        ("platform", "linux_x64", archive.platform),
        ("version", version, archive.version),
    ):
        if wanted != found:
            raise Refused(
                path,
                "must have {} {}".format(what, wanted or "(none given)"),
                found,
                "check the archive, or pin this one with: ./dls archive pin FILE",
            )
    return archive


def place_release(inst: Installation, archive_path: str, archive: Archive, line: Dict[str, Any]) -> None:
    staging = staging_dir(inst, archive.version)
    os.mkdir(staging, 0o755)
    members = unpack_tar(archive_path, staging, archive, ArchiveLimits())
    mode = int(line["mode"], 8)
    members = [member if member.kind == "link" else member._replace(mode=mode) for member in members]
    for member in members:
        if member.kind != "link":
            os.chmod(os.path.join(staging, member.path), mode)
    os.chmod(staging, mode)
    give_to(staging, inst.account())
    kept = os.path.join(inst.archives, archive.sha256 + ".tar.gz")
    if not os.path.exists(kept):
        shutil.copyfile(archive_path, kept + ".partial")
        os.rename(kept + ".partial", kept)
    write_json(
        inst.record_path(archive.version),
        {
            "version": archive.version,
            "archive_sha256": archive.sha256,
            "line": line,
            "installed": utc_now(),
            "members": [list(member) for member in members],
        },
    )
    os.rename(staging, inst.release_dir(archive.version))
    sync_folder(inst.releases)


def give_to(folder: str, account: Optional[Account]) -> None:
    """Make `account` the owner of a tree; links themselves, not what they point to."""
    if account is None:
        return
    os.chown(folder, *account)
    for _, full in walk(folder):
        os.chown(full, *account, follow_symlinks=False)


def point_current(inst: Installation, version: str) -> None:
    """Move `current` to a release in one rename."""
    temporary = inst.current_link + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(os.path.join("releases", version), temporary)
    os.rename(temporary, inst.current_link)
    sync_folder(inst.home)


# --- State: what is on disk minus what the archive's manifest says ---


def state(inst: Installation, version: Optional[str] = None) -> List[Entry]:
    """What differs from the manifest: a list of {path, change, kind, mode, size, sha256}, sorted by path.

    `change` is added, modified or removed. Files that the kit placed or edited, untouched since, are left out.
    """
    record = inst.release(version)
    base = inst.release_dir(record["version"])
    expected = {member.path: member for member in record["members"]}
    ours = kit_files(inst, record["version"])
    found = []
    seen = set()
    for path, full in walk(base, refuse_unreadable):
        try:
            actual = describe(path, full)
        except FileNotFoundError:  # a running server removes files too
            continue
        seen.add(path)
        if ours.get(path) == actual["sha256"] and actual["sha256"]:
            continue
        if path not in expected:
            found.append(dict(actual, change="added"))
        elif differs(expected[path], actual):
            found.append(dict(actual, change="modified"))
    for path in set(expected) - seen:
        found.append({"path": path, "change": "removed", "kind": expected[path].kind})
    return sorted(found, key=lambda entry: entry["path"])


def one_line(path: str) -> str:
    """A path as it is, or quoted where it could be taken for something else."""
    return path if path.isprintable() else shown(path)


def refuse_unreadable(error: OSError) -> None:
    """What to do about a folder that cannot be read: one that is gone by now is none, but none is left out unsaid."""
    if not isinstance(error, FileNotFoundError):
        raise error


def walk(base: str, onerror: Optional[Callable[[OSError], None]] = None) -> Iterator[Tuple[str, str]]:
    """Every path below `base`: relative to it, and as a name to open at once.

    Links are not followed. The second name goes through the opened parent folder (proc(5), fd), so that the server's
    user, who owns the release, cannot lead root elsewhere by putting a link in a folder's place.
    """
    if not os.path.isdir(base):
        return
    for parent, folders, files, handle in os.fwalk(base, onerror=onerror):
        for name in folders + files:
            yield os.path.relpath(os.path.join(parent, name), base), "/proc/self/fd/{}/{}".format(handle, name)


def describe(path: str, full: str) -> Entry:
    status = os.lstat(full)
    entry = {"path": path, "mode": "{:04o}".format(stat.S_IMODE(status.st_mode)), "size": 0, "sha256": None}
    if stat.S_ISLNK(status.st_mode):
        return dict(entry, kind="link", link=os.readlink(full))
    if stat.S_ISDIR(status.st_mode):
        return dict(entry, kind="dir")
    if stat.S_ISREG(status.st_mode):
        return dict(entry, kind="file", size=status.st_size, sha256=sha256_file(full))
    return dict(entry, kind="special")


def differs(member: Member, actual: Entry) -> bool:
    if member.kind != actual["kind"]:
        return True
    if member.kind == "link":
        return bool(member.link != actual["link"])
    same_content = member.kind != "file" or member.sha256 == actual["sha256"]
    return not same_content or int(actual["mode"], 8) != member.mode


def kit_files(inst: Installation, version: str) -> Dict[str, str]:
    """Files inside a release that the kit placed or edited: path to SHA-256 as the kit left it."""
    edits = read_json(os.path.join(inst.kit, "edits.json")) or {}
    ours = edits.get(version, {})
    return ours if isinstance(ours, dict) else {}


BEFORE = " before"  # the key, behind the version, of what an edit has replaced


def trusted_hashes(inst: Installation, record: Release, path: str) -> Set[str]:
    """The SHA-256 that a file of a release has from the archive, or from this program's edits."""
    found = {member.sha256 for member in record["members"] if member.path == path}
    for key in (record["version"], record["version"] + BEFORE):
        found.add(kit_files(inst, key).get(path, ""))
    return found


def vendor_script(inst: Installation, record: Release) -> bytes:
    """The vendor's start script. Raises Refused where root would run what somebody else has written.

    The script, run by root, makes the server's user the owner of the release, and so of itself.
    """
    path = os.path.join(inst.release_dir(record["version"]), "startup.sh")
    script = read_bytes(path) or b""
    if os.geteuid() == 0 and hashlib.sha256(script).hexdigest() not in trusted_hashes(inst, record, "startup.sh"):
        raise Refused(
            path,
            "must be as in the archive or as edited by this program, because root runs it",
            "another content",
            "find out who changed it, and put it back from the archive; direct launch does not need it",
        )
    return script


def vendor_command(inst: Installation, record: Release) -> List[str]:
    """How to run the vendor's start script in its folder: the very text that was checked, whatever is there by then."""
    if os.geteuid() != 0:
        return ["./startup.sh"]
    script = vendor_script(inst, record).decode("utf-8", "surrogateescape")
    first = script.partition("\n")[0]
    shell = first[2:].split(None, 1) if first.startswith("#!") else ["/bin/sh"]
    return [word.strip() for word in shell] + ["-c", script, "./startup.sh"]


def write_release_file(inst: Installation, version: str, path: str, data: bytes, mode: int) -> None:
    """Write a file of ours into a release and record it, so that it is not taken for the server's state."""
    edits_path = os.path.join(inst.kit, "edits.json")
    edits = read_json(edits_path) or {}
    replaced = hashlib.sha256(read_bytes(os.path.join(inst.release_dir(version), path)) or b"").hexdigest()
    if replaced in trusted_hashes(inst, inst.release(version), path):  # still so when this program dies in between
        edits.setdefault(version + BEFORE, {})[path] = replaced
    edits.setdefault(version, {})[path] = hashlib.sha256(data).hexdigest()
    base = os.stat(inst.release_dir(version))
    owner = (base.st_uid, base.st_gid) if os.geteuid() == 0 else None
    write_json(edits_path, edits)
    write_atomic(os.path.join(inst.release_dir(version), path), data, mode, owner)


# --- Configuration: dls.json and the ports ---

# Vendor documentation, "Main and standby servers": first the main, then the standby, one of them this host.
SERVERS_SCHEMA = {
    "type": "array",
    "minItems": 2,
    "maxItems": 2,
    "uniqueItems": True,
    "contains": {"const": "self"},
    "items": {"type": "string", "pattern": "^(self|https?://[^\\s/]+(/\\S*)?)$"},
}
DLS_JSON_SCHEMA = {
    "type": "object",
    "required": ["servers"],
    "properties": {
        "serverMode": {"type": "string"},
        "servers": SERVERS_SCHEMA,
        "bDynamHost": {"type": "boolean"},
    },
}
JSON_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}


def schema_errors(schema: Dict[str, Any], value: Any, where: str = "dls.json") -> List[Error]:
    """The ways in which `value` breaks `schema`: (where, rule, got). Knows the keywords that DLS_JSON_SCHEMA uses."""
    if "const" in schema and value != schema["const"]:
        return [(where, "must be {}".format(schema["const"]), repr(value))]
    if "type" in schema and not isinstance(value, JSON_TYPES[schema["type"]]):
        return [(where, "must be of type {}".format(schema["type"]), json.dumps(value))]
    if isinstance(value, dict):
        return object_errors(schema, value, where)
    if isinstance(value, list):
        return array_errors(schema, value, where)
    if isinstance(value, str) and "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        return [(where, "must be self or an http(s) URL", repr(value))]
    return []


def object_errors(schema: Dict[str, Any], value: Dict[str, Any], where: str) -> List[Error]:
    errors: List[Error] = [
        (where, "must hold {}".format(key), None) for key in schema.get("required", []) if key not in value
    ]
    for key, part in schema.get("properties", {}).items():
        if key in value:
            errors += schema_errors(part, value[key], "{}/{}".format(where, key))
    return errors


def array_errors(schema: Dict[str, Any], value: List[Any], where: str) -> List[Error]:
    errors: List[Error] = []
    shown = json.dumps(value)
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        errors.append((where, "must have {} entries".format(schema["minItems"]), shown))
    if schema.get("uniqueItems") and len({json.dumps(item) for item in value}) != len(value):
        errors.append((where, "must not name a server twice", shown))
    if "contains" in schema and all(schema_errors(schema["contains"], item) for item in value):
        errors.append((where, "must name this host as self", shown))
    for number, item in enumerate(value):
        errors += schema_errors(schema.get("items", {}), item, "{}/{}".format(where, number))
    return errors


def wanted_dls_json(inst: Installation, base: str) -> Optional[bytes]:
    """The bytes that a release's dls.json should have, or None where the kit has no say in it.

    The keys of `<config_dir>/dls.json` win; every other key stays as it is in the release, or as its sample has it.
    """
    owned = read_json(os.path.join(inst.config_dir, "dls.json"))
    if owned is None:
        return None
    path = os.path.join(base, "dls.json")
    existing = read_json(path)
    merged = dict(sample_keys(base) if existing is None else existing)
    merged.update(owned)
    for where, rule, got in schema_errors(DLS_JSON_SCHEMA, merged):
        raise Refused(where, rule, got, "correct dls_server_main_url and dls_server_standby_url in the inventory")
    return read_bytes(path) if merged == existing else (json.dumps(merged, indent=2) + "\n").encode()


def sample_keys(base: str) -> Dict[str, Any]:
    try:
        sample = read_json(os.path.join(base, "dls.json.sample"))
    except Refused:
        return {}
    return sample if isinstance(sample, dict) else {}


def startup_with_ports(script: bytes, server_port: int, data_port: int, line: Dict[str, Any]) -> bytes:
    """The vendor's start script with the ports set in its command line, as the vendor documents it.

    >>> startup_with_ports(b"java --server.port=48080", 8080, 30201, {"server_port": 48080, "data_port": 30201})
    b'java --server.port=8080'
    """
    for option, port in (("server", server_port), ("data", data_port)):
        pattern = "--{}\\.port=\\d+".format(option).encode()
        text = "--{}.port={}".format(option, port).encode()
        if re.search(pattern, script):
            script = re.sub(pattern, text, script)
        elif port != line[option + "_port"]:
            script, count = re.subn(rb"(--server\.port=\d+)", rb"\1 " + text, script)
            if not count:
                raise Refused(
                    "startup.sh",
                    "must hold --server.port=<number> for its ports to be set",
                    None,
                    "keep the release's default ports, or use dls_server_launch: direct",
                )
    return script


# --- Service: start, stop, health ---


class Unhealthy(Problem):
    """The server gave no healthy answer in time."""

    code = EXIT_UNHEALTHY


class Stopped(Problem):
    """The server is not running."""

    code = EXIT_STOPPED


def run(argv: Sequence[str], text: str = "", **options: Any) -> Tuple[int, str]:
    """Run a command to its end, with `text` as its input, and return (exit code, output)."""
    done = subprocess.run(
        argv,
        check=False,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        **options,
    )
    return done.returncode, done.stdout


def systemctl(*words: str) -> str:
    code, output = run(["systemctl", "--no-ask-password", *words])
    if code:
        raise Problem(
            "systemctl " + " ".join(words),
            "must succeed",
            output.strip() or "exit code {}".format(code),
            "see: journalctl -xe",
        )
    return output


def unit_properties(service: str) -> Dict[str, str]:
    """What systemd knows of a unit; an unknown unit has LoadState not-found."""
    names = "LoadState,FragmentPath,ActiveState,SubState,UnitFileState,NeedDaemonReload,MainPID,NRestarts"
    code, output = run(["systemctl", "show", service + ".service", "--property=" + names])
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line) if code == 0 else {}


def server_processes(inst: Installation) -> List[int]:
    """Process ids of everything that runs from a release of this installation, with all descendants, in order.

    Only processes that this user may look into are found.
    """
    releases = os.path.realpath(inst.releases) + "/"
    parents = {pid: parent_of(pid) for pid in (int(name) for name in os.listdir("/proc") if name.isdigit())}
    found = {pid for pid in parents if pid != os.getpid() and runs_from(pid, releases)}
    while True:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        if not children:
            return sorted(found)
        found |= children


def process_stat(pid: int) -> List[str]:
    """The fields of proc(5)'s stat after the command's name, so field N of the manual is at N - 3; empty when gone."""
    return (read_proc("/proc/{}/stat".format(pid)) or "").rpartition(") ")[2].split()


def parent_of(pid: int) -> int:
    fields = process_stat(pid)
    return int(fields[1]) if fields else 0


def runs_from(pid: int, releases: str) -> bool:
    """Whether a process's program is a file below `releases`, be it a binary or a script run by a shell."""
    process = "/proc/{}/".format(pid)
    try:
        if os.readlink(process + "exe").startswith(releases):
            return True
        folder = os.readlink(process + "cwd") + "/"
        with open(process + "cmdline", "rb") as stream:
            words = stream.read().decode(errors="replace").split("\0")
    except OSError:
        return False
    if os.path.basename(words[0]) not in ("sh", "dash", "bash") or len(words) < 2:
        return False
    named = words[words.index("-c") + 2 :] if "-c" in words[1:-2] else words[1:]
    script = os.path.realpath(os.path.join(folder, named[0]))
    return script.startswith(releases) and os.path.isfile(script)


def is_running(inst: Installation) -> bool:
    if inst.supervisor == "systemd":
        return unit_properties(inst.service).get("ActiveState") in ("active", "activating", "reloading")
    return bool(server_processes(inst))


def server_argv(inst: Installation, record: Release) -> List[str]:
    """The documented command line of a release, with this installation's ports; run it inside the release's folder."""
    words = dict(version=record["version"], server_port=inst.server_port, data_port=inst.data_port)
    return [word.format(**words) for word in record["line"]["argv"]]


def launch_inputs(inst: Installation, record: Release) -> List[str]:
    """The files that a start reads."""
    base = inst.release_dir(record["version"])
    paths = [os.path.join(base, "dls.json")]
    if inst.launch == "vendor":
        paths.append(os.path.join(base, "startup.sh"))
    if inst.supervisor == "systemd":
        paths.append(inst.unit_path())
    return paths


def launch_digest(inst: Installation, record: Release) -> str:
    """One hash over all that a start reads; a server started with another one has to be restarted."""
    inputs = [read_bytes(path) or b"" for path in launch_inputs(inst, record)]
    if inst.launch == "direct":
        inputs.append(json.dumps([server_argv(inst, record), inst.user]).encode())
    digest = hashlib.sha256(record["version"].encode())
    for data in inputs:
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()


def is_stale(inst: Installation, record: Release) -> bool:
    """Whether the running server was started with anything but what the configuration says now."""
    started = read_json(os.path.join(inst.kit, "started.json")) or {}
    if started.get("digest") != launch_digest(inst, record):
        return True
    # Somebody may have started it with other files in between, and the right ones were put back since.
    age = server_age(inst)
    changed = [os.stat(path).st_mtime for path in launch_inputs(inst, record) if os.path.exists(path)]
    return age is not None and max(changed, default=0) > time.time() - age + 1


def server_age(inst: Installation) -> Optional[float]:
    """Seconds since the server's first process started (proc(5): field 22 of stat, in clock ticks), or None."""
    return max(process_ages(server_processes(inst)), default=None)


def process_ages(pids: Iterable[int]) -> List[float]:
    """Seconds since each of the processes that are still there started."""
    uptime = float((read_proc("/proc/uptime") or "0").split()[0])
    stats = [process_stat(pid) for pid in pids]
    return [uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK") for fields in stats if fields]


def start(inst: Installation) -> bool:
    """Start the server, without waiting for its health; True where it was not running."""
    record = inst.release()
    if is_running(inst):
        return False
    stray = server_processes(inst)
    if stray:
        raise Refused(
            inst.service,
            "must be the only one to start the server",
            "process {} started by hand".format(stray[0]),
            "stop it with: dlsctl stop",
        )
    if inst.supervisor == "systemd":
        if unit_properties(inst.service).get("NeedDaemonReload") == "yes":
            systemctl("daemon-reload")
        run(["systemctl", "reset-failed", inst.service])
        systemctl("start", "--no-block", inst.service)
    else:
        launch_process(inst, record)
    write_json(os.path.join(inst.kit, "started.json"), {"digest": launch_digest(inst, record), "at": utc_now()})
    return True


def become(account: Optional[Account]) -> None:
    """Let this process go on as `account`, for good; what it writes is not for everybody's eyes."""
    os.umask(0o027)
    if account:
        os.setgroups([])
        os.setgid(account[1])
        os.setuid(account[0])


def launch_process(inst: Installation, record: Release) -> None:
    """Start the server without a supervisor, detached from this process; its output goes to kit/console.log."""
    argv = vendor_command(inst, record) if inst.launch == "vendor" else server_argv(inst, record)
    account = inst.account()
    with open(inst.console_log, "ab") as log:
        process = subprocess.Popen(
            argv,
            cwd=inst.release_dir(record["version"]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: become(account),  # noqa: PLW1509 - this program has no threads
        )
    if inst.launch == "vendor":
        try:
            code = process.wait(inst.health_timeout)
        except subprocess.TimeoutExpired:
            raise Unhealthy(
                "startup.sh", "must return within {} s".format(inst.health_timeout), None, "see " + inst.console_log
            ) from None
        if code:
            raise Unhealthy("startup.sh", "must succeed", "exit code {}".format(code), "see " + inst.console_log)


def run_startup_script(inst: Installation, record: Release) -> int:
    """Run the vendor's start script in the current folder and tell systemd, by a PID file, which process to watch.

    systemd's own guess fails where the launcher puts itself into the background: it is made while that goes on.
    """
    code = subprocess.run(vendor_command(inst, record), stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        raise Unhealthy("startup.sh", "must succeed", "exit code {}".format(code), "see the server's log")
    pid, since = 0, time.monotonic()
    while pid == 0 or time.monotonic() - since < SETTLE_SECONDS:
        require_inside_unit(inst)
        roots = main_processes(inst)
        if pid not in roots:
            pid, since = (roots[0] if roots else 0), time.monotonic() if roots else since
        if pid == 0 and time.monotonic() - since > inst.health_timeout:
            raise Unhealthy("startup.sh", "must leave a server running", "none", "see the server's log")
        time.sleep(0.1)
    write_atomic(pid_file(inst.service), "{}\n".format(pid).encode())
    return pid


def main_processes(inst: Installation) -> List[int]:
    """The server's processes that no other process of it has started, those with most descendants first."""
    found = server_processes(inst)
    parents = {pid: parent_of(pid) for pid in found}

    def root(pid: int) -> int:
        while parents.get(pid) in parents:
            pid = parents[pid]
        return pid

    roots = [root(pid) for pid in found]
    return sorted(set(roots), key=lambda pid: -roots.count(pid))


def pid_file(service: str) -> str:
    return "/run/{}.pid".format(service)


def stop(inst: Installation) -> bool:
    """Stop the server and wait until it is gone; True where it was running. What does not end in time is killed."""
    was_running = is_running(inst)
    if inst.supervisor == "systemd":
        if was_running:
            systemctl("stop", inst.service)
    elif was_running and os.access(os.path.join(inst.current_link, "shutdown.sh"), os.X_OK):
        # As the release's owner: he could have put there anything, and root must not run it.
        folder = os.stat(inst.current_link)
        owner = (folder.st_uid, folder.st_gid) if os.geteuid() == 0 else None
        with contextlib.suppress(subprocess.TimeoutExpired):
            run(["./shutdown.sh"], cwd=inst.current_link, timeout=inst.stop_timeout, preexec_fn=lambda: become(owner))
    stray = server_processes(inst)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in server_processes(inst):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        if wait_until(lambda: not server_processes(inst), inst.stop_timeout):
            return was_running or bool(stray)
    raise Problem(
        inst.service, "must end within {} s of being killed".format(inst.stop_timeout), None, "look at it with: ps -ef"
    )


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def portal_url(inst: Installation, record: Release) -> str:
    return "http://127.0.0.1:{}{}".format(inst.server_port, record["line"]["health_path"])


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise socket.timeout where the block takes longer: a socket's own timeout begins anew with each byte it gets."""

    def expire(*_: object) -> None:
        raise socket.timeout("timed out")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def words_of(error: Exception) -> str:
    """What an error says, which may be what the other side has sent, as one line of bounded length."""
    return one_line(str(error)[:200]) or type(error).__name__


def portal_error(inst: Installation, record: Release, timeout: float = 5) -> Optional[str]:
    """Why the portal is not healthy, or None when this installation's own server answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", inst.server_port, timeout=timeout)
    try:
        with deadline(timeout):
            connection.request("GET", record["line"]["health_path"])
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return words_of(error)
    finally:
        connection.close()
    if status != 200:
        return "status {}".format(status)
    owner = port_owner(inst.server_port)
    if owner and owner not in server_processes(inst):
        return "an answer from process {}, which is not this server".format(owner)
    return None


# After so many deaths in a row, a server will not come up by itself.
CRASHES = 3
# A server that dies right after its first answer was never healthy.
SETTLE_SECONDS = 1


def wait_healthy(inst: Installation, timeout: Optional[float] = None, settle: float = SETTLE_SECONDS) -> float:
    """Wait until the portal has answered for `settle` seconds from the same processes; returns the seconds it took.

    Raises Unhealthy, with the last lines of the log, at the deadline or when the server is gone.
    """
    record = inst.release()
    timeout = inst.health_timeout if timeout is None else timeout
    begun = time.monotonic()
    healthy_since, processes, gone = None, None, 0
    crashed = crashes(inst)
    while True:
        error = portal_error(inst, record)
        now = time.monotonic()
        if error is not None or processes != server_processes(inst):
            healthy_since, processes = None, server_processes(inst)
        if error is None:
            healthy_since = now if healthy_since is None else healthy_since
            if now - healthy_since >= settle:
                return round(now - begun, 1)
        gone = 0 if is_running(inst) else gone + 1
        if crashes(inst) - crashed >= CRASHES:
            gone = 10
        if gone >= 10 or now - begun >= timeout + settle:
            raise Unhealthy(
                "health",
                "must answer {} within {} s".format(portal_url(inst, record), timeout),
                "a server that ended" if gone else error or "a server that restarts again and again",
                "mend what the last lines of the server's log say:\n" + log_text(inst, 30),
            )
        time.sleep(0.2)


def crashes(inst: Installation) -> int:
    """How often the supervisor has restarted the server since dlsctl started it."""
    return int(unit_properties(inst.service).get("NRestarts") or 0) if inst.supervisor == "systemd" else 0


def log_text(inst: Installation, count: int) -> str:
    return "\n".join("  " + line for line in log_tail(inst, count)) or "  (nothing)"


def log_tail(inst: Installation, count: int) -> List[str]:
    """The last lines the server has written: to the journal or the console, then to its newest log file."""
    lines: List[str] = []
    if inst.supervisor == "systemd":
        journalctl = ["journalctl", "--lines", str(count), "--no-pager", "--output", "cat", "--quiet"]
        # First what the server's own processes wrote; systemd's lines about it only where there is nothing else.
        for selection in (["_SYSTEMD_UNIT={}.service".format(inst.service)], ["--unit", inst.service]):
            code, output = run(journalctl + selection)
            lines = lines or (output.splitlines() if code == 0 else [])
    else:
        lines = read_tail(inst.console_log).decode(errors="replace").splitlines()[-count:]
    base = os.path.realpath(inst.current_link)
    if len(lines) < count:
        written = newest_log(base).decode(errors="replace").splitlines()[-count:]
        lines += [line for line in written if line not in lines]
    return lines[-count:]


def newest_log(base: str) -> bytes:
    """The end of the log file below `base` that was written last, or nothing."""
    newest, text = 0.0, b""
    for path, full in walk(base):
        with contextlib.suppress(FileNotFoundError):
            written = os.lstat(full).st_mtime
            if path.endswith(".log") and written > newest:
                tail = read_tail(full)
                newest, text = (written, tail) if tail else (newest, text)
    return text


# --- Access: only the networks that the configuration names reach the server's ports ---


def uses_filter(inst: Installation) -> bool:
    """Whether nftables rules of ours keep the ports closed; otherwise systemd's IPAddressAllow does."""
    return bool(inst.supervisor == "systemd" and inst.port_filter == "nftables")


def filter_table(inst: Installation) -> str:
    return "dlsctl_" + re.sub("[^A-Za-z0-9_.-]", "_", inst.service)


def filter_rules(inst: Installation) -> List[str]:
    """The rules of an nftables chain at the input hook, the last one with a comment that tells them from any others.

    Only the first packet of a connection is looked at: an answer to this host may come to one of these ports by chance.
    """
    rules = ["ip saddr 127.0.0.0/8 accept", "ip6 saddr ::1 accept"]
    for network in sorted(set(inst.networks) - {"localhost"}):
        family = "ip6" if ":" in network else "ip"
        source = "" if network == "any" else "{} saddr {} ".format(family, ipaddress.ip_network(network, strict=False))
        rules.append("{}tcp dport {} accept".format(source, inst.server_port))
    ports = "{{ {}, {} }}".format(inst.server_port, inst.data_port)
    rules.append("tcp flags & (fin | syn | rst | ack) == syn tcp dport {} drop".format(ports))
    digest = hashlib.sha256("\n".join(rules).encode()).hexdigest()[:16]
    return [*rules[:-1], '{} comment "{}"'.format(rules[-1], digest)]


def filter_is_loaded(inst: Installation) -> bool:
    """Whether the kernel holds our rules as they should be, and nothing between them. Only root can see them."""
    if os.geteuid() != 0:
        return True
    rules = filter_rules(inst)
    try:
        listing = run(["nft", "list", "table", "inet", filter_table(inst)])[1]
    except FileNotFoundError:
        return False
    accepting = [line for line in listing.splitlines() if line.endswith("accept")]
    # Every rule but the last one accepts; a table that is dormant does nothing.
    is_whole = len(accepting) == len(rules) - 1 and "dormant" not in listing
    return rules[-1].rpartition(" comment ")[2] in listing and is_whole


def load_filter(inst: Installation, *options: str) -> None:
    """Put our rules into the kernel, in place of earlier ones, in one step; with --check only try. Raises Problem."""
    chain = ["type filter hook input priority -10; policy accept;", *filter_rules(inst)]
    table = "table inet {} {{ chain input {{\n{}\n}}\n}}".format(filter_table(inst), "\n".join(chain))
    nft(*options, "-f", "-", text="table inet {0}\ndelete table inet {0}\n{1}\n".format(filter_table(inst), table))


def unload_filter(inst: Installation) -> None:
    with contextlib.suppress(FileNotFoundError):
        run(["nft", "delete", "table", "inet", filter_table(inst)])


def nft(*words: str, text: str = "") -> None:
    hint = "install nftables and let root of this host use it, or set dls_server_port_filter: systemd"
    try:
        code, output = run(["nft", *words], text)
    except FileNotFoundError:
        raise Problem("nft", "must be installed, since it keeps the server's ports closed", "none", hint) from None
    if code:
        raise Problem("nft", "must take the rules that keep the server's ports closed", output.strip(), hint)


def own_addresses() -> List[str]:
    """The addresses of this host by which others reach it: no loopback, and no IPv6 address of one link only."""
    found = re.findall(r"(\S+)\n\s+/32 host LOCAL", read_proc("/proc/net/fib_trie") or "")
    for line in (read_proc("/proc/net/if_inet6") or "").splitlines():
        digits, _, _, scope = line.split()[:4]
        if scope == "00":  # global
            found.append(str(ipaddress.IPv6Address(int(digits, 16))))
    return sorted({address for address in found if not ipaddress.ip_address(address).is_loopback})


def is_allowed(inst: Installation, address: str) -> bool:
    """Whether the configuration lets `address` reach the server's port."""
    networks = set(inst.networks) - {"localhost"}
    return "any" in networks or any(
        ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False) for network in networks
    )


def open_ports(inst: Installation, seconds: float = 0.5) -> List[str]:
    """Which of the server's ports answer on an address of this host from which nobody may reach them.

    A connection from this host to its own address bears that address as its source, so it meets the filter as one from
    outside does.
    """
    wanted = [(address, inst.server_port) for address in own_addresses() if not is_allowed(inst, address)]
    wanted += [(address, inst.data_port) for address, _ in wanted]
    waiting, found = {}, []
    for address, port in wanted:
        attempt = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        attempt.setblocking(False)
        attempt.connect_ex((address, port))
        waiting[attempt] = "{} port {}".format(address, port)
    end = time.monotonic() + seconds
    while waiting:
        _, ready, _ = select.select([], list(waiting), [], max(end - time.monotonic(), 0))
        if not ready:
            break
        for attempt in ready:
            name = waiting.pop(attempt)
            if attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(name)
            attempt.close()
    for attempt in waiting:
        attempt.close()
    return found


def open_problem(inst: Installation, found: List[str]) -> Problem:
    return Problem(
        inst.service,
        "must not be reached from networks that dls_server_allowed_networks does not name",
        "a connection to " + ", ".join(found),
        "see what lets it through: nft list ruleset, systemctl cat {}".format(inst.service),
    )


def require_closed(inst: Installation) -> None:
    """Stop the server, and raise Problem, where its ports can be reached by those who must not."""
    found = open_ports(inst) if inst.supervisor == "systemd" else []
    if found:
        stop(inst)
        raise open_problem(inst, found)


def confirm_access(inst: Installation) -> None:
    """Raise Problem where others reach the server; forget the rules of an earlier configuration."""
    require_closed(inst)
    if inst.supervisor == "systemd" and not uses_filter(inst):
        unload_filter(inst)


RUNTIME_PROPERTIES = "/run/systemd/system.control/{}.d"  # where `systemctl set-property --runtime` keeps a unit's
ADDRESS_FILTER = ("IPAddressAllow", "IPAddressDeny")  # properties of a unit, systemd.resource-control(5)


def require_address_filter(inst: Installation) -> None:
    """Raise Problem where this process, inside the unit, can send to an address that systemd should keep from it.

    systemd's IPAddressDeny needs a kernel with cgroup BPF; without it systemd only logs that it cannot filter.
    """
    for address in own_addresses():
        if inst.port_filter != "systemd" or inst.supervisor != "systemd" or is_allowed(inst, address):
            continue
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.sendto(b"", (address, 9))
            except PermissionError:
                continue
        raise Problem(
            "IPAddressDeny",
            "must be enforced by this host, since it keeps the server's ports closed",
            "a datagram sent to " + address,
            "set dls_server_port_filter: nftables",
        )


def needs_reload(inst: Installation) -> bool:
    """Whether systemd has not read the unit as it is, or may filter the server's addresses by an earlier one."""
    return unit_properties(inst.service).get("NeedDaemonReload") == "yes" or os.path.exists(inst.renewal_flag)


def renew_address_filter(inst: Installation, live: bool) -> None:
    """Let systemd read the unit, and with `live` filter the running server's addresses by it without a restart.

    For the latter daemon-reload was enough up to systemd 252; with 255 and 257 a running unit keeps its filter until
    its properties are set at run time.
    """
    unit = inst.service + ".service"
    folder = RUNTIME_PROPERTIES.format(unit)
    overrides = {name: os.path.join(folder, "50-{}.conf".format(name)) for name in ADDRESS_FILTER}

    def take_back() -> None:
        for path in overrides.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(folder)

    write_atomic(inst.renewal_flag, b"")
    take_back()  # of a run that was killed in between
    systemctl("daemon-reload")
    if live:
        wanted = systemctl("show", unit, "--property=" + ",".join(ADDRESS_FILTER)).split("\n")
        systemctl("set-property", "--runtime", unit, *filter(None, wanted))
        take_back()
        systemctl("daemon-reload")
    os.unlink(inst.renewal_flag)


def require_configured_ports(inst: Installation, record: Release) -> None:
    """Raise Refused where the vendor's script would start the server on ports that are not those that are kept closed.

    So it is between the configuration's change and `apply`, where the host reboots or the server is restarted by then.
    """
    if inst.launch != "vendor":
        return
    script = vendor_script(inst, record)
    if startup_with_ports(script, inst.server_port, inst.data_port, record["line"]) != script:
        raise Refused("startup.sh", "must have the ports of the configuration", "others", "set them with: dlsctl apply")


def require_inside_unit(inst: Installation) -> None:
    """Kill the server, and raise Problem, where a process of it has left the unit that systemd filters."""
    if inst.port_filter != "systemd" or inst.supervisor != "systemd":
        return
    unit = "/{}.service".format(inst.service)
    outside = [pid for pid in server_processes(inst) if unit not in (read_proc("/proc/{}/cgroup".format(pid)) or unit)]
    for pid in outside:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if outside:
        raise Problem(
            "startup.sh",
            "must leave the server inside its unit, where systemd filters its addresses",
            "process {} outside".format(outside[0]),
            "set dls_server_port_filter: nftables",
        )


# --- The pair: main and standby ---

# Vendor documentation, "Error codes": a standby gives it to clients while the main works.
STANDBY_REFUSES = 100
# A handshake code that cannot exist: the answer to it takes no device seat.
NOBODY = {"hs": "0-0", "og": "0", "pd": "", "ad": "dlsctl", "cu": "", "os": "linux"}
# Seconds for a standby to find out that its main works again; how the vendor's does it is not documented.
NOTICE_SECONDS = 10


def url_parts(text: str) -> Optional[Tuple[str, str, int, str]]:
    """Scheme, host, port and path of a server's http(s) URL, equal for URLs that mean the same; None if it is none."""
    if not re.fullmatch(r"https?://[^\s/?#@\\]+(/[^\s?#\\]*)?", text):
        return None
    try:
        url = urllib.parse.urlsplit(text)
        port = url.port or {"http": 80, "https": 443}[url.scheme]
    except ValueError:
        return None
    return (url.scheme, url.hostname, port, url.path.rstrip("/")) if url.hostname else None


def handshake(path: str) -> str:
    """The request target of a client's first question below a server URL's path, for a code that nobody has."""
    ext = urllib.parse.quote(base64.b64encode(json.dumps(NOBODY).encode()), safe="")
    return "{}/auth/?ext={}".format(path, ext)


def error_code(status: int, body: bytes) -> Optional[int]:
    """The server's error code in an answer, or None; clients take an error for one only where the status is not 200."""
    try:
        code = json.loads(body.decode())["errorCode"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return code if status != 200 and isinstance(code, int) and not isinstance(code, bool) else None


def client_answer(url: str, timeout: float = 5) -> Dict[str, Any]:
    """What a client gets that calls the server at `url`: {error: the server's error code, status, text: in words}.

    error is None for any other answer, status for none at all.

    Asks as the vendor's SDKs were seen to: GET <url>/auth/?ext=<Base64 of JSON>, redirects not followed.
    """
    parts = url_parts(url)
    if parts is None:
        return {"error": None, "status": None, "text": "no http(s) URL"}
    scheme, host, port, path = parts
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=timeout)
    try:
        with deadline(timeout):
            connection.request("GET", handshake(path), headers={"Accept": "*/*"})
            response = connection.getresponse()
            status, body = response.status, response.read(1 << 16)
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a wrong certificate, Python 3.6
        return {"error": None, "status": None, "text": words_of(error)}
    finally:
        connection.close()
    code = error_code(status, body)
    text = "status {} without an error code".format(status) if code is None else "error {}".format(code)
    return {"error": code, "status": status, "text": text}


def own_client_answer(inst: Installation) -> Dict[str, Any]:
    return client_answer("http://127.0.0.1:{}/".format(inst.server_port))


def servers_in_use(inst: Installation) -> List[str]:
    """The `servers` of the dls.json that the server reads, main first; empty without a valid one."""
    try:
        config = read_json(os.path.join(inst.current_link, "dls.json"))
    except (OSError, Refused):
        return []
    return list(config["servers"]) if config is not None and not schema_errors(DLS_JSON_SCHEMA, config) else []


def pair_role(servers: Sequence[str]) -> str:
    """What a server is by its `servers`: standalone, main or standby."""
    return ("main", "standby")[servers.index("self")] if servers else "standalone"


def look_at_pair(inst: Installation) -> Dict[str, Any]:
    """The server's part in its pair: {servers, role, clients: what they get here, other: what the other's URL gives}.

    A standby that serves clients though its main answers is given NOTICE_SECONDS to notice the main.
    """
    servers = servers_in_use(inst)
    seen: Dict[str, Any] = {"servers": servers, "role": pair_role(servers), "clients": None, "other": None}
    if servers and is_running(inst):
        seen["clients"] = own_client_answer(inst)
    if servers:
        seen["other"] = client_answer(next(url for url in servers if url != "self"))

    def refuses() -> bool:
        seen["clients"] = own_client_answer(inst)
        return bool(seen["clients"]["error"] == STANDBY_REFUSES)

    if seen["role"] == "standby" and seen["clients"] and seen["other"]["error"] is not None:
        wait_until(refuses, NOTICE_SECONDS)
    return seen


# --- The host: ports, disk, memory, identity ---


def listening_inodes(port: int) -> Set[str]:
    """Socket inodes that listen on a TCP port, from /proc/net/tcp and tcp6 (state 0A is LISTEN)."""
    inodes = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (read_proc(name) or "").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(fields[9])
    return inodes


def read_proc(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def port_owner(port: int) -> Optional[int]:
    """The process that listens on a port: its id, 0 where this user may not know it, None where nobody listens."""
    inodes = listening_inodes(port)
    if not inodes:
        return None
    sockets = {"socket:[{}]".format(inode) for inode in inodes}
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        try:
            for handle in os.listdir("/proc/{}/fd".format(pid)):
                if os.readlink("/proc/{}/fd/{}".format(pid, handle)) in sockets:
                    return int(pid)
        except OSError:
            continue
    return 0


def existing_parent(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def free_bytes(path: str) -> int:
    disk = os.statvfs(existing_parent(path))
    return disk.f_bavail * disk.f_frsize


UUID_FORM = r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


def identity() -> Dict[str, Any]:
    """The labels that the vendor binds a licence to, as far as this user can read them.

    Vendor documentation: processor id, MAC address, machine id and motherboard serial number. The last two identify the
    host elsewhere too, so only a hash is shown.
    """
    processor = re.findall(
        r"^(vendor_id|cpu family|model|model name|stepping)\s*: (.*)$", read_proc("/proc/cpuinfo") or "", re.M
    )[:5]
    interfaces = list_folder("/sys/class/net")
    physical = [name for name in interfaces if os.path.exists("/sys/class/net/{}/device".format(name))]
    macs = {}
    for name in sorted(physical or interfaces):
        address = (read_proc("/sys/class/net/{}/address".format(name)) or "").strip()
        if address and address != "00:00:00:00:00:00":
            macs[name] = address
    return {
        "processor": " ".join(value for _, value in processor) or None,
        "mac": macs,
        "machine_id_sha256": hashed(read_proc("/etc/machine-id")),
        "board_serial_sha256": hashed(read_proc("/sys/class/dmi/id/board_serial")),
    }


def recorded_identity(inst: Installation) -> Dict[str, Any]:
    """The labels that were seen first, and the server's `uuid` where somebody has told it; empty before the install."""
    return read_json(os.path.join(inst.kit, "identity.json")) or {}


def record_identity(inst: Installation, seen: Dict[str, Any]) -> None:
    """Record what was not known yet; what was stays, and so does a label that only another user can read."""
    known = recorded_identity(inst)
    new = {label: value for label, value in seen.items() if value and not known.get(label)}
    if new:
        write_json(os.path.join(inst.kit, "identity.json"), {**seen, **known, **new}, 0o600)


def identity_drift(inst: Installation, seen: Dict[str, Any]) -> List[Dict[str, str]]:
    """The labels that are no more what was recorded: {label, was, now}. A further network card is no change."""
    drift = []
    for label, was in sorted(recorded_identity(inst).items()):
        now = seen.get(label)
        # Every user can read the machine id; the others may be none that this one sees, or that nobody told.
        if not was or (not now and label != "machine_id_sha256"):
            continue
        if isinstance(was, dict) and now:
            gone = {name: value for name, value in was.items() if now.get(name) != value}
            change = shown_macs(gone), shown_macs({name: now.get(name, "none") for name in gone})
        else:
            change = str(was), str(now or "none")
        if change[0] != change[1]:
            drift.append({"label": label, "was": change[0], "now": change[1]})
    return drift


def shown_macs(macs: Dict[str, str]) -> str:
    return ", ".join("{} {}".format(*pair) for pair in sorted(macs.items()))


def drift_problem(change: Dict[str, str]) -> Problem:
    return Problem(
        change["label"],
        "must stay {}, to which the vendor binds the licence".format(change["was"]),
        change["now"],
        "undo the change, or the licence may stop working and the vendor has to issue it anew; where that was done,"
        " record what is there now with: dlsctl identity --accept",
    )


def hashed(text: Optional[str]) -> Optional[str]:
    return hashlib.sha256(text.strip().encode()).hexdigest() if text and text.strip() else None


# --- Licence files: placed for safe keeping beside the server; replaced, but never lost ---

LICENSE_NAME = r"(?!index\.json\Z|history\Z|.*\.dlsctl-new\Z)[A-Za-z0-9_][A-Za-z0-9._ ()+@-]{0,126}"
LICENSE_FACTS = ("sha256", "license_id", "organization", "status")


def license_index(inst: Installation) -> Dict[str, Dict[str, Any]]:
    """What was recorded of each licence file that was placed, by file name."""
    path = os.path.join(inst.licenses, "index.json")
    files = (read_json(path) or {}).get("files", {})
    if not isinstance(files, dict) or not all(isinstance(record, dict) for record in files.values()):
        raise Refused(path, "must hold a record for each licence file", "something else", "remove it; run the playbook")
    return files


def write_license_index(inst: Installation, files: Dict[str, Dict[str, Any]]) -> None:
    write_json(os.path.join(inst.licenses, "index.json"), {"files": files}, 0o600)


def look_at_licenses(inst: Installation, index: Dict[str, Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Every licence file that was placed or lies there: its name, its record, and its `fault`, or None."""
    names = {name for name in list_folder(inst.licenses) if re.fullmatch(LICENSE_NAME, name)}
    found = []
    for name in sorted(names | set(index)):
        record = index.get(name, {})
        fault = license_fault(os.path.join(inst.licenses, name), record.get("sha256"))
        found.append(dict({key: record.get(key) for key in (*LICENSE_FACTS, "since", "uuid")}, name=name, fault=fault))
    return found


def license_fault(path: str, sha256: Optional[str]) -> Optional[str]:
    """What is wrong with a placed file, of which this hash was recorded; None where nothing is."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return "missing"
    if not sha256:
        return "not placed by the kit"
    if not stat.S_ISREG(status.st_mode) or sha256_file(path) != sha256:
        return "other content"
    if stat.S_IMODE(status.st_mode) != 0o600 or status.st_uid != os.geteuid():
        return "not its owner's alone"
    return None


def place_licenses(inst: Installation, wanted: Sequence[Dict[str, str]]) -> List[str]:
    """Put licence files where they are kept, and record them; returns the names of those that were not as wanted.

    Each of `wanted` is {name, content, sha256, license_id, organization, status}. What is replaced goes to the history.
    """
    make_folders(inst)
    os.chmod(inst.licenses, 0o700)
    index, uuid = license_index(inst), recorded_identity(inst).get("uuid")
    changes = []
    for item in wanted:
        name, data = item["name"], item["content"].encode()
        path = os.path.join(inst.licenses, name)
        if not re.fullmatch(LICENSE_NAME, name) or hashlib.sha256(data).hexdigest() != item["sha256"]:
            raise Refused(shown(name), "must arrive as it was checked", "something else", "run the same again")
        known = index.get(name, {})
        if known.get("sha256") == item["sha256"] and license_fault(path, item["sha256"]) is None:
            continue
        if read_bytes(path) not in (None, data):
            keep_license(inst, name)
        write_atomic(path, data, 0o600)
        if known.get("sha256") != item["sha256"]:
            index[name] = dict({key: item[key] for key in LICENSE_FACTS}, since=utc_now(), uuid=uuid)
        changes.append(name)
    if changes:
        write_license_index(inst, index)
        relabel(inst.licenses)
    return changes


def keep_license(inst: Installation, name: str) -> str:
    """Put a licence file into the history too, under its time and hash; returns where it is there."""
    history, path = os.path.join(inst.licenses, "history"), os.path.join(inst.licenses, name)
    os.makedirs(history, 0o700, exist_ok=True)
    kept = os.path.join(history, "{}-{}-{}".format(utc_now().replace(":", ""), sha256_file(path), name))
    with contextlib.suppress(FileExistsError):  # of the same second and content
        os.link(path, kept)
    os.chmod(kept, 0o600)
    sync_folder(history)
    return kept


def forget_license(inst: Installation, name: str) -> str:
    """Move a licence file into the history and drop its record; returns what was done."""
    index = license_index(inst)
    path = os.path.join(inst.licenses, name)
    if not re.fullmatch(LICENSE_NAME, name) or not (name in index or os.path.lexists(path)):
        raise Refused("--forget", "must name a licence file of " + inst.licenses, shown(name), "see: dlsctl licenses")
    text = name + ": forgotten"
    if os.path.lexists(path):
        text += "; it is now " + keep_license(inst, name)
        os.unlink(path)
    if index.pop(name, None):
        write_license_index(inst, index)
    return text


def bind_licenses(inst: Installation) -> None:
    """Record the server's UUID, where it is known by now, with the licence files that were placed before."""
    index, uuid = license_index(inst), recorded_identity(inst).get("uuid")
    unbound = [record for record in index.values() if uuid and not record.get("uuid")]
    for record in unbound:
        record["uuid"] = uuid
    if unbound:
        write_license_index(inst, index)


def license_findings(spec: Spec, inst: Installation, seen: Sequence[Dict[str, Any]]) -> Iterator[Problem]:
    """What is wrong with the placed files, and which of those that the inventory names are not there.

    Files that the inventory does not name, while it names some, are the playbook's to report: they are no fault.
    """
    uuid, entries = recorded_identity(inst).get("uuid"), spec["values"].get(spec["prefix"] + "licenses")
    wanted = None if entries is None else {os.path.basename(entry["file"]) for entry in entries}
    for file in seen:
        path = os.path.join(inst.licenses, file["name"])
        if not file["sha256"] or (wanted is not None and file["name"] not in wanted):
            continue
        if file["fault"]:
            hint = "run the install playbook, or take it from {}/history".format(inst.licenses)
            yield Problem(path, "must be the licence file that was placed", file["fault"], hint)
        elif uuid and file["uuid"] not in (None, uuid):
            rule = "must be of the server with the UUID {}, for which it was placed".format(file["uuid"])
            yield Problem(path, rule, uuid, "have the vendor issue the licence anew, and place that file")
    for name in sorted((wanted or set()) - {file["name"] for file in seen if file["sha256"]}):
        yield Problem(
            os.path.join(inst.licenses, name),
            "must be placed, as the inventory says",
            "nothing",
            "run the install playbook",
        )


# --- The sandbox: whether the server still sees what its licence is bound to ---


class Hidden(Problem):
    """The server does not see a label any more that it has seen before, and that the host still has."""

    code = EXIT_DIFFERS


# Not documented as labels, but where tools such as dmidecode find the documented ones.
FURTHER_LABELS = (("system_uuid", "/sys/class/dmi/id/product_uuid"), ("dmi_tables", "/sys/firmware/dmi/tables/DMI"))
# Lines of a unit that change nothing of what its processes see of the host.
PLAIN_LINE = re.compile(
    r"(Description|Documentation|Wants|After|WantedBy|Type|PIDFile|Exec\w+|SuccessExitStatus|Restart\w*|Timeout\w+|UMask"
    r"|IPAddress\w+|Limit\w+|TasksMax|MemoryMax)="
)


def labels() -> Dict[str, str]:
    """Every label that this process can read, by name; each network card is one."""
    known = identity()
    found = {name: str(value) for name, value in known.items() if value and name != "mac"}
    found.update({"mac " + name: address for name, address in known["mac"].items()})
    for name, path in FURTHER_LABELS:
        value = hashed(read_proc(path))
        if value:
            found[name] = value
    return found


# In a root of its own the server's user could have put a named pipe where a label is: whoever opens it waits for ever.
LOOK_SECONDS = 5


def labels_seen_by(pid: int, account: Account) -> Dict[str, str]:
    """The labels that `account` reads where process `pid` runs: in its mounts and its network. Needs root."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            signal.alarm(LOOK_SECONDS)
            os.chroot("/proc/{}/root".format(pid))
            os.chdir("/")
            become(account)
            os.write(writer, json.dumps(labels()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    found: Dict[str, str] = json.loads(text) if text else {}
    with contextlib.suppress(OSError):
        if os.readlink("/proc/{}/ns/net".format(pid)) != os.readlink("/proc/self/ns/net"):
            found = {name: value for name, value in found.items() if not name.startswith("mac ")}
    return found


def labels_in_sight(inst: Installation, pid: Optional[int] = None) -> Dict[str, List[str]]:
    """Names of the host's labels that the running server reads as they are: as its `user`, and as `root`.

    With vendor launch root runs the start script; with direct launch no part of the server is root. `pid` is a process
    to ask in the server's stead. Empty where none runs, or where this is not root, who alone may look.
    """
    pids = server_processes(inst)
    pid = pids[-1] if pid is None and pids else pid
    if os.geteuid() != 0 or pid is None:
        return {}
    account = inst.account() or (process_account(pids[-1]) if pids else None)
    accounts = {"root": (0, 0)} if inst.launch == "vendor" else {}
    if account:
        accounts["user"] = account
    here = labels()
    seen = {who: labels_seen_by(pid, accounts[who]) for who in accounts}
    return {who: sorted(name for name in here if seen[who].get(name) == here[name]) for who in seen}


def process_account(pid: int) -> Optional[Account]:
    """The (uid, gid) that a process runs as; None when it is gone."""
    ids = dict(re.findall(r"^(Uid|Gid):\s+(\d+)", read_proc("/proc/{}/status".format(pid)) or "", re.M))
    return (int(ids["Uid"]), int(ids["Gid"])) if ids else None


def recorded_sight(inst: Installation) -> Dict[str, List[str]]:
    """What the server saw when it was last in order: names of labels as `user` and as `root`, and its `sandbox`."""
    return read_json(os.path.join(inst.kit, "in-sight.json")) or {}


def record_sight(inst: Installation, now: Dict[str, List[str]], sandbox: List[str]) -> None:
    seen = dict(now, sandbox=sandbox)
    if now and seen != recorded_sight(inst):
        write_json(os.path.join(inst.kit, "in-sight.json"), seen, 0o600)


def hidden_labels(inst: Installation, now: Dict[str, List[str]]) -> List[str]:
    """Labels that the host has and the server saw when they were last recorded, but that are not among `now`."""
    before, here = recorded_sight(inst), labels()
    return [
        "{} (as {})".format(name, who)
        for who in sorted(now)
        for name in before.get(who, [])
        if name in here and name not in now[who]
    ]


def refuse_hidden(inst: Installation, now: Dict[str, List[str]]) -> None:
    hidden = hidden_labels(inst, now)
    if hidden:
        raise Hidden(
            inst.service + ".service",
            "must show the server every label that it has seen before, because its licence is bound to them",
            "hidden from it: " + ", ".join(hidden),
            "take back what hides them, from the unit or its drop-ins; without them the UUID may be another one",
        )


def confirm_sight(inst: Installation) -> None:
    """Raise Hidden where the running server does not see all that it has seen before; record what it sees."""
    now = labels_in_sight(inst)
    refuse_hidden(inst, now)
    record_sight(inst, now, sandbox_lines(unit_text(inst)))


def rehearse(inst: Installation) -> None:
    """Raise Hidden where the server would not see a label in the unit's new sandbox; it runs on meanwhile.

    A process that does nothing is started in the unit's own sandbox, and asked in the server's stead.
    """
    if inst.supervisor != "systemd" or inst.current_version() is None:
        return
    if not recorded_sight(inst):
        record_sight(inst, labels_in_sight(inst), ["unknown: started before there was this record"])
    if sandbox_lines(unit_text(inst)) == recorded_sight(inst).get("sandbox"):
        return
    unit = inst.service + "-rehearsal"
    path = "/run/systemd/system/{}.service".format(unit)
    lines = [line for line in unit_text(inst).splitlines() if not re.match(r"(Type|PIDFile|Exec\w+|Restart\w*)=", line)]
    lines.insert(lines.index("[Service]") + 1, "Type=exec\nExecStart=/bin/sleep 60")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        write_atomic(path, ("\n".join(lines) + "\n").encode())
        systemctl("start", unit)
        refuse_hidden(inst, labels_in_sight(inst, int(unit_properties(unit)["MainPID"])))
    finally:
        run(["systemctl", "stop", unit])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def sandbox_announcement(spec: Spec, inst: Installation) -> Optional[str]:
    """What to know before the unit of an installed server gets another sandbox, or None where it does not."""
    wanted = [item for item in spec.get("files", []) if item["path"] == inst.unit_path()]
    if inst.current_version() is None or not wanted:
        return None
    before, after = sandbox_lines(unit_text(inst)), sandbox_lines(wanted[0]["content"] or "")
    changes = ["-" + line for line in before if line not in after]
    changes += ["+" + line for line in after if line not in before]
    if not changes:
        return None
    seen = labels_in_sight(inst) or recorded_sight(inst)
    names = ["{} (as {})".format(name, who) for who in ("root", "user") for name in seen.get(who, [])]
    lines = [*changes, "it sees now: " + (", ".join(names) or "unknown, it is not running")]
    return str(
        Problem(
            inst.service + ".service",
            "is about to change what the server may see of this host, to which its UUID is bound",
            "\n  ".join(["", *lines]),
            "note the UUID on the portal's home page and compare it afterwards; where the server would no longer see "
            "one of these labels, the run fails and the earlier unit is put back",
        )
    )


def unit_text(inst: Installation) -> str:
    return (read_bytes(inst.unit_path()) or b"").decode(errors="replace")


def sandbox_lines(unit: str) -> List[str]:
    """The lines of a unit on which it depends what its processes see."""
    return [line for line in unit.splitlines() if re.match(r"\w+=", line) and not PLAIN_LINE.match(line)]


def os_release() -> Dict[str, str]:
    """ID, ID_LIKE and VERSION_ID of os-release(5)."""
    text = read_proc("/etc/os-release") or read_proc("/usr/lib/os-release") or ""
    return {key: value.strip("\"'") for key, value in re.findall(r"^([A-Z_]+)=(.*)$", text, re.M)}


# --- Apply: make the running server what the configuration says ---


def plan(inst: Installation, version: Optional[str] = None) -> List[Step]:
    """What `apply` would do now, as a list of steps in order; empty where the host is as configured."""
    steps = []
    current = inst.current_version()
    version = version or current
    if version is None:
        raise Problem(inst.home, "must hold an installed release", None, "install one first")
    if current not in (None, version):
        raise Refused(
            "version",
            "must stay {} until it is upgraded".format(current),
            version,
            "set dls_server_version to " + current,
        )
    record = inst.release(version)
    base = inst.release_dir(version)
    steps += [{"step": "write", "path": path} for path, _, _ in pending_files(inst, record, base)]
    restart = bool(steps)
    steps += [{"step": "create", "path": path} for path in inst.folders() if not os.path.isdir(path)]
    if uses_filter(inst) and not filter_is_loaded(inst):
        steps.append({"step": "filter", "path": "inet " + filter_table(inst)})
    if not is_enabled(inst):
        steps.append({"step": "enable", "path": inst.unit_path()})
    elif inst.supervisor == "systemd" and needs_reload(inst):
        steps.append({"step": "reload", "path": inst.unit_path()})  # systemd filters addresses anew without a restart
    if current is None:
        steps.append({"step": "use", "version": version})
    account = inst.account()
    if account and os.stat(base).st_uid != account[0]:
        steps.append({"step": "own", "path": base})
        restart = True
    if not is_running(inst):
        steps.append({"step": "start"})
    elif restart or is_stale(inst, record):
        steps.append({"step": "restart"})
    return steps


def pending_files(inst: Installation, record: Release, base: str) -> List[Tuple[str, Optional[bytes], int]]:
    """Files inside the release that are not as configured: (path, bytes or None to remove, mode)."""
    pending: List[Tuple[str, Optional[bytes], int]] = []
    wanted = wanted_dls_json(inst, base)
    actual = read_bytes(os.path.join(base, "dls.json"))
    if wanted is not None and wanted != actual:
        pending.append(("dls.json", wanted, 0o644))
    # The kit takes back only what it wrote itself and nobody changed since.
    ours = kit_files(inst, record["version"]).get("dls.json")
    if wanted is None and actual is not None and ours == hashlib.sha256(actual).hexdigest():
        pending.append(("dls.json", None, 0o644))
    if inst.launch == "vendor":
        path = os.path.join(base, "startup.sh")
        script = vendor_script(inst, record)
        wanted = startup_with_ports(script, inst.server_port, inst.data_port, record["line"])
        if wanted != script:
            pending.append(("startup.sh", wanted, stat.S_IMODE(os.stat(path).st_mode)))
    return pending


def make_folders(inst: Installation) -> None:
    for path, mode in inst.folders().items():
        if not os.path.isdir(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.mkdir(path, mode)


def write_pending(inst: Installation, record: Release, base: str) -> None:
    for path, data, mode in pending_files(inst, record, base):
        if data is None:
            os.unlink(os.path.join(base, path))
        else:
            write_release_file(inst, record["version"], path, data, mode)


def prepare_start(inst: Installation, names: List[str]) -> None:
    """Take the steps of a plan that come before a server is stopped or started.

    A server that is about to be restarted may listen on ports that only the earlier rules close: they stay until it is
    stopped, and only whether the new ones can be loaded is asked before.
    """
    if "filter" in names:
        load_filter(inst, *(["--check"] if "restart" in names else []))
    if "reload" in names:
        renew_address_filter(inst, live="restart" not in names)
    if "start" in names or "restart" in names:
        rehearse(inst)


def write_due(inst: Installation, record: Release, names: List[str]) -> None:
    """Take the steps of a plan that write: folders, files inside the release, its owner and labels."""
    base = inst.release_dir(record["version"])
    make_folders(inst)
    write_pending(inst, record, base)
    if "own" in names:
        give_to(base, inst.account())
    if names:
        relabel(inst.home, *inst.folders())


def apply(inst: Installation, version: Optional[str] = None) -> List[Step]:
    """Write what is pending, start or restart the server where due, wait for its health; returns the steps taken."""
    steps = plan(inst, version)
    names = [step["step"] for step in steps]
    record = inst.release(version)
    version = str(record["version"])
    prepare_start(inst, names)
    if "restart" in names:
        stop(inst)
    try:
        if "filter" in names and "restart" in names:
            load_filter(inst)
        write_due(inst, record, names)
    except BaseException:
        if "restart" in names:  # a full disk, for example, is no reason to be without a server
            with contextlib.suppress(Problem, OSError):
                start(inst)
        raise
    if "use" in names:
        point_current(inst, version)
    record_identity(inst, identity())
    if "enable" in names:
        systemctl("daemon-reload")
        systemctl("enable", "--quiet", inst.service)
    if "start" in names or "restart" in names:
        start(inst)
    wait_healthy(inst)
    if steps:
        confirm_access(inst)
    confirm_sight(inst)
    return steps


# --- Uninstall ---


def uninstall(inst: Installation, purge: bool = False) -> Optional[str]:
    """Stop the server and remove its releases and records. Returns the path of the saved state, or None.

    What the server wrote is saved to the backup folder first, from every release, unless `purge`.
    """
    versions = [] if purge else releases_with_record(inst)
    was_running = stop(inst)
    try:
        saved = ", ".join(path for path in [save_state(inst, version) for version in versions] if path) or None
    except BaseException:
        if was_running and inst.current_version():
            with contextlib.suppress(Problem, OSError):
                start(inst)
        raise
    shutil.rmtree(inst.archives, ignore_errors=True)  # first, since a full disk has no room for the journal
    with journaled(inst, "uninstall"):
        remove_releases(inst, {})
    shutil.rmtree(inst.kit)
    with contextlib.suppress(OSError):
        os.rmdir(inst.home)
    if uses_filter(inst):
        unload_filter(inst)
    return saved


def releases_with_record(inst: Installation) -> List[str]:
    """The versions of all releases on this host; refused where there is no telling what is state in one of them."""
    versions = sorted(name for name in list_folder(inst.releases) if not name.startswith("."))
    for version in versions:
        if not inst.is_installed(version):
            raise Refused(
                inst.release_dir(version),
                "must have its record, which tells the server's state from the archive's files",
                "no " + inst.record_path(version),
                "save what you need of it and move it away, or purge",
            )
    return versions


def remove_releases(inst: Installation, _facts: Dict[str, Any]) -> None:
    """Remove the releases, their archives and records; begun once, it is always finished."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(inst.current_link)
    for folder in (inst.releases, inst.archives, os.path.join(inst.kit, "releases")):
        shutil.rmtree(folder, ignore_errors=True)


def save_state(inst: Installation, version: str) -> Optional[str]:
    """Write all that differs from the manifest to a tar file in the backup folder; None where nothing does."""
    entries = [entry for entry in state(inst, version) if entry["change"] != "removed" and entry["kind"] != "special"]
    if not entries:
        return None
    os.makedirs(inst.backup_dir, 0o700, exist_ok=True)
    path = os.path.join(
        inst.backup_dir, "uninstalled-{}-{}.tar.gz".format(version, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    )
    base = inst.release_dir(version)
    try:
        handle = os.open(path + ".partial", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
                wanted = {entry["path"] for entry in entries}
                for inside, full in walk(base):
                    if inside in wanted:
                        add_to_tar(tar, full, "state/" + inside)
                tar.add(inst.record_path(version), "release.json", recursive=False)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path + ".partial")
        raise OSError(error.errno, error.strerror or str(error), error.filename or path) from None
    os.rename(path + ".partial", path)
    sync_folder(inst.backup_dir)
    return path


def add_to_tar(tar: tarfile.TarFile, path: str, name: str) -> None:
    """Add one entry, as `name`, without following a link even where it has just taken a file's place."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        tar.addfile(tar.gettarinfo(path, name))
        return
    with os.fdopen(open_regular(path), "rb") as stream:
        tar.addfile(tar.gettarinfo(arcname=name, fileobj=stream), stream)


RECOVERIES = {"install": undo_install, "uninstall": remove_releases}


# --- Look and preflight: what the host is, and whether it can become what the variables say ---


def as_configured(inst: Installation) -> Installation:
    """The same installation with the settings that it has on this host now; `inst` where it has none yet."""
    try:
        return Installation.load(os.path.join(inst.config_dir, os.path.basename(DEFAULT_CONFIG)))
    except (Problem, OSError):
        return inst


def look(spec: Spec, inst: Installation) -> Dict[str, Any]:
    """Everything a deployment engine needs to know of the host before it acts, in one answer.

    `spec` may hold `files` (those expected: path, mode and content), `folders` and `packages`.
    """
    current = inst.current_version()
    now = as_configured(inst)
    expected = spec.get("files", [])
    seen = {
        "installed": sorted(name for name in list_folder(inst.releases) if inst.is_installed(name)),
        "current": current,
        "running": is_running(now) if current else False,
        "error": portal_error(now, now.release()) if current else "not installed",
        "enabled": is_enabled(inst),
        "differs": [item["path"] for item in expected if not is_as_expected(item)],
        "present": [path for path in [inst.kit] + [item["path"] for item in expected] if os.path.exists(path)],
        "files": [as_it_is(item) for item in expected if not item.get("self")],
        "users": [entry.pw_name for entry in pwd.getpwall()],
        "missing_user": inst.launch == "direct" and not user_exists(inst.user),
        "missing_folders": [path for path in spec.get("folders", []) if not os.path.isdir(path)],
        "sandbox": sandbox_announcement(spec, inst),
        "hidden": hidden_labels(inst, labels_in_sight(inst)),
        "drift": identity_drift(inst, identity()),
        "missing_own_folders": [path for path in [*inst.folders(), inst.home] if not os.path.isdir(path)],
        "clock_skew": round(time.time() - spec["epoch"], 1),
    }
    seen.update(look_at_packages(spec.get("packages", []), os_family()), healthy=seen["error"] is None)
    seen["steps"] = pending_steps(inst, current)
    if seen["running"] and inst.unit_path() in seen["differs"] and {"step": "restart"} not in seen["steps"]:
        seen["steps"].append({"step": "restart"})
    return seen


def findings(spec: Spec, inst: Installation, seen: Dict[str, Any]) -> List[str]:
    """What is not as it should be on a host where the server is installed: one text each."""
    wanted = spec["values"].get(spec["prefix"] + "version")
    if seen["current"] is None:
        return [str(Problem(inst.home, "must hold an installed release", "nothing", "run the install playbook"))]
    found = []
    if wanted and wanted != seen["current"]:
        found.append(
            Problem(
                spec["prefix"] + "version",
                "must be the installed one",
                "{}, {} is installed".format(wanted, seen["current"]),
            )
        )
    if not seen["running"]:
        found.append(Problem(inst.service, "must be running", "stopped", "start it with: dlsctl start"))
    elif not seen["healthy"]:
        found.append(
            Problem(inst.service, "must answer " + portal_url(inst, inst.release()), seen["error"], "see its log")
        )
    exposed = open_ports(inst) if inst.supervisor == "systemd" else []
    if exposed:
        found.append(open_problem(inst, exposed))
    found += [drift_problem(change) for change in seen["drift"]]
    if seen["hidden"]:
        found.append(
            Problem(
                inst.service + ".service",
                "must show the server every label that it has seen before",
                "hidden from it: " + ", ".join(seen["hidden"]),
                "take back what hides them, from the unit or its drop-ins",
            )
        )
    found += license_findings(spec, inst, seen["licenses"])
    if not seen["enabled"]:
        found.append(Problem(inst.service, "must be started at boot", "disabled", "run the install playbook"))
    found += [
        Problem(path, "must be as the inventory says", "other content", "run the install playbook")
        for path in seen["differs"]
    ]
    found += [
        Problem(
            step.get("path", inst.service),
            "must need no " + step["step"],
            step.get("why", "one is due"),
            "run the install playbook",
        )
        for step in seen["steps"]
        if step["step"] != "start"
    ]
    return [str(problem) for problem in found]


def is_enabled(inst: Installation) -> bool:
    if inst.supervisor != "systemd":
        return True
    return has_systemd() and unit_properties(inst.service).get("UnitFileState") == "enabled"


def list_folder(path: str) -> List[str]:
    return os.listdir(path) if os.path.isdir(path) else []


def pending_steps(inst: Installation, current: Optional[str]) -> List[Step]:
    if not current or not inst.is_installed(current):
        return []
    try:
        return plan(inst)
    except Problem as problem:
        return [{"step": "fail", "why": str(problem)}]


def expected_content(item: Dict[str, Any]) -> Optional[bytes]:
    """The bytes that a file should have, or None where it should not be there. `self` stands for this program."""
    if item.get("self"):
        return own_source()
    return None if item["content"] is None else str(item["content"]).encode()


def own_source() -> bytes:
    """This program's text; SOURCE holds it where an engine has piped it through Python (see piped.py)."""
    piped = globals().get("SOURCE")
    return piped.encode() if piped else read_bytes(os.path.realpath(__file__)) or b""


def is_as_expected(item: Dict[str, Any]) -> bool:
    """Whether a file has the expected content and mode, and the user who runs this as its owner."""
    wanted = expected_content(item)
    try:
        status = os.lstat(item["path"])
    except OSError:
        return wanted is None
    return (
        wanted is not None
        and stat.S_ISREG(status.st_mode)
        and stat.S_IMODE(status.st_mode) == int(item["mode"], 8)
        and status.st_uid == os.geteuid()
        and read_bytes(item["path"]) == wanted
    )


def as_it_is(item: Dict[str, Any]) -> Dict[str, Any]:
    """The file as it is now, in the form in which it would be expected: for putting it back."""
    try:
        data = read_bytes(item["path"])
    except (OSError, Refused):
        data = None
    return dict(item, content=None if data is None else data.decode(errors="replace"))


def prepare(spec: Spec, check: bool) -> List[str]:
    """Make the folders and files of `spec` what they should be; returns the paths that were not.

    Folders named `unless_empty` are removed where nothing is left in them.
    """
    missing = [path for path in spec.get("folders", []) if not os.path.isdir(path)]
    different = [item for item in spec.get("files", []) if not is_as_expected(item)]
    if not check:
        for path in missing:
            os.makedirs(path, 0o755)
        for item in different:
            content = expected_content(item)
            if content is None:
                os.unlink(item["path"])
            else:
                write_atomic(item["path"], content, int(item["mode"], 8))
        for path in spec.get("unless_empty", []):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        relabel(*missing, *(item["path"] for item in different))
    return missing + [item["path"] for item in different]


class Family(NamedTuple):
    """Distributions that are deployed to alike."""

    words: Set[str]  # one of them is in ID or ID_LIKE of os-release(5)
    supported: str
    query: List[str]  # prints a line `NAME installed` for each installed package of those named
    every: List[str]  # names all packages to it


FAMILIES = {
    "debian": Family(
        {"debian"},
        "Debian 11 to 13, Ubuntu 22.04 and 24.04",
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n"],
        [],
    ),
    "redhat": Family(
        {"rhel", "fedora"},
        "RHEL 9 and its family: Rocky Linux, AlmaLinux, Oracle Linux, CentOS Stream",
        ["rpm", "--query", "--queryformat", "%{NAME} installed\\n"],
        ["--all"],
    ),
}


def os_family() -> Optional[str]:
    """The name of this host's family of distributions, or None where the kit knows none."""
    system = os_release()
    words = {system.get("ID", "")} | set(system.get("ID_LIKE", "").split())
    return next((name for name, family in FAMILIES.items() if words & family.words), None)


def installed_packages(names: List[str], family: str) -> List[str]:
    """Which of the distribution's packages are installed; its package manager is asked once."""
    _, output = run(FAMILIES[family].query + names)
    return [line.split()[0] for line in output.splitlines() if line.split()[1:] == ["installed"]]


def missing_packages(names: List[str], family: Optional[str]) -> List[str]:
    """Which of the distribution's packages are not installed."""
    installed = installed_packages(names, family) if names and family else names
    return [name for name in names if name not in installed]


def look_at_packages(names: List[str], family: Optional[str]) -> Dict[str, Any]:
    """The host's family, which packages are missing, and, where some are, what it takes to undo their install."""
    missing = missing_packages(names, family)
    seen = {"family": family, "missing_packages": missing}
    if missing and family:
        every = FAMILIES[family].every
        seen.update(installed_packages=installed_packages(every, family), list_packages=FAMILIES[family].query + every)
    return seen


def user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def has_systemd() -> bool:
    return os.path.isdir("/run/systemd/system")


def variable_problems(spec: Spec) -> Iterator[Problem]:
    """Misspelt names, missing and wrongly typed values, from the variables' own specification.

    `spec` holds `options` (an argument specification), `values`, `known` (every name of every role) and `prefix`.
    """
    options, values = spec["options"], spec["values"]
    for name in sorted(set(spec["names"]) - set(spec["known"])):
        near = nearest(name, spec["known"], spec["prefix"])
        if near or name.startswith(spec["prefix"]):
            hint = "did you mean {}?".format(near) if near else "the variables are listed in docs/variables.md"
            yield Refused(name, "is not a variable of this role", None, hint)
    given = set(values)
    for name, option in sorted(options.items()):
        value = values.get(name)
        if value is None or value == "":
            values[name] = None
            if option.get("required"):
                yield Refused(name, "is required", "nothing", set_hint(name))
            elif name in given and option.get("default") is not None:
                yield Refused(name, "must not be empty", repr(value), set_hint(name) + ", or leave it out")
            continue
        got = "a secret of another form" if option.get("no_log") else repr(value)
        try:
            values[name] = coerce(option.get("type", "str"), value, option.get("elements", "str"))
        except (ValueError, TypeError):
            yield Refused(name, "must be of type {}".format(option.get("type", "str")), got, set_hint(name))
            values[name] = None
            continue
        chosen = values[name] if isinstance(values[name], list) else [values[name]]
        if option.get("choices") and not all(item in option["choices"] for item in chosen):
            yield Refused(name, "must be one of {}".format(", ".join(option["choices"])), got, set_hint(name))


def nearest(name: str, known: Iterable[str], prefix: str) -> Optional[str]:
    """The known name that was probably meant, or None; a shared prefix does not count as likeness."""
    short = name[len(prefix) :] if name.startswith(prefix) else name
    shorts = {other[len(prefix) :] if short != name and other.startswith(prefix) else other: other for other in known}
    near = difflib.get_close_matches(short, shorts, 1, 0.7 if short != name else 0.8)
    return shorts[near[0]] if near else None


def set_hint(name: str) -> str:
    return "set {} in the inventory, for example in group_vars/dls.yml".format(name)


def coerce(kind: str, value: Any, elements: str = "str") -> Any:
    """A value as the type of an argument specification, also from text as -e gives it; raises ValueError."""
    if kind == "int" and not isinstance(value, (bool, float)):
        return int(value)
    if kind == "bool":
        if str(value).lower() in ("true", "yes", "on", "1"):
            return True
        if str(value).lower() in ("false", "no", "off", "0"):
            return False
    if kind == "list" and isinstance(value, list):
        element = dict if elements == "dict" else str
        if all(isinstance(item, element) for item in value):
            return value
    if kind in ("str", "path") and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    raise ValueError(value)


SYSTEM_NAME = r"[a-z_][a-z0-9_-]{0,30}"
POSITIVE = ("health_timeout", "stop_timeout", "max_clock_skew")
# Without these there is no telling what to look at.
SHAPING = ("home", "config_dir", "data_dir", "backup_dir", "bin_dir", "launch", "supervisor", "service_name", "user")
PATHS = ("home", "config_dir", "data_dir", "backup_dir", "bin_dir")


def value_rule(prefix: str, values: Dict[str, Any]) -> Callable[..., Iterator[Problem]]:
    """What checks one value: rule(name without prefix, test, text, hint) yields a problem where the test is false."""

    def rule(short: str, test: Callable[[Any], Any], text: str, hint: Optional[str] = None) -> Iterator[Problem]:
        value = values.get(prefix + short)
        if value is not None and not test(value):
            yield Refused(prefix + short, text, repr(value), hint or set_hint(prefix + short))

    return rule


PATH_RULE = "must be an absolute path, without spaces, percent signs, quotes, braces, ';', $, '..' or a trailing slash"


def is_plain_path(path: str) -> bool:
    """Whether a path keeps PATH_RULE, and so means the same in a unit, a shell and a configuration file."""
    plain = re.fullmatch(r"/(?!/)[^\s%\"'\\$;{}]+", path) and path.isprintable()
    return bool(plain) and os.path.normpath(path) == path


def value_problems(prefix: str, values: Dict[str, Any]) -> Iterator[Problem]:
    """Values of the right type that break a rule."""
    rule = value_rule(prefix, values)
    for short in ("port", "data_port"):
        yield from rule(short, lambda port: 1 <= port <= 65535, "must be 1 to 65535")
    yield from rule(
        "data_port", lambda port: port != values.get(prefix + "port"), "must differ from {}port".format(prefix)
    )
    for short in POSITIVE:
        yield from rule(short, lambda seconds: 1 <= seconds <= 86400, "must be 1 to 86400 seconds")
    yield from rule("memory_max_mb", lambda mib: mib == 0 or mib >= 512, "must be 0, for no limit, or 512 and more")
    for short in PATHS:
        yield from rule(short, is_plain_path, PATH_RULE)
    yield from rule(
        "archive", lambda path: re.match("[/~]", path), "must be an absolute path on the control node, or begin with ~"
    )
    yield from rule("version", _VERSION.match, "must be a version such as 2.4.11")
    yield from rule(
        "archive_checksum",
        lambda text: re.fullmatch("sha256:[0-9a-f]{64}", text),
        "must be sha256: and 64 lower-case hexadecimal digits",
        "print it with: ./dls archive pin FILE",
    )
    yield from rule(
        "service_name",
        lambda name: re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9:_.@-]{0,198}[A-Za-z0-9])?", name),
        "must be a unit name without .service",
    )
    yield from rule("user", lambda name: re.fullmatch(SYSTEM_NAME, name), "must be a system user name")
    yield from rule(
        "allowed_networks", len, "must name a network, localhost at least: the server's health is asked from there"
    )
    for network in values.get(prefix + "allowed_networks") or []:
        if not is_network(network):
            yield Refused(
                prefix + "allowed_networks",
                "must be localhost, any, an address or a network",
                repr(network),
                set_hint(prefix + "allowed_networks"),
            )
    yield from pair_value_problems(prefix, values)
    yield from license_value_problems(prefix, values)


def license_value_problems(prefix: str, values: Dict[str, Any]) -> Iterator[Problem]:
    """Entries of the list of licence files that are misspelt, incomplete, or of one name."""
    variable, names = prefix + "licenses", []
    for number, entry in enumerate(values.get(variable) or [], 1):
        faults = list(license_entry_faults(entry))
        name = os.path.basename(str(entry.get("file")))
        if not faults and name in names:
            faults.append(("must have files of different names", repr(name), "rename one of them"))
        names.append(name)
        for rule, got, hint in faults:
            yield Refused(variable, "{} in entry {}".format(rule, number), got, hint or set_hint(variable))


def license_entry_faults(entry: Dict[str, Any]) -> Iterator[Tuple[str, object, Optional[str]]]:
    """What is wrong with one entry of that list: the rule, the value, the next action."""
    kinds = {"file": "path", "project": "str", "create": "bool"}
    for key in sorted(map(str, set(entry) - set(kinds))):
        near = nearest(key, kinds, "")
        yield "must have no keys but file, project and create", repr(key), near and "did you mean {}?".format(near)
    for key, kind in kinds.items():
        try:
            coerce(kind, entry.get(key, True if key == "create" else ""))
        except ValueError:
            yield "must have a {} of type {}".format(key, kind), repr(entry[key]), None
            return
    path = str(entry.get("file", ""))
    if not re.match("[/~]", path):
        rule = "must have a file, an absolute path on the control node or one that begins with ~,"
        yield rule, repr(path) if path else "nothing", None
    elif not re.fullmatch(LICENSE_NAME, os.path.basename(path)):
        rule = "must have a file named with letters, digits, blanks and ._()+@-, 127 at most,"
        yield rule, repr(os.path.basename(path)), "rename the file"


def pair_value_problems(prefix: str, values: Dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with the two URLs of a pair, as far as one host's values tell."""
    mode = values.get(prefix + "mode")
    urls = {prefix + short: values.get(prefix + short) for short in ("main_url", "standby_url")}
    hint = "set both URLs of the pair, once for its two hosts, for example in group_vars/dls.yml"
    for name, url in urls.items():
        if url is None and mode in ("main", "standby"):
            yield Refused(name, "is required where {}mode is {}".format(prefix, mode), "nothing", hint)
        elif url is not None and url_parts(url) is None:
            yield Refused(name, "must be an http(s) URL such as https://dls1.example.com/dls/", repr(url), hint)
        elif url is not None and mode == "standalone":
            rule = "must be main or standby where {} is set".format(name)
            yield Refused(prefix + "mode", rule, mode, "a standby without its mode would serve clients beside its main")
            break
    main, standby = (url_parts(url) if url else None for url in urls.values())
    if main and main == standby:
        rule = "must differ from {}main_url".format(prefix)
        yield Refused(prefix + "standby_url", rule, repr(urls[prefix + "standby_url"]), hint)


def is_network(text: str) -> bool:
    """Whether systemd's IPAddressAllow and nftables take the text."""
    if text in ("any", "localhost"):
        return True
    try:
        network_of(text, strict=False)
    except ValueError:
        return False
    return True


def network_of(text: str, strict: bool = True) -> IPNetwork:
    """The network or address that a text names. Raises ValueError, also for the zone of an IPv6 address.

    From version 3.9 on Python takes any text for a zone, so quotes, semicolons and line breaks too.
    """
    if "%" in text:
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=strict)


def family_problems() -> Iterator[Problem]:
    """Whether the kit knows this host's distribution."""
    if os_family() is None:
        yield Refused(
            "operating system",
            "must be of the family " + " or ".join(sorted(FAMILIES)),
            os_release().get("PRETTY_NAME", "an unknown one"),
            "supported are " + "; ".join(family.supported for family in FAMILIES.values()),
        )


def password_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """Where the variables say that the portal has a password and it has none, or it has none and others get to it."""
    values, prefix = spec["values"], spec["prefix"]
    if values.get(prefix + "admin_password_set") and inst.current_version() is None:
        yield Refused(
            prefix + "admin_password_set",
            "must be false for a server that is not installed yet, because its portal will have no password",
            "true",
            "install it, set the password, then say so; for a new host among others, in its host_vars",
        )
    proxy = spec.get("proxy")
    if proxy and not values.get(prefix + "admin_password_set") and "$dls_portal" in (read_proc(proxy) or ""):
        yield Refused(
            prefix + "admin_password_set",
            "must be true where a proxy on the host lets administrators to the portal",
            "false, and {}".format(proxy),
            "run the site playbook, which closes the proxy first, or remove it with the uninstall playbook",
        )


def host_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """What keeps this host from becoming what the variables say."""
    values, prefix = spec["values"], spec["prefix"]
    yield from password_problems(spec, inst)
    yield from family_problems()
    if os.uname().machine != "x86_64":
        yield Refused("processor", "must be x86_64, as the vendor's archive is", os.uname().machine, "use another host")
    if inst.supervisor == "systemd":
        if not has_systemd():
            yield Refused(
                prefix + "supervisor",
                "must be none on a host that systemd did not boot",
                "systemd",
                set_hint(prefix + "supervisor"),
            )
        if os.geteuid() != 0:
            yield Refused(
                "user",
                "must be root for {}supervisor: systemd".format(prefix),
                pwd.getpwuid(os.geteuid()).pw_name,
                "run the playbook with become: true",
            )
        if inst.launch == "direct" and user_exists(inst.user) and pwd.getpwnam(inst.user).pw_uid == 0:
            yield Refused(prefix + "user", "must not be root", inst.user, "name a user that has no other rights")
    elif inst.launch == "direct" and os.geteuid() != 0 and inst.user != pwd.getpwuid(os.geteuid()).pw_name:
        yield Refused(
            prefix + "user",
            "must be the user who runs the playbook, who is not root",
            inst.user,
            set_hint(prefix + "user"),
        )
    skew = int(time.time() - spec["epoch"])
    if abs(skew) > values[prefix + "max_clock_skew"]:
        yield Refused(
            "clock",
            "must be within {} s of the control node's".format(values[prefix + "max_clock_skew"]),
            "{:+d} s".format(skew),
            "synchronize both clocks, for example with chrony",
        )
    memory = memory_mb()
    if memory < values[prefix + "min_memory_mb"]:
        yield Refused(
            "memory",
            "must be {}min_memory_mb = {} MiB or more".format(prefix, values[prefix + "min_memory_mb"]),
            "{} MiB".format(memory),
            "give the host more memory, or lower the limit",
        )
    yield from busy_problems(inst)
    yield from port_problems(spec, inst)
    yield from release_problems(spec, inst)


def foreign_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """What stands where the kit would put, or remove, its own: another service's unit, another program."""
    prefix = spec["prefix"]
    path = os.path.join(spec["values"][prefix + "bin_dir"], "dlsctl")
    if os.path.lexists(path) and b"Dynamsoft License Server" not in read_tail(path, 1 << 20):
        yield Refused(path, "must be the kit's dlsctl or not be there", "another file", set_hint(prefix + "bin_dir"))
    if inst.supervisor != "systemd" or not has_systemd():
        return
    path = inst.unit_path()
    fragment = unit_properties(inst.service).get("FragmentPath") or path
    ours = "WorkingDirectory={}/current\n".format(inst.home).encode()
    if fragment != path or (os.path.lexists(path) and ours not in read_tail(path)):
        yield Refused(
            prefix + "service_name",
            "must not be the name of another service's unit",
            "{} ({})".format(inst.service, fragment),
            "choose another name; if it is the kit's own unit, masked or edited, put it right first",
        )


def purge_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """Folders that are removed whole must hold nothing but what the kit has put there."""
    for short, ours in (
        ("config_dir", r"dlsctl\.json|dls\.json"),
        ("data_dir", r"licenses"),
        ("backup_dir", r"uninstalled-.*\.tar\.gz(\.partial)?"),
    ):
        folder = spec["values"][spec["prefix"] + short]
        foreign = sorted(name for name in list_folder(folder) if not re.fullmatch(ours, name))
        if foreign:
            yield Refused(
                spec["prefix"] + short,
                "must hold only the kit's files to be purged",
                "{} with {}".format(folder, one_line(foreign[0])),
                "move that away, or uninstall without purge",
            )


def memory_mb() -> int:
    """MiB of memory that the host has."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", read_proc("/proc/meminfo") or "", re.M)
    return int(found.group(1)) >> 10 if found else 0


def port_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    prefix = spec["prefix"]
    ours = server_processes(inst)
    for name, port in (("port", inst.server_port), ("data_port", inst.data_port)):
        owner = port_owner(port) if port else None
        if owner is not None and owner not in ours and not (owner == 0 and is_running(inst)):
            yield taken_port(prefix + name, port, owner)


def taken_port(name: str, port: int, owner: int) -> Problem:
    """The problem that process `owner` (0: unknown) listens on the port that the variable `name` wants."""
    command = "{} (process {})".format(process_name(owner), owner) if owner else "another user's process"
    got = "{}, which {} listens on".format(port, command)
    return Refused(name, "must be a free TCP port", got, "stop that process or choose another port")


def process_name(pid: int) -> str:
    return (read_proc("/proc/{}/comm".format(pid)) or "an unknown process").strip()


def release_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    values, prefix = spec["values"], spec["prefix"]
    version, current = values.get(prefix + "version"), inst.current_version()
    if current and version and current != version:
        yield Refused(
            prefix + "version",
            "must stay {} on this host until it is upgraded".format(current),
            version,
            "set {}version to {}; an upgrade is a step of its own".format(prefix, current),
        )
    if version and inst.is_installed(version):
        pinned = (values.get(prefix + "archive_checksum") or "").replace("sha256:", "")
        known = inst.release(version)["archive_sha256"]
        if pinned and pinned != known:
            yield Refused(
                prefix + "archive_checksum",
                "must be that of the archive release {} was installed from".format(version),
                pinned,
                "it was sha256:" + known,
            )
        return
    foreign = sorted(set(list_folder(inst.home)) - {"releases", "archives", "current", "kit"})
    if foreign and not os.path.isdir(inst.kit):
        yield Refused(
            prefix + "home",
            "must be empty or made by the kit",
            "{} with {}".format(inst.home, foreign[0]),
            "choose another folder, or move away what is in it",
        )
    parent = existing_parent(inst.home)
    free = free_bytes(inst.home) >> 20
    if free < values[prefix + "min_free_mb"]:
        yield Refused(
            inst.home,
            "must have {}min_free_mb = {} MiB free".format(prefix, values[prefix + "min_free_mb"]),
            "{} MiB".format(free),
            "free some space on the file system of " + parent,
        )
    if os.statvfs(parent).f_flag & os.ST_NOEXEC:
        yield Refused(
            inst.home,
            "must be on a file system that may run programs",
            "noexec on " + parent,
            "mount it without noexec",
        )


def preflight(spec: Spec) -> Dict[str, Any]:
    """All that is wrong at once, and the look at the host: {problems, look}. Changes nothing."""
    problems = list(variable_problems(spec))
    problems += value_problems(spec["prefix"], spec["values"])
    bad = {problem.what.split("/")[0] for problem in problems} & set(spec["options"])
    if bad & {spec["prefix"] + short for short in SHAPING}:
        return {"problems": [dict(problem.as_dict(), text=str(problem)) for problem in problems], "look": None}
    # The host can still be looked at: for what is wrong, its default stands in.
    spec["values"].update({name: spec["options"][name].get("default") for name in bad})
    inst = installation_of(spec)
    seen = look(spec, inst)
    try:
        index = license_index(inst)
    except Refused as problem:
        index = {}
        problems += [problem] if spec["entry"] != "uninstall" else []
    seen["licenses"] = look_at_licenses(inst, index)
    if spec["entry"] != "verify":
        problems += foreign_problems(spec, inst)
    if spec["entry"] == "main":
        problems += host_problems(spec, inst)
    if spec["entry"] == "licenses" and not seen["current"]:
        problems.append(
            Refused(inst.home, "must hold an installed release", "nothing", "run the install playbook first")
        )
    if spec["entry"] == "uninstall" and spec["values"].get(spec["prefix"] + "uninstall_purge"):
        problems += purge_problems(spec, inst)
    if spec["entry"] == "verify":
        seen["findings"] = findings(spec, inst, seen)
        seen["pair"] = look_at_pair(inst)
    return {"problems": [dict(problem.as_dict(), text=str(problem)) for problem in problems], "look": seen}


def installation_of(spec: Spec) -> Installation:
    """The installation that the variables describe, whether it is there yet or not."""
    length = len(spec["prefix"])
    settings = {name[length:]: value for name, value in spec["values"].items()}
    if not settings.get("admin_password_set"):
        settings["allowed_networks"] = ["localhost"]
    return Installation(settings)


# --- Command line ---


def main(arguments: Optional[Sequence[str]] = None, spec: Optional[Spec] = None) -> int:
    """Run the command line, by default that of this process; returns the exit code. `spec`: what an engine asks."""
    options = parser().parse_args(arguments, argparse.Namespace(spec=spec))
    if not getattr(options, "verb", None):
        parser().print_help()
        return EXIT_USAGE
    return perform(options)


def perform(options: argparse.Namespace) -> int:
    """Run a verb and print its answer, or what went wrong; returns the exit code.

    `options` holds `verb`, a function from options to an answer, `json` and `debug`, and what the verb needs.
    """
    try:
        verb: Callable[[argparse.Namespace], Answer] = options.verb
        code, answer, text = verb(options)
    except Problem as problem:
        return report(problem, options)
    except OSError as error:
        if options.debug:
            raise
        what = shown(error.filename) if isinstance(error.filename, bytes) else error.filename or "dlsctl"
        hint = "look at it, its rights and the free space there; then run the same again"
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            hint = "run it as root, for example with sudo"
        return report(Problem(what, "must be accessible", error.strerror or error, hint), options)
    except KeyboardInterrupt:
        return report(Problem("dlsctl", "must run to its end", "an interrupt", "run the same again"), options)
    except Exception as error:
        if options.debug:
            raise
        got = "{}: {}".format(type(error).__name__, error)
        return report(Problem("dlsctl", "must know what it meets", got, "run it with --debug and report it"), options)
    return answered(json.dumps(answer, sort_keys=True) if options.json else printable(text), code)


def answered(text: str, code: int) -> int:
    """Print the answer; returns `code`, or EXIT_FAILED where it could not be written."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where Python's own last flush goes
        if not isinstance(error, BrokenPipeError):  # a reader that has seen enough is no failure
            print("standard output: must take the answer, got {}".format(error.strerror), file=sys.stderr)
            return EXIT_FAILED
    return code


def report(problem: Problem, options: argparse.Namespace) -> int:
    """Print a problem, with --json also on standard output; returns its exit code."""
    if options.json:
        answered(json.dumps({"error": problem.as_dict()}), problem.code)
    print(printable(str(problem)), file=sys.stderr)
    return problem.code


def printable(text: str) -> str:
    """Text without what could steer a terminal or not be encoded: such characters are shown escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    lines = ("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line) for line in text.split("\n"))
    return "\n".join(lines).encode(encoding, "backslashreplace").decode(encoding)


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        default=os.environ.get("DLSCTL_CONFIG", DEFAULT_CONFIG),
        metavar="FILE",
        help="configuration of the installation (default: %(default)s)",
    )
    common.add_argument("--json", action="store_true", help="print the answer as JSON")
    common.add_argument("--debug", action="store_true", help="show a traceback where there is one")
    top = argparse.ArgumentParser(
        prog="dlsctl",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__[__doc__.index("Exit codes") :],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(metavar="COMMAND")

    def verb(function: Callable[[argparse.Namespace], Answer], text: str) -> argparse.ArgumentParser:
        entry = verbs.add_parser(function.__name__.split("_", 1)[1], parents=[common], help=text, description=text)
        entry.set_defaults(verb=function)
        return entry

    verb(verb_status, "say whether the server is installed, running and healthy")
    for function, text in (
        (verb_start, "start the server and wait for its health"),
        (verb_restart, "stop and start the server"),
    ):
        verb(function, text).add_argument("--no-wait", action="store_true", help="do not wait for its health")
    verb(verb_stop, "stop the server")
    verb(verb_health, "wait until the portal answers").add_argument(
        "--timeout", type=int, metavar="SECONDS", help="(default: as configured)"
    )
    verb(verb_state, "list what differs from the release's manifest: the server's state")
    verb(verb_verify, "check the installed files against the release's manifest")
    verb(verb_version, "print the version of the server")
    entry = verb(verb_identity, "print what a licence is bound to, and what of it has changed since it was recorded")
    entry.add_argument("--uuid", help="the server's UUID, from its portal: recorded, or compared with the recorded one")
    entry.add_argument("--accept", action="store_true", help="record what is there now in place of what was")
    entry = verb(verb_install, "unpack a vendor archive as a release")
    entry.add_argument("archive", metavar="FILE")
    for name, text in (
        ("sha256", "the pinned checksum"),
        ("version", "the version it must hold"),
        ("line", "the release line's facts, as JSON"),
    ):
        entry.add_argument("--" + name, required=True, help=text)
    entry = verb(verb_apply, "make the running server what the configuration says")
    entry.add_argument("--version", help="the installed release to use where none is in use yet")
    entry.add_argument("--check", action="store_true", help="only say what would be done")
    verb(verb_uninstall, "stop and remove the server, saving its state").add_argument(
        "--purge", action="store_true", help="do not save the state"
    )
    entry = verb(verb_archive, "check that a vendor archive is the one that was pinned")
    entry.add_argument("file", metavar="FILE")
    entry.add_argument("--sha256", required=True, help="the pinned checksum")
    entry.add_argument("--version", required=True, help="the version it must hold")
    verb(verb_place, "place the licence files that an engine has checked (on standard input)")
    verb(verb_filter, "keep the server's ports closed but to the allowed networks (for the supervisor)")
    entry = verb(verb_licenses, "list the licence files that were placed, and what is wrong with them")
    entry.add_argument("--forget", metavar="NAME", help="move a file that is no more needed to the history")
    verb(verb_run, "become the server, in the foreground (for the supervisor)")
    for function, text in (
        (verb_preflight, "check a host before an engine changes it"),
        (verb_prepare, "write this program and the configuration that an engine has rendered"),
    ):
        entry = verb(function, text)
        entry.add_argument("--check", action="store_true", help="only say what would be done")
    return top


def verb_status(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    version = inst.current_version()
    error = portal_error(inst, inst.release()) if version else "not installed"
    running = is_running(inst)
    part = pair_role(servers_in_use(inst))
    answer = {
        "version": version,
        "running": running,
        "healthy": running and error is None,
        "error": error,
        "processes": server_processes(inst),
        "supervisor": inst.supervisor,
        "launch": inst.launch,
        "port": inst.server_port,
        "data_port": inst.data_port,
        "role": part,
        # Not asked of a server that is no part of a pair.
        "refuses_clients": own_client_answer(inst)["error"] == STANDBY_REFUSES
        if running and part != "standalone"
        else None,
    }
    text = "DLS {} is {}".format(
        version or "(none)",
        "running and healthy"
        if answer["healthy"]
        else "running, but not healthy: {}".format(error)
        if running
        else "stopped",
    )
    if answer["refuses_clients"] is not None:
        text += "; the {} of its pair, which {} clients".format(
            part, "refuses" if answer["refuses_clients"] else "serves"
        )
    return (EXIT_STOPPED if not running else EXIT_OK if answer["healthy"] else EXIT_UNHEALTHY), answer, text


def verb_start(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    with locked(inst):
        if not is_running(inst):
            rehearse(inst)
        changed = start(inst)
    return waited(inst, changed, "started" if changed else "was running already", options)


def waited(inst: Installation, changed: bool, text: str, options: argparse.Namespace) -> Answer:
    seconds = None if options.no_wait else wait_healthy(inst)
    require_closed(inst)
    return EXIT_OK, {"changed": changed, "seconds": seconds}, text if seconds is None else "{}, healthy".format(text)


def verb_restart(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    with locked(inst):
        if inst.launch == "vendor":
            vendor_script(inst, inst.release())  # asked before the stop
        rehearse(inst)
        stop(inst)
        start(inst)
    return waited(inst, True, "restarted", options)


def verb_stop(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    with locked(inst):
        changed = stop(inst)
    return EXIT_OK, {"changed": changed}, "stopped" if changed else "was stopped already"


def verb_health(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    if not is_running(inst):
        raise Stopped(inst.service, "must be running", "a stopped server", "start it with: dlsctl start")
    seconds = wait_healthy(inst, options.timeout, settle=0)
    url = portal_url(inst, inst.release())
    return EXIT_OK, {"healthy": True, "url": url, "seconds": seconds}, "{} answers".format(url)


def verb_state(options: argparse.Namespace) -> Answer:
    entries = state(Installation.load(options.config))
    lines = ["{:9} {}".format(entry["change"], one_line(entry["path"])) for entry in entries]
    return EXIT_OK, {"state": entries}, "\n".join(lines) or "nothing differs from the manifest"


def verb_verify(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    changed = [entry for entry in state(inst) if entry["change"] != "added"]
    version = inst.current_version()
    if changed:
        problem = Problem(
            inst.release_dir(str(version)),
            "must be as the vendor's archive has it",
            "\n".join(["", *("  {:9} {}".format(entry["change"], one_line(entry["path"])) for entry in changed)]),
            "if nobody can say why, uninstall and install again; the server's state is saved first",
        )
        return EXIT_DIFFERS, {"version": version, "differs": changed}, str(problem)
    return (
        EXIT_OK,
        {"version": version, "differs": []},
        "every file of release {} is as its archive has it".format(version),
    )


def verb_version(options: argparse.Namespace) -> Answer:
    record = Installation.load(options.config).release()
    answer = {
        "version": record["version"],
        "archive_sha256": record["archive_sha256"],
        "installed": record["installed"],
    }
    return EXIT_OK, answer, record["version"]


def verb_identity(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    found = identity()
    if options.uuid:
        if not re.fullmatch(UUID_FORM, options.uuid):
            raise Refused("--uuid", "must be as the portal's home page shows it", options.uuid, "copy it from there")
        found["uuid"] = options.uuid.upper()
    before = recorded_identity(inst)
    if options.accept or options.uuid:
        with locked(inst):
            if options.accept:
                write_json(os.path.join(inst.kit, "identity.json"), {**before, **found}, 0o600)
            else:
                record_identity(inst, found)
            bind_licenses(inst)
    known = recorded_identity(inst)
    drift = identity_drift(inst, found)
    shown_labels = dict(found, mac=shown_macs(found["mac"]), uuid=found.get("uuid") or known.get("uuid"))
    lines = ["{}: {}".format(key, value or "unknown") for key, value in sorted(shown_labels.items())]
    lines += [str(drift_problem(change)) for change in drift]
    in_sight = labels_in_sight(inst)
    hidden = hidden_labels(inst, in_sight)
    lines += ["{}: hidden from the server, which has seen it before".format(key) for key in hidden]
    answer = {
        "changed": known != before,
        "labels": found,
        "recorded": known,
        "drift": drift,
        "in_sight": in_sight,
        "hidden": hidden,
        "problems": [str(drift_problem(change)) for change in drift],
    }
    return (EXIT_DIFFERS if drift or hidden else EXIT_OK), answer, "\n".join(lines)


def verb_licenses(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    if options.forget:
        with locked(inst):
            text = forget_license(inst, options.forget)
        return EXIT_OK, {"changed": True}, text
    found = look_at_licenses(inst, license_index(inst))
    form = "{name}: licence {license_id} of organization {organization}, {status}, since {since}, for server {uuid}"
    lines = [
        (form if file["sha256"] else "{name}").format(**dict(file, uuid=file["uuid"] or "unknown"))
        + (": " + file["fault"] if file["fault"] else "")
        for file in found
    ]
    code = EXIT_DIFFERS if any(file["fault"] for file in found) else EXIT_OK
    return code, {"folder": inst.licenses, "files": found}, "\n".join(lines) or "no licence file is placed"


def verb_place(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    wanted = read_spec(options)["licenses"]
    with locked(inst):
        placed = place_licenses(inst, wanted)
    return EXIT_OK, {"changed": bool(placed), "placed": placed}, "\n".join(placed) or "nothing to do"


def verb_install(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    with locked(inst):
        changed = install(
            inst, options.archive, options.sha256.replace("sha256:", ""), options.version, json.loads(options.line)
        )
    return (
        EXIT_OK,
        {"changed": changed},
        "release {} {}".format(options.version, "installed" if changed else "was installed already"),
    )


def verb_apply(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    if options.check:
        steps = plan(inst, options.version)
    else:
        with locked(inst):
            steps = apply(inst, options.version)
    lines = [" ".join(str(step[key]) for key in ("step", "path", "version") if key in step) for step in steps]
    return EXIT_OK, {"changed": bool(steps), "steps": steps}, "\n".join(lines) or "nothing to do"


def verb_uninstall(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    with locked(inst):
        saved = uninstall(inst, options.purge)
    return (
        EXIT_OK,
        {"changed": True, "saved": saved},
        "removed" + ("; the server's state is in " + saved if saved else ""),
    )


def verb_archive(options: argparse.Namespace) -> Answer:
    archive = pinned_archive(options.file, options.sha256, options.version)
    answer = {"platform": archive.platform, "version": archive.version, "sha256": archive.sha256, "size": archive.size}
    return EXIT_OK, answer, "{platform} {version} sha256:{sha256}".format(**answer)


def verb_filter(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    changed = uses_filter(inst) and not filter_is_loaded(inst)
    if changed:
        load_filter(inst)
    return EXIT_OK, {"changed": changed}, "the port filter {} loaded".format("is" if changed else "was")


def verb_run(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    record = inst.release()
    require_address_filter(inst)
    require_configured_ports(inst, record)
    os.chdir(inst.current_link)
    if inst.launch == "direct":
        argv = server_argv(inst, record)
        os.execv(argv[0], argv)  # noqa: S606 - the server takes this process over
    pid = run_startup_script(inst, record)
    return EXIT_OK, {"pid": pid}, "the server's main process is {}".format(pid)


def read_spec(options: argparse.Namespace) -> Spec:
    """What an engine asks: given to main, or JSON on standard input."""
    spec: Spec = json.load(sys.stdin) if options.spec is None else options.spec
    return spec


def verb_prepare(options: argparse.Namespace) -> Answer:
    changes = prepare(read_spec(options), options.check)
    return EXIT_OK, {"changed": bool(changes), "changes": changes}, "\n".join(changes) or "nothing to do"


def verb_preflight(options: argparse.Namespace) -> Answer:
    answer = preflight(read_spec(options))
    text = "\n".join(problem["text"] for problem in answer["problems"])
    return (EXIT_REFUSED if text else EXIT_OK), answer, text or "ready"


if __name__ == "__main__":
    sys.exit(main())
