"""Small files that somebody hands to the kit: read whole, up to a limit, and named harmlessly in messages."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from dlsctl.problems import Refused, shown

STDIN = "-"


def printable(text: str) -> str:
    """Return text as it is where a terminal shows it as it is, otherwise quoted, in ASCII and of bounded length."""
    return text if text.isprintable() else shown(text)


def unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object's content, as `object_pairs_hook` of `json.loads`. Raises ValueError for a name twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def escaped(text: str) -> str:
    """Return all of a text in one line, with what could steer a terminal escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def plain(text: str) -> str:
    """Return ASCII text as it is, otherwise quoted: letters of other scripts look like those that are meant."""
    return text if text.isascii() and text.isprintable() else ascii(text)


def read_file(path: str, limit: int, hint: str, name: str = "") -> bytes:
    """Return the content of a regular file of at most `limit` bytes; "-" reads standard input.

    `name` stands for the path in messages where the path may be a secret that somebody took for one. Raises Refused
    with `hint` as the next action.
    """
    name = name or printable(path)
    try:
        if path == STDIN:
            return _limited(_standard_input().read(limit + 1), limit, name, hint)
        if not stat.S_ISREG(Path(path).stat().st_mode):  # asked first: opening a named pipe would wait for ever
            raise Refused(name, "must be a file", "a folder or device", hint)
        with Path(path).open("rb") as file:
            return _limited(file.read(limit + 1), limit, name, hint)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Refused(name, "must be a readable file", reason, hint) from None


def _standard_input() -> BinaryIO:
    if sys.stdin is None:  # Python's way to say that it was closed
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdin.buffer


def _limited(data: bytes, limit: int, name: str, hint: str) -> bytes:
    if len(data) > limit:
        raise Refused(name, f"must have at most {limit} bytes", "more", hint)
    return data
