"""Zip, record by record: PKWARE APPNOTE 6.3.10."""

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

STORED, DEFLATED = 0, 8
ENCRYPTED, DESCRIPTOR, UTF8 = 0x1, 0x8, 0x800
LINK, REGULAR, FOLDER, DEVICE = 0o120000, 0o100000, 0o040000, 0o020000
UNIX = 3 << 8 | 20


@dataclass(frozen=True)
class Entry:
    """A member; `local` and `central` replace fields of its two headers: flags, crc, packed, size and so on."""

    name: bytes
    content: bytes = b"content\r\n"
    method: int = DEFLATED
    flags: int = 0
    mode: int = REGULAR | 0o644
    dos: int = 0
    local: Mapping[str, int | bytes] = field(default_factory=dict)
    central: Mapping[str, int | bytes] = field(default_factory=dict)
    data: bytes | None = None
    descriptor: bytes | None = None

    def packed(self) -> bytes:
        """Return the content as it lies in the file."""
        if self.data is not None:
            return self.data
        if self.method != DEFLATED:
            return self.content
        deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
        return deflate.compress(self.content) + deflate.flush()

    def fields(self) -> dict[str, int | bytes]:
        sums: dict[str, int | bytes] = {
            "crc": zlib.crc32(self.content),
            "packed": len(self.packed()),
            "size": len(self.content),
        }
        return {"name": self.name, "extra": b"", "flags": self.flags, "method": self.method, **sums}

    def local_record(self) -> bytes:
        values = self.fields()
        if self.flags & DESCRIPTOR:
            values.update(crc=0, packed=0, size=0)
        values.update(self.local)
        name, extra = values["name"], values["extra"]
        assert isinstance(name, bytes)
        assert isinstance(extra, bytes)
        sums = [values[key] for key in ("crc", "packed", "size")]
        head = struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, values["flags"], values["method"], 0, 33, *sums, len(name), len(extra)
        )
        return head + name + extra + self.packed() + self.tail()

    def tail(self) -> bytes:
        """Return the data descriptor."""
        if self.descriptor is not None or not self.flags & DESCRIPTOR:
            return self.descriptor or b""
        return b"PK\7\x08" + struct.pack("<3L", zlib.crc32(self.content), len(self.packed()), len(self.content))

    def central_record(self, offset: int) -> bytes:
        values = (
            self.fields() | {"offset": offset, "disk": 0, "attributes": self.mode << 16 | self.dos} | dict(self.central)
        )
        name, extra = values["name"], values["extra"]
        assert isinstance(name, bytes)
        assert isinstance(extra, bytes)
        sums = [values[key] for key in ("crc", "packed", "size")]
        lengths = [len(name), len(extra), 0]
        last = [values["disk"], 0, values["attributes"], values["offset"]]
        start = [UNIX, 20, values["flags"], values["method"], 0, 33]
        return struct.pack("<4s6H3L5H2L", b"PK\1\2", *start, *sums, *lengths, *last) + name + extra


def folder(name: bytes) -> Entry:
    return Entry(name + b"/", b"", STORED, mode=FOLDER | 0o755, dos=0x10)


def packed(  # noqa: PLR0913 - one argument for each place where something can be hidden
    entries: Iterable[Entry],
    *,
    before: bytes = b"",
    gap: bytes = b"",
    after: bytes = b"",
    in_directory: bytes = b"",
    end: Mapping[str, int] | None = None,
) -> bytes:
    """Return a .zip; the other arguments put bytes where none belong, `end` replaces fields of the end record."""
    body, directory, count = before, b"", 0
    for count, entry in enumerate(entries, 1):  # noqa: B007
        directory += entry.central_record(len(body))
        body += entry.local_record()
    body += gap
    directory += in_directory
    fields = {"disk": 0, "here": count, "count": count, "length": len(directory), "start": len(body)} | dict(end or {})
    numbers = [fields["disk"], 0, fields["here"], fields["count"], fields["length"], fields["start"], len(after)]
    return body + directory + struct.pack("<4s4H2LH", b"PK\5\6", *numbers) + after


def windows_release(top: bytes = b"", version: bytes = b"2.4.11") -> list[Entry]:
    """Return the members of a release in the documented layout."""
    at = top + b"/" if top else b""
    names = (
        b"startup.bat",
        b"shutdown.bat",
        b"dls.json.sample",
        b"win/bin/dynamsoftdlsx.exe",
        b"win/bin/PsExec64.exe",
        b"win/jre/bin/dynamsoftdls.exe",
        b"dls-" + version + b".jar",
    )
    return [folder(at + b"win"), folder(at + b"win/bin"), *(Entry(at + name) for name in names)]
