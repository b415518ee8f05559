"""What is mounted where on this host."""

import re
from typing import List, Tuple

from dlsctl.host import read_proc

IN_MEMORY = ("tmpfs", "ramfs")  # kinds of file systems that are gone after a boot


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or below it."""
    return (path + "/").startswith(folder.rstrip("/") + "/")


def mounts() -> List[Tuple[str, str]]:
    """Mount points of this host, each with its kind of file system (proc(5), mountinfo), the latest last."""
    found = []
    for line in (read_proc("/proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal.group(1), 8)), left.split()[4])
        found.append((point, right.split()[0]))
    return found


def mount_of(path: str) -> Tuple[str, str]:
    """The mount point that a path is below of, and the kind of its file system."""
    holding = [pair for pair in reversed(mounts()) if is_within(path, pair[0])]
    return max(holding, key=lambda pair: len(pair[0]), default=("/", ""))


def in_memory(path: str) -> str:
    """The kind of the file system of a path that is gone after a boot; empty for one on a disk."""
    kind = mount_of(path)[1]
    return kind if kind in IN_MEMORY else ""
