"""Verbs of dlsctl that go on when nobody watches: where the connection is lost, the host is asked how they ended."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Sequence
from typing import Any

from gevent.lock import BoundedSemaphore
from paramiko import SSHException
from pyinfra.api import Host

from deploys import copies, remote
from deploys.looks import Wanted
from deploys.remote import Failed, Lost, Ran
from dlsctl.problems import EXIT_BLOCKED, EXIT_REFUSED

PAIRED = BoundedSemaphore(1)  # one host of a pair at a time: the other one answers clients
PAUSE = 2  # seconds between two tries to reach a host again


def work(host: Host, wanted: Wanted, words: Sequence[str]) -> Any:
    """Let dlsctl do something on a host; returns its answer. Raises Failed with why it was not done."""
    run = uuid.uuid4().hex
    with PAIRED if wanted["is_paired"] else contextlib.nullcontext():
        try:
            ran = dlsctl(host, wanted, [*words, "--json", f"--run={run}"])
        except Lost:
            ran = outcome(host, wanted, run)
    return ran.done().answer


def dlsctl(host: Host, wanted: Wanted, words: Sequence[str]) -> Ran:
    """Run the kit's dlsctl, whatever is on the host."""
    return remote.ask(host, "dlsctl.cli", [*words, wanted["config_option"]])


def outcome(host: Host, wanted: Wanted, run: str) -> Ran:
    """What has come of a run whose connection was lost, waiting for its end."""
    patience = int(wanted["dls_server_reconnect_timeout"])
    reconnect(host, patience)
    question = ["outcome", "--json", f"--wait={patience}", f"--run={run}"]
    found = dlsctl(host, wanted, question)
    if found.code != EXIT_REFUSED:
        return found
    # No such run: killed, as by a reboot. At boot the host puts that right, too; whoever comes second finds it done.
    started = remote.run(host, [wanted["command"], "start", wanted["config_option"]])
    return started if started.code == EXIT_BLOCKED else dlsctl(host, wanted, question)


def reach(host: Host, wanted: Wanted) -> None:
    """Have a host answer again, if its connection was lost. Raises Failed."""
    try:
        remote.run(host, ["true"])
    except Lost:
        reconnect(host, int(wanted["dls_server_reconnect_timeout"]))


def reconnect(host: Host, patience: int) -> None:
    """Connect to a host again, within some seconds. Raises Failed."""
    deadline = time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError, EOFError, SSHException):  # it may be gone by itself
            host.disconnect()
        host.connect(show_errors=False)
        if host.connected:
            copies.clean(host)
            return
        if time.monotonic() > deadline:
            raise Failed(
                f"{host.name}: must answer again within dls_server_reconnect_timeout = {patience} s, got nothing"
            )
        time.sleep(PAUSE)
