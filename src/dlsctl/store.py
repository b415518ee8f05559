"""The backup folder: which backups there are, whether they are as they were written, and which may go.

A backup is `<time>-<version>/` with `state.tar.zst` (or .gz, and .age or .gpg behind it), and `manifest.json`, which is
written last: what has no manifest is none. The manifest holds every entry of the pack with its SHA-256, the pack's own
SHA-256, and the digest of the manifest itself. The vendor's archive is not in it: the manifest names its SHA-256.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from dlsctl.files import Entry, list_folder, native, open_regular, read_json, renamed, sha256_of
from dlsctl.forms import require_manifest
from dlsctl.host import seconds_of
from dlsctl.identity import identity
from dlsctl.installation import Installation
from dlsctl.packs import damaged, read_pack
from dlsctl.problems import Problem, Refused, one_line, problem_of, shown
from dlsctl.trees import COPIED

Manifest = Dict[str, Any]
FORMAT = 1
DAY = 86400  # seconds
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 256 << 20  # bytes: some hundred for each file of the state
BACKUP_NAME = r"[0-9]{8}T[0-9]{6}Z-[0-9.]+(-[0-9]+)?"
PARTIAL = r"\.{}\.partial".format(BACKUP_NAME)  # the name of one until it is complete


class Backup(NamedTuple):
    """One backup that is complete: its name, folder and manifest."""

    name: str
    folder: str
    manifest: Manifest

    @property
    def pack(self) -> str:
        return os.path.join(self.folder, self.manifest["pack"]["file"])


def partial_dir(inst: Installation, name: str) -> str:
    return os.path.join(inst.backup_dir, ".{}.partial".format(name))


def pack_facts(path: str) -> Dict[str, Any]:
    with os.fdopen(open_regular(path), "rb") as stream:
        return {"file": os.path.basename(path), "size": os.fstat(stream.fileno()).st_size, "sha256": sha256_of(stream)}


def digest_of(manifest: Manifest) -> str:
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def backups(inst: Installation) -> List[Backup]:
    """Every backup that is complete, the oldest first; `damaged_backups` has those whose manifest is not as it was."""
    complete = []
    for name in list_folder(inst.backup_dir):
        with contextlib.suppress(Problem, OSError):
            complete.append(open_backup(os.path.join(inst.backup_dir, name)))
    return sorted(complete, key=lambda backup: (str(backup.manifest["created"]), backup.name))


def damaged_backups(inst: Installation) -> Dict[str, Problem]:
    """What is wrong with folders that have a manifest, and are no backups all the same, by name."""
    found = {}
    for name in sorted(list_folder(inst.backup_dir)):
        folder = os.path.join(inst.backup_dir, name)
        if not name.startswith(".") and os.path.lexists(os.path.join(folder, MANIFEST)):
            try:
                open_backup(folder)
            except (Problem, OSError) as error:
                found[name] = problem_of(error)
    return found


def find(inst: Installation, name: Optional[str], hint: str = "make one with: dlsctl backup") -> Backup:
    """The backup of a name or folder, by default the newest. Raises Refused, with `hint` where there is none; Problem
    where the newest is damaged."""
    if name is None:
        complete = backups(inst)
        for newer, problem in damaged_backups(inst).items():
            if newer > (complete[-1].name if complete else ""):  # no older one is taken for it
                raise problem
        if not complete:
            raise Refused(inst.backup_dir, "must hold a backup", "none", hint)
        if age(complete[-1], time.time()) < -DAY:
            rule, hint = "must be made before now to be the newest", "set the clock right, or say which backup to take"
            raise Refused(complete[-1].folder, rule, complete[-1].manifest["created"], hint)
        return complete[-1]
    return open_backup(os.path.normpath(os.path.join(inst.backup_dir, name)))


def open_backup(folder: str) -> Backup:
    """Read and check the manifest of a backup. Raises Refused for what is none, Problem where it is damaged."""
    path = os.path.join(folder, MANIFEST)
    try:
        manifest = read_json(path, LARGEST_MANIFEST)
    except Refused as problem:
        raise damaged(path, problem.got) from None
    hint = "see those that there are with: dlsctl backups"
    if manifest is None or os.path.basename(folder).startswith("."):
        raise Refused(shown(folder), "must be a complete backup", "no " + MANIFEST, hint)
    version = manifest.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise Refused(path, "must be of format {}".format(FORMAT), version, "use the newer dlsctl that wrote it")
    if manifest.get("digest") != digest_of(manifest):
        raise damaged(path, "another content than was written")
    require_manifest(path, manifest)
    manifest["sections"] = {section: renamed(entries, native) for section, entries in manifest["sections"].items()}
    return Backup(os.path.basename(folder), folder, manifest)


def require_readable_size(path: str) -> None:
    """Raise Problem where a manifest was written that `open_backup` would not read."""
    if os.stat(path).st_size > LARGEST_MANIFEST:
        rule, hint = "must have at most {} bytes".format(LARGEST_MANIFEST), "find out which files need not be there"
        raise Problem(path, rule, "more, since the state has so many files", hint)


def check(backup: Backup, key: Optional[str] = None) -> bool:
    """Read a backup to its end and compare every byte with its manifest; True where its content was read, too.

    Of an encrypted one without its `key` only the pack as a whole is compared. Nothing is written. Raises Problem,
    which names the file that differs.
    """
    try:
        actual = pack_facts(backup.pack)
    except OSError as error:
        raise damaged(backup.pack, error.strerror) from None
    expected = backup.manifest["pack"]
    for fact in ("size", "sha256"):
        if actual[fact] != expected[fact]:
            raise damaged(backup.pack, "{} {} in place of {}".format(fact, actual[fact], expected[fact]))
    if expected["encryption"] and key is None:
        return False
    for _ in contents(backup, key):
        pass
    return True


def contents(backup: Backup, key: Optional[str] = None) -> Iterator[Tuple[str, Entry, "Reader"]]:
    """Yield section, entry and content of each member; raises Problem where one is not as the manifest says."""
    pack = backup.manifest["pack"]
    waiting = packed_entries(backup.manifest)
    for name, stream in read_pack(backup.pack, pack["compression"], pack["encryption"], key):
        section, _, path = name.partition("/")
        entry = waiting.pop((section, path), None)
        if entry is None or (entry["kind"] == "file") != (stream is not None):
            raise damaged(backup.pack, "a member that its manifest does not name: " + one_line(name))
        if stream and stream.size != entry["size"]:  # before it is read: it may be without end
            raise damaged(backup.pack, "another size of " + one_line(name))
        reader = Reader(stream)
        yield section, entry, reader
        if entry["kind"] == "file" and reader.sha256() != entry["sha256"]:
            raise damaged(backup.pack, "another content of " + one_line(name))
    if waiting:
        raise damaged(backup.pack, "no member " + one_line("/".join(sorted(waiting)[0])))


def packed_entries(manifest: Manifest) -> Dict[Tuple[str, str], Entry]:
    return {
        (section, entry["path"]): entry
        for section, entries in manifest["sections"].items()
        for entry in entries
        if is_packed(entry)
    }


def is_packed(entry: Entry) -> bool:
    """Whether a backup has something of an entry in its pack; other entries are in its manifest only."""
    return entry.get("change") != "removed" and entry["kind"] in COPIED


class Reader:
    """A file's content, read once; what its taker leaves is read for the hash."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.digest = stream, hashlib.sha256()

    def pieces(self) -> Iterator[bytes]:
        for piece in iter(lambda: self.stream.read(1 << 20), b"") if self.stream else ():
            self.digest.update(piece)
            yield piece

    def sha256(self) -> str:
        for _ in self.pieces():
            pass
        return self.digest.hexdigest()


