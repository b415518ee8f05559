"""`./dls test`: every check this machine can run, one after the other, and one line of counts at the end.

A step is a lint run, a pytest run, a Molecule scenario or the collection check. Pytest steps count their tests, every
other step counts as one. Quick steps come first, one after the other; of the slow ones, which wait for their hosts most
of the time, some run at once.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from dlsctl.problems import Problem
from tests.checkout import collection
from tests.checkout.paths import CACHE, ROOT
from tests.lab import engine, images
from tests.windows import collections
from tests.winlab import prefix

LOGS = CACHE / "test"
DEADLINE = 65 * 60  # seconds, for one step: what hangs is told, and not found out by whoever waits for all of them
WINDOWS_DEADLINE = 25 * 60  # for the scenario in Wine, which takes some eight minutes
FULL = "DLS_FULL"  # the variable that tells tests/faults to leave nothing out
WINDOWS = "DLS_WINDOWS_INVENTORY"  # the variable that names the inventory of the scenario `windows`
WINDOWS_LAB = "windows_lab"
WITHOUT_ENGINE = {"windows", WINDOWS_LAB}  # scenarios whose hosts are no containers
MOLECULE_CONFIG = ROOT / ".config" / "molecule" / "config.yml"


@dataclass
class Counts:
    """Outcomes of one step or of all."""

    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)

    def add(self, other: "Counts") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {len(self.skipped)} skipped"


@dataclass(frozen=True)
class Step:
    """name: for --only and the log. run: does it. engine: it needs a container engine. slow: left out by --fast.

    alone: nothing else runs beside it.
    """

    name: str
    run: Callable[[], Counts]
    engine: bool = False
    slow: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Choice:
    """What to run, and how.

    with_engine: install and start a container engine if none answers. fast: leave the slow steps out.
    expression: of pytest -k. only: names of steps. platforms: images of the lab on which the scenarios' servers are, or
    "all"; none leaves each as its site says. jobs: how many slow steps, or files of quick tests, run at once.
    """

    with_engine: bool
    fast: bool
    expression: str
    only: Sequence[str]
    platforms: Sequence[str]
    jobs: int


def run(choice: Choice) -> int:
    """Run the steps and print their counts. Return the exit code: 0 if nothing failed and something passed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    engine_problem = _prepare_engine(choice.with_engine and not choice.fast)
    total = Counts()

    def outcome(step: Step) -> Counts:
        reason = "--fast" if step.slow and choice.fast else engine_problem if step.engine else ""
        return _skip(step, reason) if reason else _timed(step)

    steps = list(chosen(choice))
    try:
        for step in steps:
            if not step.slow or step.alone:
                total.add(outcome(step))
        with ThreadPoolExecutor(choice.jobs) as pool:
            for counts in pool.map(outcome, [step for step in steps if step.slow and not step.alone]):
                total.add(counts)
    finally:
        if choice.with_engine:
            engine.stop()
    if total.skipped:
        click.echo("\nSkipped:")
        for reason in total.skipped:
            click.echo(f"  {reason}")
    click.echo(f"\n{total}")
    return 0 if total.failed == 0 and total.passed else 1


def images_named(platforms: Sequence[str]) -> list[str]:
    """The images that --platform asks for, once each. Raise Refused for one that there is not."""
    names = list(images.IMAGES) if "all" in platforms else platforms
    return list(dict.fromkeys(images.find(name).name for name in names))


