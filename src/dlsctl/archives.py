"""Archives: what a vendor archive holds, and which release that is."""

import os
import re
from typing import Callable, Container, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from dlsctl.problems import Refused, shown


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

_VENDOR_NAME = re.compile(r"dynamsoft_dls-(linux|win)_x64-v([0-9]+(?:\.[0-9]+)+)")
JAR_NAME = re.compile(r"(dls|lts)-([0-9].*)\.jar\Z")
VERSION_FORM = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}\Z")


def archive_name(path: str) -> str:
    name = os.path.basename(path)
    return name if name.isprintable() else shown(name)


def refuse(archive: str, rule: str, got: object = None, hint: str = FETCH_HINT) -> Refused:
    return Refused(archive, rule, got, hint)


def refuse_member(archive: str, path: str, rule: str, got: object = None) -> Refused:
    return Refused("{}, member {}".format(archive, shown(path)), rule, got, FETCH_HINT)


def top_folder(paths: Iterable[str]) -> str:
    """Return the folder that holds every path, or "" when there is none."""
    firsts, deeper = set(), False
    for path in paths:
        first, slash, _ = path.partition("/")
        firsts.add(first)
        deeper = deeper or bool(slash)
    return firsts.pop() if len(firsts) == 1 and deeper else ""


def folders(path: str) -> Iterator[str]:
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
        raise refuse(archive, rule, platform + " " + version)
    return platform, version, top


def _jar_version(names: Iterable[str], archive: str) -> str:
    jars = [jar for jar in (JAR_NAME.match(name) for name in sorted(names)) if jar]
    if not jars:
        raise refuse(archive, "must be a DLS release, with dls-<version>.jar at the top", "none")
    if len(jars) > 1:
        raise refuse(archive, "must hold one release", ", ".join(shown(jar.group()) for jar in jars[:4]))
    product, version = jars[0].groups()
    if not VERSION_FORM.match(version):
        raise refuse(archive, "must have a jar with a version of 2 to 4 numbers", shown(jars[0].group()))
    if product == "lts" or tuple(int(number) for number in version.split(".")) < OLDEST_RELEASE:
        raise refuse(archive, "must be release 2.2 or later", version, OLD_HINT)
    return version


def _platform(names: Container[str], archive: str) -> str:
    found = [platform for platform, files in sorted(PLATFORM_FILES.items()) if files[0] in names]
    if len(found) != 1:
        rule = "must be for one platform: startup.sh (Linux) or startup.bat (Windows)"
        raise refuse(archive, rule, "both" if found else "neither")
    missing = [name for name in PLATFORM_FILES[found[0]] if name not in names]
    if missing:
        raise refuse(archive, "must hold every file of the documented layout", "no " + ", ".join(missing))
    return found[0]


def installed_members(archive: Archive) -> List[Member]:
    """Return the members as `unpack_tar` leaves them, sorted by path.

    The top folder is gone, folders that the archive only implies are named, and modes are at most 0755 and at
    least readable (folders: enterable) for the owner.
    """
    start = len(archive.top) + 1 if archive.top else 0
    members: Dict[str, Member] = {}
    for member in archive.members:
        path = member.path[start:]
        for folder in folders(path):
            members.setdefault(folder, Member(folder, "dir", 0o755))
        if path:
            members[path] = member._replace(path=path, mode=_installed_mode(member))
    return [members[path] for path in sorted(members)]


def _installed_mode(member: Member) -> int:
    return {"file": member.mode & 0o755 | 0o400, "dir": member.mode & 0o755 | 0o700, "link": 0o777}[member.kind]
