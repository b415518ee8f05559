"""Tar and gzip, header by header: POSIX.1-2017 pax "ustar Interchange Format"."""

import gzip
from collections.abc import Iterable

BLOCK = 512
END = bytes(2 * BLOCK)
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
FILE, HARD_LINK, LINK, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
LONG_NAME, LONG_LINK, SPARSE, PAX, GLOBAL_PAX = b"L", b"K", b"S", b"x", b"g"


def octal(value: int, width: int = 12) -> bytes:
    """Return a number as a tar header holds it."""
    return b"%0*o\0" % (width - 1, value)


def header(  # noqa: PLR0913 - one argument for each field of the format
    name: bytes,
    *,
    kind: bytes = FILE,
    size: int | bytes = 0,
    mode: int | bytes = 0o644,
    link: bytes = b"",
    magic: bytes = USTAR,
    prefix: bytes = b"",
    checksum: int | None = None,
) -> bytes:
    """Return one 512-byte header; bytes for `size` and `mode` are taken as they are."""
    block = bytearray(BLOCK)
    fields = {
        0: name,
        100: mode if isinstance(mode, bytes) else octal(mode, 8),
        108: octal(0, 8),
        116: octal(0, 8),
        124: size if isinstance(size, bytes) else octal(size),
        136: octal(0),
        148: b" " * 8,
        156: kind,
        157: link,
        257: magic,
        345: prefix,
    }
    for at, value in fields.items():
        block[at : at + len(value)] = value
    block[148:156] = b"%06o\0 " % (sum(block) if checksum is None else checksum)
    assert len(block) == BLOCK, "a field does not fit"
    return bytes(block)


def padded(content: bytes) -> bytes:
    """Return content filled up to whole blocks."""
    return content + bytes(-len(content) % BLOCK)


def file(name: bytes, content: bytes = b"content\n", mode: int = 0o644) -> bytes:
    """Return a regular file, its name in a GNU long name header where it needs one."""
    long_name = extension(LONG_NAME, name + b"\0") if len(name) > 100 else b""
    return long_name + header(name[:100], size=len(content), mode=mode) + padded(content)


def folder(name: bytes, mode: int = 0o755) -> bytes:
    return header(name + b"/", kind=FOLDER, mode=mode)


def link(name: bytes, target: bytes, kind: bytes = LINK) -> bytes:
    return header(name, kind=kind, link=target, mode=0o777)


def extension(kind: bytes, content: bytes) -> bytes:
    """Return a GNU or pax extension header with its content."""
    return header(b"extension", kind=kind, size=len(content)) + padded(content)


def pax(*records: tuple[bytes, bytes], kind: bytes = PAX) -> bytes:
    """Return a pax header; each record is `length key=value newline`, the length counting itself."""
    content = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        while len(str(length)) + len(key) + len(value) + 3 != length:
            length = len(str(length)) + len(key) + len(value) + 3
        content += b"%d %s=%s\n" % (length, key, value)
    return extension(kind, content)


def packed(parts: Iterable[bytes], end: bytes = END) -> bytes:
    """Return a .tar.gz of members and the end of the archive; the same bytes each time."""
    return gzip.compress(b"".join(parts) + end, compresslevel=1, mtime=0)


def linux_release(top: bytes = b"dls-linux", version: bytes = b"2.4.11") -> list[bytes]:
    """Return the members of a release in the documented layout."""
    at = top + b"/" if top else b""
    folders = [at + name for name in (b"linux", b"linux/bin", b"linux/jre", b"linux/jre/bin")]
    programs = (b"startup.sh", b"linux/bin/dynamsoftdlsx", b"linux/jre/bin/dynamsoftdls")
    return [
        *([folder(top)] if top else []),
        *(folder(name) for name in folders),
        *(file(at + name, b"#!/bin/sh\n", 0o755) for name in programs),
        file(at + b"dls-" + version + b".jar", b"PK"),
        file(at + b"dls.json.sample", b"{}\n"),
    ]
