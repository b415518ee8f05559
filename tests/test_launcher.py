"""./dls on copies of the checkout that need one tiny package, so that no test asks a package index."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
Run = Callable[..., subprocess.CompletedProcess[str]]


def write_wheel(folder: Path) -> str:
    """Write a wheel of an empty package called tiny and return the line that locks it."""
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    members = {
        "tiny.py": "",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
        archive.writestr("tiny-1.0.dist-info/RECORD", "".join(f"{name},,\n" for name in members))
    return f"tiny==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with a space, whose command line prints its folder and arguments."""
    root = tmp_path / "my checkout"
    package = root / "tests" / "checkout"
    package.mkdir(parents=True)
    (root / "src").mkdir()
    for name in ("dls", "tests/checkout/bootstrap.py"):
        shutil.copy(ROOT / name, root / name)
    (package / "__main__.py").write_text("import os, sys, tiny\nprint('ran', os.getcwd(), *sys.argv[1:])\n")
    (root / "requirements.lock").write_text(write_wheel(tmp_path))
    return root


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """pip without index and configuration; the wheel is its only source."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "DLS_"))}
    return clean | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": tmp_path.as_uri(),
        "DLS_PYTHON": sys.executable,
    }


@pytest.fixture
def dls(checkout: Path, environment: dict[str, str]) -> Run:
    def run(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(checkout / "dls"), *arguments],
            cwd=cwd or checkout,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture
def silent_index() -> Iterator[str]:
    """The address of a package index that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple"


def start_and_wait_for_pip(checkout: Path, environment: dict[str, str], index: str) -> subprocess.Popen[str]:
    """Start ./dls against an index that never answers; return when .venv is half made."""
    waiting = {name: value for name, value in environment.items() if name not in ("PIP_NO_INDEX", "PIP_FIND_LINKS")}
    process = subprocess.Popen(
        [str(checkout / "dls")],
        env={**waiting, "PIP_INDEX_URL": index, "PIP_RETRIES": "0"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (checkout / ".venv" / "bin" / "pip").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


@pytest.mark.slow
def test_the_first_run_makes_the_environment_and_later_runs_leave_it_alone(checkout: Path, dls: Run) -> None:
    first = dls("hello", "two words")
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"ran {checkout} hello two words\n"
    assert "[ 1/1] tiny" in first.stderr
    before = (checkout / ".venv" / ".complete").stat()
    second = dls()
    assert (second.returncode, second.stderr) == (0, "")
    after = (checkout / ".venv" / ".complete").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.slow
def test_it_runs_from_any_folder_and_through_a_link_and_ignores_packages_of_that_folder(
    checkout: Path, dls: Run, tmp_path: Path, environment: dict[str, str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "tests").mkdir(parents=True)
    (elsewhere / "tests" / "__init__.py").write_text("raise SystemExit('the wrong tests package')\n")
    assert dls(cwd=elsewhere).stdout == f"ran {elsewhere}\n"
    (elsewhere / "link").symlink_to(os.path.relpath(checkout / "dls", elsewhere))
    linked = subprocess.run(["./link"], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert linked.stdout == f"ran {elsewhere}\n"


@pytest.mark.slow
def test_a_changed_lock_makes_the_environment_anew(checkout: Path, dls: Run) -> None:
    dls()
    leftover = checkout / ".venv" / "leftover"
    leftover.touch()
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert dls().returncode == 0
    assert not leftover.exists()


@pytest.mark.slow
def test_killed_at_work_it_leaves_nothing_that_counts_and_the_next_run_succeeds(
    checkout: Path, environment: dict[str, str], dls: Run, silent_index: str
) -> None:
    process = start_and_wait_for_pip(checkout, environment, silent_index)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (checkout / ".venv" / ".complete").exists()
    assert dls().returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_removes_what_it_made(
    checkout: Path, environment: dict[str, str], silent_index: str, stop: signal.Signals
) -> None:
    process = start_and_wait_for_pip(checkout, environment, silent_index)
    os.killpg(process.pid, stop)
    _, errors = process.communicate(timeout=30)
    assert process.returncode in (130, -stop)
    assert "interrupted: .venv was not finished and has been removed" in errors
    assert "Traceback" not in errors
    assert not (checkout / ".venv").exists()


@pytest.mark.slow
def test_two_at_once_make_one_environment(checkout: Path, environment: dict[str, str]) -> None:
    both = [
        subprocess.Popen([str(checkout / "dls")], env=environment, stdout=-1, stderr=-1, text=True) for _ in range(2)
    ]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert sum("Making .venv" in errors for _, errors in answers) == 1


@pytest.mark.slow
def test_a_package_that_cannot_be_installed_ends_with_a_message_and_no_environment(checkout: Path, dls: Run) -> None:
    run = dls(PIP_FIND_LINKS=checkout.as_uri())
    assert run.returncode == 1
    assert "requirements.lock: every package must install, got exit 1 from pip" in run.stderr
    assert "HINT: check the network and PIP_INDEX_URL" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (checkout / ".venv").exists()


def write_python(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_a_new_enough_python_it_says_so(checkout: Path, environment: dict[str, str], tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "cat", "cmp", "dirname", "tail"):
        (programs / name).symlink_to(str(shutil.which(name)))
    write_python(programs, "python3", "echo Python 3.9.2; exit 1")
    write_python(programs, "python", "echo Python 3.9.2; exit 1")
    run = subprocess.run(
        [str(checkout / "dls")],
        env={**environment, "PATH": str(programs), "DLS_PYTHON": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 6
    assert run.stderr.splitlines() == [
        "python: version 3.11 or newer is needed, got Python 3.9.2",
        "HINT: install one, or name it: DLS_PYTHON=/path/to/python3.12 ./dls",
    ]


@pytest.mark.slow
def test_a_python_that_exists_but_fails_is_passed_over(
    checkout: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    write_python(programs, "python3", "echo 'shim: no version chosen' >&2; exit 127")
    write_python(programs, "python3.14", "exit 127")
    write_python(programs, "python3.13", f"exec '{sys.executable}' \"$@\"")
    run = subprocess.run(
        [str(checkout / "dls")],
        env={**environment, "PATH": f"{programs}:{environment['PATH']}", "DLS_PYTHON": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
