"""Restore: the vendor's archive and the state of a backup, byte for byte, in place of what is there."""

import contextlib
import hashlib
import os
import shutil
from typing import Any, Dict, List, NamedTuple, Optional

from dlsctl.archives import Archive
from dlsctl.backup import KIT_FILES, copy_dir
from dlsctl.files import SPARE, Entry, read_bytes, require_free, write_json
from dlsctl.identity import drift_from, drift_problem, identity, recorded_identity
from dlsctl.installation import CONFIRMATION, Installation
from dlsctl.intake import pinned_archive, unpack_release
from dlsctl.journal import Journal, journaled, recovers
from dlsctl.packs import require_key
from dlsctl.password import require_closed_configuration
from dlsctl.problems import Refused
from dlsctl.processes import is_running
from dlsctl.releases import archive_path_of
from dlsctl.state import state
from dlsctl.store import Backup, Manifest, Reader, contents, find, open_backup
from dlsctl.switch import (
    SAVE,
    STAGE,
    go_back,
    go_on,
    keep_record,
    make_staged_dir,
    name_aside,
    staged_dir,
    switch,
)
from dlsctl.trees import clear, copy_entry, make_parents, new_file, remove, settle


class Wish(NamedTuple):
    """What to restore, and what may be done for it: each False is a refusal where it would be needed."""

    backup: Optional[str] = None  # by default the newest
    archive: Optional[str] = None  # the vendor's, where the host has it no more
    key: Optional[str] = None  # the private key, of an encrypted backup
    replace: bool = False  # put aside the state that is there
    other_version: bool = False  # change the version
    rehost: bool = False  # on another machine than the backup's


def restore(inst: Installation, wish: Wish) -> Dict[str, Any]:
    """Make the server what it was when a backup was made; returns what was done.

    What was there is kept aside. The backup folder is only read. Raises Refused before anything is changed; or Problem,
    when all is as it was before.
    """
    backup = find(inst, wish.backup)
    archive = require_restorable(inst, backup, wish)
    version, old = backup.manifest["version"], inst.current_version()
    facts = {"old": old, "new": version, "was_running": is_running(inst), "aside": name_aside(inst, version)}
    facts.update(backup=backup.folder, rehost=wish.rehost)
    keep_record(inst, version)
    with journaled(inst, "restore", step=STAGE, **facts) as journal:
        make_staged_dir(inst)
        unpack_release(inst, archive.path, archive, backup.manifest["line"], staged_dir(inst))
        unpack(inst, backup, wish.key, staged_dir(inst), int(backup.manifest["line"]["mode"], 8))
        entries = backup.manifest["sections"]["release"]
        journal.note(outage=switch(inst, journal, lambda: entries))
        return finish(inst, journal)


def refuse_unfit(inst: Installation, backup: Backup, wish: Wish) -> None:
    """Refuse a backup that must not be restored here, whatever archive and private key there are for it."""
    manifest, current = backup.manifest, inst.current_version()
    here = dict(identity(), uuid=recorded_identity(inst).get("uuid"))
    drift = drift_from(manifest["identity"], here)
    if drift and not wish.rehost:
        problem = drift_problem(drift[0])
        rule = "must be of this host: " + problem.rule
        hint = "with --rehost it is restored all the same; then the licence must be activated anew for this host's UUID"
        raise Refused(backup.folder, "{} ({})".format(rule, problem.what), problem.got, hint)
    if current not in (None, manifest["version"]) and not wish.other_version:
        got = "{}, {} is installed".format(manifest["version"], current)
        raise Refused(backup.folder, "must be of the installed version", got, "say so with --other-version")
    if current and not wish.replace and (is_running(inst) or state(inst)):
        got = "a server with state" if state(inst) else "a running server"
        raise Refused(inst.home, "must hold no server to be restored into", got, "put it aside with --replace")
    if not has_password(backup):
        require_closed_configuration(inst, "the portal may have had no password when the backup was made")


def require_restorable(inst: Installation, backup: Backup, wish: Wish) -> Archive:
    """Refuse what must not be restored here, before anything is changed; returns the vendor's archive, read."""
    refuse_unfit(inst, backup, wish)
    manifest = backup.manifest
    require_key(backup.pack, manifest["pack"]["encryption"], wish.key)
    path = wish.archive or archive_path_of(inst, manifest["archive_sha256"])
    if not os.path.isfile(path):
        rule = "must be the vendor's archive with SHA-256 " + manifest["archive_sha256"]
        raise Refused(path, rule, "no file", "copy it to the host and name it with --archive")
    archive = pinned_archive(path, manifest["archive_sha256"], manifest["version"])
    require_space(inst.releases, archive, manifest)
    return archive


