"""Archives that break one rule each, with the message that each must give."""

import gzip
import struct
from dataclasses import dataclass

import dlsctl.problems
from dlsctl.archives import DAMAGED_HINT, DEFAULT_LIMITS, FETCH_HINT, LIMIT_HINT, OLD_HINT, ArchiveLimits
from tests.archives import rawtar as tar
from tests.archives import rawzip as zp

TOP = b"dls-linux/"
LINUX_NAME = "dynamsoft_dls-linux_x64-v2.4.11.tar.gz"
WINDOWS_NAME = "dynamsoft_dls-win_x64-v2.4.11.zip"
FETCH, DAMAGED, LIMIT = FETCH_HINT, DAMAGED_HINT, LIMIT_HINT


@dataclass(frozen=True)
class Case:
    """Bytes that break a rule, and the message: the member named in it, the rule, the value, the hint."""

    content: bytes
    rule: str
    got: str | None = None
    member: str | None = None
    hint: str = FETCH
    limits: ArchiveLimits = DEFAULT_LIMITS
    name: str = ""


def with_tar(*parts: bytes, end: bytes = tar.END) -> bytes:
    """A Linux release and more members after it."""
    return tar.packed([*tar.linux_release(), *parts], end)


def with_zip(*entries: zp.Entry) -> bytes:
    """A Windows release and more members after it."""
    return zp.packed([*zp.windows_release(), *entries])


def in_tar(name: bytes, rule: str, got: str | None = None, *, shown: str | None = None, parts: bytes = b"") -> Case:
    """A case of one tar member that breaks a rule."""
    return Case(with_tar(parts or tar.file(name)), rule, got, shown or repr(name.decode()))


def in_zip(entry: zp.Entry, rule: str, got: str | None = None, *, shown: str | None = None, hint: str = FETCH) -> Case:
    """A case of one zip member that breaks a rule."""
    return Case(with_zip(entry), rule, got, shown or repr(entry.name.decode().rstrip("/")), hint, name=WINDOWS_NAME)


def without(release: list[bytes], word: bytes) -> bytes:
    return tar.packed(part for part in release if word not in part[:100])