# --- Retention ---


class Policy(NamedTuple):
    """What to keep: the newest so many, and those of so many days; but all that are younger than so many hours.

    With neither a number nor days, which is 0 for both, all are kept.
    """

    keep: int
    keep_days: int
    min_age_hours: int


def policy_of(inst: Installation) -> Policy:
    return Policy(inst.backup_keep, inst.backup_keep_days, inst.backup_min_age_hours)


def prunable(inst: Installation, policy: Policy) -> List[Backup]:
    """This host's backups that a policy lets go, but never the newest good one; none where there is no good one.

    Those of the future stay, and do not count: the clock was wrong, and they would push out the ones that are newer.
    """
    here = identity()["machine_id_sha256"]
    past = made_by_now(backups(inst))
    complete = [backup for backup in past if backup.manifest["identity"]["machine_id_sha256"] == here]
    now = time.time()
    newest = complete[-policy.keep :] if policy.keep else []
    surplus = [
        backup
        for backup in complete
        if (policy.keep or policy.keep_days)
        and backup not in newest
        and age(backup, now) >= max(policy.keep_days * DAY, policy.min_age_hours * 3600)
    ]
    good = newest_good(complete) if surplus else None
    return [backup for backup in surplus if good and backup.name != good.name]


def age(backup: Backup, now: float) -> float:
    """Seconds since a backup was made; negative where the clock was set back since."""
    return now - seconds_of(backup.manifest["created"])


def made_by_now(found: List[Backup]) -> List[Backup]:
    now = time.time()
    return [backup for backup in found if age(backup, now) >= 0]


def newest_good(complete: List[Backup]) -> Optional[Backup]:
    for backup in reversed(complete):
        with contextlib.suppress(Problem, OSError):
            check(backup)
            return backup
    return None


def prune(inst: Installation, policy: Policy) -> List[str]:
    """Remove what the policy lets go, and what runs have left that were killed; returns the names."""
    surplus = prunable(inst, policy)
    for name in list_folder(inst.backup_dir):
        path = os.path.join(inst.backup_dir, name)
        if re.fullmatch(PARTIAL + r"(\.copy)?", name) and os.stat(path).st_mtime < time.time() - DAY:
            shutil.rmtree(path)
    for backup in surplus:
        hidden = partial_dir(inst, backup.name)
        os.rename(backup.folder, hidden)  # gone at once, whole
        shutil.rmtree(hidden)
    return [backup.name for backup in surplus]
