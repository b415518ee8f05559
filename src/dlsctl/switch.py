"""The switch: another tree takes the place of the running one, or everything is as it was before.

The new tree is made beside the running server, in a folder that only root can enter. Then the server is stopped, the
tree gets its state, its owner and its name, `current` moves to it in one rename, and the server is started. Nothing of
the old tree is touched, and it is kept. A journal tells at each moment how to go on, or back.
"""

import contextlib
import os
import shutil
import time
from typing import Any, Callable, Dict, List, Optional

from dlsctl.access import confirm_access
from dlsctl.apply import write_pending
from dlsctl.files import Entry, give_to, read_bytes, relabel, sync_folder, unused_name, write_atomic
from dlsctl.host import utc_stamp
from dlsctl.installation import Installation
from dlsctl.journal import UNDO, Journal
from dlsctl.problems import problem_of
from dlsctl.releases import point_current
from dlsctl.sandbox import confirm_sight
from dlsctl.service import start, stop, wait_healthy
from dlsctl.trees import clear, settle, sync_tree

Facts = Dict[str, Any]
STAGE, STOP, PLACE, SWITCH, START, SAVE = "stage", "stop", "place", "switch", "start", "save"
RUNS_NEW = (START, SAVE)  # steps in which the new tree is whole and in place


def staged_dir(inst: Installation) -> str:
    return os.path.join(inst.releases, ".next")


def make_staged_dir(inst: Installation) -> None:
    clear(staged_dir(inst))
    os.mkdir(staged_dir(inst), 0o700)


def keep_record(inst: Installation, version: str) -> None:
    """Before a journal begins, keep the record of a release that another of its version may replace: for `go_back`."""
    record = read_bytes(inst.record_path(version))
    if record is not None:
        write_atomic(kept_record(inst, version), record)


def kept_record(inst: Installation, version: str) -> str:
    return inst.record_path(version) + ".before"


def failed_dir(inst: Installation, version: str) -> str:
    """Where a tree goes that did not become healthy: what clients wrote to it in between is not thrown away."""
    return os.path.join(inst.releases, ".failed-" + version)


def switch(inst: Installation, journal: Journal, place: Callable[[], List[Entry]]) -> float:
    """Put the staged tree in place; returns the seconds without a server.

    `place` is called when the server is stopped, to add the state; it returns the entries whose owner and times count.
    The journal's facts are `old` and `new` (versions; old is None where there was none), `was_running`, and `aside`,
    the name that a tree of the new version which is there already gets, or None.
    """
    facts = journal.facts
    record = inst.release(facts["new"])
    begun = time.monotonic()
    journal.note(step=STOP)
    stop(inst)
    journal.note(step=PLACE)
    entries = place()
    give_to(staged_dir(inst), inst.account())
    settle(entries, staged_dir(inst))
    os.chmod(staged_dir(inst), int(record["line"]["mode"], 8))
    sync_tree(staged_dir(inst))
    journal.note(step=SWITCH)
    target = inst.release_dir(facts["new"])
    aside = aside_dir(inst, facts)
    if aside:
        os.rename(target, aside)
    os.rename(staged_dir(inst), target)
    sync_folder(inst.releases)
    write_pending(inst, record, target)
    point_current(inst, facts["new"])
    journal.note(step=START)
    return round(come_up(inst) - begun, 1)


def come_up(inst: Installation) -> float:
    """Start the server and wait until it is healthy; returns the time of its first answer, by the monotonic clock.

    Raises Problem, too, where it is open to others or does not see a label that it has seen before.
    """
    relabel(inst.home)
    start(inst)
    wait_healthy(inst, settle=0)
    answered = time.monotonic()
    wait_healthy(inst)
    confirm_access(inst)
    confirm_sight(inst)
    return answered


def go_back(inst: Installation, facts: Facts) -> None:
    """Make the host what it was before; takes up where an earlier attempt has stopped."""
    old, new = facts["old"], facts["new"]
    target, aside = inst.release_dir(new), aside_dir(inst, facts)
    is_ours = os.path.isdir(aside) if aside else os.path.isdir(target)
    if is_ours and inst.current_version() == new:
        stop(inst)
    if old and inst.current_version() != old:
        point_current(inst, old)
    if not old:
        clear(inst.current_link)
    if is_ours:
        put_off(inst, target, new)
    if aside and os.path.isdir(aside):
        os.rename(aside, target)
        sync_folder(inst.releases)
    if not os.path.isdir(target):
        clear(inst.record_path(new))
    elif facts["aside"] and os.path.isfile(kept_record(inst, new)):
        os.rename(kept_record(inst, new), inst.record_path(new))
    shutil.rmtree(staged_dir(inst), ignore_errors=True)
    if facts["was_running"] and old:
        with contextlib.suppress(OSError):  # of a full disk, when the server was started and that could not be noted
            start(inst)
        wait_healthy(inst)


def aside_dir(inst: Installation, facts: Facts) -> Optional[str]:
    return os.path.join(inst.releases, facts["aside"]) if facts["aside"] else None


def name_aside(inst: Installation, version: str) -> Optional[str]:
    """The name for a tree of this version that is there already, when another takes its place."""
    if not os.path.isdir(inst.release_dir(version)):
        return None
    return unused_name(inst.releases, ".replaced-{}{{}}-{}".format(utc_stamp(), version))


def put_off(inst: Installation, tree: str, version: str) -> None:
    """Move a tree that was in use out of the way; an earlier one that failed goes."""
    if os.path.isdir(tree):
        clear(failed_dir(inst, version))
        os.rename(tree, failed_dir(inst, version))
        sync_folder(inst.releases)


def is_in_place(inst: Installation, facts: Facts) -> bool:
    """Whether the new tree is whole and in use. That `current` moves to another version is the last of placing it.

    So its server may be running by now, started by the supervisor after a loss of power, and clients write to it.
    """
    step = facts.get("step")
    moved = facts["old"] != facts["new"] and step != UNDO
    return inst.current_version() == facts["new"] and (moved or step in RUNS_NEW)


def go_on(
    inst: Installation, facts: Facts, finish: Callable[[], Facts], undo: Callable[[Installation, Facts], None]
) -> Optional[Facts]:
    """Recover from a death: forward where the new tree was in place, back otherwise or where it does not come up.

    Returns what `finish` has done; or None, with the reason as the fact `why`.
    """
    if is_in_place(inst, facts):
        try:
            come_up(inst)
            return finish()
        except Exception as error:
            facts["why"] = str(problem_of(error))
    undo(inst, facts)
    return None
