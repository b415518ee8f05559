"""What the lab writes down of what Wine is not: firewall, tasks, rights. The lab's modules have this file too.

It is a record of what was asked for, and proves no more than that. Most of it is JSON below the prefix, by kind and
name. What belongs to a file is an attribute of the file, so that it goes where the file goes, and with it.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import paths

SYSTEM, ADMINISTRATORS, USERS = "S-1-5-18", "S-1-5-32-544", "S-1-5-32-545"
# What the root of a drive lets everybody do, and all below it that does not say otherwise.
OF_A_DRIVE = {SYSTEM: {"FullControl"}, ADMINISTRATORS: {"FullControl"}, USERS: {"ReadAndExecute"}}


@contextlib.contextmanager
def changing(prefix: Path, kind: str) -> Iterator[dict[str, Any]]:
    """What is written down of a kind, by name; what the caller changes is kept."""
    path = prefix / "lab" / f"{kind}.json"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = json.loads(file.read() or "{}")
        yield known
        file.truncate(0)
        file.write(json.dumps(known, indent=1))


def read(prefix: Path, kind: str) -> dict[str, Any]:
    with changing(prefix, kind) as known:
        return dict(known)


def write(prefix: Path, kind: str, values: dict[str, Any]) -> None:
    """Add to what is written down, as a test does that wants another Windows."""
    with changing(prefix, kind) as known:
        known.update(values)


def rules(prefix: Path) -> dict[str, Any]:
    """The rules of the firewall by name, with the options of win_firewall_rule."""
    return read(prefix, "firewall")


def tasks(prefix: Path) -> dict[str, Any]:
    """The scheduled tasks by folder and name, with the options of win_scheduled_task."""
    return read(prefix, "tasks")


def noted(path: Path, name: str) -> Any:
    """What is noted of a file under a name, None where nothing is."""
    try:
        return json.loads(os.getxattr(path, f"user.lab.{name}"))
    except OSError:
        return None


def note(path: Path, name: str, value: Any) -> None:
    os.setxattr(path, f"user.lab.{name}", json.dumps(value).encode())


def access(prefix: Path, path: str) -> dict[str, set[str]]:
    """Who is allowed what on a file or folder, by SID: by its own rules, and by those above that it inherits."""
    here = paths.native(prefix, path)
    found: dict[str, set[str]] = {}
    inherited = "ContainerInherit" if here.is_dir() else "ObjectInherit"
    own, drives = True, set(paths.drives(prefix).values())
    while True:
        for rule in noted(here, "rights") or []:
            if rule["type"] == "allow" and (own or inherited in rule["inherit"]):
                found.setdefault(rule["user"], set()).update(rule["rights"])
        if noted(here, "closed"):
            return found
        if here in drives:
            return {user: found.get(user, set()) | OF_A_DRIVE.get(user, set()) for user in {*found, *OF_A_DRIVE}}
        own, here = False, here.parent
