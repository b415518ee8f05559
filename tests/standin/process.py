"""Run an unpacked stand-in on this machine, on free ports, without root's user switch."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.standin.portal import Portal

TOP = "dls-linux"
_NOBODY = 65534


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a Linux archive below `folder` and return the installation folder."""
    shutil.unpack_archive(archive, folder)
    return folder / TOP


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Instance:
    """One installation folder below a folder of its own, so that standin.properties beside it is its alone."""

    def __init__(self, unpacked: Path, folder: Path) -> None:
        self.home = folder / TOP
        shutil.copytree(unpacked, self.home, copy_function=os.link)
        self.port, self.data_port = free_ports(2)
        self._edit_ports()
        self.portal = Portal(self.url)

    @property
    def url(self) -> str:
        """The server URL, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """The server's log, empty before its first start."""
        path = self.home / "logs" / "dls.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def tell(self, **settings: str) -> None:
        """Write standin.properties beside the folder; `_` in a key stands for the dot."""
        lines = "".join(f"{key.replace('_', '.', 1)}={value}\n" for key, value in settings.items())
        (self.home.parent / "standin.properties").write_text(lines, encoding="utf-8")

    def start(self) -> subprocess.CompletedProcess[str]:
        """Run startup.sh as a plain user, its output read through pipes, and return when it has."""
        return subprocess.run(
            [*self._as_plain_user(), "./startup.sh"],
            cwd=self.home, check=True, capture_output=True, text=True, timeout=10,
        )  # fmt: skip

    def start_ready(self) -> None:
        """Start and wait for the portal."""
        self.start()
        self.wait_for(self.answers)

    def answers(self) -> bool:
        """True when the portal page comes with status 200."""
        try:
            return self.portal.get("/page/index.html").status == 200
        except OSError:
            return False

    def wait_for(self, condition: Callable[[], bool], seconds: float = 15) -> None:
        """Return when the condition holds; an AssertionError with the log when it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not in {seconds} s, log:\n{self.log}"
            time.sleep(0.05)

    def launchers(self) -> list[int]:
        """Process ids of the launchers: one, but while a second start is being refused."""
        return self._processes(lambda command: "dynamsoftdlsx" in command)

    def launcher(self) -> int:
        """The launcher's process id."""
        (pid,) = self.launchers()
        return pid

    def server(self) -> int:
        """The Java process id."""
        (pid,) = self._processes(lambda command: "dynamsoftdlsx" not in command)
        return pid

    def stopped(self) -> bool:
        """True when no process of this folder is left."""
        return not self._processes(lambda _: True)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal to all processes of this folder and wait for their end."""
        for pid in self._processes(lambda _: True):
            os.kill(pid, sign)
        self.wait_for(self.stopped)

    def _edit_ports(self) -> None:
        script = self.home / "startup.sh"
        text = script.read_text(encoding="utf-8")
        mode = script.stat().st_mode
        script.unlink()  # it is a hard link
        ports = f"--server.port={self.port} --data.port={self.data_port}"
        script.write_text(text.replace("--server.port=48080", ports), encoding="utf-8")
        script.chmod(mode)

    def _as_plain_user(self) -> Iterable[str]:
        if os.geteuid() != 0:
            return []
        for path in (self.home, *self.home.rglob("*")):
            os.lchown(path, _NOBODY, _NOBODY)
        return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]

    def _processes(self, wanted: Callable[[str], bool]) -> list[int]:
        return [pid for pid, command in _commands_in(self.home) if "linux/jre/bin" in command and wanted(command)]


def _commands_in(folder: Path) -> list[tuple[int, str]]:
    """Process ids and command lines of the processes whose working directory is `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append((int(process.name), (process / "cmdline").read_text(encoding="utf-8")))
        except OSError:
            continue
    return found
