"""Gunzip: the content of one gzip file, piece by piece and within limits."""

import hashlib
import os
import stat
import zlib
from typing import BinaryIO, Iterator, Optional

from dlsctl.archives import DAMAGED_HINT, LIMIT_HINT, ArchiveLimits, Progress, refuse
from dlsctl.problems import Refused, shown

PIECE = 1 << 18  # bytes handled at a time: bounds memory, costs no speed
_RATIO_FROM = 1 << 20  # a file that unpacks to less is no bomb, whatever its ratio


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
            raise refuse(self.archive, rule, "more", LIMIT_HINT)
        if self.total > _RATIO_FROM and self.total > self.limits.ratio * packed:
            rule = "must unpack to at most {} times its size".format(self.limits.ratio)
            raise refuse(self.archive, rule, "more", LIMIT_HINT)

    def add_member(self) -> None:
        """Count one more member. Raises Refused."""
        self.members += 1
        if self.members > self.limits.members:
            rule = "must hold at most {} members".format(self.limits.members)
            raise refuse(self.archive, rule, "more", LIMIT_HINT)


class Gunzip:
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
                    raise refuse(self.archive, "must not end inside a member", None, DAMAGED_HINT)
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
                unpacked = self._inflate.decompress(packed, PIECE)
            except zlib.error as error:
                raise refuse(self.archive, "must be intact gzip", str(error), DAMAGED_HINT) from None
            if unpacked:
                self.meter.add_bytes(len(unpacked), self.packed)
                return unpacked
            if not packed and not self._inflate.eof:
                raise refuse(self.archive, "must not end inside its gzip stream", None, DAMAGED_HINT)
        if self._inflate.unused_data or self._read():
            raise refuse(self.archive, "must end with its one gzip stream", "data after it")
        return b""

    def _read(self) -> bytes:
        packed = self._file.read(PIECE)
        self.sha256.update(packed)
        self.packed += len(packed)
        if packed and self._progress:
            self._progress(self.packed, self._size)
        return packed


def open_archive(path: str) -> BinaryIO:
    """Open a regular file for reading. Raises Refused."""
    hint = "give the path of the vendor archive"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # asked first: opening a named pipe would wait for ever
            raise Refused(shown(path), "must be a file", "a folder or device", hint)
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise Refused(shown(path), "must be a readable file", getattr(error, "strerror", None) or error, hint) from None
