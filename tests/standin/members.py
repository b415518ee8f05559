"""Archives as lists of members, written so that the same members always give the same bytes."""

import gzip
import io
import tarfile
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# 2025-12-01 00:00:00 UTC, the month of the documentation that the layout was taken from.
MTIME = 1_764_547_200


@dataclass(frozen=True, order=True)
class Member:
    """One regular file: name with forward slashes, permission bits, content."""

    name: str
    mode: int
    content: bytes


def plain(name: str, content: bytes) -> Member:
    """A file nobody executes."""
    return Member(name, 0o644, content)


def executable(name: str, content: bytes) -> Member:
    """A program or script."""
    return Member(name, 0o755, content)


def write_tar_gz(members: Iterable[Member], path: Path) -> None:
    """Write a tar.gz: sorted, parents before their content, owner 0:0, one time for all, fastest gzip level."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        done: set[PurePosixPath] = set()
        for member in sorted(members):
            for folder in reversed(PurePosixPath(member.name).parents[:-1]):
                if folder not in done:
                    tar.addfile(_tar_info(f"{folder}/", 0o755, tarfile.DIRTYPE, 0))
                    done.add(folder)
            info = _tar_info(member.name, member.mode, tarfile.REGTYPE, len(member.content))
            tar.addfile(info, io.BytesIO(member.content))


def _tar_info(name: str, mode: int, kind: bytes, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.size, info.mtime = mode, kind, size, MTIME
    info.uname = info.gname = "root"
    return info


def write_zip(members: Iterable[Member], path: Path, *, compressed: bool) -> None:
    """Write a zip: sorted, one time for all.

    Without compression the bytes do not depend on the zlib at hand: so for files kept in version control.
    """
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method, compresslevel=1 if compressed else None) as archive:
        for member in sorted(members):
            info = zipfile.ZipInfo(member.name, time.gmtime(MTIME)[:6])
            info.create_system = 3  # Unix, on every machine
            info.external_attr = (0o100000 | member.mode) << 16
            info.compress_type = method
            archive.writestr(info, member.content)


def read_zip(path: Path) -> list[Member]:
    """Return the files of a zip written by write_zip."""
    with zipfile.ZipFile(path) as archive:
        return [
            Member(info.filename, info.external_attr >> 16 & 0o777, archive.read(info)) for info in archive.infolist()
        ]
