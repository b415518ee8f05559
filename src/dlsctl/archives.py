"""Archives: what a vendor archive holds, and what must never be unpacked."""

import hashlib
import os
import re
import stat
import tarfile
import unicodedata
import zlib
from typing import BinaryIO, Callable, Container, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from dlsctl.problems import Problem, Refused, shown


class Member(NamedTuple):
    """One entry of an archive or of an installed release.

    path is relative with "/" between folders; kind is "file", "dir" or "link" (symbolic); mode holds
    permission bits; size is in bytes and, like the SHA-256 in hex, belongs to files only; link is where a
    link points.
    """

    path: str
    kind: str
    mode: int
    size: int = 0
    sha256: str = ""
    link: str = ""


class ArchiveLimits(NamedTuple):
    """What an archive may grow to: bytes unpacked, times its packed size, number of members.

    A real release is about 200 MB packed and, with its Java runtime, two to three times that unpacked.
    """

    total: int = 4 << 30
    ratio: int = 100
    members: int = 50000


DEFAULT_LIMITS = ArchiveLimits()


class Archive(NamedTuple):
    """A vendor archive that was read to its end and broke no rule.

    platform is "linux_x64" or "win_x64"; top is the one folder that holds everything, or ""; sha256 and size
    are those of the archive file; members keep the archive's order and full paths.
    """

    path: str
    platform: str
    version: str
    top: str
    sha256: str
    size: int
    members: List[Member]


Progress = Callable[[int, int], None]  # bytes of the file read so far, bytes in all

FETCH_HINT = "do not unpack it; download it again with your vendor account and compare the SHA-256"
DAMAGED_HINT = "the file is damaged or cut short: download it again with your vendor account"
LIMIT_HINT = "raise the limit only if you know where the archive comes from"
OLD_HINT = "older releases had other file names and cannot be run by this kit; download a later release"
PLATFORM_FILES = {  # documented layout; the first file tells the platform
    "linux_x64": ("startup.sh", "linux/bin/dynamsoftdlsx", "linux/jre/bin/dynamsoftdls"),
    "win_x64": ("startup.bat", "win/bin/dynamsoftdlsx.exe", "win/jre/bin/dynamsoftdls.exe"),
}
OLDEST_RELEASE = (2, 2)  # before it the product was LTS, with other file names

_PIECE = 1 << 18  # bytes handled at a time: bounds memory, costs no speed
_RATIO_FROM = 1 << 20  # a file that unpacks to less is no bomb, whatever its ratio
_LONGEST_PATH = {"linux_x64": 1024, "win_x64": 180}  # bytes; Windows: 259 with the folder it is installed in
_LONGEST_PART = 255  # bytes, of a file or folder name on both systems
_LONGEST_HEADER = 1 << 20  # bytes of a tar extension header
_VENDOR_NAME = re.compile(r"dynamsoft_dls-(linux|win)_x64-v([0-9]+(?:\.[0-9]+)+)")
JAR_NAME = re.compile(r"(dls|lts)-([0-9].*)\.jar\Z")
VERSION_FORM = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}\Z")
_WINDOWS_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\xb9\xb2\xb3]) *(\..*)?\Z", re.IGNORECASE)


def archive_name(path: str) -> str:
    name = os.path.basename(path)
    return name if name.isprintable() else shown(name)


def _refuse(archive: str, rule: str, got: object = None, hint: str = FETCH_HINT) -> Refused:
    return Refused(archive, rule, got, hint)


def _refuse_member(archive: str, path: str, rule: str, got: object = None) -> Refused:
    return Refused("{}, member {}".format(archive, shown(path)), rule, got, FETCH_HINT)


