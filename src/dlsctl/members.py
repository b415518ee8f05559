"""Members: what must never be unpacked, whatever kind of archive it comes from."""

import re
import unicodedata
from typing import Callable, Dict, Optional, Sequence, Tuple

from dlsctl.archives import Member, folders, refuse_member, top_folder
from dlsctl.problems import shown

_LONGEST_PATH = {"linux_x64": 1024, "win_x64": 180}  # bytes; Windows: 259 with the folder it is installed in
_LONGEST_PART = 255  # bytes, of a file or folder name on both systems
_WINDOWS_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\xb9\xb2\xb3]) *(\..*)?\Z", re.IGNORECASE)

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


def check_members(members: Sequence[Member], windows: bool = False, archive: str = "archive") -> None:
    """Refuse members that must not be unpacked on the target, whatever kind of archive they come from.

    `windows` adds the rules of Windows names and compares names as Windows does: without case, composed
    (NFC). `archive` names the file in messages. Raises Refused.
    """
    top = top_folder(member.path for member in members)
    for member in members:
        rule = _broken_member_rule(member, top, windows)
        if rule:
            raise refuse_member(archive, member.path, rule, shown(member.link) if member.link else None)
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
            raise refuse_member(archive, member.path, "must be there once" + (", whatever its case" if windows else ""))
        kinds[key(member.path)] = member.kind
    spelling: Dict[str, str] = {}
    for member in members:
        for folder in folders(member.path):
            if kinds.get(key(folder), "dir") != "dir":
                raise refuse_member(archive, member.path, "must not lie below a file or a link", shown(folder))
            if spelling.setdefault(key(folder), folder) != folder:
                raise refuse_member(archive, member.path, "must have its folders spelled one way", shown(folder))
        if member.kind == "dir" and spelling.setdefault(key(member.path), member.path) != member.path:
            raise refuse_member(archive, member.path, "must have its folders spelled one way")


def _windows_key(path: str) -> str:
    """Return what is equal for all spellings that Windows takes for one name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
