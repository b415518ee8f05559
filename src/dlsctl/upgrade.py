"""Upgrade and rollback: another release in use, with the state or without it, or everything as before."""

import contextlib
import os
import shutil
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from dlsctl.apply import write_pending
from dlsctl.archives import VERSION_FORM, Archive, Member
from dlsctl.backup import save_release
from dlsctl.files import SPARE, Entry, list_folder, read_json, require_free, write_json
from dlsctl.host import utc_now
from dlsctl.identity import drift_problem, identity, identity_drift
from dlsctl.installation import CONFIRMATION, Installation, Release
from dlsctl.intake import pinned_archive, unpack_release
from dlsctl.journal import Journal, journaled, recovers
from dlsctl.password import may_lack_password, require_closed_configuration
from dlsctl.problems import Blocked, Problem, Refused, one_line, shown
from dlsctl.processes import is_running
from dlsctl.releases import archive_path_of, numbers, point_current
from dlsctl.service import portal_error, portal_url, start, stop, wait_healthy
from dlsctl.state import scan, state
from dlsctl.store import backups
from dlsctl.switch import (
    SAVE,
    STAGE,
    START,
    STOP,
    come_up,
    go_back,
    go_on,
    keep_record,
    make_staged_dir,
    name_aside,
    staged_dir,
    switch,
)
from dlsctl.trees import COPIED, clear, copy_entry, make_parents, remove

CARRY, FRESH = "carry", "fresh"
SET_ASIDE = (".replaced-", ".failed-")  # how the names of trees begin that were in use and are not any more
# Vendor documentation, "Upgrade".
WARNING = (
    "the vendor advises not to upgrade unless it is necessary: a licence is bound to a copy of the server, and usually"
    " has to be issued anew after an upgrade, so contact the vendor's support first"
)


class Order(NamedTuple):
    """What to upgrade to, and how: `policy` carries the state over or leaves it behind (`fresh`)."""

    archive: str
    sha256: str
    version: str
    line: Dict[str, Any]
    policy: str = CARRY
    acknowledged: bool = False


def upgrade(inst: Installation, order: Order) -> Dict[str, Any]:
    """Put another release in use; returns what was done, with `changed`. Nothing happens for the same version.

    Raises Refused before anything is changed; or Problem, when the old release is back with the state it had.
    """
    old = inst.current_version()
    if old is None:
        raise Refused(inst.home, "must hold an installed release", "nothing", "install one first")
    if old == order.version:
        return {"changed": False, "old": old, "new": old}
    archive = require_upgradable(inst, old, order)
    facts = {"old": old, "new": order.version, "was_running": True, "aside": name_aside(inst, order.version)}
    facts.update(had_password=not may_lack_password(inst), recorded=len(upgrades(inst)))
    keep_record(inst, order.version)
    kept = "Release {} is in use as before, with the state that it had.".format(old)
    with adding(kept), journaled(inst, "upgrade", step=STAGE, policy=order.policy, **facts) as journal:
        make_staged_dir(inst)
        unpack_release(inst, order.archive, archive, order.line, staged_dir(inst))
        state(inst)  # by which the files that cannot change any more are known
        outage = switch(inst, journal, lambda: place(inst, order))
        journal.note(outage=outage)
        return finish(inst, journal)


@contextlib.contextmanager
def adding(text: str) -> Iterator[None]:
    """Add to a failure what became of the host, where that could be put right."""
    try:
        yield
    except Blocked:
        raise
    except Problem as problem:
        problem.hint = "\n".join(filter(None, [problem.hint, text]))
        raise


def require_answer(inst: Installation) -> None:
    """Raise Refused where the server does not answer: an upgrade would not be to blame afterwards."""
    error = portal_error(inst, inst.release()) if is_running(inst) else "it is stopped"
    if error:
        rule = "must answer {} before it is upgraded".format(portal_url(inst, inst.release()))
        raise Refused(inst.service, rule, error, "start it, or mend what its log says")


def require_ready(inst: Installation, old: str, order: Order) -> None:
    """Refuse what cannot work whatever the archive holds; only version, policy and acknowledgement are looked at."""
    if not VERSION_FORM.match(order.version):
        raise Refused("--version", "must be a version such as 2.4.11", shown(order.version), "see the archive's name")
    if numbers(order.version) < numbers(old):
        hint = "go back with: dlsctl rollback, or the playbook rollback"
        raise Refused("version", "must not be older than {}".format(old), order.version, hint)
    if not order.acknowledged:
        raise Refused("upgrade", "must be acknowledged: " + WARNING, "no acknowledgement", "say so with --acknowledge")
    drift = identity_drift(inst, identity())
    if drift:
        raise drift_problem(drift[0])
    require_answer(inst)
    if order.policy == FRESH:
        require_closed_configuration(inst, "a server without its state has no password")