# Rules for one path, in the order they are tried: the rule, and a test that is true when a path breaks it.
_PATH_RULES: Tuple[Tuple[str, Callable[[str], bool]], ...] = (
    ("must have a name", lambda path: not path),
    ("must have a name in printable UTF-8", lambda path: not path.isprintable()),
    ("must have a relative path", lambda path: path[0] in "/\\"),
    ("must not name a drive", lambda path: path[1:2] == ":" and path[0].isalpha()),
    ("must have '/' between folders, not a backslash", lambda path: "\\" in path),
    ("must not have empty or '.' parts in its path", lambda path: any(part in ("", ".") for part in path.split("/"))),
    ("must not have '..' in its path", lambda path: ".." in path.split("/")),
    (
        "must have parts of at most {} bytes".format(_LONGEST_PART),
        lambda path: any(len(part.encode()) > _LONGEST_PART for part in path.split("/")),
    ),
)

_WINDOWS_PART_RULES: Tuple[Tuple[str, Callable[[str], bool]], ...] = (
    ('must not use < > : " | ? *, which Windows forbids', lambda part: any(char in '<>:"|?*' for char in part)),
    ("must not end in a dot or space, which Windows drops", lambda part: part[-1] in ". "),
    ("must not have the name of a Windows device", lambda part: bool(_WINDOWS_DEVICE.match(part))),
)


def broken_path_rule(path: str, windows: bool = False) -> Optional[str]:
    """Return the rule that a member's path breaks, or None; `windows` adds the rules of its names."""
    for rule, broken in _PATH_RULES:
        if broken(path):
            return rule
    longest = _LONGEST_PATH["win_x64" if windows else "linux_x64"]
    if len(path.encode()) > longest:
        return "must have a path of at most {} bytes".format(longest)
    if windows:
        for rule, broken in _WINDOWS_PART_RULES:
            if any(broken(part) for part in path.split("/")):
                return rule
    return None


def broken_link_rule(path: str, link: str, top: str) -> Optional[str]:
    """Return the rule that a symbolic link breaks, or None.

    A target may go up only at its start. Since no member is reached through a link, going up from the link's
    own folder means on disk what it means on paper; every further step is a name, and each link it may pass
    is inside as well.
    """
    if not link or not link.isprintable():
        return "must point to a name in printable UTF-8"
    if link[0] in "/\\" or "\\" in link:
        return "must point to a relative path"
    parts = [part for part in link.split("/") if part not in ("", ".")]
    depth = path.count("/") - (1 if top else 0)
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    if ups > depth:
        return "must point to a place inside the release"
    if ".." in parts[ups:]:
        return "must have '..' only at the start of what it points to"
    return None


def top_folder(paths: Iterable[str]) -> str:
    """Return the folder that holds every path, or "" when there is none."""
    firsts, deeper = set(), False
    for path in paths:
        first, slash, _ = path.partition("/")
        firsts.add(first)
        deeper = deeper or bool(slash)
    return firsts.pop() if len(firsts) == 1 and deeper else ""


def check_members(members: Sequence[Member], windows: bool = False, archive: str = "archive") -> None:
    """Refuse members that must not be unpacked on the target, whatever kind of archive they come from.

    `windows` adds the rules of Windows names and compares names as Windows does: without case, composed
    (NFC). `archive` names the file in messages. Raises Refused.
    """
    top = top_folder(member.path for member in members)
    for member in members:
        rule = _broken_member_rule(member, top, windows)
        if rule:
            raise _refuse_member(archive, member.path, rule, shown(member.link) if member.link else None)
    _check_collisions(members, windows, archive)


def _broken_member_rule(member: Member, top: str, windows: bool) -> Optional[str]:
    rule = broken_path_rule(member.path, windows)
    if rule:
        return rule
    if member.mode & ~0o777:
        return "must have plain permission bits: no setuid, setgid or sticky bit"
    if member.kind == "link":
        if windows:
            return "must not be a link: a Windows release has none"
        return broken_link_rule(member.path, member.link, top)
    return None