def require_space(folder: str, archive: Archive, manifest: Manifest) -> None:
    """Refuse a restore that would fill the disk."""
    size = sum(member.size for member in archive.members) + archive.size + SPARE
    size += sum(entry.get("size", 0) for entries in manifest["sections"].values() for entry in entries)
    require_free(folder, size)


def has_password(backup: Backup) -> bool:
    """Whether the portal had a password: it was confirmed then, or the server or its proxy was open to others.

    Where the backup holds no file of the server's state, it holds no password either.
    """
    sections = backup.manifest["sections"]
    if not any(entry["kind"] == "file" and entry["change"] != "removed" for entry in sections["release"]):
        return False
    confirmed = any(entry["path"] == CONFIRMATION for entry in sections["kit"])
    said = backup.manifest.get("had_password") is True  # not by older kits
    return said or confirmed or bool(set(backup.manifest["networks"]) - {"localhost"})


def unpack(inst: Installation, backup: Backup, key: Optional[str], tree: str, mode: int) -> None:
    """Unpack the state into `tree`, and everything else to a folder from which `finish` takes what the host lacks."""
    for entry in backup.manifest["sections"]["release"]:
        if entry.get("change") == "removed":
            remove(tree, entry["path"])
    rest = copy_dir(inst, "restored")
    clear(rest)  # of a run that was killed
    os.mkdir(rest, 0o700)
    for section in backup.manifest["sections"]:
        os.mkdir(os.path.join(rest, section), 0o700)
    for section, entry, reader in contents(backup, key):
        target = tree if section == "release" else os.path.join(rest, section)
        make_parents(target, entry["path"], mode if section == "release" else 0o700)
        unpack_entry(entry, reader, os.path.join(target, entry["path"]))


def unpack_entry(entry: Entry, reader: Reader, path: str) -> None:
    clear(path, keep_folder=entry["kind"] == "dir")
    if entry["kind"] == "dir":
        with contextlib.suppress(FileExistsError):
            os.makedirs(path, 0o700)
    elif entry["kind"] == "link":
        os.symlink(entry["link"], path)
    else:
        with new_file(path) as file:
            for piece in reader.pieces():
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())


def finish(inst: Installation, journal: Journal) -> Dict[str, Any]:
    """Put back what belongs to the state outside the release: licence files that are missing, what the kit knew."""
    facts = journal.facts
    journal.note(step=SAVE)
    backup = open_backup(facts["backup"])
    rest, sections = copy_dir(inst, "restored"), backup.manifest["sections"]
    os.makedirs(inst.licenses, 0o700, exist_ok=True)
    add_missing(sections["licenses"], os.path.join(rest, "licenses"), inst.licenses)
    kit = [entry for entry in sections["kit"] if entry["path"] in KIT_FILES and entry["kind"] == "file"]
    add_missing(kit, os.path.join(rest, "kit"), inst.kit)
    if not has_password(backup):
        clear(os.path.join(inst.kit, CONFIRMATION))
    if facts["rehost"]:
        write_json(os.path.join(inst.kit, "identity.json"), identity(), 0o600)
    clear(rest)  # gone already where an earlier run died right after this
    kept = facts["aside"] or (facts["old"] if facts["old"] != facts["new"] else None)
    done = {key: facts.get(key) for key in ("old", "new", "outage", "rehost")}
    changed = changed_configuration(inst, sections)
    return dict(done, changed=True, backup=backup.name, kept=kept, configuration=changed)


def add_missing(entries: List[Entry], source: str, target: str) -> None:
    """Copy entries that are not there; what is there stays as it is."""
    missing = [entry for entry in entries if not os.path.lexists(os.path.join(target, entry["path"]))]
    for entry in missing:
        make_parents(target, entry["path"])
        copy_entry(entry, os.path.join(source, entry["path"]), target)
    settle(missing, target)


def changed_configuration(inst: Installation, sections: Dict[str, List[Entry]]) -> List[str]:
    """The files of the configuration that are others now than they were: the deployment's to decide."""
    folders = {"config": inst.config_dir, "systemd": os.path.dirname(inst.unit_path())}
    files = [
        (os.path.join(folder, entry["path"]), entry["sha256"])
        for section, folder in folders.items()
        for entry in sections.get(section, [])
        if entry["kind"] == "file"
    ]
    return [path for path, sha256 in files if hashlib.sha256(read_bytes(path) or b"").hexdigest() != sha256]


@recovers("restore")
def recover_restore(inst: Installation, facts: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    return go_on(inst, facts, lambda: finish(inst, Journal(inst, "restore", facts)), undo_restore)


def undo_restore(inst: Installation, facts: Dict[str, Any]) -> None:
    shutil.rmtree(copy_dir(inst, "restored"), ignore_errors=True)
    go_back(inst, facts)