def _steps(choice: Choice) -> list[Step]:
    scenarios = sorted({path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")} - WITHOUT_ENGINE)
    platforms, some = images_named(choice.platforms), ["-k", choice.expression] if choice.expression else []
    at_once = [f"--numprocesses={choice.jobs}"]
    return [
        Step("lint", _lint),
        Step("pytest", lambda: _pytest("pytest", ["-m", "not slow", *some, *at_once])),
        Step("pytest-slow", lambda: _pytest("pytest-slow", ["-vv", "-m", "slow", *some, *at_once]), slow=True),
        Step("faults", partial(_faults, platforms), engine=True, slow=True),
        Step("collection", lambda: _passed(collection.check), slow=True),
        *(Step(f"molecule-{name}", partial(_molecule, name, platforms), engine=True, slow=True) for name in scenarios),
        Step("molecule-windows", _real_windows, slow=True),
        # Alone, since NSSM on Wine is at times lost on a busy machine.
        Step(f"molecule-{WINDOWS_LAB}", _windows_lab, slow=True, alone=True),
    ]


def chosen(choice: Choice) -> list[Step]:
    steps = _steps(choice)
    names = [step.name for step in steps]
    if unknown := set(choice.only) - set(names):
        raise Problem("--only", f"must be one of {', '.join(names)}", ", ".join(sorted(unknown)), "./dls test --help")
    wanted = choice.only or ([name for name in names if name.startswith("pytest")] if choice.expression else names)
    return [step for step in steps if step.name in wanted]


def _prepare_engine(install: bool) -> str:
    """Return why container steps cannot run, or nothing."""
    try:
        if install:
            engine.bootstrap()
        engine.connect().close()
    except Problem as problem:
        return f"{problem.what} {problem.rule}: {problem.hint}"
    return ""


def _skip(step: Step, reason: str) -> Counts:
    click.echo(f"== {step.name}: skipped, {reason}")
    return Counts(skipped=[f"{step.name}: {reason}"])


def _timed(step: Step) -> Counts:
    click.secho(f"== {step.name} begins", bold=True)
    start = time.monotonic()
    try:
        counts = step.run()
    except Problem as problem:
        click.echo(problem)
        counts = Counts(failed=1)
    click.echo(f"== {step.name}: {counts} in {time.monotonic() - start:.0f} s")
    return counts


def _lint() -> Counts:
    if not (ROOT / ".git").exists():
        return Counts(skipped=["lint: pre-commit needs a git checkout"])
    return _command("lint", [sys.executable, "-m", "pre_commit", "run", "--all-files"])


def _molecule(scenario: str, platforms: Sequence[str]) -> Counts:
    """Run a scenario, once for each platform; without one as its site says."""
    counts = Counts()
    for platform in platforms or [""]:
        name = f"molecule-{scenario}" + (f"-{platform}" if platform else "")
        counts.add(_command(name, _molecule_test(scenario), {images.PLATFORM: platform} if platform else {}))
    return counts


def _molecule_test(scenario: str) -> list[str]:
    # -c: the shared configuration is found by itself only in a git checkout.
    return [sys.executable, "-m", "molecule", "-c", str(MOLECULE_CONFIG), "test", "-s", scenario]


def _real_windows() -> Counts:
    """Run the scenario for real Windows hosts, where there is an inventory that names some."""
    inventory = os.environ.get(WINDOWS)
    if not inventory:
        return Counts(
            skipped=[f"molecule-windows: needs a Windows host for trials, in an inventory that {WINDOWS} names"]
        )
    environment = {WINDOWS: str(Path(inventory).resolve()), "ANSIBLE_COLLECTIONS_PATH": str(collections.path())}
    return _command("molecule-windows", _molecule_test("windows"), environment)


def _windows_lab() -> Counts:
    """Run the scenario whose host is made of Wine, not of containers; a second time where it fails.

    Now and then, on a busy machine, NSSM on Wine neither ends a stop nor starts a server again; on Windows it was never
    seen, nor looked for. What fails twice is the project's.
    """
    if not prefix.is_possible():
        return Counts(skipped=[f"molecule-{WINDOWS_LAB}: needs the programs {', '.join(prefix.PROGRAMS)}: --bootstrap"])
    first = _molecule(WINDOWS_LAB, ())
    if not first.failed:
        return first
    click.echo(f"molecule-{WINDOWS_LAB}: has failed, as above, and is run a second time")
    return _molecule(WINDOWS_LAB, ())


def _faults(platforms: Sequence[str]) -> Counts:
    """Run the fault harness on a lab host, once for each platform, and write its table when nothing was left out."""
    counts = Counts()
    for platform in platforms or [""]:
        name = "faults" + (f"-{platform}" if platform else "")
        words = ["-m", "slow", str(ROOT / "tests/faults/test_lab.py")]
        counts.add(_pytest(name, words, {images.PLATFORM: platform} if platform else {}))
    if FULL in os.environ and not counts.failed:
        from tests.faults import table  # noqa: PLC0415 - only here

        table.main()
    return counts


def _pytest(name: str, words: Sequence[str], environment: Mapping[str, str] = {}) -> Counts:
    report = LOGS / f"{name}.xml"
    report.unlink(missing_ok=True)
    patience = ["--timeout=0"] if FULL in os.environ else []
    command = [sys.executable, "-m", "pytest", "-q", *words, *patience, f"--junitxml={report}"]
    code = _logged(name, command, environment, {0, 5})
    counts = read_junit(report) if report.exists() else Counts()
    if code not in (0, 5) and not counts.failed:  # 5: no test has these marks
        counts.failed += 1
    return counts


def read_junit(report: Path) -> Counts:
    """The counts of a JUnit XML report as pytest writes it, with the reason of every skip."""
    counts = Counts()
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - written by our own pytest
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts.failed += 1
        elif skipped is None:
            counts.passed += 1
        else:
            counts.skipped.append(f"{case.get('classname')}::{case.get('name')}: {skipped.get('message')}")
    return counts


def _passed(check: Callable[[], None]) -> Counts:
    check()
    return Counts(passed=1)


def _command(name: str, command: list[str], environment: Mapping[str, str] = {}) -> Counts:
    failed = _logged(name, command, environment) != 0
    return Counts(passed=int(not failed), failed=int(failed))


def _logged(name: str, command: list[str], environment: Mapping[str, str], good: Container[int] = (0,)) -> int:
    """Run a command with its output in a log; show the end of it unless its exit code, which is returned, is good."""
    log, deadline = LOGS / f"{name}.log", WINDOWS_DEADLINE if WINDOWS_LAB in name else DEADLINE
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**_environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(None if FULL in os.environ else deadline)
        except subprocess.TimeoutExpired:
            click.echo(f"{name}: must end within {deadline // 60} minutes, got no end: it was killed")
            code = -signal.SIGKILL
        finally:
            _kill(process)
    if code not in good:
        end = _failure(log.read_text(errors="replace"))
        click.echo(f"{end}\n{name}: must succeed, got exit {code}\nHINT: the whole output is in {log}")
    return code


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a step; nothing is where it has ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failure(output: str) -> str:
    """The end of what failed: of a Molecule run without what it cleaned up afterwards."""
    until_failure, found, _ = output.partition("Executed: Failed")
    return "\n".join((until_failure + found).splitlines()[-150:])


def _environment() -> dict[str, str]:
    """The environment of a step: no colours and borders in logs, and an Ansible home of this checkout's own."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        "ANSIBLE_HOME": str(CACHE / "ansible"),
        "MOLECULE_COMMAND_BORDERS": "false",
        "NO_COLOR": "1",
    }
