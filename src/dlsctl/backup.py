"""Backing up: the server is stopped as briefly as can be, its state copied, and the copy packed while it runs again."""

import contextlib
import os
import shutil
import socket
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from dlsctl.files import (
    SPARE,
    Entry,
    describe,
    portable,
    refuse_unreadable,
    renamed,
    require_free,
    sync_folder,
    unused_name,
    walk,
    write_json,
)
from dlsctl.host import utc_now, utc_stamp
from dlsctl.identity import identity, recorded_identity
from dlsctl.installation import CONFIRMATION, Installation
from dlsctl.journal import journaled, recovers
from dlsctl.packs import best_compression, encryption_for, pack_name, require_tool, write_pack
from dlsctl.password import may_lack_password
from dlsctl.problems import Problem
from dlsctl.processes import is_running
from dlsctl.service import start, stop, wait_healthy
from dlsctl.state import scan, state
from dlsctl.store import (
    FORMAT,
    MANIFEST,
    Backup,
    check,
    digest_of,
    is_packed,
    pack_facts,
    partial_dir,
    require_readable_size,
)
from dlsctl.trees import COPIED, clear, copy_entry, make_parents, named_owner

# Of the kit's folder: what tells the server's state from the archive's files, and what is known of the server.
KIT_FILES = ("identity.json", "edits.json", "in-sight.json", CONFIRMATION, "upgrades.json")


class Copy(NamedTuple):
    """What a backup will hold, copied where nobody changes it: the name it will have, and the entries by section."""

    name: str
    folder: str
    version: str
    sections: Dict[str, List[Entry]]


def back_up(inst: Installation, hot: bool = False, reason: str = "by hand") -> Backup:
    """Save the state: stop the server, copy its state, start it; then pack the copy, and read the pack back.

    `hot` copies while the server runs: nobody knows whether its files fit together then. A server that is stopped stays
    so. Raises Problem; the server runs afterwards if it did before.
    """
    version = str(inst.release()["version"])
    require_room(inst)
    was_running, health, outage = is_running(inst), None, 0.0
    name = new_name(inst, version)
    with journaled(inst, "backup", name=name, was_running=was_running):
        make_partial_dir(inst, name)
        if hot or not was_running:
            copy = copy_all(inst, name, version, copy_dir(inst, name))
        else:
            state(inst)  # by which the files that cannot change any more are known
            begun = time.monotonic()
            stop(inst)
            try:
                copy = copy_all(inst, name, version, copy_dir(inst, name))
            finally:
                start(inst)
            health = health_problem(inst)
            outage = round(time.monotonic() - begun, 1)
        facts = {"reason": reason, "method": "hot" if hot and was_running else "stopped", "outage": outage}
        backup = save(inst, copy, facts)
        shutil.rmtree(copy.folder)
    if health:
        raise health
    return backup


def health_problem(inst: Installation) -> Optional[Problem]:
    """What keeps the server from being healthy: told only when the backup is complete."""
    try:
        wait_healthy(inst, settle=0)
    except Problem as problem:
        return problem
    return None


def require_room(inst: Installation) -> None:
    """Raise Refused where the state does not fit twice: as a copy beside the server, and as a pack."""
    size = sum(entry.get("size", 0) for entry in state(inst)) + SPARE
    for folder in (inst.kit, inst.backup_dir):
        require_free(folder, size, " for a backup")


def new_name(inst: Installation, version: str) -> str:
    return unused_name(inst.backup_dir, "{}-{}{{}}".format(utc_stamp(), version))


def copy_dir(inst: Installation, name: str) -> str:
    return os.path.join(inst.kit, "copy-" + name)


@recovers("backup")
def undo_backup(inst: Installation, facts: Dict[str, Any]) -> None:
    if facts["was_running"]:
        start(inst)
    for folder in (copy_dir(inst, facts["name"]), partial_dir(inst, facts["name"])):
        shutil.rmtree(folder, ignore_errors=True)


def copy_all(inst: Installation, name: str, version: str, folder: str) -> Copy:
    """Copy what the backup of a release will hold into a folder of its own."""
    clear(folder)  # of a run that was killed
    os.makedirs(folder, 0o700)
    sections = {}
    for section, parts in sources(inst, version):
        target = os.path.join(folder, section)
        os.mkdir(target, 0o700)
        copied = (copy_part(entry, full, target) for entry, full in parts)
        entries = [entry for entry in copied if entry]
        sections[section] = sorted(entries, key=lambda entry: str(entry["path"]))
    return Copy(name, folder, version, sections)


