"""What a person has to mend, and the exit code of each kind."""

import os
from typing import Any, Dict, Optional, Tuple

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED, EXIT_UNHEALTHY, EXIT_DIFFERS, EXIT_REFUSED, EXIT_BUSY, EXIT_BLOCKED = (
    range(9)
)


Answer = Tuple[int, Any, str]  # of a verb: exit code, JSON, text


class Problem(Exception):
    """Something a person has to mend, told as: what, the rule, the value received, the next action.

    >>> print(Problem("dls_server_port", "must be 1 to 65535", 99999, "set it in group_vars/dls.yml"))
    dls_server_port: must be 1 to 65535, got 99999
    HINT: set it in group_vars/dls.yml
    """

    code = EXIT_FAILED

    def __init__(self, what: str, rule: str, got: object = None, hint: Optional[str] = None) -> None:
        if "PRIVATE KEY" in str(got):  # of a variable that is not meant for one
            got = "a private key"
        super().__init__(what, rule, got, hint)
        self.what, self.rule, self.got, self.hint = what, rule, got, hint

    def __str__(self) -> str:
        text = "{}: {}".format(self.what, self.rule)
        if self.got is not None:
            text += ", got {}".format(self.got)
        if self.hint:
            text += "\nHINT: {}".format(self.hint)
        return text

    def as_dict(self) -> Dict[str, object]:
        got = None if self.got is None else str(self.got)
        return {"what": self.what, "rule": self.rule, "got": got, "hint": self.hint}


class Refused(Problem):
    """An input or the host breaks a rule. Nothing was changed."""

    code = EXIT_REFUSED


def problem_of(error: BaseException) -> Problem:
    """What a person is told of an error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Problem("dlsctl", "must run to its end", "an interrupt", "run the same again")
    if isinstance(error, OSError):
        what = shown(error.filename) if isinstance(error.filename, bytes) else error.filename or "dlsctl"
        hint = "look at it, its rights and the free space there; then run the same again"
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            hint = "run it as root, for example with sudo"
        return Problem(what, "must be accessible", error.strerror or error, hint)
    got = "{}: {}".format(type(error).__name__, error)
    return Problem("dlsctl", "must know what it meets", got, "run it with --debug and report it")


def shown(text: object) -> str:
    """Return untrusted text as quoted ASCII of bounded length, harmless on a terminal and in a log."""
    quoted = ascii(text)
    return quoted if len(quoted) <= 120 else quoted[:100] + "..." + quoted[-15:]


class Busy(Problem):
    """Another dlsctl is at work."""

    code = EXIT_BUSY


class Blocked(Problem):
    """Only a person can decide how to go on."""

    code = EXIT_BLOCKED


def one_line(path: str) -> str:
    """A path as it is, or quoted where it could be taken for something else."""
    return path if path.isprintable() else shown(path)


class Unhealthy(Problem):
    """The server gave no healthy answer in time."""

    code = EXIT_UNHEALTHY


class Stopped(Problem):
    """The server is not running."""

    code = EXIT_STOPPED


def words_of(error: Exception) -> str:
    """What an error says, which may be what the other side has sent, as one line of bounded length."""
    return one_line(str(error)[:200]) or type(error).__name__


class Hidden(Problem):
    """The server does not see a label any more that it has seen before, and that the host still has."""

    code = EXIT_DIFFERS
