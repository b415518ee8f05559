"""Lock and journal: one change at a time, and none is left half done."""

import contextlib
import fcntl
import importlib
import os
import sys
from typing import Any, Callable, Dict, Iterator, Optional

from dlsctl.files import read_json, sync_folder, write_json
from dlsctl.host import utc_now, wait_until
from dlsctl.installation import Installation
from dlsctl.problems import Blocked, Busy, Problem, Refused, one_line
from dlsctl.results import Result, done, failed, keep_result

# Returns what was done where it has finished the work, None where it has undone it.
Recovery = Callable[[Installation, Dict[str, Any]], Optional[Dict[str, Any]]]
RECOVERIES: Dict[str, Recovery] = {}  # by verb


def recovers(verb: str) -> Callable[[Recovery], Recovery]:
    """Register a function that undoes or finishes what `verb` has begun, from the facts that its journal holds."""

    def register(function: Recovery) -> Recovery:
        RECOVERIES[verb] = function
        return function

    return register


@contextlib.contextmanager
def locked(inst: Installation) -> Iterator[Optional[str]]:
    """Hold the installation's lock; refuse at once when another process holds it.

    What an interrupted run has left is undone or finished first; the value is its verb, or None.
    """
    before = os.umask(0o022)  # what the server's user has to pass, he can; what he must not see has its own mode
    for folder in (inst.home, inst.kit, os.path.join(inst.kit, "releases"), inst.releases, inst.archives):
        if not os.path.isdir(folder):
            os.makedirs(folder, 0o755)
    handle = os.open(os.path.join(inst.kit, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        take_lock(inst, handle)
        os.ftruncate(handle, 0)
        with contextlib.suppress(OSError):  # only a note for others; a full disk is no reason to refuse an uninstall
            os.pwrite(handle, "process {} ({})\n".format(os.getpid(), " ".join(sys.argv[1:3])).encode(), 0)
        yield recover(inst)
    finally:
        os.close(handle)
        os.umask(before)


def take_lock(inst: Installation, handle: int) -> None:
    """Take the lock. Whoever only asks whether it is free holds it for a moment: that is waited for."""

    def take() -> bool:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    if not wait_until(take, 0.3):
        holder = os.pread(handle, 100, 0).decode(errors="replace").strip()
        raise Busy(inst.home, "must not be changed by two at a time", "held by " + holder, "wait until it has ended")


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


class Journal:
    """What a verb has begun, on disk: its facts, among them `step`, the one that it has reached."""

    def __init__(self, inst: Installation, verb: str, facts: Dict[str, Any]) -> None:
        self.path, self.verb, self.facts, self.begun = journal_path(inst), verb, facts, utc_now()
        self.run = inst.run_name

    def note(self, **facts: Any) -> None:
        """Add facts, flushed to disk."""
        self.facts.update(facts)
        write_json(self.path, {"verb": self.verb, "facts": self.facts, "begun": self.begun, "run": self.run}, 0o600)


UNDO = "undo"  # the step of a verb that has failed: what it did is undone, and it is not gone on with


@contextlib.contextmanager
def journaled(inst: Installation, verb: str, **facts: Any) -> Iterator[Journal]:
    """Record on disk that `verb` has begun; the record goes when the block ends without an error.

    Where the block fails, the verb's recovery undoes its work, with UNDO as the step. A process that dies inside the
    block leaves the record, and `recover` undoes or finishes the work. A recovery that fails leaves it too: then
    nothing else is begun until a recovery has succeeded.
    """
    journal = Journal(inst, verb, facts)
    journal.note()
    try:
        yield journal
    except BaseException as error:
        with contextlib.suppress(OSError):  # of a full disk
            journal.note(step=UNDO)
        with blocking(inst, verb, error):
            RECOVERIES[verb](inst, dict(facts, step=UNDO))
        os.unlink(journal.path)
        raise
    os.unlink(journal.path)
    sync_folder(inst.kit)


def journal_path(inst: Installation) -> str:
    return os.path.join(inst.kit, "journal.json")


@contextlib.contextmanager
def blocking(inst: Installation, verb: str, cause: Optional[BaseException] = None) -> Iterator[None]:
    """Turn the failure of a recovery into Blocked, which tells what to do by hand."""
    try:
        yield
    except Exception as error:
        got = "{}; the {} had failed: {}".format(error, verb, cause) if cause else str(error)
        raise Blocked(
            journal_path(inst),
            "must be gone before anything else is begun: what an interrupted {} has left could not be put right".format(
                verb
            ),
            got,
            "mend the cause, then run any command again, such as dlsctl recover: it goes on where this one stopped",
        ) from error


def unfinished_problems(inst: Installation) -> Iterator[Problem]:
    """Whether an earlier run was interrupted, and nobody is at work on it now. Changes nothing."""
    path = journal_path(inst)
    try:
        journal = read_json(path)
        told = None if journal is None else "{verb}, begun {begun}".format(**journal)
    except (Refused, KeyError):
        told = "a record that cannot be read"
    if told and not list(busy_problems(inst)):
        hint = "finish or undo it with: dlsctl recover"
        yield Problem(path, "must be gone: it is left by an interrupted run", one_line(told), hint)


def recover(inst: Installation) -> Optional[str]:
    """Undo or finish what a process that died has left; returns the verb, or None where nothing was left."""
    path = journal_path(inst)
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
    for module in ("lifecycle", "uninstall"):
        if verb not in RECOVERIES:  # a verb that this run has no other need of
            importlib.import_module("dlsctl." + module)
    if verb not in RECOVERIES:
        raise Blocked(path, "must be of a verb this dlsctl knows", one_line(verb), "run the newer dlsctl that wrote it")
    inst.run_name, own = journal.get("run"), inst.run_name
    with blocking(inst, verb):
        answer = RECOVERIES[verb](inst, facts)
    result = recovered(verb, answer, facts.get("why"))
    if inst.run_name is not None:
        with contextlib.suppress(OSError, Refused):  # of a full disk
            keep_result(inst, verb, str(inst.run_name), str(journal.get("begun")), result)
    inst.run_name = own
    os.unlink(path)
    return verb


def recovered(verb: str, answer: Optional[Dict[str, Any]], why: Optional[str]) -> Result:
    """The result of a run that was killed, for whoever asks for it; `why` tells what kept it from being finished."""
    if answer is not None:
        return done(answer, "{} was killed, and is finished by now".format(verb))
    hint = "what it had begun is undone; run the same again"
    got = "killed, and could not be finished: {}".format(why) if why else "killed"
    return failed(Problem(verb, "must run to its end", got, hint))
