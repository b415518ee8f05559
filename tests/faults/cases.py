"""The cases of the lab: every verb, at every step of its journal, with every fault; and servers that misbehave."""

import os
from dataclasses import dataclass
from typing import Any

from tests.faults.calls import FAULTS
from tests.faults.table import Key
from tests.faults.verbs import VERBS

YEAR = 365 * 86400  # seconds
LAB, CALLS = "lab host", "each call"
FULL = bool(os.environ.get("DLS_FULL"))


def journal(step: str | None) -> dict[str, Any]:
    return {"call": "rename", "path": "/kit/journal.json$", "step": step, "jump": 0}


def done(call: str, path: str) -> dict[str, Any]:
    return {"call": call, "path": path, "step": None, "jump": 0}


# Where dlsctl stops itself: after the call that makes it so. A backup's journal has one entry, so its steps are those
# of its files.
SWITCH = ("stage", "stop", "place", "switch", "start", "save")
POINTS: dict[str, dict[str, dict[str, Any]]] = {
    "backup": {
        "begin": journal(None),
        "copy": done("mkdir", r"/kit/copy-[^/]+/release$"),
        "start": done("rename", r"/kit/started\.json$"),
        "save": done("open", r"\.partial/state\.tar"),
        "publish": done("rename", r"/var/backups/dls/[0-9][^/]+$"),
    },
    "restore": {step: journal(step) for step in SWITCH},
    "upgrade": {step: journal(step) for step in SWITCH},
    "rollback": {step: journal(step) for step in ("stage", "stop", "start", "save")},
}
LAB_FAULTS = (
    "SIGKILL",
    "connection cut",
    "power loss",
    "disk full",
    "read-only file system",
    "clock jumps forward",
    "clock jumps back",
)
# What is wrong with the server, and with which verbs that is tried.
SERVERS = {
    "server hangs on stop": ("backup", "restore", "upgrade", "rollback"),
    "server never gets healthy": ("restore", "upgrade", "rollback"),
    "server ends at once": ("upgrade",),
    "server refuses the state": ("upgrade",),
    "server changes its UUID": ("upgrade",),
}


@dataclass(frozen=True)
class Case:
    """One row of the table that a lab host gives."""

    verb: str
    step: str
    fault: str

    @property
    def key(self) -> Key:
        return (self.verb, self.step, self.fault, LAB)

    def __str__(self) -> str:
        return f"{self.verb}-{self.step}-{self.fault}".replace(" ", "-")


STRUCK = [Case(verb, step, fault) for verb, points in POINTS.items() for step in points for fault in LAB_FAULTS]
MISBEHAVING = [Case(verb, "all", fault) for fault, verbs in SERVERS.items() for verb in verbs]
SHORT = {
    *(Case("upgrade", step, "SIGKILL") for step in SWITCH),
    Case("backup", "copy", "SIGKILL"),
    Case("backup", "save", "disk full"),
    Case("restore", "switch", "SIGKILL"),
    Case("restore", "place", "power loss"),
    Case("rollback", "start", "SIGKILL"),
    Case("upgrade", "place", "connection cut"),
    Case("upgrade", "switch", "power loss"),
    Case("upgrade", "place", "disk full"),
    Case("upgrade", "place", "read-only file system"),
    Case("upgrade", "stop", "clock jumps back"),
    *(Case("upgrade", "all", fault) for fault in SERVERS),
}


def chosen(cases: list[Case]) -> list[Case]:
    return [case for case in cases if FULL or case in SHORT]


def required_keys() -> list[Key]:
    """The rows that the default run gives."""
    short = {case.key for case in SHORT}
    return [key for key in all_keys() if key[3] == CALLS or key in short]


def all_keys() -> list[Key]:
    """Every row that the table must have, in its order."""
    keys: list[Key] = []
    for verb in VERBS.values():
        keys += [case.key for case in STRUCK + MISBEHAVING if case.verb == verb.name]
        keys += [(verb.name, step, fault.name, CALLS) for step in verb.steps for fault in FAULTS]
    return keys