def _check_collisions(members: Sequence[Member], windows: bool, archive: str) -> None:
    """Refuse two members for one name, and members below something that is not a folder."""

    key = _windows_key if windows else str
    kinds: Dict[str, str] = {}
    for member in members:
        if key(member.path) in kinds:
            raise _refuse_member(
                archive, member.path, "must be there once" + (", whatever its case" if windows else "")
            )
        kinds[key(member.path)] = member.kind
    spelling: Dict[str, str] = {}
    for member in members:
        for folder in _folders(member.path):
            if kinds.get(key(folder), "dir") != "dir":
                raise _refuse_member(archive, member.path, "must not lie below a file or a link", shown(folder))
            if spelling.setdefault(key(folder), folder) != folder:
                raise _refuse_member(archive, member.path, "must have its folders spelled one way", shown(folder))
        if member.kind == "dir" and spelling.setdefault(key(member.path), member.path) != member.path:
            raise _refuse_member(archive, member.path, "must have its folders spelled one way")


def _windows_key(path: str) -> str:
    """Return what is equal for all spellings that Windows takes for one name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _folders(path: str) -> Iterator[str]:
    """Yield the folders above a path, outermost first."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def identify(members: Sequence[Member], path: str) -> Tuple[str, str, str]:
    """Return platform, version and top folder of a release by its content, which a vendor file name must match.

    `path` is the archive's: only its base name is looked at, and a name of another form says nothing. The
    layout is the one the vendor documents, 2.2 and later. Raises Refused.
    """
    archive = archive_name(path)
    top = top_folder(member.path for member in members)
    start = len(top) + 1 if top else 0
    names = {member.path[start:] for member in members if member.kind != "dir"}
    version = _jar_version(names, archive)
    platform = _platform(names, archive)
    named = _VENDOR_NAME.match(os.path.basename(path))
    if named and (named.group(1) + "_x64", named.group(2)) != (platform, version):
        rule = "must hold what its name says, {} {}".format(named.group(1) + "_x64", named.group(2))
        raise _refuse(archive, rule, platform + " " + version)
    return platform, version, top


def _jar_version(names: Iterable[str], archive: str) -> str:
    jars = [jar for jar in (JAR_NAME.match(name) for name in sorted(names)) if jar]
    if not jars:
        raise _refuse(archive, "must be a DLS release, with dls-<version>.jar at the top", "none")
    if len(jars) > 1:
        raise _refuse(archive, "must hold one release", ", ".join(shown(jar.group()) for jar in jars[:4]))
    product, version = jars[0].groups()
    if not VERSION_FORM.match(version):
        raise _refuse(archive, "must have a jar with a version of 2 to 4 numbers", shown(jars[0].group()))
    if product == "lts" or tuple(int(number) for number in version.split(".")) < OLDEST_RELEASE:
        raise _refuse(archive, "must be release 2.2 or later", version, OLD_HINT)
    return version


def _platform(names: Container[str], archive: str) -> str:
    found = [platform for platform, files in sorted(PLATFORM_FILES.items()) if files[0] in names]
    if len(found) != 1:
        rule = "must be for one platform: startup.sh (Linux) or startup.bat (Windows)"
        raise _refuse(archive, rule, "both" if found else "neither")
    missing = [name for name in PLATFORM_FILES[found[0]] if name not in names]
    if missing:
        raise _refuse(archive, "must hold every file of the documented layout", "no " + ", ".join(missing))
    return found[0]


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
            raise _refuse(self.archive, rule, "more", LIMIT_HINT)
        if self.total > _RATIO_FROM and self.total > self.limits.ratio * packed:
            rule = "must unpack to at most {} times its size".format(self.limits.ratio)
            raise _refuse(self.archive, rule, "more", LIMIT_HINT)

    def add_member(self) -> None:
        """Count one more member. Raises Refused."""
        self.members += 1
        if self.members > self.limits.members:
            rule = "must hold at most {} members".format(self.limits.members)
            raise _refuse(self.archive, rule, "more", LIMIT_HINT)


