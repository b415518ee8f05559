"""Hypothesis strategies for archives that carry at least one hostility by construction, and for harmless ones.

Each hostility is a function that draws its own details and returns members to put into a release. What breaks the file
as a whole works on the finished bytes instead.
"""

import gzip
from typing import Any

from hypothesis import strategies as st

from tests.archives import rawtar as tar
from tests.archives import rawzip as zp

words = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=12).map(str.encode)
folders = st.lists(words, max_size=4).map(b"/".join)
contents = st.binary(max_size=1500)
numbers = st.integers(min_value=0, max_value=7)
DEVICES = [b"con", b"NUL", b"aux.txt", b"Com1", b"lpt9.log", b"prn .x", b"conin$", b"COM\xc2\xb9"]


@st.composite
def bad_paths(draw: st.DrawFn, windows: bool = False) -> bytes:
    """A path that must never be unpacked, wherever it stands."""
    start, end = draw(folders), draw(words)
    forms = [
        b"/" + end,
        b"//" + end,
        b"../" + end,
        b"./../" + end,
        start + b"/../" * 6 + end,
        start + b"x/./" + end,
        start + b"x//" + end,
        start + b"x/..",
        b"C:" + end,
        b"z:/" + end,
        b"\\\\host\\" + end,
        b"..\\" + end,
        start + b"\\" + end,
        end + draw(st.sampled_from([b"\n", b"\x1b[31m", b"\x07", b"\x7f", b"\xe2\x80\xae", b"\xc2\x9b"])),
        b"n" * draw(st.integers(256, 300)),
        (b"n" * 200 + b"/") * draw(st.integers(5, 9)) + end,
        end + b"\xff" + end,
    ]
    if windows:
        forms += [
            end + draw(st.sampled_from([b"<", b">", b'"', b"|", b"?", b"*", b":stream"])),
            end + draw(st.sampled_from([b".", b" ", b"...", b". ", b"./x", b" /x"])),
            draw(st.sampled_from(DEVICES)),
            b"win/" + draw(st.sampled_from(DEVICES)) + b"/x",
            b"/".join([b"n" * 60] * 3),
        ]
    return draw(st.sampled_from(forms))


@st.composite
def tar_named(draw: st.DrawFn, name: bytes) -> bytes:
    """A tar member that gets its name in one of the ways of the format, and is of one of the kinds."""
    carriers = [
        tar.extension(tar.LONG_NAME, name + b"\0") + tar.file(b"harmless"),
        tar.pax((b"path", name)) + tar.file(b"harmless"),
        tar.pax((b"path", name)) + tar.link(b"harmless", b"startup.sh"),
        tar.pax((b"path", name)) + tar.folder(b"harmless"),
    ]
    if len(name) <= 100:
        carriers += [tar.header(name), tar.header(name, magic=tar.V7), tar.link(name, b"startup.sh")]
    before, slash, last = name.rpartition(b"/")
    if slash and before and last and len(before) <= 155 and len(last) <= 100:
        carriers.append(tar.header(last, prefix=before))
    return draw(st.sampled_from(carriers))


def tar_bad_path(draw: st.DrawFn, top: bytes) -> list[bytes]:
    name = draw(bad_paths())
    return [draw(tar_named(top + name if draw(st.booleans()) and name[:1] not in b"/\\Cz." else name))]


def tar_bad_kind(draw: st.DrawFn, top: bytes) -> list[bytes]:
    kind = draw(
        st.sampled_from([tar.CHARACTER, tar.BLOCK_DEVICE, tar.FIFO, tar.SPARSE, b"7", b"D", b"M", b"V", b"\xff"])
    )
    return [tar.header(top + draw(words), kind=kind)]


def tar_bad_mode(draw: st.DrawFn, top: bytes) -> list[bytes]:
    mode = draw(st.sampled_from([0o4755, 0o2755, 0o1777, 0o7777, 0o106755]))
    return [draw(st.sampled_from([tar.file(top + b"new", mode=mode), tar.folder(top + b"new", mode=mode)]))]


def tar_duplicate(draw: st.DrawFn, top: bytes) -> list[bytes]:
    name = top + draw(st.sampled_from([b"startup.sh", b"linux", b"linux/bin/dynamsoftdlsx", b"dls.json.sample"]))
    return [draw(st.sampled_from([tar.file(name), tar.folder(name), tar.link(name, b"x"), tar.file(b"./" + name)]))]


