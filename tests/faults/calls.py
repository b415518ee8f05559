"""Run dlsctl in a child in which a fault strikes right before a system call that changes something.

What counts are the calls of Python's `os` by which dlsctl changes files, in the order in which it makes them. Clients
write to the world's server before each of them.
"""

import builtins
import errno
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsctl.problems import Blocked, Problem
from tests.faults.world import World

ALLOCATING = ("open", "mkdir", "symlink", "link", "fsync")  # of which a full disk makes errors
CHANGING = (
    *ALLOCATING,
    *("rename", "replace", "unlink", "remove", "rmdir", "chmod", "chown", "fchmod", "fchown", "utime"),
    *("truncate", "ftruncate"),
)
YEAR = 365 * 86400  # seconds

ENDED, FAILED, BLOCKED, BROKEN, KILLED, NOT_STRUCK = 0, 1, 2, 3, 9, 10  # how a child ended
WORDS = {ENDED: "done", FAILED: "failed", BLOCKED: "blocked", KILLED: "killed"}


@dataclass(frozen=True)
class Fault:
    """What goes wrong from a call on. `calls` fail with `error`, or the process dies, or its clock jumps."""

    name: str
    calls: tuple[str, ...] = ()
    error: int = 0
    once: bool = False
    jump: int = 0
    power: bool = False


FAULTS = [
    Fault("SIGKILL"),
    Fault("power loss", power=True),
    Fault("disk full", ALLOCATING, errno.ENOSPC),
    Fault("read-only file system", CHANGING, errno.EROFS),
    Fault("one I/O error", CHANGING, errno.EIO, once=True),
    Fault("clock jumps forward", jump=YEAR),
    Fault("clock jumps back", jump=-YEAR),
]


@dataclass(frozen=True)
class Struck:
    """How a child ended, at which step of the journal the fault struck, and right before which call."""

    code: int
    step: str
    call: str
    text: str


class Injector:
    """Counts the calls of this process, and lets the fault strike at one of them."""

    def __init__(self, world: World, journal: Path, fault: Fault | None, number: int) -> None:
        self.world, self.journal, self.fault, self.number = world, journal, fault, number
        self.count, self.began = 0, False
        self.steps: list[str] = []
        self.originals = {name: getattr(os, name) for name in CHANGING}

    def install(self) -> None:
        for name in CHANGING:
            setattr(os, name, self._hooked(name, self.originals[name]))
        opened = builtins.open

        def hooked_open(file: Any, mode: str = "r", *words: Any, **options: Any) -> Any:
            if isinstance(file, (str, Path)) and set(mode) & set("wax+") and "opener" not in options:
                self.before("open", file)
            return opened(file, mode, *words, **options)

        builtins.open = hooked_open

    def _hooked(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def hooked(*words: Any, **options: Any) -> Any:
            if name != "open" or words[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                self.before(name, *words)
            return original(*words, **options)

        return hooked

    def before(self, name: str, *words: Any) -> None:
        self.count += 1
        step = self.step()
        self.steps.append(step)
        struck = self.fault is not None and self.number and self.count >= self.number
        if not (struck and self.fault and self.fault.error):
            self.world.write()
        if struck and self.fault:
            self.strike(self.fault, name, f"{name} {words[0] if words else ''}", step)

    def strike(self, fault: Fault, name: str, call: str, step: str) -> None:
        if self.count == self.number:
            record = {"step": step, "call": call}
            (self.world.folder / "struck").write_text(json.dumps(record))
            if fault.jump:
                self.jump(fault.jump)
            elif not fault.calls:
                os._exit(KILLED)
        if name in fault.calls and (self.count == self.number or not fault.once):
            raise OSError(fault.error, os.strerror(fault.error))

    def jump(self, seconds: int) -> None:
        real, split = time.time, time.gmtime
        time.time = lambda: real() + seconds
        time.gmtime = lambda *words: split(*words) if words else split(real() + seconds)

    def step(self) -> str:
        """The step that the verb has reached: what its journal says, or else which of its functions is at work."""
        functions = set()
        frame = sys._getframe(1)
        while frame.f_back:
            functions.add(frame.f_code.co_name)
            frame = frame.f_back
        try:
            facts = json.loads(self.journal.read_bytes())["facts"]
        except OSError:
            return "after" if self.began else "before"
        self.began = True
        phases = {"copy_all": "copy", "start": "start", "save": "save", "rmtree": "remove"}
        found = next((word for name, word in phases.items() if name in functions), "begin")
        return str(facts.get("step") or found)


def in_child(
    world: World, journal: Path, action: Callable[[], None], fault: Fault | None = None, number: int = 0
) -> tuple[Struck, list[str]]:
    """Run `action` in a child, the fault striking right before its Nth call; returns how it ended, and its steps."""
    (world.folder / "struck").unlink(missing_ok=True)
    report = world.folder / "report"
    child = os.fork()
    if child == 0:
        code, text = BROKEN, ""
        injector = Injector(world, journal, fault, number)
        try:
            injector.install()
            action()
            code = ENDED
        except Blocked as problem:
            code, text = BLOCKED, str(problem)
        except (Problem, OSError) as problem:
            code, text = FAILED, "".join(traceback.format_exception(problem))
        except BaseException as error:
            text = "".join(traceback.format_exception(error))
        finally:
            for name, original in injector.originals.items():
                setattr(os, name, original)
            append_report(report, {"steps": injector.steps, "text": text})
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    told: dict[str, Any] = json.loads(report.read_text()) if code != KILLED else {"steps": [], "text": ""}
    struck = world.folder / "struck"
    if not struck.exists():
        return Struck(code if code == BROKEN or fault is None else NOT_STRUCK, "", "", told["text"]), told["steps"]
    where = json.loads(struck.read_text())
    return Struck(code, where["step"], where["call"], told["text"]), told["steps"]


def append_report(path: Path, value: dict[str, Any]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(handle, json.dumps(value).encode())
    os.close(handle)
