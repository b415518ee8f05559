"""Adoption: a server that was installed by hand becomes the kit's, with all its state, or runs on as it did.

On the same file system its folder becomes the release by one rename; otherwise it is copied and the copy compared.
Until the server is healthy again, the journal and what is beside it tell how to give everything back.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import time
from typing import Any, Dict, NamedTuple, Optional, Set, Tuple

from dlsctl.adoptable import (
    content_problems,
    entries_of,
    entry_problems,
    folder_problems,
    is_renamable,
    is_same,
    place_problems,
    refuse,
)
from dlsctl.apply import apply, is_enabled, write_pending
from dlsctl.archives import Archive, installed_members
from dlsctl.byhand import Way, start_by_hand, starting_lines, stop_by_hand, told_process, way_of
from dlsctl.files import (
    SPARE,
    TEMPORARY,
    Entry,
    Hashes,
    read_bytes,
    read_json,
    relabel,
    room_problems,
    sync_folder,
    walk,
    write_json,
)
from dlsctl.host import Account, process_account, systemctl, utc_now, utc_stamp
from dlsctl.installation import Installation, Release
from dlsctl.intake import pinned_archive
from dlsctl.journal import Journal, journaled, recovers
from dlsctl.problems import Problem, Refused, problem_of
from dlsctl.processes import processes_below
from dlsctl.releases import point_current, record_release, with_mode
from dlsctl.sandbox import labels_in_sight, record_sight, rehearse
from dlsctl.service import page_error, stop
from dlsctl.state import MERGED, claim, disclaim, kit_files
from dlsctl.switch import (
    PLACE,
    SAVE,
    STAGE,
    START,
    STOP,
    SWITCH,
    come_up,
    is_in_place,
    make_staged_dir,
    put_off,
    staged_dir,
)
from dlsctl.trees import clear, copy_entry, settle, sync_tree

RENAME, COPY = "rename", "copy"
EDITED = ("startup.sh", "dls.json")  # what `write_pending` may write in a release


class Takeover(NamedTuple):
    """What to take over: the folder as it really is and as it was named, and the vendor's archive of its release."""

    folder: str
    given: str
    archive: str
    sha256: str
    version: str
    line: Dict[str, Any]


def adopt(inst: Installation, order: Takeover) -> Dict[str, Any]:
    """Take a server over; returns what was done, with `changed`. Nothing happens where that was done before.

    Raises Refused before anything is changed; or Problem, when the server is where it was, and runs as it did.
    """
    before = adopted_before(inst, order)
    if before:
        return before
    hashes = Hashes(os.path.join(inst.kit, "hashes", order.version + ".json"))
    archive, way = require_adoptable(inst, order, hashes)
    facts = facts_of(inst, order, way)
    with journaled(inst, "adopt", step=STAGE, **facts) as journal:
        members = with_mode(installed_members(archive), order.line)
        record_release(inst, order.archive, archive, order.line, members)
        note_sight(inst, order.folder)
        copied: Dict[str, Entry] = {}
        if facts["method"] == COPY:
            copied = entries_of(order.folder, hashes)
            make_staged_dir(inst)
            copy_tree(order.folder, staged_dir(inst), {}, copied)
        begun = time.monotonic()
        journal.note(step=STOP)
        stop_by_hand(inst, order.folder, way)
        journal.note(step=PLACE)
        entries = entries_of(order.folder, hashes)
        refuse(order.folder, order.version, list(entry_problems(order.folder, walk(order.folder))))
        refuse(order.folder, order.version, list(content_problems(order.folder, archive, entries)))
        if facts["method"] == COPY:
            place_copy(inst, order, copied, entries)
        else:
            place_folder(inst, order.folder, order.version, entries)
        refuse_running(order.folder if facts["method"] == COPY else inst.releases)
        record = inst.release(order.version)
        own(inst, record, entries)
        journal.note(step=SWITCH)
        claim_script(inst, record, entries)
        write_pending(inst, record, inst.release_dir(order.version))
        put_aside(facts)
        point_current(inst, order.version)
        journal.note(step=START, state=len(state_paths(record, entries)))
        answered = bring_up(inst)
        journal.note(outage=round(answered - begun, 1) if way.running else 0)
        return finish(inst, journal)


