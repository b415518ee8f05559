"""Programs that fetch or describe packages, run so that a failure is told with their last words."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from dlsctl.problems import Problem, Refused


def need(program: str, why: str, hint: str) -> None:
    """Raise Refused unless a program is on this machine."""
    if not shutil.which(program):
        raise Refused(program, f"must be on this machine: {why}", "nothing", hint)


def run(command: Sequence[str], hint: str, environment: Mapping[str, str] | None = None) -> str:
    """Return what a program prints. Raises Problem, with the end of what it said, when it fails."""
    done = subprocess.run(
        command,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-800:]
        raise Problem(os.path.basename(command[0]), "must succeed", f"exit {done.returncode}\n  {said}", hint)  # noqa: PTH119
    return done.stdout
