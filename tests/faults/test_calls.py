"""Every verb that changes state, struck by every fault right before a system call, and run again.

By default two calls of each step are struck at, in a full run (`./dls test --full`, or DLS_FULL=1) every call. The
server is simulated here, so what counts is what dlsctl does to files; tests/faults/test_lab.py has real servers.
"""

import os
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlsctl.problems import Unhealthy
from dlsctl.state import state
from tests.dlsctl import tiny
from tests.dlsctl.conftest import Site
from tests.faults import table
from tests.faults.calls import BROKEN, ENDED, FAILED, FAULTS, NOT_STRUCK, WORDS, Fault, Struck, in_child
from tests.faults.cases import CALLS, FULL
from tests.faults.verbs import (
    NEW,
    OLD,
    STATE,
    VERBS,
    Host,
    Verb,
    act_prune,
    act_rollback,
    act_start,
    act_upgrade,
    check_backups,
    check_old_tree,
    ready_upgraded,
)
from tests.faults.world import World, put_in_place


@pytest.fixture
def host(site: Site, monkeypatch: pytest.MonkeyPatch) -> Host:
    world = World(site.root / "world")
    put_in_place(world, monkeypatch)
    (site.root / "pristine").mkdir()
    made = Host(site, world, site.root / "pristine")
    for version in (OLD, NEW):
        made.archive(version)
    return made


def sample(steps: list[str]) -> Iterator[int]:
    """The calls to strike at, counted from 1: all of them, or two in the middle of each run of the same step."""
    if FULL:
        yield from range(1, len(steps) + 1)
        return
    begun = 0
    for number, step in enumerate([*steps[1:], ""], start=1):
        if step != steps[begun]:
            middle = (begun + number + 1) // 2
            yield from {middle, min(middle + 1, number)}
            begun = number


@pytest.fixture(scope="module", autouse=True)
def rows() -> Iterator[dict[table.Key, str]]:
    """The rows that this run gives; kept when it ends."""
    found: dict[table.Key, str] = {}
    yield found
    table.keep(found)


QUICK = ("SIGKILL",)
STRIKES = [
    pytest.param(
        verb,
        fault,
        marks=[] if fault.name in QUICK else pytest.mark.slow,
        id=f"{verb.name}-{fault.name}".replace(" ", "-"),
    )
    for verb in VERBS.values()
    for fault in FAULTS
]


@pytest.mark.parametrize(("verb", "fault"), STRIKES)
def test_invariants_6_10_14_15_20_hold_whatever_call_a_fault_strikes_at(
    host: Host, verb: Verb, fault: Fault, rows: dict[table.Key, str]
) -> None:
    steps = calls_of(host, verb)
    assert set(verb.steps) <= set(steps)
    broken, sides = [], defaultdict[str, Counter[str]](Counter)
    for number in sample(steps):
        host.reset()
        struck, _ = in_child(host.world, host.journal, lambda: verb.act(host), fault, number)
        if struck.code == NOT_STRUCK:
            break
        try:
            sides[struck.step][strike_and_run_again(host, verb, fault, struck, number)] += 1
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            at = f"call {number}, {struck.step}, {WORDS.get(struck.code)} before {struck.call}"
            told = f"{type(error).__name__} {error} ({where.filename}:{where.lineno} {where.line})"
            broken.append(f"{at}: {told}\n{struck.text[-1500:]}")
    assert not broken, f"{len(broken)} of {len(steps)}\n" + "\n".join(broken[:8])
    for step, outcomes in sides.items():
        told = ", ".join(f"{side} ({count})" for side, count in sorted(outcomes.items(), reverse=True))
        rows[verb.name, step, fault.name, CALLS] = told


def calls_of(host: Host, verb: Verb) -> list[str]:
    """Make the host ready, and return the step of each call that the verb makes when nothing goes wrong."""
    verb.ready(host)
    host.keep()
    ended, steps = in_child(host.world, host.journal, lambda: verb.act(host))
    assert ended.code == ENDED, ended.text
    verb.check(host)
    host.reset()
    return steps


def strike_and_run_again(host: Host, verb: Verb, fault: Fault, struck: Struck, number: int) -> str:
    assert struck.code != BROKEN, struck.text
    check_backups(host)
    if verb.name in ("upgrade", "backup"):
        check_old_tree(host)
    if fault.power:
        host.world.lose_power(host.inst, host.by_hand)
        host.world.write()
    if struck.code in (ENDED, FAILED) and not host.journal.exists():
        verb.check(host)
    if number % 2 or struck.code == ENDED:
        verb.next(host)
        return verb.check(host)
    verb.act(host)
    return f"{verb.check(host)} by the same command"


