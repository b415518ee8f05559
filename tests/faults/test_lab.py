"""Faults on a lab host: the stand-in around a real Java, systemd, SSH, and clients that write all along.

`./dls test --only faults` runs a short set, with `--full` every verb at every step with every fault. What the lab
cannot prove: that what was flushed outlives a loss of power. `docker kill` takes the processes, not the page cache.
"""

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from dlsctl.problems import EXIT_BLOCKED, EXIT_DIFFERS, EXIT_OK, EXIT_UNHEALTHY
from tests.faults import table
from tests.faults.cases import MISBEHAVING, POINTS, STRUCK, YEAR, Case, chosen
from tests.faults.lab import ARCHIVES, DEADLINE, DLSCTL, NEW, OLD, LabHost
from tests.lab import engine, hosts, images

pytestmark = pytest.mark.slow

FILL = """
for folder in /opt/dls /var/backups/dls; do cat /dev/zero >$folder/filler 2>/dev/null || true; done
"""
FREE = "rm -f /opt/dls/filler /var/backups/dls/filler"
READ_ONLY = """
for folder in /opt/dls /var/backups/dls; do mount --bind $folder $folder; mount -o remount,ro,bind $folder; done
"""
WRITABLE = """
for folder in /opt/dls /var/backups/dls; do mount -o remount,rw,bind $folder; umount -l $folder; done
"""
SPACE = 330  # MiB: what an upgrade is refused without, and little more
PATIENCE = 30  # seconds, with servers that never get healthy
READY = {"backup": "running", "restore": "running", "upgrade": "running", "rollback": "upgraded"}
rows: dict[table.Key, str] = {}


@pytest.fixture(scope="module", autouse=True)
def keep_rows() -> Iterator[None]:
    yield
    table.keep(rows)


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHost]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    made, client = hosts.Lab("faults"), engine.connect()
    if "DLS_LAB_KEEP" in os.environ and made.inventory.exists():
        yield LabHost(made)  # as an earlier run has left it
    else:
        hosts.up(client, made, {"lab-faults": os.environ.get(images.PLATFORM) or "debian12"})
        host = LabHost(made)
        host.install()
        yield host
    if "DLS_LAB_KEEP" not in os.environ:
        hosts.down(client, made)


@pytest.mark.parametrize("case", chosen(STRUCK), ids=str)
def test_invariants_6_14_15_20_hold_after_a_fault_at_a_step(lab: LabHost, case: Case) -> None:
    before = lab.reset(READY[case.verb], size=SPACE if case.fault == "disk full" else 0)
    point = dict(POINTS[case.verb][case.step])
    if case.fault.startswith("clock"):
        point["jump"] = YEAR if case.fault.endswith("forward") else -YEAR
    with lab.frozen(lab.words(case.verb), point) as asking:
        if not point["jump"]:  # for which nothing has stopped
            check_store(before, lab.look())
        strike(lab, case.fault, asking)
        said = ""
        if case.fault not in ("connection cut", "power loss"):
            said = asking.communicate(timeout=DEADLINE)[0]
    lab.wait_idle()
    if case.fault in ("SIGKILL", "power loss"):
        lab.wait_whole()  # without anybody doing anything
    lift(lab, case.fault)
    again = lab.run(f"{DLSCTL} restart")
    assert again.returncode == EXIT_OK, again.stderr[-2000:] + said
    outcome = check(lab, case, before)
    if case.fault in ("connection cut", "clock jumps forward", "clock jumps back"):
        assert outcome.startswith("new"), f"it goes on as if nothing had been, but said: {said}"
    rows[case.key] = outcome


def strike(lab: LabHost, fault: str, asking: Any) -> None:
    if fault == "SIGKILL":
        lab.kill_worker()
    elif fault == "power loss":
        lab.lose_power()
    elif fault == "connection cut":
        lab.cut(asking)
    elif fault == "disk full":
        lab.shell(FILL)
    elif fault == "read-only file system":
        lab.shell(READ_ONLY)
    if fault in ("connection cut", "disk full", "read-only file system"):
        lab.go_on()


def lift(lab: LabHost, fault: str) -> None:
    """End the fault, as an administrator would."""
    if fault == "disk full":
        lab.shell(FREE)
    elif fault == "read-only file system":
        lab.shell(WRITABLE)