class _Gunzip:
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
                    raise _refuse(self.archive, "must not end inside a member", None, DAMAGED_HINT)
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
                unpacked = self._inflate.decompress(packed, _PIECE)
            except zlib.error as error:
                raise _refuse(self.archive, "must be intact gzip", str(error), DAMAGED_HINT) from None
            if unpacked:
                self.meter.add_bytes(len(unpacked), self.packed)
                return unpacked
            if not packed and not self._inflate.eof:
                raise _refuse(self.archive, "must not end inside its gzip stream", None, DAMAGED_HINT)
        if self._inflate.unused_data or self._read():
            raise _refuse(self.archive, "must end with its one gzip stream", "data after it")
        return b""

    def _read(self) -> bytes:
        packed = self._file.read(_PIECE)
        self.sha256.update(packed)
        self.packed += len(packed)
        if packed and self._progress:
            self._progress(self.packed, self._size)
        return packed


class _Entry(NamedTuple):
    """What a tar header says of a member; kind may also be "copy", a hard link to the earlier file `link`."""

    path: str
    kind: str
    mode: int
    size: int
    link: str


# tarfile's own reader takes broken headers for the end of the archive, lets later headers override earlier
# ones and reads extension headers of any length into memory. So only its decoding of one 512-byte header is
# used here. Formats: POSIX.1-2017 pax "ustar Interchange Format" and "pax Header Block"; GNU tar manual,
# "Basic Tar Format".
_TAR_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "copy",
}
_TAR_REFUSED = {
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
_TAR_EXTENSIONS = {
    tarfile.GNUTYPE_LONGNAME: "path",
    tarfile.GNUTYPE_LONGLINK: "linkpath",
    tarfile.XHDTYPE: "pax",
    tarfile.XGLTYPE: "global pax",
}
_OCTAL = re.compile(rb" *[0-7]*[ \0]*\Z")
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^=\n]+)=")


def _entries(stream: _Gunzip) -> Iterator[_Entry]:
    """Yield the members of a tar stream.

    The caller takes each member's `size` bytes from the stream before it asks for the next.
    """
    extra: Dict[str, str] = {}
    while True:
        block = b"".join(stream.pieces(tarfile.BLOCKSIZE))
        if not block.strip(b"\0"):
            if extra:
                raise _refuse(stream.archive, "must have a member after each tar extension header", "the end")
            _check_tar_end(stream)
            return
        header = _tar_header(block, stream.archive)
        if header.type in _TAR_EXTENSIONS:
            _extend(extra, header, stream)
            continue
        stream.meter.add_member()
        entry = _entry(header, extra, stream.archive)
        extra = {}
        yield entry
        _skip_padding(stream, entry.size)


def _check_tar_end(stream: _Gunzip) -> None:
    """Refuse a tar stream without its second block of zeros, or with anything but zeros after it."""
    if b"".join(stream.pieces(tarfile.BLOCKSIZE)).strip(b"\0"):
        raise _refuse(stream.archive, "must end with two tar blocks of zeros", "one, then data")
    for piece in stream.rest():
        if piece.strip(b"\0"):
            raise _refuse(stream.archive, "must hold only zeros after the end of its tar stream", "data")


def _skip_padding(stream: _Gunzip, size: int) -> None:
    for _ in stream.pieces(-size % tarfile.BLOCKSIZE):
        pass


def _tar_header(block: bytes, archive: str) -> tarfile.TarInfo:
    numbers_plain = all(_OCTAL.match(block[at:end]) for at, end in ((100, 108), (124, 136)))  # mode, size
    ustar, plain = block[257:265] == b"ustar\x0000", block[257:265] in (b"ustar  \0", bytes(8))
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except UnicodeDecodeError:
        raise _refuse(archive, "must have member names in UTF-8", shown(block[:100].split(b"\0")[0])) from None
    except (tarfile.HeaderError, ValueError, IndexError, OverflowError) as error:
        raise _refuse(archive, "must have intact tar headers", str(error), DAMAGED_HINT) from None
    if not numbers_plain or not (ustar or plain) or (block[345] and not ustar):
        raise _refuse_member(archive, header.name, "must have a plain tar header", "an unknown dialect")
    return header