def require_upgradable(inst: Installation, old: str, order: Order) -> Archive:
    """Refuse what cannot work, before anything is changed; returns the archive that was read."""
    require_ready(inst, old, order)
    archive = pinned_archive(order.archive, order.sha256, order.version)
    entries = state(inst)
    if order.policy != FRESH:
        refuse_conflicts(inst.release(old), archive, entries)
    size = sum(member.size for member in archive.members) + archive.size
    size += 3 * sum(entry.get("size", 0) for entry in entries) + SPARE  # carried, copied, packed
    require_free(inst.releases, size)
    return archive


def refuse_conflicts(record: Release, archive: Archive, entries: List[Entry]) -> None:
    """Raise Refused where a vendor's file was changed on this host, and is another one in the new archive."""
    before = {member.path: member for member in record["members"]}
    start = len(archive.top) + 1 if archive.top else 0
    after = {member.path[start:]: member for member in archive.members}
    for entry in entries:
        path = entry["path"]
        if is_conflict(entry, before.get(path), after.get(path)):
            raise Refused(
                one_line(path),
                "must be as the old archive has it, or alike in both archives, to be carried into release "
                + archive.version,
                entry["change"],
                "put it back as it was, or upgrade with the policy fresh",
            )


def is_conflict(entry: Entry, before: Optional[Member], after: Optional[Member]) -> bool:
    if after is None:
        return False
    if before is None:
        return not entry["kind"] == after.kind == "dir"
    return (before.kind, before.sha256, before.link) != (after.kind, after.sha256, after.link)


def place(inst: Installation, order: Order) -> List[Entry]:
    """Copy the state of the running release, which is stopped, into the staged one, as the policy says."""
    if order.policy == FRESH:
        return []
    target, record = staged_dir(inst), inst.release(order.version)
    after = {member.path for member in record["members"]}
    entries = []
    for entry, full in scan(inst, inst.current_version()):
        if entry["change"] == "removed":
            if entry["path"] in after:
                remove(target, entry["path"])
        elif entry["kind"] in COPIED:
            make_parents(target, entry["path"], int(record["line"]["mode"], 8))
            entries.append(copy_entry(entry, full, target))
    return entries


def finish(inst: Installation, journal: Journal) -> Dict[str, Any]:
    """Back up what the old release was left with, and record the upgrade."""
    facts = journal.facts
    journal.note(step=SAVE)
    backup = save_release(inst, facts["old"], journal.verb)
    done = {key: facts.get(key) for key in ("old", "new", "policy", "outage", "had_password")}
    done.update(at=utc_now(), backup=backup.name)
    if facts.get("policy") == FRESH or facts.get("needs_password"):
        clear(os.path.join(inst.kit, CONFIRMATION))
    record_upgrade(inst, facts, done)
    return dict(done, changed=True)


def upgrades(inst: Installation) -> List[Dict[str, Any]]:
    """The upgrades and rollbacks of this host, the oldest first."""
    done = (read_json(upgrades_path(inst)) or {}).get("upgrades", [])
    return list(done)


def upgrades_path(inst: Installation) -> str:
    return os.path.join(inst.kit, "upgrades.json")


def record_upgrade(inst: Installation, facts: Dict[str, Any], *done: Dict[str, Any]) -> None:
    """Let what was `done` be the last entry, however often it is noted; without it, what was noted is forgotten."""
    before = upgrades(inst)[: facts.get("recorded")]
    if upgrades(inst) != [*before, *done]:
        write_json(upgrades_path(inst), {"upgrades": [*before, *done]}, 0o600)


