"""Cut a bundle into parts for media: one tar archive, cut by size, and a signed list of the parts."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlsctl.problems import Refused
from dlskit import minisign
from dlskit.bundle import build, media, verify

PROGRAMS = ("media.py", "verify.py")
LEAST = 1 << 16  # bytes of a part
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B?\Z")
_POWER = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 4G, which is 4,000,000,000 as media are sold; 4GiB is 4 * 1024**3."""
    found = _SIZE.match(text)
    size = int(float(found[1]) * (1024 if found[3] else 1000) ** _POWER[found[2]]) if found else 0
    if size < LEAST:
        raise Refused("--size", "must be 64KiB or more, such as 650M or 4G", text, "4G fits on a medium with FAT32")
    return size


def split(
    folder: Path, size: int, out: Path, key: minisign.SecretKey, progress: build.Progress | None = None
) -> dict[str, Any]:
    """Write the parts of a bundle and their list into the new folder `out`; returns the list.

    The bundle must be signed by the same key, and every file as it was signed. Raises Refused or verify.Problem.
    """
    public = key.public
    manifest = verify.read_manifest(str(folder), (public.id, public.key))
    head = [_entry(folder, name) for name in verify.SIGNED]
    entries = [*head, *sorted(manifest["files"], key=lambda entry: str(entry["path"]))]
    total = media.archive_size(entries)
    if -(-total // size) > media.MOST_PARTS:
        raise Refused("--size", f"must give at most {media.MOST_PARTS} parts", size, "give a larger one")
    for problem in verify.check_names(str(folder), manifest["files"]):
        raise problem
    with build.new_folder(out) as (new, _):
        cutter = _Cutter(new, manifest["name"], size)
        for piece in _archive(folder, entries):
            cutter.write(piece)
            if progress:
                progress(cutter.size, total)
        parts = {
            "kind": media.KIND,
            "schema": media.SCHEMA,
            "name": manifest["name"],
            "size": total,
            "sha256": cutter.whole.hexdigest(),
            "head": head,
            "parts": cutter.end(),
        }
        build.write_signed(new / (manifest["name"] + media.LIST_SUFFIX), parts, key, f"parts of {manifest['name']}")
        for name in PROGRAMS:
            shutil.copyfile(Path(__file__).with_name(name), new / name)
    return parts


def _entry(folder: Path, name: str) -> verify.Entry:
    data = (folder / name).read_bytes()
    return {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _archive(folder: Path, entries: list[verify.Entry]) -> Iterator[bytes]:
    """Yield the archive in pieces. Raises verify.Problem for a file that is not as it was signed."""
    for entry in entries:
        yield media.tar_header(entry["path"], entry["size"])
        digest = hashlib.sha256()
        left = entry["size"]
        with verify.open_regular(str(folder / entry["path"])) as file:
            while left and (piece := file.read(min(left, verify.PIECE))):
                digest.update(piece)
                left -= len(piece)
                yield piece
        if left or digest.hexdigest() != entry["sha256"]:
            raise verify.differs(entry["path"], "another content")
        yield media.padding(entry["size"])
    yield media.END


class _Cutter:
    """Writes a stream into parts of one size."""

    def __init__(self, folder: Path, name: str, limit: int) -> None:
        self.size, self.whole = 0, hashlib.sha256()
        self._folder, self._name, self._limit = folder, name, limit
        self._parts: list[verify.Entry] = []
        self._begin()

    def _begin(self) -> None:
        self._path = self._folder / media.part_name(self._name, len(self._parts) + 1)
        self._file, self._digest, self._room = self._path.open("xb"), hashlib.sha256(), self._limit

    def write(self, data: bytes) -> None:
        """Add bytes to the stream."""
        view = memoryview(data)
        while view:
            if not self._room:
                self._finish()
                self._begin()
            piece, view = view[: self._room], view[self._room :]
            self._file.write(piece)
            for digest in (self._digest, self.whole):
                digest.update(piece)
            self._room -= len(piece)
            self.size += len(piece)

    def _finish(self) -> None:
        self._file.close()
        size = self._limit - self._room
        self._parts.append({"path": self._path.name, "size": size, "sha256": self._digest.hexdigest()})

    def end(self) -> list[verify.Entry]:
        """End the last part, and return what the list says of all."""
        self._finish()
        return self._parts
