"""What goes into a bundle, file by file, and how it is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dlsctl.problems import Problem, Refused, shown
from dlskit.bundle import verify

LEFT_OUT = ("__pycache__", "*.pyc", ".*")  # of a folder of the kit


@dataclass(frozen=True)
class Source:
    """Where a file comes from: its path or its bytes; `origin` for the manifest; a pinned SHA-256, or empty."""

    origin: str
    path: Path | None = None
    data: bytes = field(default=b"", repr=False)
    sha256: str = ""


class Content:
    """The files of a bundle by their path in it, until they are written."""

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}

    def add(self, path: str, source: Source) -> None:
        """Put a file into the bundle. Raises Refused for a path that is there already."""
        if path in self._sources:
            raise Refused(path, "must be in the bundle once", "two files of this name", "rename or leave out one")
        self._sources[path] = source

    def add_folder(self, path: str, folder: Path, origin: str) -> None:
        """Put all files of a folder into the bundle, but for hidden and compiled ones."""
        for file in folder.rglob("*"):
            inner = PurePosixPath(file.relative_to(folder))
            if file.is_file() and not any(PurePosixPath(part).match(form) for part in inner.parts for form in LEFT_OUT):
                self.add(f"{path}/{inner}", Source(origin, file))

    def read(self) -> dict[str, bytes]:
        """Return the content of all files, for a few small ones."""
        return {
            path: source.path.read_bytes() if source.path else source.data for path, source in self._sources.items()
        }

    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(source.path.stat().st_size if source.path else len(source.data) for source in self._sources.values())

    def write(self, folder: Path, progress: Callable[[int, int], None] | None = None) -> list[verify.Entry]:
        """Write the files into a folder, in the order of their paths, and return what the manifest says of them.

        `progress` is called with bytes written and bytes in all. Raises Refused for a file that is not as pinned.
        """
        total, done = self.size(), 0
        entries = []
        for path in sorted(self._sources):
            entries.append(_write(folder / path, path, self._sources[path]))
            done += entries[-1]["size"]
            if progress:
                progress(done, total)
        return entries


def _write(target: Path, path: str, source: Source) -> verify.Entry:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as copy:
        if source.path is None:
            digest.update(source.data)
            size = len(source.data)
            copy.write(source.data)
        else:
            with verify.open_regular(str(source.path)) as file:
                while piece := file.read(verify.PIECE):
                    digest.update(piece)
                    size += copy.write(piece)
    if source.sha256 and digest.hexdigest() != source.sha256:
        raise changed(source.path or target, source.sha256, digest.hexdigest())
    return {"path": path, "size": size, "sha256": digest.hexdigest(), "origin": source.origin}


def changed(path: Path, expected: str, got: str) -> Problem:
    """What to tell of a file that has not its pinned hash."""
    hint = "fetch it again; if this is the file that you mean, put its SHA-256 into the specification"
    return Refused(shown(str(path)), f"must have SHA-256 {expected}", got, hint)