PATHS = {
    "no name": in_tar(b"", "must have a name"),
    "control character": in_tar(b"\x1b[2J", "must have a name in printable UTF-8", shown=r"'\x1b[2J'"),
    "absolute path": in_tar(b"/etc/passwd", "must have a relative path"),
    "network path": in_tar(rb"\\host\share", "must have a relative path"),
    "drive": in_tar(b"C:startup.sh", "must not name a drive"),
    "backslash": in_tar(rb"dls-linux\x", "must have '/' between folders, not a backslash"),
    "empty part": in_tar(TOP + b"/x", "must not have empty or '.' parts in its path"),
    "dot part": in_tar(TOP + b"./x", "must not have empty or '.' parts in its path"),
    "up": in_tar(TOP + b"../../etc/cron.d/x", "must not have '..' in its path"),
    "up after the dot of tar -C": in_tar(b"./../x", "must not have '..' in its path", shown="'../x'"),
    "long part": in_tar(
        TOP + b"n" * 256, "must have parts of at most 255 bytes", shown=dlsctl.problems.shown("dls-linux/" + "n" * 256)
    ),
    "long path": in_tar(
        TOP + b"n" * 250 + b"/" + b"/".join([b"n" * 250] * 4),
        "must have a path of at most 1024 bytes",
        shown=dlsctl.problems.shown("dls-linux/" + "/".join(["n" * 250] * 5)),
    ),
    "long path on Windows": in_zip(
        zp.Entry(b"/".join([b"n" * 90] * 2)),
        "must have a path of at most 180 bytes",
        shown=dlsctl.problems.shown("/".join(["n" * 90] * 2)),
    ),
    "Windows character": in_zip(zp.Entry(b"a*b"), 'must not use < > : " | ? *, which Windows forbids'),
    "Windows stream": in_zip(zp.Entry(b"dls.json:x"), 'must not use < > : " | ? *, which Windows forbids'),
    "Windows trailing dot": in_zip(zp.Entry(b"a./b"), "must not end in a dot or space, which Windows drops"),
    "Windows trailing space": in_zip(zp.Entry(b"a "), "must not end in a dot or space, which Windows drops"),
    "Windows device": in_zip(zp.Entry(b"win/nul .txt"), "must not have the name of a Windows device"),
}
TREES = {
    "setuid": in_tar(
        TOP + b"su",
        "must have plain permission bits: no setuid, setgid or sticky bit",
        parts=tar.file(TOP + b"su", mode=0o4755),
    ),
    "twice": in_tar(TOP + b"startup.sh", "must be there once"),
    "twice by case": in_zip(zp.Entry(b"STARTUP.bat"), "must be there once, whatever its case"),
    "below a file": in_tar(TOP + b"startup.sh/x", "must not lie below a file or a link", "'dls-linux/startup.sh'"),
    "below a link": in_tar(
        TOP + b"here/x",
        "must not lie below a file or a link",
        "'dls-linux/here'",
        parts=tar.link(TOP + b"here", b"linux") + tar.file(TOP + b"here/x"),
    ),
    "folder spelled twice": in_zip(zp.Entry(b"WIN/x"), "must have its folders spelled one way", "'WIN'"),
    "absolute link": in_tar(TOP + b"l", "must point to a relative path", "'/etc'", parts=tar.link(TOP + b"l", b"/etc")),
    "link to nothing": in_tar(TOP + b"l", "must point to a name in printable UTF-8", parts=tar.link(TOP + b"l", b"")),
    "link out": in_tar(
        TOP + b"linux/l",
        "must point to a place inside the release",
        "'../../x'",
        parts=tar.link(TOP + b"linux/l", b"../../x"),
    ),
    "link up later": in_tar(
        TOP + b"l",
        "must have '..' only at the start of what it points to",
        "'linux/../..'",
        parts=tar.link(TOP + b"l", b"linux/../.."),
    ),
    "folder spelled otherwise than a path": Case(
        with_zip(zp.Entry(b"lib/x"), zp.folder(b"LIB")),
        "must have its folders spelled one way",
        member="'LIB'",
        name=WINDOWS_NAME,
    ),
    "link on Windows": in_zip(
        zp.Entry(b"l", b"startup.bat", mode=zp.LINK | 0o777), "must not be a link: a Windows release has none"
    ),
}
LAYOUT_HINT = OLD_HINT
RELEASES = {
    "no release": Case(
        tar.packed([tar.file(b"x/readme")]), "must be a DLS release, with dls-<version>.jar at the top", "none"
    ),
    "two releases": Case(
        with_tar(tar.file(TOP + b"dls-2.3.5.jar")), "must hold one release", "'dls-2.3.5.jar', 'dls-2.4.11.jar'"
    ),
    "odd version": Case(
        tar.packed(tar.linux_release(version=b"2.x")),
        "must have a jar with a version of 2 to 4 numbers",
        "'dls-2.x.jar'",
    ),
    "old release": Case(
        tar.packed(tar.linux_release(version=b"2.1.9")), "must be release 2.2 or later", "2.1.9", hint=LAYOUT_HINT
    ),
    "LTS": Case(tar.packed([tar.file(b"lts/lts-2.0.jar")]), "must be release 2.2 or later", "2.0", hint=LAYOUT_HINT),
    "both platforms": Case(
        with_tar(tar.file(TOP + b"startup.bat")),
        "must be for one platform: startup.sh (Linux) or startup.bat (Windows)",
        "both",
    ),
    "no platform": Case(
        without(tar.linux_release(), b"startup.sh"),
        "must be for one platform: startup.sh (Linux) or startup.bat (Windows)",
        "neither",
    ),
    "no launcher": Case(
        without(tar.linux_release(), b"dynamsoftdlsx"),
        "must hold every file of the documented layout",
        "no linux/bin/dynamsoftdlsx",
    ),
    "another version than its name": Case(
        tar.packed(tar.linux_release(version=b"2.4.1")),
        "must hold what its name says, linux_x64 2.4.11",
        "linux_x64 2.4.1",
        name=LINUX_NAME,
    ),
    "another platform than its name": Case(
        tar.packed(tar.linux_release()),
        "must hold what its name says, win_x64 2.4.11",
        "linux_x64 2.4.11",
        name=WINDOWS_NAME,
    ),
    "Windows release in a tar": Case(
        tar.packed(tar.file(entry.name) for entry in zp.windows_release() if not entry.name.endswith(b"/")),
        "must hold a Linux release: Windows releases come as .zip",
        "win_x64",
    ),
    "Linux release in a zip": Case(
        zp.packed(
            zp.Entry(name)
            for name in (
                b"startup.sh",
                b"dls-2.4.11.jar",
                b"linux/bin/dynamsoftdlsx",
                b"linux/jre/bin/dynamsoftdls",
            )
        ),
        "must hold a Windows release: Linux releases come as .tar.gz",
        "linux_x64",
    ),
}
SMALL = ArchiveLimits(total=4096, ratio=100, members=5)
LIMITS = {
    "too many bytes": Case(
        tar.packed(tar.linux_release()), "must unpack to at most 4096 bytes", "more", hint=LIMIT, limits=SMALL
    ),
    "too many times its size": Case(
        with_tar(tar.file(TOP + b"zeros", bytes(2 << 20))),
        "must unpack to at most 100 times its size",
        "more",
        hint=LIMIT,
    ),
    "too many times its size in a zip": Case(
        with_zip(zp.Entry(b"zeros", bytes(2 << 20))), "must unpack to at most 100 times its size", "more", hint=LIMIT
    ),
    "too many members": Case(
        tar.packed(tar.linux_release()),
        "must hold at most 5 members",
        "more",
        hint=LIMIT,
        limits=SMALL._replace(total=1 << 20),
    ),
    "too many members in a zip": Case(
        zp.packed(zp.windows_release()), "must hold at most 5 members", "more", hint=LIMIT, limits=SMALL
    ),
}
GOOD = tar.packed(tar.linux_release())
GZIP = {
    "another format": Case(b"BZh91AY", "must be a .tar.gz or a .zip", "a file that begins with b'BZh9'", hint=DAMAGED),
    "empty": Case(b"", "must be a .tar.gz or a .zip", "an empty file", hint=DAMAGED),
    "broken gzip": Case(
        GOOD[:20] + b"\xff" + GOOD[21:], "must be intact gzip", ".*Error -3 while decompressing.*", hint=DAMAGED
    ),
    "wrong gzip checksum": Case(
        GOOD[:-8] + bytes(4) + GOOD[-4:], "must be intact gzip", ".*incorrect data check", hint=DAMAGED
    ),
    "cut short": Case(GOOD[:-1], "must not end inside its gzip stream", hint=DAMAGED),
    "tar cut short": Case(
        gzip.compress(b"".join(tar.linux_release())[:-100]), "must not end inside a member", hint=DAMAGED
    ),
    "tar without end": Case(tar.packed(tar.linux_release(), b""), "must not end inside a member", hint=DAMAGED),
    "data after the gzip": Case(GOOD + b"x", "must end with its one gzip stream", "data after it"),
    "a second gzip": Case(GOOD + gzip.compress(b""), "must end with its one gzip stream", "data after it"),
    "half an end": Case(
        with_tar(end=bytes(512) + tar.file(b"x")), "must end with two tar blocks of zeros", "one, then data"
    ),
    "data after the tar": Case(
        with_tar(end=tar.END + tar.file(b"x")), "must hold only zeros after the end of its tar stream", "data"
    ),
}
TAR = {
    "extension without member": Case(
        with_tar(tar.pax((b"mtime", b"1"))), "must have a member after each tar extension header", "the end"
    ),
    "broken header": Case(
        with_tar(tar.header(b"x", checksum=1)), "must have intact tar headers", "bad checksum", hint=DAMAGED
    ),
    "name not in UTF-8": Case(with_tar(tar.file(b"\xff\xfe")), "must have member names in UTF-8", r"b'\xff\xfe'"),
    "pax name not in UTF-8": Case(
        with_tar(tar.pax((b"path", b"\xff")) + tar.file(b"x")), "must have member names in UTF-8", r"b'9 path=\xff\n'"
    ),
    "negative size": in_tar(
        b"x", "must have a plain tar header", "an unknown dialect", parts=tar.header(b"x", size=b"\xff" * 12)
    ),
    "prefix in a GNU header": in_tar(
        b"x",
        "must have a plain tar header",
        "an unknown dialect",
        shown="'etc/x'",
        parts=tar.header(b"x", prefix=b"etc", magic=tar.GNU),
    ),
    "device": in_tar(b"x", "must be a file, folder or link", "a device", parts=tar.header(b"x", kind=tar.CHARACTER)),
    "pipe": in_tar(b"x", "must be a file, folder or link", "a named pipe", parts=tar.header(b"x", kind=tar.FIFO)),
    "sparse": in_tar(b"x", "must be a file, folder or link", "a sparse file", parts=tar.header(b"x", kind=tar.SPARSE)),
    "unknown type": in_tar(b"x", "must be a file, folder or link", "tar type b'M'", parts=tar.header(b"x", kind=b"M")),
    "folder with content": in_tar(
        b"x",
        "must have no content unless it is a file",
        "512",
        parts=tar.header(b"x", kind=tar.FOLDER, size=512) + bytes(512),
    ),
    "two sizes": in_tar(
        b"x", "must have one size in all its headers", "'0'", parts=tar.pax((b"size", b"0")) + tar.file(b"x")
    ),
    "file with a target": in_tar(
        b"x", "must point to nothing unless it is a link", "'/etc'", parts=tar.header(b"x", link=b"/etc")
    ),
    "folder with a target in an extension": in_tar(
        b"x",
        "must point to nothing unless it is a link",
        "'/etc/x'",
        parts=tar.extension(tar.LONG_LINK, b"/etc/x\0") + tar.folder(b"x"),
    ),
    "file with a target in a pax header": in_tar(
        b"x",
        "must point to nothing unless it is a link",
        "'/etc'",
        parts=tar.pax((b"linkpath", b"/etc")) + tar.file(b"x"),
    ),
    "long extension": Case(
        with_tar(tar.header(b"x", kind=tar.PAX, size=1 << 21)),
        "must have tar extension headers of at most 1048576 bytes",
        "2097152",
    ),
    "name for all": Case(
        with_tar(tar.pax((b"path", b"x"), kind=tar.GLOBAL_PAX)),
        "must not set names or sizes for all members at once",
        "path",
    ),
    "two names": Case(
        with_tar(tar.extension(tar.LONG_NAME, b"a\0"), tar.pax((b"path", b"b")), tar.file(b"c")),
        "must not describe a member twice",
        "path",
    ),
    "two names in one header": Case(
        with_tar(tar.pax((b"path", b"a"), (b"path", b"b")), tar.file(b"c")), "must not describe a member twice", "path"
    ),
    "data behind a long name": Case(
        with_tar(tar.extension(tar.LONG_NAME, b"a\0b"), tar.file(b"c")),
        "must not have data behind a long member name",
        r"b'b'",
    ),
    "malformed pax": Case(
        with_tar(tar.extension(tar.PAX, b"99 path=x\n"), tar.file(b"c")),
        "must have well-formed pax headers",
        r"b'99 path=x\n'",
    ),
    "sparse by pax": Case(
        with_tar(tar.pax((b"GNU.sparse.major", b"1")), tar.file(b"c")),
        "must not have sparse members or its own character set",
        "'GNU.sparse.major'",
    ),
    "hard link out": in_tar(
        TOP + b"h",
        "must be a hard link to an earlier file of the archive",
        "'/etc/shadow'",
        parts=tar.link(TOP + b"h", b"/etc/shadow", tar.HARD_LINK),
    ),
}
LONE = zp.packed(zp.windows_release())
UNICODE_EXTRA = struct.pack("<2H5s", 0x7075, 5, b"\1....")
ZIP = {
    "cut short": Case(LONE[:-1], "must end with its directory", "a file cut short or with data after it", hint=DAMAGED),
    "data after": Case(
        LONE + b"x", "must end with its directory", "a file cut short or with data after it", hint=DAMAGED
    ),
    "zip64 end": Case(
        zp.packed(zp.windows_release(), end={"count": 0xFFFF}), "must not use zip64: a release is far smaller", "zip64"
    ),
    "data before": Case(
        zp.packed(zp.windows_release(), before=b"PK\3\4", end={"start": 0}),
        "must be one zip file with nothing before, between or after its parts",
        "another layout",
    ),
    "a gap": Case(
        zp.packed(zp.windows_release(), gap=b"x"),
        "must be one zip file with nothing before, between or after its parts",
        "a gap",
    ),
    "more in the directory": Case(
        zp.packed(zp.windows_release(), in_directory=b"x"), "must have a directory of just its members", "more"
    ),
    "broken directory": Case(
        zp.packed(zp.windows_release(), end={"here": 20, "count": 20}), "must have an intact directory", hint=DAMAGED
    ),
    "name longer than the directory": Case(
        zp.packed([zp.Entry(b"x")]).replace(
            struct.pack("<5H2L", 1, 0, 0, 0, 0, 0o100644 << 16, 0),
            struct.pack("<5H2L", 9, 0, 0, 0, 0, 0o100644 << 16, 0),
        ),
        "must have an intact directory",
        hint=DAMAGED,
    ),
    "encrypted": in_zip(zp.Entry(b"x", flags=zp.ENCRYPTED), "must not be encrypted", shown="b'x'"),
    "zip64 member": in_zip(
        zp.Entry(b"x", central={"size": 0xFFFFFFFF}),
        "must be a plain member: no zip64, patch or second file",
        "another",
        shown="b'x'",
    ),
    "another compression": in_zip(zp.Entry(b"x", method=14), "must be stored or deflated", "method 14", shown="b'x'"),
    "name not in UTF-8": in_zip(
        zp.Entry(b"\xff"), "must have a name in UTF-8, and marked so unless it is ASCII", shown=r"b'\xff'"
    ),
    "second name": in_zip(
        zp.Entry(b"x", central={"extra": UNICODE_EXTRA}), "must not have a second name in an extra field", shown="b'x'"
    ),
    "second name in the local header": in_zip(
        zp.Entry(b"x", local={"extra": UNICODE_EXTRA}), "must not have a second name in an extra field", shown="b'x'"
    ),
    "overlap": in_zip(
        zp.Entry(b"x", central={"offset": 0}),
        "must follow the member before it without gap or overlap",
        "offset 0 instead of [0-9]+",
    ),
    "no local header": Case(
        LONE.replace(b"PK\3\4", b"PK\3\5").replace(b"PK\3\5", b"PK\3\4", 1),
        "must have a local header",
        member="'win/bin/'",
        hint=DAMAGED,
    ),
    "another local name": in_zip(
        zp.Entry(b"x", local={"name": b"y"}), "must have a local header that agrees with the directory", "another"
    ),
    "wrong CRC": in_zip(
        zp.Entry(b"x", local={"crc": 1}, central={"crc": 1}),
        "must have the CRC and size of its header",
        hint=DAMAGED,
    ),
    "cut member": Case(
        zp.packed(
            [zp.Entry(b"x", method=zp.STORED, local={"packed": 999, "size": 999}, central={"packed": 999, "size": 999})]
        ),
        "must not be cut short",
        member="'x'",
        hint=DAMAGED,
    ),
    "half a deflate stream": in_zip(
        zp.Entry(b"x", data=zp.Entry(b"x").packed()[:-1]), "must be one whole deflate stream", hint=DAMAGED
    ),
    "no deflate stream": in_zip(
        zp.Entry(b"x", data=b"\xff\xff"), "must be intact deflate", "Error -3 .*", hint=DAMAGED
    ),
    "wrong descriptor": in_zip(
        zp.Entry(b"x", flags=zp.DESCRIPTOR, descriptor=bytes(12)),
        "must have a data descriptor that agrees with the directory",
        "another",
    ),
    "device": in_zip(zp.Entry(b"x", mode=zp.DEVICE), "must be a file, folder or link", "a device"),
    "folder by half": in_zip(
        zp.Entry(b"x", mode=zp.FOLDER), "must be a folder both by name and by attributes, or by neither"
    ),
    "folder with content": in_zip(
        zp.Entry(b"x/", mode=zp.FOLDER), "must have no content unless it is a file", "9", shown="'x/'"
    ),
}
CASES = {
    f"{group}: {name}": case
    for group, cases in {
        "path": PATHS,
        "tree": TREES,
        "release": RELEASES,
        "limit": LIMITS,
        "gzip": GZIP,
        "tar": TAR,
        "zip": ZIP,
    }.items()
    for name, case in cases.items()
}