def facts_of(inst: Installation, order: Takeover, way: Way) -> Dict[str, Any]:
    """What the journal holds from the beginning: enough to give everything back."""
    method = RENAME if is_renamable(order.folder, inst.releases) else COPY
    made = utc_stamp()
    return {
        "folder": order.folder,
        "old": None,
        "new": order.version,
        "line": order.line,
        "way": list(way),
        "method": method,
        "kept": "{}.adopted-{}".format(order.folder, made) if method == COPY else None,
        "unit": way.unit,
        "starts": starting_lines((order.folder, order.given)),
    }


def require_apart(inst: Installation, order: Takeover) -> None:
    """Refuse a folder that is, holds or is inside one of the kit's own, unless it is gone because it was taken over."""
    if not adopted_before(inst, order):
        refuse(order.folder, order.version, list(place_problems(inst, order.folder)))


def require_adoptable(inst: Installation, order: Takeover, hashes: Optional[Hashes]) -> Tuple[Archive, Way]:
    """Refuse, with every reason, what cannot be taken over; returns the archive that was read, and how it runs."""
    require_apart(inst, order)
    found = folder_problems(inst, order.folder, order.version, order.line)
    archive = pinned_archive(order.archive, order.sha256, order.version)
    way = way_of(order.folder, order.line)
    entries: Dict[str, Entry] = {}
    if os.path.isfile(os.path.join(order.folder, "dls-{}.jar".format(order.version))):
        entries = entries_of(order.folder, hashes)
        found += content_problems(order.folder, archive, entries)
    if not is_renamable(order.folder, inst.releases):
        found += room_problems(inst.releases, SPARE + sum(entry["size"] for entry in entries.values()))
    error = page_error(inst.server_port, order.line["health_path"]) if way.running else None
    if error:
        rule = "must answer on port {} before it is taken over".format(inst.server_port)
        found.append(Refused(order.folder, rule, error, "mend it, or stop it first"))
    refuse(order.folder, order.version, found)
    return archive, way


def rehearse_adoption(inst: Installation, order: Takeover) -> Dict[str, Any]:
    """What `adopt` would do; changes nothing. Raises Refused with every reason against it."""
    before = adopted_before(inst, order)
    if before:
        return before
    _, way = require_adoptable(inst, order, None)
    return dict(facts_of(inst, order, way), changed=True)


def adopted_before(inst: Installation, order: Takeover) -> Optional[Dict[str, Any]]:
    """What was done when this very folder was taken over, where it was and is in use."""
    done = read_json(adopted_path(inst)) or {}
    is_gone = done.get("kept") == order.folder or not os.path.lexists(order.folder)
    is_it = order.folder == done.get("folder") and is_gone and inst.current_version() == order.version
    return dict(done, changed=False) if is_it else None


def adopted_path(inst: Installation) -> str:
    return os.path.join(inst.kit, "adopted.json")


def note_sight(inst: Installation, folder: str) -> None:
    """Record which labels the server by hand sees: `come_up` refuses where it would see less in the kit's unit."""
    pids = processes_below(folder)
    if pids:
        record_sight(inst, labels_in_sight(inst, pids[-1], process_account(pids[-1])), ["unknown: started by hand"])


# --- The folder becomes the release ---


def place_folder(inst: Installation, folder: str, version: str, entries: Dict[str, Entry]) -> None:
    """Move the folder to where the release is, in one rename; how to give it back is on disk before."""
    status = os.stat(folder)
    was = {
        "base": [status.st_mode & 0o7777, status.st_uid, status.st_gid],
        "entries": [[path, entry["mode"], entry["uid"], entry["gid"]] for path, entry in sorted(entries.items())],
    }
    kept = was_dir(inst)
    clear(kept)
    os.mkdir(kept, 0o700)
    edited = [entries[name] for name in EDITED if name in entries]
    for entry in edited:
        copy_entry(entry, os.path.join(folder, entry["path"]), kept)
    settle(edited, kept)
    write_json(os.path.join(kept, WAS), was, 0o600)
    sync_folder(inst.kit)
    os.rename(folder, inst.release_dir(version))
    sync_folder(inst.releases)
    sync_folder(os.path.dirname(folder))


