"""Programs on a host: the kit's own, piped through the host's Python without being there, and dlsctl where it is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from paramiko import SSHException
from pyinfra.api import DeployError, Host, StringCommand
from pyinfra.api.arguments import auth_argument_meta

from deploys import copies, password
from deploys.source import SOURCES


@dataclass(frozen=True)
class Ran:
    """A program that has ended on a host: its exit code, and what it printed."""

    code: int
    output: str
    errors: str

    @property
    def answer(self) -> Any:
        """Its answer as JSON; an empty one where it gave none."""
        return json.loads(self.output) if self.output.startswith("{") else {}

    @property
    def problem(self) -> str:
        """What it says is wrong."""
        return self.errors.strip() or self.output.strip() or f"no answer, exit {self.code}"

    def done(self) -> Ran:
        """Return itself. Raises Failed where the program has."""
        if self.code:
            raise Failed(self.problem, self.code)
        return self


class Failed(Exception):
    """A program has failed on a host: what it says, and its exit code."""

    def __init__(self, problem: str, code: int = 1) -> None:
        super().__init__(problem)
        self.code = code


class Lost(Failed):
    """The connection to the host was lost while a program ran there."""


def run(host: Host, words: Sequence[str], stdin: str | None = None) -> Ran:
    """Run a program to its end. Its standard input never shows, whatever pyinfra is told to print.

    Raises Lost when the connection is lost.
    """
    password.guard(host)
    copies.guard(host)
    command = StringCommand(shlex.join(words) + "; printf '\\n%s' \"$?\"")
    try:
        _, lines = host.run_shell_command(command, _stdin=stdin, **host_arguments(host))
    except (OSError, EOFError, SSHException, TimeoutError) as error:
        raise Lost(str(error)) from error
    output, _, code = "\n".join(lines.stdout_lines).rpartition("\n")
    if not code.strip().isdigit():
        raise Lost(lines.stderr.strip() or "the end of the connection")
    return Ran(int(code), output.strip("\n"), lines.stderr)


def host_arguments(host: Host) -> dict[str, Any]:
    """How commands become root on a host: what its inventory says."""
    data = host.data.dict()
    return {name: data[name] for name in auth_argument_meta if name in data}


def piped() -> list[str]:
    """The words of the command that runs a document()."""
    return ["python3", "-I", "-c", (SOURCES / "piped.py").read_text()]


def document(program: str, arguments: Sequence[str], spec: Any = None) -> str:
    """What piped() takes: a program of the kit, such as dlsctl.cli, what it is called with, and what is asked of it."""
    spec = {} if spec is None else spec
    return json.dumps({"modules": modules(program), "program": program, "arguments": list(arguments), "spec": spec})


@cache
def modules(program: str) -> dict[str, str]:
    """The texts of the modules that a program is made of, by path: the same for which the roles ask."""
    packages = ["dlsctl"] if program.startswith("dlsctl.") else ["dlsctl", "dlsfirewall", "dlsproxy"]
    files = [file for package in packages for file in sorted((SOURCES / package).glob("*.py"))]
    return {str(file.relative_to(SOURCES)): file.read_text() for file in files}


def ask(host: Host, program: str, arguments: Sequence[str], spec: Any = None) -> Ran:
    """Run a program of the kit on a host where it need not be."""
    return run(host, piped(), document(program, arguments, spec))


def refuse(*problems: str) -> None:
    """End the deploy of this host, before anything is changed, if there is a problem."""
    if told := [problem for problem in problems if problem]:
        raise DeployError("\n".join(told))
