"""Tarballs: a .tar.gz read and judged to its end, before anything of it is unpacked."""

import hashlib
import re
import tarfile
from typing import Dict, Iterator, NamedTuple, Optional

from dlsctl.archives import (
    DAMAGED_HINT,
    DEFAULT_LIMITS,
    Archive,
    ArchiveLimits,
    Member,
    Progress,
    archive_name,
    identify,
    refuse,
    refuse_member,
)
from dlsctl.gunzip import Gunzip, Meter, open_archive
from dlsctl.members import check_members
from dlsctl.problems import shown

_LONGEST_HEADER = 1 << 20  # bytes of a tar extension header


class Entry(NamedTuple):
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


def read_tar(path: str, limits: ArchiveLimits = DEFAULT_LIMITS, progress: Optional[Progress] = None) -> Archive:
    """Read a .tar.gz to its end, once, and return what it holds; nothing is written and memory stays bounded.

    A hard link to an earlier file counts as a copy of that file. `progress` is called with the bytes read and
    the bytes in all. Raises Refused when the archive is damaged, breaks a rule of `check_members`, outgrows
    `limits` or is not a Linux release.
    """
    name = archive_name(path)
    with open_archive(path) as file:
        stream = Gunzip(file, Meter(name, limits), progress)
        files: Dict[str, Member] = {}
        members = [
            _hashed(entry, stream, files)
            for entry in entries(stream)
            if not (entry.path == "." and entry.kind == "dir")
        ]
    check_members(members, archive=name)
    platform, version, top = identify(members, path)
    if platform != "linux_x64":
        raise refuse(name, "must hold a Linux release: Windows releases come as .zip", platform)
    return Archive(path, platform, version, top, stream.sha256.hexdigest(), stream.packed, members)


def _hashed(entry: Entry, stream: Gunzip, files: Dict[str, Member]) -> Member:
    """Return the member for an entry, its content taken from the stream; `files` collects those read so far."""
    if entry.kind == "copy":
        source = files.get(entry.link)
        if not source:
            rule = "must be a hard link to an earlier file of the archive"
            raise refuse_member(stream.archive, entry.path, rule, shown(entry.link))
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


def entries(stream: Gunzip) -> Iterator[Entry]:
    """Yield the members of a tar stream.

    The caller takes each member's `size` bytes from the stream before it asks for the next.
    """
    extra: Dict[str, str] = {}
    while True:
        block = b"".join(stream.pieces(tarfile.BLOCKSIZE))
        if not block.strip(b"\0"):
            if extra:
                raise refuse(stream.archive, "must have a member after each tar extension header", "the end")
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


def _check_tar_end(stream: Gunzip) -> None:
    """Refuse a tar stream without its second block of zeros, or with anything but zeros after it."""
    if b"".join(stream.pieces(tarfile.BLOCKSIZE)).strip(b"\0"):
        raise refuse(stream.archive, "must end with two tar blocks of zeros", "one, then data")
    for piece in stream.rest():
        if piece.strip(b"\0"):
            raise refuse(stream.archive, "must hold only zeros after the end of its tar stream", "data")


def _skip_padding(stream: Gunzip, size: int) -> None:
    for _ in stream.pieces(-size % tarfile.BLOCKSIZE):
        pass


def _tar_header(block: bytes, archive: str) -> tarfile.TarInfo:
    numbers_plain = all(_OCTAL.match(block[at:end]) for at, end in ((100, 108), (124, 136)))  # mode, size
    ustar, plain = block[257:265] == b"ustar\x0000", block[257:265] in (b"ustar  \0", bytes(8))
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except UnicodeDecodeError:
        raise refuse(archive, "must have member names in UTF-8", shown(block[:100].split(b"\0")[0])) from None
    except (tarfile.HeaderError, ValueError, IndexError, OverflowError) as error:
        raise refuse(archive, "must have intact tar headers", str(error), DAMAGED_HINT) from None
    if not numbers_plain or not (ustar or plain) or (block[345] and not ustar):
        raise refuse_member(archive, header.name, "must have a plain tar header", "an unknown dialect")
    return header


def _entry(header: tarfile.TarInfo, extra: Dict[str, str], archive: str) -> Entry:
    name, link = extra.get("path", header.name), extra.get("linkpath", header.linkname)
    if header.type not in _TAR_KINDS:
        got = _TAR_REFUSED.get(header.type, "tar type {}".format(shown(header.type)))
        raise refuse_member(archive, name, "must be a file, folder or link", got)
    kind = _TAR_KINDS[header.type]
    if header.size and kind != "file":
        raise refuse_member(archive, name, "must have no content unless it is a file", header.size)
    if extra.get("size", str(header.size)) != str(header.size):
        raise refuse_member(archive, name, "must have one size in all its headers", shown(extra["size"]))
    if link and kind in ("file", "dir"):
        raise refuse_member(archive, name, "must point to nothing unless it is a link", shown(link))
    if name in (".", "./") and kind == "dir":
        path = "."
    else:
        path = _without_dot(name[:-1] if kind == "dir" and name.endswith("/") else name)
    mode = header.mode & 0o7777  # some writers keep the file type in the upper bits
    return Entry(path, kind, mode, header.size, _without_dot(link) if kind == "copy" else link)


def _without_dot(path: str) -> str:
    """Return a path without the leading "./" that `tar -C folder .` writes."""
    return path[2:] if path.startswith("./") else path


def _extend(extra: Dict[str, str], header: tarfile.TarInfo, stream: Gunzip) -> None:
    """Add what an extension header says of the next member. Raises Refused when two of them speak of one thing."""
    stream.meter.add_member()
    form = _TAR_EXTENSIONS[header.type]
    if header.size > _LONGEST_HEADER:
        rule = "must have tar extension headers of at most {} bytes".format(_LONGEST_HEADER)
        raise refuse(stream.archive, rule, header.size)
    content = b"".join(stream.pieces(header.size))
    _skip_padding(stream, header.size)
    try:
        if form in ("path", "linkpath"):
            records = {form: _without_end(content, stream.archive).decode("utf-8")}
        else:
            records = _pax_records(content, stream.archive)
    except UnicodeDecodeError:
        raise refuse(stream.archive, "must have member names in UTF-8", shown(content[:60])) from None
    if form == "global pax":
        if records:
            raise refuse(
                stream.archive, "must not set names or sizes for all members at once", ", ".join(sorted(records))
            )
        return
    repeated = {form, *records} & set(extra)
    if repeated:
        raise refuse(stream.archive, "must not describe a member twice", ", ".join(sorted(repeated)))
    extra.update(records)
    extra.setdefault(form, "")


def _without_end(content: bytes, archive: str) -> bytes:
    name, _, after = content.partition(b"\0")
    if after.strip(b"\0"):
        raise refuse(archive, "must not have data behind a long member name", shown(after[:60]))
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
            raise refuse(archive, "must have well-formed pax headers", shown(content[at : at + 40]))
        key, value = match.group(2).decode("utf-8"), content[match.end() : end - 1]
        if key.startswith("GNU.sparse") or key == "hdrcharset":
            raise refuse(archive, "must not have sparse members or its own character set", shown(key))
        if key in ("path", "linkpath", "size"):
            if key in records:
                raise refuse(archive, "must not describe a member twice", key)
            records[key] = value.decode("utf-8")
        at = end
    return records
