"""State: what is on disk minus what the archive's manifest says."""

import hashlib
import os
from typing import Dict, Iterator, List, Optional, Set, Tuple

from dlsctl.archives import Member
from dlsctl.files import (
    Entry,
    Hashes,
    describe,
    read_bytes,
    read_json,
    refuse_unreadable,
    walk,
    write_atomic,
    write_json,
)
from dlsctl.host import Account
from dlsctl.installation import Installation, Release


def state(inst: Installation, version: Optional[str] = None, fresh: bool = False) -> List[Entry]:
    """What differs from the manifest, sorted by path; the fields of an entry are those of `describe`, and `change`.

    `change` is added, modified or removed. Files that the kit placed or edited, untouched since, are left out. `fresh`
    reads every file, where otherwise those that cannot have changed since the last time are not read again.
    """
    return sorted((entry for entry, _ in scan(inst, version, fresh)), key=lambda entry: entry["path"])


def scan(inst: Installation, version: Optional[str] = None, fresh: bool = False) -> Iterator[Tuple[Entry, str]]:
    """Yield each entry of the state with a name to open it by, valid until the next; folders before what is in them."""
    record = inst.release(version)
    base = inst.release_dir(record["version"])
    expected = {member.path: member for member in record["members"]}
    ours = kit_files(inst, record["version"])
    hashes = Hashes(os.path.join(inst.kit, "hashes", record["version"] + ".json"))
    if fresh:
        hashes.known = {}
    owner = os.stat(base)
    for path, full in walk(base, refuse_unreadable):
        try:
            actual = describe(path, full, hashes)
        except FileNotFoundError:  # a running server removes files too
            continue
        member = expected.pop(path, None)
        if ours.get(path) == actual["sha256"] and actual["sha256"]:
            continue
        if member is None:
            yield dict(actual, change="added"), full
        elif differs(member, actual, (owner.st_uid, owner.st_gid)):
            yield dict(actual, change="modified"), full
    for member in expected.values():
        yield {"path": member.path, "change": "removed", "kind": member.kind}, ""
    hashes.keep()


def damage(inst: Installation) -> List[Entry]:
    """The part of the state that a server does not bring about: what the archive holds is gone or is another.

    A folder that only has another owner is none: a launcher that drops its rights gives the server its folders, and an
    archive's owners mean nothing on a host. Every file is read.
    """
    members = {member.path: member for member in inst.release()["members"]}
    return [
        entry
        for entry in state(inst, fresh=True)
        if entry["change"] == "removed"
        or (entry["change"] == "modified" and (entry["kind"] == "file" or is_another(members[entry["path"]], entry)))
    ]


def differs(member: Member, actual: Entry, owner: Account) -> bool:
    """Whether a vendor file is not as the archive has it, with the release's owner."""
    return owner != (actual["uid"], actual["gid"]) or is_another(member, actual)


def is_another(member: Member, actual: Entry) -> bool:
    """Whether kind, content or mode are not the archive's."""
    if member.kind != actual["kind"]:
        return True
    if member.kind == "link":
        return bool(member.link != actual["link"])
    same_content = member.kind != "file" or member.sha256 == actual["sha256"]
    return not same_content or int(actual["mode"], 8) != member.mode


def kit_files(inst: Installation, version: str) -> Dict[str, str]:
    """Files inside a release that the kit placed or edited: path to SHA-256 as the kit left it."""
    edits = read_json(edits_path(inst)) or {}
    ours = edits.get(version, {})
    return ours if isinstance(ours, dict) else {}


BEFORE = " before"  # the key, behind the version, of what an edit has replaced
MERGED = " merged"  # of files of others that an edit has added to: they are state all the same


def trusted_hashes(inst: Installation, record: Release, path: str) -> Set[str]:
    """The SHA-256 that a file of a release has from the archive, or from this program's edits."""
    found = {member.sha256 for member in record["members"] if member.path == path}
    for key in (record["version"], record["version"] + BEFORE):
        found.add(kit_files(inst, key).get(path, ""))
    return found


def write_release_file(inst: Installation, version: str, path: str, data: bytes, mode: int) -> None:
    """Write a file into a release and record it, so that it is not taken for the server's state.

    Where it adds to what somebody else has written there, it is state: nobody but a backup could bring that back.
    """
    before = read_bytes(os.path.join(inst.release_dir(version), path))
    replaced = hashlib.sha256(before or b"").hexdigest()
    trusted = replaced in trusted_hashes(inst, inst.release(version), path)
    key = version if trusted or before is None else version + MERGED
    base = os.stat(inst.release_dir(version))
    owner = (base.st_uid, base.st_gid) if os.geteuid() == 0 else None
    claim(inst, key, path, hashlib.sha256(data).hexdigest(), replaced if trusted else None)
    write_atomic(os.path.join(inst.release_dir(version), path), data, mode, owner)


def claim(inst: Installation, version: str, path: str, sha256: str, replaced: Optional[str] = None) -> None:
    """Record a file inside a release as the kit's; `replaced`, trusted too, is what is there until it is written."""
    edits = read_json(edits_path(inst)) or {}
    if replaced:
        edits.setdefault(version + BEFORE, {})[path] = replaced
    edits.setdefault(version, {})[path] = sha256
    write_json(edits_path(inst), edits)


def disclaim(inst: Installation, version: str) -> None:
    """Forget which files of a release are the kit's."""
    edits, gone = read_json(edits_path(inst)) or {}, {version, version + BEFORE, version + MERGED}
    if gone & set(edits):
        write_json(edits_path(inst), {key: edits[key] for key in edits if key not in gone})


def edits_path(inst: Installation) -> str:
    return os.path.join(inst.kit, "edits.json")