def test_invariant_20_two_restores_in_one_second_keep_both_trees_that_they_replace(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that jumps back comes to the same second again, too."""
    verb = VERBS["restore"]
    calls_of(host, verb)
    now = time.gmtime()
    monkeypatch.setattr(time, "gmtime", lambda *words: now)
    verb.act(host)
    host.world.write()
    verb.act(host)
    assert verb.check(host) == "new"
    assert len(list((host.site.home / "releases").glob(".replaced-*"))) == 2


@pytest.mark.parametrize("at", ["stop", "start", "save"])
def test_invariant_15_rollback_that_was_killed_and_is_run_again_is_made_once(host: Host, at: str) -> None:
    verb = VERBS["rollback"]
    steps = calls_of(host, verb)
    last = len(steps) - steps[::-1].index(at)
    in_child(host.world, host.journal, lambda: verb.act(host), FAULTS[0], last)
    verb.act(host)
    assert verb.check(host) == "new"


def test_invariant_20_power_lost_right_after_the_switch_costs_no_write_to_the_new_release(host: Host) -> None:
    """The new release starts with the host; clients write to it before anybody runs dlsctl."""
    verb = VERBS["upgrade"]
    steps = calls_of(host, verb)
    last = len(steps) - steps[::-1].index("switch")
    in_child(host.world, host.journal, lambda: verb.act(host), FAULTS[1], last)
    host.world.lose_power(host.inst)
    host.world.write()
    act_start(host)
    assert verb.check(host) == "new"
    assert len(host.world.writes) == len(host.world.stored(host.new_release))


@pytest.mark.parametrize("step", ["switch", "start", "save"])
@pytest.mark.parametrize("name", ["adopt by rename", "adopt by copy"])
def test_invariant_20_power_lost_once_a_server_is_adopted_costs_no_write_to_it(
    host: Host, name: str, step: str
) -> None:
    """What starts it by hand at boot, such as rc.local, must find it no more: there would be two, with a store each."""
    verb = VERBS[name]
    steps = calls_of(host, verb)
    last = len(steps) - steps[::-1].index(step)
    in_child(host.world, host.journal, lambda: verb.act(host), FAULTS[1], last)
    host.world.lose_power(host.inst, host.by_hand)
    host.world.write()
    act_prune(host)
    assert verb.check(host) == "new"
    assert host.world.tree
    assert len(host.world.writes) == len(host.world.stored(host.world.tree))


def test_invariant_15_an_i_o_error_at_any_call_of_its_last_step_leaves_no_adoption_half_undone(host: Host) -> None:
    """How the folder was before is removed there, after which nothing can be given back as it was."""
    verb = VERBS["adopt by rename"]
    steps, fault = calls_of(host, verb), next(fault for fault in FAULTS if fault.once)
    for number in (number for number, step in enumerate(steps, start=1) if step == "save"):
        host.reset()
        in_child(host.world, host.journal, lambda: verb.act(host), fault, number)
        act_prune(host)
        verb.check(host)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_invariant_15_what_gets_a_name_that_counts_was_flushed_before(
    host: Host, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test here can take the power from a disk; but the order of flushes and renames can be watched."""
    calls_of(host, verb)
    flushed: set[int] = set()
    unflushed: list[str] = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(handle: int) -> None:
        flushed.add(os.fstat(handle).st_ino)
        fsync(handle)

    def watched_rename(source: str, target: str) -> None:
        path = Path(source)
        is_older = ".replaced" in target or path == host.by_hand  # and was there before
        new = [path, *path.rglob("*")] if not is_older and not path.is_symlink() else []
        unflushed.extend(str(each) for each in new if each.is_file() and each.stat().st_ino not in flushed)
        unflushed.extend(f"{each}/" for each in new if each.is_dir() and each.stat().st_ino not in flushed)
        rename(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    verb.act(host)
    assert unflushed == []


@pytest.mark.parametrize("code", ["failed", "killed"])
def test_invariant_15_release_that_stays_keeps_its_record_when_another_archive_of_it_fails(
    host: Host, code: str
) -> None:
    """A version that is there already is upgraded to again, from an archive with another content."""
    ready_upgraded(host)
    act_rollback(host)
    record = host.inst.release(NEW)
    tiny.build(host.site.root, NEW, before="issued = 'anew'")
    if code == "failed":
        host.world.sicken(NEW)
        with pytest.raises(Unhealthy):
            act_upgrade(host)
    else:
        _, steps = in_child(host.world, host.journal, lambda: act_upgrade(host), FAULTS[0], 10**6)
        act_rollback(host)
        tiny.build(host.site.root, NEW, before="issued = 'once more'")
        record = host.inst.release(NEW)
        in_child(host.world, host.journal, lambda: act_upgrade(host), FAULTS[0], steps.index("place") + 1)
        act_start(host)
    assert host.inst.release(NEW) == record
    assert {entry["path"] for entry in state(host.inst, NEW, fresh=True)} == {path for _, path in STATE}


def test_invariant_20_restore_that_dies_when_all_but_its_journal_is_gone_is_not_undone(host: Host) -> None:
    """Undone, it would put aside what clients have written to the restored server by then."""
    verb = VERBS["restore"]
    steps = calls_of(host, verb)
    last = len(steps) - steps[::-1].index("save")
    in_child(host.world, host.journal, lambda: verb.act(host), FAULTS[0], last)
    act_start(host)
    assert verb.check(host) == "new"
