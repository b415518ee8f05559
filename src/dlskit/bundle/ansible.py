"""The Ansible collections that playbooks for Windows need, from the package that carries them all."""

from __future__ import annotations

import zipfile
from pathlib import Path

from dlsctl.problems import Refused
from dlskit.bundle import wheels
from dlskit.bundle.content import Content, Source

FOLDER = "collections"  # for ANSIBLE_COLLECTIONS_PATH
LOCK = Path(__file__).with_name("collections.lock")


def add(content: Content, names: tuple[str, ...], scratch: Path) -> None:
    """Put collections into a bundle. Raises Refused for one that the package does not have."""
    if not names:
        return
    requirement = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    wheels.download(requirement, [], scratch)
    (wheel,) = scratch.glob("ansible-*.whl")
    origin = "pkg:pypi/" + requirement[0].split(" ")[0].replace("==", "@")
    with zipfile.ZipFile(wheel) as package:
        for name in names:
            start = f"ansible_collections/{name.replace('.', '/')}/"
            members = [entry for entry in package.infolist() if entry.filename.startswith(start) and not entry.is_dir()]
            if not members:
                hint = "name one that `ansible-galaxy collection list` shows where the package is installed"
                raise Refused("collections", f"must be in {origin}", name, hint)
            for member in members:
                content.add(f"{FOLDER}/{member.filename}", Source(origin, data=package.read(member)))