WAS = "was.json"  # modes and owners, beside the files that the kit may edit


def was_dir(inst: Installation) -> str:
    """How the folder was before it was moved: what is there needs no room when everything is given back."""
    return os.path.join(inst.kit, "adopting")


def copy_tree(folder: str, target: str, known: Dict[str, Entry], entries: Dict[str, Entry]) -> None:
    """Make `target` a copy of a folder with these entries; what was copied before as it is `known` stays."""
    for path, full in walk(folder):
        if path in entries and known.get(path) != entries[path]:
            with contextlib.suppress(FileNotFoundError):  # a running server removes files too
                copy_entry(entries[path], full, target)
    for path in sorted(set(known) - set(entries)):
        with contextlib.suppress(NotADirectoryError):
            clear(os.path.join(target, path))


def place_copy(inst: Installation, order: Takeover, copied: Dict[str, Entry], entries: Dict[str, Entry]) -> None:
    """Complete the copy, now that nobody writes to the original; compare the two, and give the copy its name."""
    staged = staged_dir(inst)
    copy_tree(order.folder, staged, copied, entries)
    settle(entries.values(), staged)
    there = entries_of(staged, None)
    differing = sorted(path for path in {*there, *entries} if there.get(path) != entries.get(path))
    if differing:
        raise Problem(staged, "must be as the original is", "a difference at " + differing[0], "run the same again")
    if os.geteuid() == 0:
        status = os.stat(order.folder)
        os.chown(staged, status.st_uid, status.st_gid)
    sync_tree(staged)
    os.rename(staged, inst.release_dir(order.version))
    sync_folder(inst.releases)


def refuse_running(folder: str) -> None:
    """Raise Problem where something has started the server again meanwhile."""
    got = told_process(folder)
    if got:
        rule = "must stay stopped while it is taken over"
        raise Problem(folder, rule, got, "stop what starts it again, then run the same again")


def own(inst: Installation, record: Release, entries: Dict[str, Entry]) -> None:
    """Give the release its owner, and the vendor's files that are as they were the mode that the vendor documents."""
    tree, account = inst.release_dir(record["version"]), inst.account()
    members = {member.path: member for member in record["members"]}
    for path, full in walk(tree):
        if account:
            os.chown(full, *account, follow_symlinks=False)
        member = members.get(path)
        if member and member.kind != "link" and is_same(member, entries.get(path)):
            set_rights(full, member.mode)
    if account:
        os.chown(tree, *account)
    os.chmod(tree, int(record["line"]["mode"], 8))


def set_rights(full: str, mode: int, owner: Optional[Account] = None) -> None:
    """Set mode and owner of a file or folder, not of what a link that took its place points to."""
    handle = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if owner:
            os.fchown(handle, *owner)
        if owner or stat.S_IMODE(os.fstat(handle).st_mode) != mode:  # a file that was not touched need not be read anew
            os.fchmod(handle, mode)
    finally:
        os.close(handle)


def claim_script(inst: Installation, record: Release, entries: Dict[str, Entry]) -> None:
    """Record a start script with other ports as the kit's edit: it is what the kit itself would write."""
    original = next(member.sha256 for member in record["members"] if member.path == "startup.sh")
    sha256 = entries["startup.sh"]["sha256"]
    if sha256 != original:
        claim(inst, record["version"], "startup.sh", sha256)


def state_paths(record: Release, entries: Dict[str, Entry]) -> Set[str]:
    """The paths that are the server's state: all that the archive does not have so, but for the ports."""
    same = {member.path for member in record["members"] if is_same(member, entries.get(member.path))}
    return ({member.path for member in record["members"]} | set(entries)) - same - {"startup.sh"}


def bring_up(inst: Installation) -> float:
    """Start the server under the kit, and make the rest of the host as configured; returns when it first answered."""
    rehearse(inst)
    answered = come_up(inst)
    apply(inst)
    return answered


def put_aside(facts: Dict[str, Any]) -> None:
    """Put a folder that was copied aside: whatever starts the server from it, at a boot too, finds it no more."""
    if facts["kept"]:
        try:
            os.rename(facts["folder"], facts["kept"])
        except OSError as error:
            if error.errno != errno.EBUSY:  # a mount point: it stays where it is
                raise
        sync_folder(os.path.dirname(facts["folder"]))