def copy_part(entry: Entry, full: str, target: str) -> Optional[Entry]:
    """Copy an entry; returns it as it was copied, or None where it was gone by then: a running server removes files."""
    if entry.get("change") == "removed":
        return entry
    if entry["kind"] in COPIED:
        make_parents(target, entry["path"])
        try:
            entry = copy_entry(entry, full, target, flush=False)  # the server waits, and the pack is flushed
        except FileNotFoundError:
            return None
    return named_owner(entry)


def sources(inst: Installation, version: str) -> Iterator[Tuple[str, Iterator[Tuple[Entry, str]]]]:
    """The sections of a backup, each with its entries and names to open them by."""
    unit = os.path.basename(inst.unit_path())
    yield "release", scan(inst, version)
    yield "kit", entries_of(inst.kit, {*KIT_FILES, "releases", os.path.join("releases", version + ".json")})
    yield "config", entries_of(inst.config_dir, {"dlsctl.json", "dls.json"})
    yield "licenses", entries_of(inst.licenses)
    if inst.supervisor == "systemd":
        folder = os.path.dirname(inst.unit_path())
        yield "systemd", entries_of(folder, {unit, unit + ".d", os.path.join(unit + ".d", "access.conf")})


def entries_of(base: str, wanted: Optional[Set[str]] = None) -> Iterator[Tuple[Entry, str]]:
    for path, full in walk(base, refuse_unreadable if wanted is None else None):
        if wanted is None or path in wanted:
            with contextlib.suppress(FileNotFoundError):
                yield describe(path, full), full


def make_partial_dir(inst: Installation, name: str) -> None:
    """Begin a backup, and raise Problem where it could not be written: before a server is stopped for it."""
    encryption = encryption_for(inst.backup_recipient)
    if encryption:
        require_tool(encryption)
    os.makedirs(inst.backup_dir, 0o700, exist_ok=True)
    clear(partial_dir(inst, name))
    os.mkdir(partial_dir(inst, name), 0o700)
    if encryption:
        trial = os.path.join(partial_dir(inst, name), "trial")
        write_pack(trial, (), best_compression(), encryption, inst.backup_recipient)
        os.unlink(trial)


def save(inst: Installation, copy: Copy, facts: Dict[str, Any]) -> Backup:
    """Pack what was copied, read it back, and let the backup appear under its name, complete."""
    partial = partial_dir(inst, copy.name)
    compression, encryption = best_compression(), encryption_for(inst.backup_recipient)
    pack = os.path.join(partial, pack_name(compression, encryption))
    parts = (
        (os.path.join(section, entry["path"]), entry, os.path.join(copy.folder, section, entry["path"]))
        for section, entries in sorted(copy.sections.items())
        for entry in entries
        if is_packed(entry)
    )
    write_pack(pack, parts, compression, encryption, inst.backup_recipient)
    record = inst.release(copy.version)
    manifest = dict(
        facts,
        format=FORMAT,
        created=utc_now(),
        host=socket.gethostname(),
        version=record["version"],
        archive_sha256=record["archive_sha256"],
        line=record["line"],
        networks=inst.networks,
        had_password=not may_lack_password(inst),
        identity=dict(identity(), uuid=recorded_identity(inst).get("uuid")),
        sections={section: renamed(entries, portable) for section, entries in copy.sections.items()},
        pack=dict(pack_facts(pack), compression=compression, encryption=encryption),
    )
    manifest["digest"] = digest_of(manifest)
    write_json(os.path.join(partial, MANIFEST), manifest, 0o600)
    require_readable_size(os.path.join(partial, MANIFEST))
    manifest["sections"] = copy.sections
    check(Backup(copy.name, partial, manifest))
    folder = os.path.join(inst.backup_dir, copy.name)
    os.rename(partial, folder)
    sync_folder(inst.backup_dir)
    return Backup(copy.name, folder, manifest)


def save_release(inst: Installation, version: str, reason: str) -> Backup:
    """Back up a release that no server runs from, so that nobody writes to it."""
    name = new_name(inst, version)
    folder = partial_dir(inst, name) + ".copy"  # the server's own disk may be full
    try:
        make_partial_dir(inst, name)
        copy = copy_all(inst, name, version, folder)
        return save(inst, copy, {"reason": reason, "method": "stopped", "outage": 0})
    finally:
        for leftover in (folder, partial_dir(inst, name)):
            shutil.rmtree(leftover, ignore_errors=True)
