"""Run the kit's playbooks as an operator does, with output short enough to read."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dlsctl.problems import Problem
from tests.checkout.paths import CACHE, PLAYBOOKS, ROOT

# Only what changed or failed; a skipped or unchanged task is one line less.
_SHORT = {"ANSIBLE_DISPLAY_OK_HOSTS": "false", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false"}
_END = 8_000  # characters
_RECAP = re.compile(r"^(\S+)\s+: (ok=\d+.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """How a playbook run ended: exit code, all output, and the counts of the play recap by host."""

    code: int
    output: str
    recap: dict[str, dict[str, int]]

    @property
    def changed(self) -> int:
        """Tasks that changed something, over all hosts."""
        return sum(counts["changed"] for counts in self.recap.values())


def run(
    playbook: str | Path,
    inventory: Path,
    *options: str,
    quiet: bool = False,
    environment: dict[str, str] | None = None,
) -> Result:
    """Run a playbook of the kit by its name, of a collection by its full name, or any other by its path.

    quiet: print nothing. environment: added to this process's own. Never raises for a failed play: see Result.code.
    """
    path = playbook if isinstance(playbook, Path) or "." in playbook else PLAYBOOKS / f"{playbook}.yml"
    command = [sys.executable, "-m", "ansible", "playbook", "--inventory", str(inventory), *options, str(path)]
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **_SHORT, "ANSIBLE_HOME": str(CACHE / "ansible"), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        teller = Teller()
        try:
            for line in process.stdout:
                lines.append(line)
                if not quiet:
                    teller.tell(line)
        except BaseException:  # the end of a test that takes too long: it would wait here for the play
            process.kill()
            raise
    output = "".join(lines)
    return Result(process.returncode, output, read_recap(output))


class Teller:
    """Print a running play as one line per task that changed something; a failure and warnings as they are."""

    def __init__(self) -> None:
        self._task = ""
        self._as_it_is = False

    def tell(self, line: str) -> None:
        """Take the next line of ansible-playbook's output."""
        if header := re.match(r"(?:TASK|RUNNING HANDLER|PLAY) (?:RECAP|\[(?:.* : )?(.*)\]) \*+$", line):
            self._task, self._as_it_is = header.group(1) or "", False
        elif line.startswith("changed:"):
            if self._task:
                print(f"  {self._task}", flush=True)
            self._task = ""
        elif line.startswith(("fatal:", "failed:", "[ERROR]", "[WARNING]", "ERROR!")) or self._as_it_is:
            self._as_it_is = True
            print(line.rstrip(), flush=True)


def read_recap(output: str) -> dict[str, dict[str, int]]:
    """The counts below PLAY RECAP, by host: ok, changed, unreachable, failed, skipped, rescued, ignored."""
    recap = output.partition("PLAY RECAP")[2]
    return {
        host: {word: int(number) for word, number in (pair.split("=") for pair in counts.split())}
        for host, counts in _RECAP.findall(recap)
    }


def succeed(result: Result, what: str) -> Result:
    """Return result, or raise Problem with the end of its output if the play failed or reached no host."""
    if result.code != 0 or not result.recap:
        end = result.output[-_END:]
        raise Problem(what, "must succeed", f"exit {result.code}", f"see the end of its output:\n{end}")
    return result
