"""A host whose server is simulated: dlsctl starts and stops it, and clients write to it at every system call of dlsctl.

The server is a tree of a release that has been started. A write is a number in the tree's data/store.log; it counts as
acknowledged once it is there, and is then noted outside the installation, with the tree (its inode) that took it.
"""

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import dlsctl.byhand
import dlsctl.mounts
from dlsctl.byhand import Way
from dlsctl.installation import Installation, Release
from dlsctl.problems import Unhealthy
from tests.dlsctl.replacing import replace

# The calls that the world itself makes: never counted, never failing, never the last of a process.
_open, _write, _close, _stat = os.open, os.write, os.close, os.stat
_mkdir, _symlink, _unlink = os.mkdir, os.symlink, os.unlink


OTHER_DISK = "other-disk"  # a folder that no rename leads out of


def append(path: Path, text: str) -> None:
    handle = _open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _write(handle, text.encode())
    _close(handle)


@dataclass(frozen=True)
class Write:
    """A client's write that was acknowledged: its number, and the inode of the tree that took it."""

    number: int
    tree: int


class World:
    """What is outside dlsctl. All of it is in a folder, so that it outlives a process that is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    # --- The server ---

    @property
    def _running(self) -> Path:
        return self.folder / "running"

    @property
    def tree(self) -> Path | None:
        """The tree that the server was started from, and is running."""
        try:
            return Path(os.readlink(self._running))  # noqa: PTH115 - the world is asked at every system call
        except OSError:
            return None

    def runs_from(self, folder: str) -> bool:
        return self.tree is not None and self.tree.is_relative_to(folder)

    def sicken(self, *versions: str) -> None:
        """Let the servers of these versions never get healthy."""
        (self.folder / "sick").write_text(json.dumps(versions))

    def is_sick(self, tree: Path) -> bool:
        path = self.folder / "sick"
        return path.exists() and any((tree / f"dls-{version}.jar").exists() for version in json.loads(path.read_text()))

    def start(self, tree: Path) -> None:
        """Start the server of a tree, as its start script would: one that is not whole does not start."""
        if self.tree is None and (tree / "startup.sh").is_file() and list(tree.glob("dls-*.jar")):
            _symlink(tree, self._running)
            with contextlib.suppress(FileExistsError):
                _mkdir(tree / "data")

    def stop(self) -> bool:
        was_running = self.tree is not None
        with contextlib.suppress(FileNotFoundError):
            _unlink(self._running)
        return was_running

    def lose_power(self, inst: Installation, by_hand: Path | None = None) -> None:
        """End everything; then a server by hand is started first, if its tree is still there, as rc.local would.

        Otherwise what supervises the server starts it again from where `current` points.
        """
        self.stop()
        if by_hand:
            self.start(by_hand)
        self.start(Path(inst.current_link).resolve())

    # --- Its clients ---

    def write(self) -> None:
        """A client's write, acknowledged; nothing where no server is running or the disk does not take it."""
        tree = self.tree
        if tree is None or self.is_sick(tree):
            return
        number = len(self.writes) + 1
        append(tree / "data" / "store.log", f"{number}\n")
        append(self.folder / "acknowledged", f"{number} {_stat(tree).st_ino}\n")

    @property
    def writes(self) -> list[Write]:
        path = self.folder / "acknowledged"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Write(*map(int, line.split())) for line in lines]

    def stored(self, tree: Path) -> list[int]:
        """The numbers in the store of a tree, in order."""
        path = tree / "data" / "store.log"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def put_in_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let dlsctl of this process start and stop the world's server, be it from a release or by hand."""

    def launch_process(inst: Installation, record: Release) -> None:
        world.start(Path(inst.release_dir(record["version"])))

    def portal_error(inst: Installation, *_: Any, **__: Any) -> str | None:
        tree = world.tree
        if tree is None:
            return "Connection refused"
        if not world.runs_from(inst.releases):
            return "an answer from another server"
        return "status 503" if world.is_sick(tree) else None

    def wait_healthy(inst: Installation, *_: Any, **__: Any) -> float:
        error = portal_error(inst)
        if error:
            raise Unhealthy("health", "must answer", error, "mend it")
        return 0.0

    parts: dict[str, Callable[..., Any]] = {
        "launch_process": launch_process,
        "server_processes": lambda inst: [1] if world.runs_from(inst.releases) else [],
        "portal_error": portal_error,
        "wait_healthy": wait_healthy,
        "stop": lambda inst: world.runs_from(inst.releases) and world.stop(),
        "confirm_access": lambda inst: None,
        "confirm_sight": lambda inst: None,
    }
    for name, part in {**parts, **parts_by_hand(world)}.items():
        replace(monkeypatch, name, part)
    monkeypatch.setattr(dlsctl.mounts, "IN_MEMORY", ())  # where tests write may be one
    monkeypatch.setattr(dlsctl.byhand, "STARTERS", ())


def parts_by_hand(world: World) -> dict[str, Callable[..., Any]]:
    """What stands in for the parts of dlsctl that know a server by hand."""

    def start_by_hand(inst: Installation, folder: str, *_: Any) -> None:
        world.start(Path(folder))
        if not world.runs_from(folder):
            raise Unhealthy(folder, "must answer", str(world.tree), "start it by hand")

    return {
        "way_of": lambda folder, line: Way(world.runs_from(folder), None, None),
        "page_error": lambda *_: None if world.tree else "Connection refused",
        "told_process": lambda folder: "process 1" if world.runs_from(folder) else None,
        "stop_by_hand": lambda inst, folder, way: world.runs_from(folder) and world.stop(),
        "start_by_hand": start_by_hand,
        "is_renamable": lambda folder, into: Path(folder).parent.name != OTHER_DISK,
    }
