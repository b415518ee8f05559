"""The way to a portal that answers on its host's loopback only: a forward by OpenSSH's own client."""

from __future__ import annotations

import contextlib
import ctypes
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from dlsctl.problems import Problem

OPEN_SECONDS = 30  # for a connection; a person's answer to ssh's questions comes on top


@dataclass
class Tunnel:
    """An open forward: the URL it makes of the portal, and ssh's process and messages."""

    url: str
    process: subprocess.Popen[bytes]
    messages: IO[bytes]

    def lost(self) -> Problem | None:
        """Return what to tell when the forward is gone, None while it is open."""
        if self.process.poll() is None:
            return None
        hint = "see that the host answers by ssh, then run the command again: it looks first, and does what is missing"
        return Problem("tunnel", "must stay open until the portal has answered", self.last_words(), hint)

    def last_words(self) -> str:
        """Return the last line that ssh wrote, or its exit code."""
        self.messages.seek(0)
        lines = self.messages.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ssh ended with exit {self.process.poll()}"


def command(ssh: Mapping[str, Any], local_port: int, remote_port: int, ask: bool) -> list[str]:
    """Return the command line that forwards `local_port` of this machine's loopback to `remote_port` of the host's.

    `ssh`: the options of Ansible's ssh connection for the host. `ask`: ssh may ask for a password at the terminal.
    """
    words = [ssh.get("ssh_executable") or "ssh", "-N", "-L", f"127.0.0.1:{local_port}:127.0.0.1:{remote_port}"]
    # A connection of its own, before any other option, since ssh takes the first: a forward handed to a shared
    # connection would outlive this command, and end with a command of someone else.
    options = ["ControlMaster=no", "ControlPath=none", "ExitOnForwardFailure=yes", "ServerAliveInterval=5"]
    options += ["ServerAliveCountMax=3", f"ConnectTimeout={OPEN_SECONDS}", f"BatchMode={'no' if ask else 'yes'}"]
    if not ssh.get("host_key_checking", True):
        options.append("StrictHostKeyChecking=no")
    for name, option in (("port", "Port"), ("remote_user", "User"), ("private_key_file", "IdentityFile")):
        if ssh.get(name):
            options.append(f"{option}={ssh[name]}")
    for option in options:
        words += ["-o", option]
    for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
        words += shlex.split(str(ssh.get(name) or ""))
    return [*words, "--", str(ssh["host"])]


@contextlib.contextmanager
def opened(ssh: Mapping[str, Any], remote_port: int) -> Iterator[Tunnel]:
    """Open the forward, and close it at the end. Raises Problem with ssh's last line when it does not come about."""
    local_port = _free_port()
    ask = sys.stdin.isatty()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            command(ssh, local_port, remote_port, ask),
            stdin=None if ask else subprocess.DEVNULL,
            stdout=messages,
            stderr=None if ask and sys.stderr.isatty() else messages,
            preexec_fn=_ending_with_parent(),  # noqa: PLW1509 - no thread has been started yet
        )
        try:
            tunnel = Tunnel(f"http://127.0.0.1:{local_port}", process, messages)
            _wait(tunnel, local_port, str(ssh["host"]), None if ask else OPEN_SECONDS + 5)
            yield tunnel
        finally:
            process.terminate()
            process.wait()


def _ending_with_parent() -> Callable[[], None] | None:
    """Return what has a new process end when this one is killed, whose cleaning up nobody then does; Linux only."""
    if sys.platform != "linux":
        return None
    prctl, set_death_signal = ctypes.CDLL(None).prctl, 1  # PR_SET_PDEATHSIG of linux/prctl.h
    return lambda: prctl(set_death_signal, signal.SIGTERM)


def _wait(tunnel: Tunnel, port: int, host: str, seconds: float | None) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    while not listens(port):
        ended = tunnel.process.poll() is not None
        if ended or (end is not None and time.monotonic() > end):
            got = tunnel.last_words() if ended else f"no connection in {seconds} s"
            hint = f"see that `ssh {host}` gets in with the inventory's values, and that its sshd allows forwarding"
            raise Problem(f"tunnel to {host}", "must open", got, hint)
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Return whether a port of this machine's loopback takes connections."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def by_hand(ssh: Mapping[str, Any], remote_port: int) -> str:
    """Return the ssh command with which a person opens the same way from a machine with a browser."""
    words = ["ssh", "-L", f"{remote_port}:127.0.0.1:{remote_port}"]
    for name, option in (("port", "-p"), ("private_key_file", "-i")):
        if ssh.get(name):
            words += [option, str(ssh[name])]
    user = f"{ssh['remote_user']}@" if ssh.get("remote_user") else ""
    return shlex.join([*words, f"{user}{ssh['host']}"])
