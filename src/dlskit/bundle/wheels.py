"""The packages of the control node: those of a lock file, chosen for other Pythons and machines than this one.

pip takes the markers of a lock file for the Python that it runs on, so they are resolved here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

from dlskit.bundle import tools
from dlskit.bundle.content import Content, Source

FOLDER = "wheels"
PIP = Path(__file__).with_name("pip.lock")
OLDEST_GLIBC = 5  # 2.5, of manylinux1
LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
HINT = "check the network and PIP_INDEX_URL, then run the same again: pip keeps what it has fetched"


def locked(lock: str, python: str, machine: str) -> list[str]:
    """Return the requirements of a lock file's text, with hashes, that hold for a Python such as 3.11 on Linux."""
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
    }
    found = []
    for line in re.sub(r"\\\n\s*", "", re.sub(r"(?m)^\s*#.*\n", "", lock)).splitlines():
        text, *hashes = line.split(" --hash=")
        requirement = Requirement(text.strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found.append(" --hash=".join([f"{requirement.name}{requirement.specifier}", *(h.strip() for h in hashes)]))
    return found


def tags(platform: str) -> list[str]:
    """Return the platforms whose wheels run on one such as manylinux_2_28_x86_64: those of its glibc and older ones."""
    _, _, minor, machine = platform.split("_", 3)
    found = []
    for glibc in range(int(minor), OLDEST_GLIBC - 1, -1):
        found.append(f"manylinux_2_{glibc}_{machine}")
        if glibc in LEGACY:
            found.append(f"{LEGACY[glibc]}_{machine}")
    return found


def download(requirements: list[str], options: list[str], scratch: Path) -> None:
    """Have pip fetch wheels by their hashes into a folder. Raises Problem."""
    scratch.mkdir(parents=True, exist_ok=True)
    lines = scratch.with_name(scratch.name + ".txt")
    lines.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    fixed = ["--quiet", "--no-input", "--no-deps", "--require-hashes", "--only-binary=:all:", f"--dest={scratch}"]
    tools.run([sys.executable, "-m", "pip", "download", *fixed, *options, f"--requirement={lines}"], HINT)


def add(content: Content, lock: Path, pythons: tuple[str, ...], platforms: tuple[str, ...], scratch: Path) -> None:
    """Put the wheels of a lock file, and pip's, for every Python on every platform into a bundle."""
    text = lock.read_text(encoding="utf-8") + PIP.read_text(encoding="utf-8")
    for python in pythons:
        for platform in platforms:
            options = [f"--platform={tag}" for tag in tags(platform)]
            options += ["--implementation=cp", f"--python-version={python}"]
            download(locked(text, python, platform.split("_", 3)[3]), options, scratch)
    for wheel in scratch.glob("*.whl"):
        name, version, *_ = parse_wheel_filename(wheel.name)
        content.add(f"{FOLDER}/{wheel.name}", Source(f"pkg:pypi/{name}@{version}", wheel))
