"""The programs of tools.lock, in an environment of their own: one of them wants other packages than the tests do."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.checkout.paths import CACHE

LOCK = Path(__file__).with_name("tools.lock")
FOLDER = CACHE / "galaxy-tools"


def run(*command: str, cwd: Path) -> str:
    """Run a program of the lock in a folder. Return what it printed; raise AssertionError when it fails."""
    programs = _environment() / "bin"
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=cwd,
        env=clean | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def _environment() -> Path:
    """Return the folder of the environment, made on first use and when the lock changes."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "galaxy-tools.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marker = FOLDER / ".complete"
        if not marker.exists() or marker.read_text() != LOCK.read_text():
            _uv("venv", "--clear", f"--python={sys.executable}", str(FOLDER))
            _uv("pip", "install", f"--python={FOLDER}", "--require-hashes", f"--requirements={LOCK}")
            marker.write_text(LOCK.read_text())
    return FOLDER


def _uv(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *words], check=True)