def _entry(header: tarfile.TarInfo, extra: Dict[str, str], archive: str) -> _Entry:
    name, link = extra.get("path", header.name), extra.get("linkpath", header.linkname)
    if header.type not in _TAR_KINDS:
        got = _TAR_REFUSED.get(header.type, "tar type {}".format(shown(header.type)))
        raise _refuse_member(archive, name, "must be a file, folder or link", got)
    kind = _TAR_KINDS[header.type]
    if header.size and kind != "file":
        raise _refuse_member(archive, name, "must have no content unless it is a file", header.size)
    if extra.get("size", str(header.size)) != str(header.size):
        raise _refuse_member(archive, name, "must have one size in all its headers", shown(extra["size"]))
    if link and kind in ("file", "dir"):
        raise _refuse_member(archive, name, "must point to nothing unless it is a link", shown(link))
    if name in (".", "./") and kind == "dir":
        path = "."
    else:
        path = _without_dot(name[:-1] if kind == "dir" and name.endswith("/") else name)
    mode = header.mode & 0o7777  # some writers keep the file type in the upper bits
    return _Entry(path, kind, mode, header.size, _without_dot(link) if kind == "copy" else link)


def _without_dot(path: str) -> str:
    """Return a path without the leading "./" that `tar -C folder .` writes."""
    return path[2:] if path.startswith("./") else path


def _extend(extra: Dict[str, str], header: tarfile.TarInfo, stream: _Gunzip) -> None:
    """Add what an extension header says of the next member. Raises Refused when two of them speak of one thing."""
    stream.meter.add_member()
    form = _TAR_EXTENSIONS[header.type]
    if header.size > _LONGEST_HEADER:
        rule = "must have tar extension headers of at most {} bytes".format(_LONGEST_HEADER)
        raise _refuse(stream.archive, rule, header.size)
    content = b"".join(stream.pieces(header.size))
    _skip_padding(stream, header.size)
    try:
        if form in ("path", "linkpath"):
            records = {form: _without_end(content, stream.archive).decode("utf-8")}
        else:
            records = _pax_records(content, stream.archive)
    except UnicodeDecodeError:
        raise _refuse(stream.archive, "must have member names in UTF-8", shown(content[:60])) from None
    if form == "global pax":
        if records:
            raise _refuse(
                stream.archive, "must not set names or sizes for all members at once", ", ".join(sorted(records))
            )
        return
    repeated = {form, *records} & set(extra)
    if repeated:
        raise _refuse(stream.archive, "must not describe a member twice", ", ".join(sorted(repeated)))
    extra.update(records)
    extra.setdefault(form, "")


def _without_end(content: bytes, archive: str) -> bytes:
    name, _, after = content.partition(b"\0")
    if after.strip(b"\0"):
        raise _refuse(archive, "must not have data behind a long member name", shown(after[:60]))
    return name


def _pax_records(content: bytes, archive: str) -> Dict[str, str]:
    """Return the pax records that change what is unpacked: path, linkpath and size.

    The others are owners, times and labels, which are not taken over.
    """
    records: Dict[str, str] = {}
    at = 0
    while at < len(content):
        match = _PAX_RECORD.match(content, at)
        end = at + int(match.group(1)) if match else 0
        if not match or match.end() >= end or content[end - 1 : end] != b"\n":
            raise _refuse(archive, "must have well-formed pax headers", shown(content[at : at + 40]))
        key, value = match.group(2).decode("utf-8"), content[match.end() : end - 1]
        if key.startswith("GNU.sparse") or key == "hdrcharset":
            raise _refuse(archive, "must not have sparse members or its own character set", shown(key))
        if key in ("path", "linkpath", "size"):
            if key in records:
                raise _refuse(archive, "must not describe a member twice", key)
            records[key] = value.decode("utf-8")
        at = end
    return records


