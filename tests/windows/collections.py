"""The collections for Windows, from the package index: Ansible Galaxy is not needed for the tests."""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

from tests.checkout.paths import CACHE, ROOT

LOCK = ROOT / "src/dlskit/bundle/collections.lock"
FOLDER = CACHE / "collections"


def path() -> Path:
    """The folder for ANSIBLE_COLLECTIONS_PATH, made on first use and when the lock file changes."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "collections.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marker = FOLDER / ".complete"
        if not marker.exists() or marker.read_text() != LOCK.read_text():
            shutil.rmtree(FOLDER, ignore_errors=True)
            options = ["--quiet", "--no-deps", "--require-hashes", f"--target={FOLDER}"]
            subprocess.run([sys.executable, "-m", "uv", "pip", "install", *options, "-r", LOCK], check=True)
            marker.write_text(LOCK.read_text())
    return FOLDER