def tar_below_no_folder(draw: st.DrawFn, top: bytes) -> list[bytes]:
    target = draw(st.sampled_from([b".", b"linux", b"linux/bin"]))
    member = tar.file(top + b"l/" + draw(words))
    return draw(
        st.sampled_from(
            [
                [tar.link(top + b"l", target), member],
                [member, tar.link(top + b"l", target)],
                [tar.file(top + b"startup.sh/" + draw(words))],
            ]
        )
    )


def tar_bad_link(draw: st.DrawFn, top: bytes) -> list[bytes]:
    target = draw(
        st.sampled_from(
            [
                b"/etc/passwd",
                b"../" * (2 if top else 1) + b"x",
                b"linux/../../..",
                b"..\\x",
                b"",
                b"a\nb",
                b"linux/../x",
            ]
        )
    )
    return [tar.link(top + b"l" + draw(words), target)]


def tar_bad_hard_link(draw: st.DrawFn, top: bytes) -> list[bytes]:
    target = draw(st.sampled_from([b"/etc/shadow", b"../../x", top + b"linux", top + b"h", top + b"missing", b""]))
    return [tar.link(top + b"h", target, tar.HARD_LINK)]


def tar_bad_header(draw: st.DrawFn, top: bytes) -> list[bytes]:
    name = top + draw(words)
    size = draw(
        st.sampled_from([b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-1", b"1_0", b"0o17", b"9" * 11, b"77777777777"])
    )
    return [
        draw(
            st.sampled_from(
                [
                    tar.header(name, size=size),
                    tar.header(name, mode=b"-0000001"),
                    tar.header(name, checksum=draw(st.integers(0, 1000))),
                    tar.header(name, magic=b"ustar 00"),
                    tar.header(name, magic=tar.GNU, prefix=b"etc"),
                    tar.header(name, link=b"/etc/passwd"),
                    tar.header(name, kind=tar.FOLDER, size=512) + bytes(512),
                    tar.header(name, kind=tar.LINK, link=b"startup.sh", size=512) + bytes(512),
                ]
            )
        )
    ]


def tar_bad_extension(draw: st.DrawFn, top: bytes) -> list[bytes]:
    file = tar.file(top + draw(words))
    members = draw(
        st.sampled_from(
            [
                [tar.pax((b"size", b"1")), file],
                [tar.pax((b"path", b"a"), (b"path", b"b")), file],
                [tar.pax((b"path", b"a")), tar.pax((b"mtime", b"0")), file],
                [tar.pax((b"path", top + b"a\0b")), file],
                [tar.pax((b"path", b"x"), kind=tar.GLOBAL_PAX), file],
                [tar.pax((b"GNU.sparse.map", b"0,1")), file],
                [tar.pax((b"GNU.sparse.name", b"/etc/x")), file],
                [tar.pax((b"hdrcharset", b"BINARY")), file],
                [tar.extension(tar.PAX, b"1 path=x\n"), file],
                [tar.extension(tar.PAX, b"999999 path=x\n"), file],
                [tar.extension(tar.PAX, b"garbage"), file],
                [tar.extension(tar.LONG_NAME, b"a\0/etc/x"), file],
                [tar.extension(tar.LONG_LINK, b"/etc/x\0"), tar.link(top + b"l", b"startup.sh")],
                [tar.header(b"x", kind=tar.LONG_NAME, size=b"77777777777")],
            ]
        )
    )
    return [b"".join(members)]  # an extension is one of the member right behind it


def tar_bomb(draw: st.DrawFn, top: bytes) -> list[bytes]:
    return [tar.file(top + draw(words), bytes(draw(st.integers(2, 4)) << 20))]


def tar_wrong_release(draw: st.DrawFn, top: bytes) -> list[bytes]:
    name = draw(st.sampled_from([b"dls-9.9.jar", b"lts-2.0.jar", b"startup.bat", b"dls-2.x.jar"]))
    return [tar.file(top + name)]


TAR_HOSTILITIES = [
    tar_bad_path,
    tar_bad_kind,
    tar_bad_mode,
    tar_duplicate,
    tar_below_no_folder,
    tar_bad_link,
    tar_bad_hard_link,
    tar_bad_header,
    tar_bad_extension,
    tar_bomb,
    tar_wrong_release,
]


def cut(draw: st.DrawFn, whole: bytes) -> bytes:
    return whole[: draw(st.integers(0, len(whole) - 1))]


def followed(draw: st.DrawFn, whole: bytes) -> bytes:
    return whole + draw(st.one_of(st.binary(min_size=1, max_size=600), st.just(bytes(512)), st.just(whole)))


def tar_followed(draw: st.DrawFn, whole: bytes) -> bytes:
    more = draw(st.binary(min_size=1, max_size=600).filter(lambda data: data.strip(b"\0")))
    return gzip.compress(gzip.decompress(whole) + more, 1, mtime=0)


def tar_without_end(draw: st.DrawFn, whole: bytes) -> bytes:
    content = gzip.decompress(whole)
    return gzip.compress(content[: len(content) - draw(st.integers(1, 1024))], 1, mtime=0)


def gzip_checksum(draw: st.DrawFn, whole: bytes) -> bytes:
    at = len(whole) - draw(st.integers(1, 8))
    return whole[:at] + bytes([whole[at] ^ draw(st.integers(1, 255))]) + whole[at + 1 :]


TAR_DAMAGES = [cut, followed, tar_followed, tar_without_end, gzip_checksum]


@st.composite
def mixed(draw: st.DrawFn, members: list[Any], more: list[Any]) -> list[Any]:
    """All members in an order of their own; those of `more` keep theirs."""
    together = list(members)
    at = len(together)
    for member in reversed(more):
        at = draw(st.integers(0, at))
        together.insert(at, member)
    return together


@st.composite
def harmless_tars(draw: st.DrawFn) -> bytes:
    """A release with some more files, folders and links, as a vendor could ship it."""
    top = draw(st.sampled_from([b"", b"dls-linux/", b"dls/"]))
    return tar.packed(draw(_tar_members(top)))


@st.composite
def _tar_members(draw: st.DrawFn, top: bytes) -> list[bytes]:
    start = b"./" if draw(st.booleans()) else b""
    more = draw(st.lists(st.tuples(words, contents), max_size=4, unique_by=lambda pair: pair[0]))
    extra = [tar.file(top + b"more/" + name, content) for name, content in more]
    links = [tar.link(top + b"link", b"startup.sh"), tar.link(top + b"linux/jre/up", b"../bin/./x")]
    hard = [tar.link(top + b"copy", top + b"startup.sh", tar.HARD_LINK)]
    root = [tar.header(b"./", kind=tar.FOLDER)] if start else []
    return root + tar.linux_release(top.rstrip(b"/")) + extra + draw(st.sampled_from([[], links, hard, links + hard]))


@st.composite
def hostile_tars(draw: st.DrawFn) -> bytes:
    """A release with one to three hostilities among its members, or damaged as a whole, or both."""
    top = draw(st.sampled_from([b"", b"dls-linux/"]))
    hostilities = draw(st.lists(st.sampled_from(TAR_HOSTILITIES), max_size=3))
    members = draw(_tar_members(top))
    for hostility in hostilities:
        members = draw(mixed(members, hostility(draw, top)))
    whole = tar.packed(members)
    if not hostilities or draw(st.integers(0, 9)) == 0:
        whole = draw(st.sampled_from(TAR_DAMAGES))(draw, whole)
    return whole


def zip_bad_path(draw: st.DrawFn) -> list[zp.Entry]:
    name = draw(bad_paths(windows=True))
    return [zp.Entry(name, flags=draw(st.sampled_from([0, zp.UTF8])))]


def zip_duplicate(draw: st.DrawFn) -> list[zp.Entry]:
    name = draw(
        st.sampled_from([b"STARTUP.BAT", b"startup.bat", b"win", b"Win/x", b"win/BIN/dynamsoftdlsx.exe", b"win/Bin/"])
    )
    if name.endswith(b"/"):
        return [zp.folder(name[:-1])]
    composed, decomposed = "é.txt".encode(), "e\u0301.txt".encode()
    both = [zp.Entry(composed, flags=zp.UTF8), zp.Entry(decomposed, flags=zp.UTF8)]
    return draw(st.sampled_from([[zp.Entry(name)], both, [zp.Entry(b"startup.bat/x")]]))


def zip_bad_kind(draw: st.DrawFn) -> list[zp.Entry]:
    name = draw(words)
    modes = [
        zp.LINK | 0o777,
        zp.DEVICE,
        0o010000,
        0o140000,
        zp.REGULAR | 0o4755,
        zp.REGULAR | 0o1777,
        zp.FOLDER | 0o755,
    ]
    return [zp.Entry(name, draw(contents), mode=draw(st.sampled_from(modes)))]


def zip_disagreement(draw: st.DrawFn) -> list[zp.Entry]:
    name, other = draw(words), draw(st.integers(100, 2**32 - 2))
    where = draw(st.sampled_from(["local", "central"]))
    fields: dict[str, int | bytes] = draw(
        st.sampled_from(
            [
                {"name": b"other." + name},
                {"crc": other},
                {"packed": other},
                {"size": other},
                {"method": 9},
                {"method": zp.STORED},
                {"flags": zp.UTF8},
                {"flags": 0x20},
                {"flags": zp.ENCRYPTED},
                {"extra": b"\x75\x70\x01\x00x"},
                {"size": 0xFFFFFFFF},
            ]
        )
    )
    if where == "central":
        fields = draw(st.sampled_from([fields, {"offset": other}, {"offset": 1}, {"disk": 1}, {"attributes": 0x10}]))
        return [zp.Entry(name, central=fields)]
    return [zp.Entry(name, local=fields)]


def zip_bad_data(draw: st.DrawFn) -> list[zp.Entry]:
    whole = zp.Entry(b"x").packed()
    name = draw(words)
    return [
        draw(
            st.sampled_from(
                [
                    zp.Entry(name, data=whole[:-1]),
                    zp.Entry(name, data=whole + b"x"),
                    zp.Entry(name, data=b""),
                    zp.Entry(name, data=draw(st.binary(min_size=1, max_size=99)), local={"crc": 7}, central={"crc": 7}),
                    zp.Entry(name, flags=zp.DESCRIPTOR, descriptor=draw(st.binary(max_size=15))),
                    zp.Entry(name, flags=zp.ENCRYPTED),
                    zp.Entry(name, bytes(3 << 20)),
                    zp.Entry(name + b"/", b"x", zp.STORED, mode=zp.FOLDER | 0o755),
                ]
            )
        )
    ]


def zip_wrong_release(draw: st.DrawFn) -> list[zp.Entry]:
    return [zp.Entry(draw(st.sampled_from([b"dls-9.9.jar", b"lts-2.0.jar", b"startup.sh", b"dls-2.x.jar"])))]


ZIP_HOSTILITIES = [
    zip_bad_path,
    zip_duplicate,
    zip_bad_kind,
    zip_disagreement,
    zip_bad_data,
    zip_wrong_release,
]


@st.composite
def _zip_members(draw: st.DrawFn) -> list[zp.Entry]:
    more = draw(st.lists(st.tuples(words, contents), max_size=4, unique_by=lambda pair: pair[0]))
    flags, method = draw(st.sampled_from([0, zp.DESCRIPTOR, zp.UTF8])), draw(st.sampled_from([zp.STORED, zp.DEFLATED]))
    return zp.windows_release() + [zp.Entry(b"more/_" + name, text, method, flags) for name, text in more]


@st.composite
def harmless_zips(draw: st.DrawFn) -> bytes:
    """A release with some more files, as a vendor could ship it."""
    return zp.packed(draw(st.permutations(draw(_zip_members()))))


@st.composite
def hostile_zips(draw: st.DrawFn) -> bytes:
    """A release with one or two hostilities among its members, or with bytes where none belong."""
    members = draw(_zip_members())
    hostilities = draw(st.lists(st.sampled_from(ZIP_HOSTILITIES), max_size=2))
    for hostility in hostilities:
        members = draw(mixed(members, hostility(draw)))
    if hostilities:
        return zp.packed(members)
    hidden = draw(st.binary(min_size=1, max_size=99))
    return draw(
        st.sampled_from(
            [
                zp.packed(members, before=hidden),
                zp.packed(members, gap=hidden),
                zp.packed(members, after=hidden),
                zp.packed(members, in_directory=hidden),
                zp.packed(members, end={draw(st.sampled_from(["here", "count", "length", "start", "disk"])): 0xFFF}),
                cut(draw, zp.packed(members)),
                followed(draw, zp.packed(members)),
            ]
        )
    )