@recovers("upgrade")
def recover_upgrade(inst: Installation, facts: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    journal = Journal(inst, "upgrade", facts)
    return go_on(inst, facts, lambda: finish(inst, journal), undo_upgrade)


def undo_upgrade(inst: Installation, facts: Dict[str, Any]) -> None:
    go_back(inst, facts)
    record_upgrade(inst, facts)


# --- Rollback ---


def roll_back(inst: Installation, undo: bool = False, version: Optional[str] = None) -> Dict[str, Any]:
    """Put the release in use that was before the last upgrade, with the state it had; the newer one's is backed up.

    `version` is the one to go back to, refused where it is another. Nothing happens, and `changed` is False, where it
    is in use, or without it where the last change was a rollback: perhaps finished by the recovery of one that died.
    `undo` takes the last rollback back: the newer release, with the state it was left with.
    """
    old = inst.current_version()
    if (version == old if version else was_rolled_back(inst)) and not undo:
        return dict((upgrades(inst) or [{"old": None, "new": old, "backup": None}])[-1], changed=False)
    new = release_after(inst) if undo else release_before(inst)
    if version not in (None, new):
        raise Refused("rollback", "must go to {}, which was in use before".format(new), version, "or restore a backup")
    facts: Dict[str, Any] = {"old": old, "new": new, "was_running": is_running(inst), "recorded": len(upgrades(inst))}
    facts.update(had_password=not may_lack_password(inst), needs_password=not was_left_with_password(inst, new))
    require_password_of(inst, new)
    unchanged = adding("Release {} is in use as before.".format(old))
    with unchanged, journaled(inst, "rollback", step=STAGE, **facts) as journal:
        begun = time.monotonic()
        journal.note(step=STOP)
        stop(inst)
        write_pending(inst, inst.release(new), inst.release_dir(new))
        point_current(inst, new)
        journal.note(step=START)
        journal.note(outage=round(come_up(inst) - begun, 1))
        return finish(inst, journal)


def require_password_of(inst: Installation, version: str) -> None:
    """Raise Refused where others reach the server, and its portal may have had no password when a version was left."""
    if not was_left_with_password(inst, version):
        require_closed_configuration(inst, "the portal may have had no password when {} was left".format(version))


def was_left_with_password(inst: Installation, version: str) -> bool:
    """Whether the portal is known to have had a password when a version was last in use."""
    left = [done for done in upgrades(inst) if done["old"] == version]
    return bool(left and left[-1].get("had_password"))


def release_before(inst: Installation) -> str:
    """The version that was in use before the current one. Raises Refused where it is not on this host any more."""
    done = [entry for entry in lasting_upgrades(inst) if entry["new"] == inst.current_version()]
    before = str(done[-1]["old"]) if done else None
    if before is None or not inst.is_installed(before):
        got = "{}, which is not kept any more".format(before) if before else "none"
        raise Refused("rollback", "must have the release before the last upgrade", got, "restore a backup instead")
    return before


def lasting_upgrades(inst: Installation) -> List[Dict[str, Any]]:
    """The upgrades that were not rolled back, the oldest first."""
    lasting: List[Dict[str, Any]] = []
    for done in upgrades(inst):
        if lasting and (done["old"], done["new"]) == (lasting[-1]["new"], lasting[-1]["old"]):
            lasting.pop()
        else:
            lasting.append(done)
    return lasting


def release_after(inst: Installation) -> str:
    """The version that the last change of the version, a rollback, has left. Raises Refused where it was none."""
    left = str(upgrades(inst)[-1]["old"]) if was_rolled_back(inst) else None
    if left is None or not inst.is_installed(left):
        got = "{}, which is not kept any more".format(left) if left else "none before it"
        raise Refused("rollback --undo", "must come right after a rollback", got, "upgrade, or restore a backup")
    return left


def was_rolled_back(inst: Installation) -> bool:
    """Whether the last change of the version went back to the one that is in use."""
    return any(
        done["new"] == inst.current_version() and numbers(done["new"]) < numbers(done["old"])
        for done in upgrades(inst)[-1:]
    )


@recovers("rollback")
def recover_rollback(inst: Installation, facts: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    journal = Journal(inst, "rollback", facts)
    return go_on(inst, facts, lambda: finish(inst, journal), undo_rollback)


def undo_rollback(inst: Installation, facts: Dict[str, Any]) -> None:
    if inst.current_version() != facts["old"]:
        stop(inst)
        point_current(inst, facts["old"])
    if facts["was_running"]:
        start(inst)
        wait_healthy(inst)
    record_upgrade(inst, facts)


# --- Releases that are not needed any more ---


def unneeded(inst: Installation, keep: int) -> List[str]:
    """Paths of releases but the one in use and `keep` before it, and of archives that no other release or backup needs.

    Trees that were replaced or failed are among them, but not those younger than the backups' minimum age.
    """
    current = inst.current_version()
    before = [version for version in inst.installed() if version != current]
    ordered = sorted(before, key=lambda version: str(inst.release(version)["installed"]))
    gone = ordered[: max(len(ordered) - keep, 0)]
    paths = [inst.release_dir(version) for version in gone]
    old = time.time() - inst.backup_min_age_hours * 3600
    trees = [os.path.join(inst.releases, name) for name in list_folder(inst.releases) if name.startswith(SET_ASIDE)]
    paths += [tree for tree in trees if os.lstat(tree).st_ctime < old]
    needed = {inst.release(version)["archive_sha256"] for version in inst.installed() if version not in gone}
    needed |= {backup.manifest["archive_sha256"] for backup in backups(inst)}
    keeps = {archive_path_of(inst, sha256) for sha256 in needed}
    archives = [os.path.join(inst.archives, name) for name in list_folder(inst.archives) if name.endswith(".tar.gz")]
    return paths + [path for path in archives if path not in keeps]


def prune_releases(inst: Installation, keep: int) -> List[str]:
    """Remove what is `unneeded`; returns its paths."""
    paths = unneeded(inst, keep)
    for path in paths:
        if os.path.dirname(path) == inst.releases:
            clear(inst.record_path(os.path.basename(path)))
            shutil.rmtree(path)
        else:
            os.unlink(path)
    return paths
