"""What a client of the vendor's own gets: the SDK dbr, in a process of its own for each question.

The kit brings no SDK: whoever wants these checks installs it under the vendor's licence, as the extra ``probe`` or in
any other Python. The question is asked for a handshake code that nobody has, so that it takes no device's seat.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dlsctl.pair import handshake
from dlsctl.problems import Problem, one_line
from dlskit.probe.http import FAILED, OK, Finding, Server

SECONDS = 70  # a client waits 60 s for a server that accepts and hangs
_CODE = {"handshakeCode": "100000-100000001", "organizationID": "100000"}  # the form is taken, nobody has it
_NOWHERE = "http://127.0.0.1:9/"  # refused at once: discard is served by nobody
_CLIENT = Path(__file__).with_name("client.py")


class Said(NamedTuple):
    """What the SDK ended with: its code and message, or why there is none."""

    code: int | None
    message: str


def require(python: str) -> None:
    """Raise Problem unless the Python at path `python` has the SDK."""
    try:
        run = subprocess.run(
            [python, "-c", "import dbr"], capture_output=True, text=True, errors="replace", check=False, timeout=60
        )
        got = "" if run.returncode == 0 else (run.stderr.strip().splitlines() or ["a crash"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        got = str(error)
    if got:
        hint = f"{python} -m pip install 'dbr>=9.6.60,<10', or name a Python that has it with --sdk-python"
        raise Problem("--sdk", "needs the vendor's SDK dbr", one_line(got), hint)


def key(urls: Sequence[str], **more: str) -> str:
    """A license key that names these server URLs, main first, and a handshake code that nobody has."""
    fields = _CODE | dict(zip(("mainServerURL", "standbyServerURL"), urls, strict=False)) | more
    return "DLS2" + base64.b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()


def start(python: str, key: str) -> Said:
    """Let the SDK of the Python at path `python` start a license with a key. Takes up to SECONDS."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with tempfile.TemporaryDirectory() as home:  # for the SDK's cache, which would answer instead of a server
        try:
            run = subprocess.run(
                [python, str(_CLIENT)],
                input=key,
                env=environment | {"HOME": home},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Said(None, f"no answer within {SECONDS} s")
    if run.returncode:
        end = (run.stderr.strip().splitlines() or ["nothing"])[-1]
        return Said(None, f"the client ended with {run.returncode}: {one_line(end[:200])}")
    answer = json.loads(run.stdout.strip().splitlines()[-1])
    return Said(int(answer["code"]), one_line(str(answer["message"])[:200]))


def look(servers: Sequence[Server], python: str = sys.executable) -> Iterator[Finding]:
    """Each server alone, then a pair as clients call it, and with nothing at the main's URL."""
    for server in servers:
        yield _judge(python, server.url, [server.url], server)
    if len(servers) > 1:
        main, standby = servers
        yield _judge(python, "main, then standby", [main.url, standby.url], main)
        yield _judge(python, "no main, then standby", [_NOWHERE, standby.url], standby)


def _judge(python: str, target: str, urls: Sequence[str], expected: Server) -> Finding:
    """Whether the SDK repeats what the expected server says to everybody."""
    message = expected.ask(handshake(expected.path)).message
    said = start(python, key(urls))
    if message and message in said.message:
        return Finding(target, "sdk", OK, f"the SDK has the answer of {expected.url}: {message}")
    return Finding(target, "sdk", FAILED, f"the SDK ends with {said.code}, {said.message}")