def open_archive(path: str) -> BinaryIO:
    """Open a regular file for reading. Raises Refused."""
    hint = "give the path of the vendor archive"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # asked first: opening a named pipe would wait for ever
            raise Refused(shown(path), "must be a file", "a folder or device", hint)
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise Refused(shown(path), "must be a readable file", getattr(error, "strerror", None) or error, hint) from None


def read_tar(path: str, limits: ArchiveLimits = DEFAULT_LIMITS, progress: Optional[Progress] = None) -> Archive:
    """Read a .tar.gz to its end, once, and return what it holds; nothing is written and memory stays bounded.

    A hard link to an earlier file counts as a copy of that file. `progress` is called with the bytes read and
    the bytes in all. Raises Refused when the archive is damaged, breaks a rule of `check_members`, outgrows
    `limits` or is not a Linux release.
    """
    name = archive_name(path)
    with open_archive(path) as file:
        stream = _Gunzip(file, Meter(name, limits), progress)
        files: Dict[str, Member] = {}
        members = [
            _hashed(entry, stream, files)
            for entry in _entries(stream)
            if not (entry.path == "." and entry.kind == "dir")
        ]
    check_members(members, archive=name)
    platform, version, top = identify(members, path)
    if platform != "linux_x64":
        raise _refuse(name, "must hold a Linux release: Windows releases come as .zip", platform)
    return Archive(path, platform, version, top, stream.sha256.hexdigest(), stream.packed, members)


def _hashed(entry: _Entry, stream: _Gunzip, files: Dict[str, Member]) -> Member:
    """Return the member for an entry, its content taken from the stream; `files` collects those read so far."""
    if entry.kind == "copy":
        source = files.get(entry.link)
        if not source:
            rule = "must be a hard link to an earlier file of the archive"
            raise _refuse_member(stream.archive, entry.path, rule, shown(entry.link))
        stream.meter.add_bytes(source.size, stream.packed)
        member = source._replace(path=entry.path)
    elif entry.kind == "file":
        digest = hashlib.sha256()
        for piece in stream.pieces(entry.size):
            digest.update(piece)
        member = Member(entry.path, "file", entry.mode, entry.size, digest.hexdigest())
    else:
        return Member(entry.path, entry.kind, entry.mode, link=entry.link if entry.kind == "link" else "")
    files[entry.path] = member
    return member


def installed_members(archive: Archive) -> List[Member]:
    """Return the members as `unpack_tar` leaves them, sorted by path.

    The top folder is gone, folders that the archive only implies are named, and modes are at most 0755 and at
    least readable (folders: enterable) for the owner.
    """
    start = len(archive.top) + 1 if archive.top else 0
    members: Dict[str, Member] = {}
    for member in archive.members:
        path = member.path[start:]
        for folder in _folders(path):
            members.setdefault(folder, Member(folder, "dir", 0o755))
        if path:
            members[path] = member._replace(path=path, mode=_installed_mode(member))
    return [members[path] for path in sorted(members)]


def _installed_mode(member: Member) -> int:
    return {"file": member.mode & 0o755 | 0o400, "dir": member.mode & 0o755 | 0o700, "link": 0o777}[member.kind]


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
            stream = _Gunzip(file, Meter(archive_name(path), limits), progress)
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


def _unpack_files(stream: _Gunzip, into: str, archive: Archive) -> None:
    expected = {member.path: member for member in archive.members}
    files = set()
    start = len(archive.top) + 1 if archive.top else 0
    changed = _refuse(stream.archive, "must not change while it is read", "another content", "run again")
    for entry in _entries(stream):
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
        piece = file.read(_PIECE)
        while piece:
            yield piece
            piece = file.read(_PIECE)


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
