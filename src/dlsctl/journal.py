"""Lock and journal: one change at a time, and none is left half done."""

import contextlib
import fcntl
import os
import sys
from typing import Any, Callable, Dict, Iterator, Optional

from dlsctl.files import read_json, sync_folder, write_json
from dlsctl.host import utc_now
from dlsctl.installation import Installation
from dlsctl.problems import Blocked, Busy, Problem, Refused, one_line

Recovery = Callable[[Installation, Dict[str, Any]], None]
RECOVERIES: Dict[str, Recovery] = {}  # by verb


def recovers(verb: str) -> Callable[[Recovery], Recovery]:
    """Register a function that undoes or finishes what `verb` has begun, from the facts that its journal holds."""

    def register(function: Recovery) -> Recovery:
        RECOVERIES[verb] = function
        return function

    return register


@contextlib.contextmanager
def locked(inst: Installation) -> Iterator[None]:
    """Hold the installation's lock; refuse at once when another process holds it. Unfinished work is undone first."""
    for folder in (inst.home, inst.kit, os.path.join(inst.kit, "releases"), inst.releases, inst.archives):
        if not os.path.isdir(folder):
            os.makedirs(folder, 0o755)
    handle = os.open(os.path.join(inst.kit, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        take_lock(inst, handle)
        os.ftruncate(handle, 0)
        with contextlib.suppress(OSError):  # only a note for others; a full disk is no reason to refuse an uninstall
            os.pwrite(handle, "process {} ({})\n".format(os.getpid(), " ".join(sys.argv[1:3])).encode(), 0)
        recover(inst)
        yield
    finally:
        os.close(handle)


def take_lock(inst: Installation, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(handle, 100, 0).decode(errors="replace").strip()
        raise Busy(
            inst.home, "must not be changed by two at a time", "held by " + holder, "wait until it has ended"
        ) from None


def busy_problems(inst: Installation) -> Iterator[Problem]:
    """Whether another dlsctl is at work. Changes nothing."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        handle = os.open(os.path.join(inst.kit, "lock"), os.O_RDWR | os.O_CLOEXEC)
        try:
            take_lock(inst, handle)
        except Busy as problem:
            yield problem
        finally:
            os.close(handle)


@contextlib.contextmanager
def journaled(inst: Installation, verb: str, **facts: Any) -> Iterator[None]:
    """Record on disk that `verb` has begun; the record goes when the block ends without an error.

    A process that dies inside the block leaves the record, and `recover` undoes or finishes the work.
    """
    path = os.path.join(inst.kit, "journal.json")
    write_json(path, {"verb": verb, "facts": facts, "begun": utc_now()}, 0o600)
    try:
        yield
    except BaseException:
        RECOVERIES[verb](inst, facts)
        os.unlink(path)
        raise
    os.unlink(path)
    sync_folder(inst.kit)


def recover(inst: Installation) -> Optional[str]:
    """Undo or finish what a process that died has left; returns the verb, or None where nothing was left."""
    path = os.path.join(inst.kit, "journal.json")
    try:
        journal = read_json(path)
        if journal is None:
            return None
        verb, facts = str(journal["verb"]), dict(journal["facts"])
    except (Refused, KeyError, TypeError, ValueError) as error:
        raise Blocked(
            path,
            "must say what an earlier run has begun",
            str(error).splitlines()[0],
            "look at the releases; remove the file if none is half done",
        ) from None
    if verb not in RECOVERIES:
        raise Blocked(path, "must be of a verb this dlsctl knows", one_line(verb), "run the newer dlsctl that wrote it")
    RECOVERIES[verb](inst, facts)
    os.unlink(path)
    return verb
