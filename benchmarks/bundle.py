"""`./dls bench bundle`: building a bundle against copying and hashing its files, and verifying it against sha256sum.

A GiB of random files, once in large ones and once in small ones, all from the page cache. Downloads and the kit itself
are left out. Times are wall-clock seconds, figures are medians over the rounds, ratios are of medians, memory is
the most that a process of its own had resident.
"""

import base64
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks.install import report
from dlskit.bundle import build, verify
from dlskit.bundle.content import Content, Source
from dlskit.minisign import SecretKey

MIB = 1 << 20
KINDS = {"large files": (8, 128 * MIB), "small files": (16384, MIB // 16)}  # count and size: 1 GiB each
KEY = SecretKey(b"benchmrk", bytes(32))
MOST = {"verify to sha256sum": 1.3, "build to copy and sha256sum": 2.0, "MiB of memory": 200.0}


def main(*, rounds: int, as_json: bool) -> None:
    """Measure, and print a table or JSON: seconds by what was done, ratios, and what these may be."""
    times: dict[str, list[float]] = {}
    memory = 0.0
    with tempfile.TemporaryDirectory(prefix="bench-bundle-") as scratch:
        for kind, (count, size) in KINDS.items():
            folder = Path(scratch, kind)
            _fill(folder / "given", count, size)
            for number in range(rounds):
                click.echo(f"{kind}, round {number + 1} of {rounds}", err=True)
                for name, seconds in _round(folder).items():
                    times.setdefault(f"{name}, {kind}", []).append(seconds)
            memory = max(memory, *(_memory(action, folder) for action in ("build", "verify")))
            shutil.rmtree(folder)
    report(summary(times, memory), as_json)


def _fill(folder: Path, count: int, size: int) -> None:
    for number in range(count):
        path = folder / f"{number % 64:02}" / f"{number:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:  # in pieces: a process starts with the most that its parent had resident
            for _ in range(0, size, MIB):
                file.write(os.urandom(min(size, MIB)))


def _round(folder: Path) -> dict[str, float]:
    for name in ("bundle", "copy"):
        shutil.rmtree(folder / name, ignore_errors=True)
    os.sync()
    given, copy = str(folder / "given"), str(folder / "copy")
    found = {
        "copy and sha256sum": _seconds(lambda: _run(f"cp -r '{given}' '{copy}'; {_sums(copy)}")),
        "build": _seconds(lambda: make(folder)),
    }
    os.sync()
    found["sha256sum"] = _seconds(lambda: _run(_sums(str(folder / "bundle"))))
    found["verify"] = _seconds(lambda: check(folder))
    return found


def _sums(folder: str) -> str:
    return f"find '{folder}' -type f -print0 | xargs -0 sha256sum > /dev/null"


def _run(script: str) -> None:
    subprocess.run(["sh", "-euc", script], check=True)


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def make(folder: Path) -> None:
    """Write the given files as a bundle; each has a pinned hash, which is looked at before, as in a real build."""
    given, content, lists = folder / "given", Content(), ("vendor", "pythons", "platforms", "targets")
    with build.new_folder(folder / "bundle") as (new, _):
        for path in sorted(path for path in given.rglob("*") if path.is_file()):
            with verify.open_regular(str(path)) as file:
                digest = verify.digest_of(file)
            content.add(f"archives/{path.relative_to(given)}", Source("given", path, sha256=digest))
        manifest = {"kind": verify.KIND, "schema": verify.SCHEMA, "name": "bench", "kit": "0"}
        manifest |= {name: [] for name in lists} | {"files": content.write(new)}
        build.write_signed(new / verify.MANIFEST, manifest, KEY, "bench")
    record = base64.b64encode(b"Ed" + KEY.id + KEY.public.key).decode()
    (folder / "key.pub").write_text(f"untrusted comment: bench\n{record}\n")


def check(folder: Path) -> None:
    """Verify the bundle by its own program."""
    command = [sys.executable, verify.__file__, str(folder / "bundle"), "--key", str(folder / "key.pub")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _memory(action: str, folder: Path) -> float:
    """MiB that a process of its own had resident at most."""
    if action == "build":
        shutil.rmtree(folder / "bundle")
    command = [sys.executable, "-m", "benchmarks.bundle", action, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))


def summary(times: dict[str, list[float]], memory: float) -> dict[str, Any]:
    """Medians of the measured seconds and the worst ratios, with the single values."""
    median = {name: statistics.median(values) for name, values in times.items()}
    ratio = {
        f"{one} to {other}": round(max(median[f"{one}, {kind}"] / median[f"{other}, {kind}"] for kind in KINDS), 2)
        for one, other in (("verify", "sha256sum"), ("build", "copy and sha256sum"))
    }
    return {
        "unit": "seconds",
        "rounds": len(next(iter(times.values()))),
        "median": {name: round(value, 2) for name, value in median.items()},
        "ratio": ratio | {"MiB of memory": round(memory, 1)},
        "most": MOST,
        "measured": {name: [round(value, 2) for value in values] for name, values in times.items()},
    }


if __name__ == "__main__":
    if sys.argv[1] == "build":
        make(Path(sys.argv[2]))
    else:
        verify.check(str(Path(sys.argv[2], "bundle")), str(Path(sys.argv[2], "key.pub")))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
