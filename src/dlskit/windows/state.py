"""State of a release on a Windows host: what lies there minus what the record of its archive says.

``python -m dlskit.windows.state`` reads what compare() takes as JSON from standard input and prints what it returns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

ANY = "*"  # in place of a checksum: whatever the file holds


def compare(  # noqa: PLR0913, PLR0917 - one for each key of the document
    folder: str,
    record: Mapping[str, Any],
    found: Sequence[Mapping[str, Any]],
    ours: Mapping[str, str],
    spared: Iterable[str] = (),
    next: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The difference between a release's folder and its record.

    found: everything below the folder, as win_find lists it with checksums (SHA-256). ours: checksum of each file that
    the kit has put there, by path. spared: vendor files that may be missing. next: the record of a release that is to
    have this state. Paths mean the same in any case.

    Returns {entries: [{path, change, kind, size, sha256, text}], damage: texts of those that a server does not bring
    about, copies: [{path, into, kind}], the fewest items by which the state can be copied, each into a
    folder, whose path ends in a backslash or is empty, links: paths, conflicts: paths of state that the next release
    has something else for}.
    """
    members = {member[0].casefold(): member for member in record["members"]}
    there = {relative(entry["path"], folder): entry for entry in found}
    ours = {path.casefold(): checksum for path, checksum in ours.items()}
    entries = [
        entry
        for path in sorted(there)
        for entry in changes(path, there[path], members.get(path.casefold()), ours.get(path.casefold()))
    ]
    left_out = {path.replace("\\", "/").casefold() for path in spared} | {path.casefold() for path in there}
    entries += [
        described(member[0], "removed", member[1]) for key, member in sorted(members.items()) if key not in left_out
    ]
    return {
        "entries": entries,
        "damage": [entry["text"] for entry in entries if entry["change"] != "added"],
        "copies": list(copies(entries, members)),
        "conflicts": conflicts(entries, members, next) if next else [],
        "links": sorted(path for path in there if is_link(there[path])),
    }


def conflicts(
    entries: Iterable[Mapping[str, Any]], members: Mapping[str, Any], following: Mapping[str, Any]
) -> list[str]:
    """Paths of state in whose place the next release has something that the archive of this one had not."""
    after = {member[0].casefold(): member for member in following["members"]}
    found = []
    for entry in entries:
        key = entry["path"].casefold()
        old, new = members.get(key), after.get(key)
        if new is None or entry["change"] == "removed":
            continue
        alike = entry["kind"] == new[1] == "dir" if old is None else (old[1], old[4]) == (new[1], new[4])
        if not alike:
            found.append(entry["path"])
    return found


def relative(path: str, folder: str) -> str:
    return path[len(folder) + 1 :].replace("\\", "/")


def is_link(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("islnk") or entry.get("isjunction"))


def changes(
    path: str, entry: Mapping[str, Any], member: Sequence[Any] | None, ours: str | None
) -> Iterator[dict[str, Any]]:
    """What is to be said of one file or folder: nothing, or its entry."""
    kind = "link" if is_link(entry) else "dir" if entry.get("isdir") else "file"
    checksum = entry.get("checksum") or ""
    if ours is not None and kind == "file" and ours in (ANY, checksum):
        return
    if member is None:
        yield described(path, "added", kind, entry)
    elif member[1] != kind or (kind == "file" and member[4] != checksum):
        yield described(path, "modified", kind, entry)


def described(path: str, change: str, kind: str, entry: Mapping[str, Any] | None = None) -> dict[str, Any]:
    facts = {"size": (entry or {}).get("size") or 0, "sha256": (entry or {}).get("checksum") or ""}
    return {"path": path, "change": change, "kind": kind, **facts, "text": f"{change} {path}"}


def copies(entries: Sequence[Mapping[str, Any]], members: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The fewest files and folders that hold the state: a folder that the archive does not know goes whole."""
    whole: set[str] = set()
    for entry in entries:
        path = entry["path"]
        if entry["change"] == "removed" or any(folder in whole for folder in above(path)):
            continue
        if entry["kind"] == "dir" and path.casefold() not in members:
            whole.add(path)
        native = path.replace("/", "\\")
        yield {"path": native, "into": native[: native.rfind("\\") + 1], "kind": entry["kind"]}


def above(path: str) -> Iterator[str]:
    """The folders above a path."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


if __name__ == "__main__":
    print(json.dumps(compare(**json.load(sys.stdin))))
