"""Steps: what changes a firewall and takes that back, and how its commands and files are read."""

import contextlib
import os
import re
import stat
import subprocess
from typing import NamedTuple, Optional, Sequence, Tuple

from dlsctl.files import read_bytes, write_atomic
from dlsctl.problems import Problem

MARK = "dls_proxy"


class Command(NamedTuple):
    """A command line, and what it reads on standard input."""

    argv: Tuple[str, ...]
    stdin: str = ""


class Write(NamedTuple):
    """A file's new content; None removes it."""

    path: str
    content: Optional[str]


class Step(NamedTuple):
    """A change in words, what makes it, and what takes it back."""

    text: str
    actions: Sequence[object]
    undo: Sequence[object] = ()


def act(action: object) -> None:
    """Run a command or write a file. Raises Problem."""
    if isinstance(action, Command):
        code, output, errors = call(action.argv, action.stdin)
        if code:
            got = (errors.strip() or output.strip() or "exit code {}".format(code))[-500:]
            raise Problem(" ".join(action.argv), "must succeed", got, "what was changed before it was taken back")
    elif isinstance(action, Write):
        path = os.path.realpath(action.path)
        if action.content is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.dirname(path))  # empty only where it was made for this file
            return
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        status = os.stat(path) if os.path.exists(path) else None
        mode, owner = (stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)) if status else (0o644, None)
        write_atomic(path, action.content.encode(errors="surrogateescape"), mode, owner)


def call(argv: Sequence[str], stdin: str = "") -> Tuple[int, str, str]:
    """Run a command in plain English; returns exit code, output and error output."""
    done = subprocess.run(
        argv,
        check=False,
        input=stdin.encode(errors="surrogateescape"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, LC_ALL="C"),
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def text_of(path: str) -> str:
    return (read_bytes(path) or b"").decode(errors="surrogateescape")


def setting(path: str, name: str) -> str:
    """What a file of NAME=value lines says of a name, or nothing."""
    found = re.findall(r"^\s*{}\s*=\s*[\"']?([\w-]*)".format(name), text_of(path), re.MULTILINE)
    return found[-1] if found else ""
