"""Unpacking: the members of an archive that was read, written to disk and compared with what was read."""

import hashlib
import os
from typing import Iterable, Iterator, List, Optional, Sequence

from dlsctl.archives import (
    DEFAULT_LIMITS,
    Archive,
    ArchiveLimits,
    Member,
    Progress,
    archive_name,
    installed_members,
    refuse,
)
from dlsctl.gunzip import PIECE, Gunzip, Meter, open_archive
from dlsctl.problems import Problem, Refused
from dlsctl.tarballs import entries


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
            stream = Gunzip(file, Meter(archive_name(path), limits), progress)
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


def _unpack_files(stream: Gunzip, into: str, archive: Archive) -> None:
    expected = {member.path: member for member in archive.members}
    files = set()
    start = len(archive.top) + 1 if archive.top else 0
    changed = refuse(stream.archive, "must not change while it is read", "another content", "run again")
    for entry in entries(stream):
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
        piece = file.read(PIECE)
        while piece:
            yield piece
            piece = file.read(PIECE)


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
