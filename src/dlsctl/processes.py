"""The server's processes."""

import os
from typing import List, Optional

from dlsctl.host import parent_of, process_ages, unit_properties
from dlsctl.installation import Installation


def server_processes(inst: Installation) -> List[int]:
    """Process ids of everything that runs from a release of this installation, with all descendants, in order."""
    return processes_below(inst.releases)


def processes_below(folder: str) -> List[int]:
    """Process ids of everything that runs from below a folder, with all descendants, in order.

    Only processes that this user may look into are found.
    """
    base = os.path.realpath(folder) + "/"
    parents = {pid: parent_of(pid) for pid in (int(name) for name in os.listdir("/proc") if name.isdigit())}
    found = {pid for pid in parents if pid != os.getpid() and runs_from(pid, base)}
    while True:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        if not children:
            return sorted(found)
        found |= children


def runs_from(pid: int, base: str) -> bool:
    """Whether a process's program is a file below `base`, be it a binary or a script run by a shell."""
    process = "/proc/{}/".format(pid)
    try:
        if os.readlink(process + "exe").startswith(base):
            return True
        folder = os.readlink(process + "cwd") + "/"
        with open(process + "cmdline", "rb") as stream:
            words = stream.read().decode(errors="replace").split("\0")
    except OSError:
        return False
    if os.path.basename(words[0]) not in ("sh", "dash", "bash") or len(words) < 2:
        return False
    named = words[words.index("-c") + 2 :] if "-c" in words[1:-2] else words[1:]
    script = os.path.realpath(os.path.join(folder, named[0]))
    return script.startswith(base) and os.path.isfile(script)


def is_running(inst: Installation) -> bool:
    if inst.supervisor == "systemd":
        return unit_properties(inst.service).get("ActiveState") in ("active", "activating", "reloading")
    return bool(server_processes(inst))


def server_age(inst: Installation) -> Optional[float]:
    """Seconds since the server's first process started (proc(5): field 22 of stat, in clock ticks), or None."""
    return max(process_ages(server_processes(inst)), default=None)