@pytest.mark.parametrize("case", chosen(MISBEHAVING), ids=str)
def test_invariants_8_16_20_hold_with_a_server_that_misbehaves(lab: LabHost, case: Case) -> None:
    archive = {
        "server never gets healthy": "never healthy",
        "server ends at once": "ends at once",
        "server refuses the state": "refuses the state",
        "server changes its UUID": "another UUID",
    }.get(case.fault, "good")
    archive = archive if case.verb == "upgrade" else "good"
    assert archive in ARCHIVES
    properties = "/opt/dls/releases/standin.properties"
    told = "stop.delay=60" if case.fault == "server hangs on stop" else ""
    arrange = f"echo {told} >{properties}; chmod 644 {properties}"
    before = lab.reset(READY[case.verb], arrange=arrange, patience=PATIENCE)
    uuid = uuid_of(lab)
    if case.fault == "server never gets healthy" and case.verb != "upgrade":
        lab.shell(f"echo health.status=503 >{properties}")  # for those that start from now on
    done = lab.run(lab.words(case.verb, archive))
    if case.fault == "server never gets healthy" and case.verb != "upgrade":
        # The one that was there does not get healthy either: this blocks, until the cause is mended.
        assert done.returncode == EXIT_BLOCKED, done.stderr
        assert "HINT: mend the cause, then run any command again" in done.stderr
        assert lab.run(f"{DLSCTL} backup").returncode == EXIT_BLOCKED
        lab.shell(f"rm {properties}; systemctl stop dynamsoft-dls")
        assert lab.run(f"{DLSCTL} start").returncode == EXIT_OK
    elif case.fault in ("server hangs on stop", "server changes its UUID"):
        assert done.returncode == EXIT_OK, done.stderr
    else:
        assert done.returncode == EXIT_UNHEALTHY, done.stdout + done.stderr
    outcome = check(lab, case, before)
    if case.fault == "server changes its UUID":
        lab.shell(f"{DLSCTL} identity --uuid {uuid}")
        changed = uuid_of(lab)
        assert changed != uuid
        assert lab.run(f"{DLSCTL} identity --uuid {changed}").returncode == EXIT_DIFFERS
        lab.shell(f"{DLSCTL} rollback")
        assert uuid_of(lab) == uuid
        outcome += "; told when the UUID is compared, and a rollback brings the old one back"
    expected = "new" if case.fault in ("server hangs on stop", "server changes its UUID") else "old"
    assert outcome.startswith(expected), "16: without health the old release is back"
    rows[case.key] = outcome


def uuid_of(lab: LabHost) -> str:
    """The UUID of the running server: its log tells it after each start."""
    return str(re.findall(r"UUID: (\S+)", lab.shell("cat /opt/dls/current/logs/dls.log"))[-1])


# --- Check ---


def check_store(before: dict[str, Any], after: dict[str, Any]) -> None:
    """6 and 10: what was in the store is there as it was."""
    now = after["backups"]
    assert {name: now.get(name) for name in before["backups"]} == before["backups"]


def check(lab: LabHost, case: Case, before: dict[str, Any]) -> str:
    """Check the host and return on which side of the verb it is."""
    status, found = lab.ask("status"), lab.look()
    assert status["healthy"], "15: the server runs"
    assert "journal.json" not in found["kit"], "15: nothing is left half done"
    assert not [name for name in found["kit"] if name.startswith("copy-")]
    assert ".next" not in found["trees"]
    check_store(before, found)
    listed = {backup["name"] for backup in lab.ask("backups")["backups"]}
    assert listed == {name for name in found["backups"] if name[0].isdigit()}, "6: only what is whole has a name"
    lab.shell(f"{DLSCTL} verify-backup --all")
    changed = [entry for entry in lab.ask("state")["state"] if not entry["path"].startswith(("data", "logs"))]
    assert changed == [], "15: all vendor files are of one release"
    return check_writes(case, before, found, listed)


def check_writes(case: Case, before: dict[str, Any], found: dict[str, Any], listed: set[str]) -> str:
    """20: every acknowledged write is where it belongs; returns which tree is in use."""
    trees, current = found["trees"], found["current"]
    by_inode = {tree["inode"]: name for name, tree in trees.items()}
    stored = {name: set(tree["stored"]) for name, tree in trees.items()}
    everywhere = set().union(*stored.values())
    for number, inode in found["acknowledged"]:
        assert number in (stored[by_inode[inode]] if inode else everywhere), f"20: write {number} is kept"
    in_use = trees[current]["stored"]
    assert in_use == sorted(set(in_use)), "20: each write once, in order"
    was = before["trees"][before["current"]]
    moved = trees[current]["inode"] != was["inode"]
    taken = {number for number, inode in found["acknowledged"] if inode == was["inode"]}
    if case.verb in ("backup", "upgrade") or not moved:
        missing = taken - set(in_use)
        assert not missing, f"20: {len(missing)} of {len(taken)} writes are not in use"
    if case.verb == "backup":
        assert current == OLD
        return (
            f"new: {len(listed) - len(before['backups'])} more backup"
            if len(listed) > len(before["backups"])
            else "old"
        )
    if case.verb in ("upgrade", "rollback"):
        sides = {OLD: "old", NEW: "new"} if case.verb == "upgrade" else {OLD: "new", NEW: "old"}
        assert moved == (sides[current] == "new")
    return "new" if moved else "old"