def finish(inst: Installation, journal: Journal) -> Dict[str, Any]:
    """Record what was done."""
    facts = journal.facts
    journal.note(step=SAVE)
    kept = facts["kept"]
    if kept and not os.path.isdir(kept):
        kept = facts["folder"]
    done = {key: facts.get(key) for key in ("folder", "new", "method", "outage", "state", "unit", "starts")}
    done.update(kept=kept, at=utc_now())
    write_json(adopted_path(inst), done, 0o600)
    shutil.rmtree(was_dir(inst), ignore_errors=True)  # nothing is given back for what cannot be removed of it
    return dict(done, changed=True)


# --- Back ---


@recovers("adopt")
def recover_adopt(inst: Installation, facts: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    if is_in_place(inst, facts):
        try:
            bring_up(inst)
            return finish(inst, Journal(inst, "adopt", facts))
        except Exception as error:
            facts["why"] = str(problem_of(error))
    undo(inst, facts)
    return None


def undo(inst: Installation, facts: Dict[str, Any]) -> None:
    """Make the host what it was, and let the server run as it did; takes up where an earlier attempt has stopped."""
    folder, tree = facts["folder"], inst.release_dir(facts["new"])
    if os.path.isdir(tree):
        stop(inst)
    if inst.supervisor == "systemd" and inst.current_version() and is_enabled(inst):
        systemctl("disable", "--quiet", inst.service)
    clear(inst.current_link)
    if facts["method"] == RENAME and os.path.isdir(tree):
        give_back(inst, tree, folder)
    if facts["method"] == COPY:
        if os.path.isdir(facts["kept"]) and not os.path.lexists(folder):
            os.rename(facts["kept"], folder)
        put_off(inst, tree, facts["new"])
        shutil.rmtree(staged_dir(inst), ignore_errors=True)
    clear(inst.record_path(facts["new"]))
    clear(was_dir(inst))
    with contextlib.suppress(OSError):  # of a full disk: such a record of no release is no harm
        disclaim(inst, facts["new"])
    way = Way(*facts["way"])
    if way.running:
        start_by_hand(inst, folder, way, facts["line"])


def give_back(inst: Installation, tree: str, folder: str) -> None:
    """Make the folder as it was, but for what the server wrote meanwhile, and move it back."""
    if os.path.lexists(folder):
        raise Refused(folder, "must not be there, since the server goes back to it", "something", "move it away")
    was = read_json(os.path.join(was_dir(inst), WAS))
    if was:
        version = os.path.basename(tree)
        ours = {**kit_files(inst, version), **kit_files(inst, version + MERGED)}
        for name in EDITED:
            clear(os.path.join(tree, name + TEMPORARY))  # of a run that was killed
            if name in ours:
                unedit(os.path.join(tree, name), ours[name], os.path.join(was_dir(inst), name))
        give_rights_back(tree, was)
    os.rename(tree, folder)
    sync_folder(os.path.dirname(folder))
    sync_folder(inst.releases)
    relabel(folder)


def unedit(path: str, sha256: str, kept: str) -> None:
    """Take an edit of the kit back, where nobody has edited the file since; `kept` is what was there, if anything."""
    data = read_bytes(path)
    if data is None or hashlib.sha256(data).hexdigest() != sha256:
        return
    if os.path.exists(kept):
        os.rename(kept, path)
    else:
        os.unlink(path)


def give_rights_back(tree: str, was: Dict[str, Any]) -> None:
    """Give everything its earlier mode and owner; what is new gets the folder's owner."""
    mode, *owner = was["base"]
    rights = {path: (int(mode, 8), uid, gid) for path, mode, uid, gid in was["entries"]}
    for path, full in walk(tree):
        status = os.lstat(full)
        now = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        wanted = rights.get(path, (now[0], *owner))
        if stat.S_ISLNK(status.st_mode):
            os.chown(full, wanted[1], wanted[2], follow_symlinks=False)
        elif now != wanted:
            set_rights(full, wanted[0], wanted[1:])
    os.chown(tree, *owner)
    os.chmod(tree, mode)
