"""`./dls bench lifecycle`: how long a server is away for its backup and its upgrade, and what a backup and a scan cost.

One lab host with a server that has some state. A client outside of the host asks the portal without a pause; how long a
server is away is the longest time between two answers, measured alike for a bare restart by systemd and for dlsctl.
Scans are timed on the host, in one shell with the sha256sum that they are compared with, all from the page cache.
Figures are medians over the rounds, ratios are of medians.
"""

import contextlib
import http.client
import itertools
import json
import shlex
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml

from dlsctl.problems import Problem
from tests.checkout import play, site
from tests.lab import engine, hosts

LAB = hosts.Lab("bench-lifecycle")
HOST = "lab-life"
OLD, NEW = "2.4.11", "2.4.12"
RELEASE_MB = 300
TEXT_MB, RANDOM_MB = 8, 8  # of state
MOST = {
    "upgrade to restart": 1.3,
    "backup to restart": 1.2,
    "backup to gzip of the state": 1.05,
    "cold scan to sha256sum": 1.5,
    "warm scan to sha256sum": 0.2,
}
OPEN = {"dls_server_admin_password_set": True, "dls_server_allowed_networks": ["any"]}
Figures = dict[str, list[float]]


def main(*, rounds: int, as_json: bool) -> None:
    """Measure, and print a table or JSON: seconds or bytes by what was done, ratios, and what the ratios may be."""
    client = engine.connect()
    figures: Figures = {}
    try:
        click.echo("installing", err=True)
        hosts.up(client, LAB, {HOST: "debian12"})
        for more in ({}, OPEN):  # a server that is not there yet has no password
            (LAB.inventory / "site.yml").write_text(
                yaml.safe_dump({"dls": {"vars": site.archive_variables(OLD) | more}})
            )
            play.succeed(play.run("install", LAB.inventory, quiet=True), "install")
        order = _order()
        for number in range(rounds):
            click.echo(f"round {number + 1} of {rounds}", err=True)
            for name, value in {**_scans(), **_outages(order), **_sizes()}.items():
                figures.setdefault(name, []).append(value)
    finally:
        hosts.down(client, LAB)
    _report(summary(figures), as_json)


def _root(command: str, data: bytes = b"") -> str:
    """What a command says that root's shell runs on the host."""
    (host,) = hosts.read_hosts(LAB)
    line = hosts.ssh_command(LAB, host, f"sudo bash -c {shlex.quote(command)}")
    done = subprocess.run(line, input=data, capture_output=True, check=False)
    if done.returncode:
        raise Problem(command, "must succeed", done.stderr.decode(), "run it on the host by hand")
    return done.stdout.decode()


def _order() -> str:
    """Bring the newer archive to the host; returns the command that upgrades to it."""
    archive = site.archive_variables(NEW)
    line = json.loads(_root(f"cat /opt/dls/kit/releases/{OLD}.json"))["line"]
    _root("cat > /root/new.tar.gz", Path(archive["dls_server_archive"]).read_bytes())
    options = ["/root/new.tar.gz", f"--version={NEW}", f"--sha256={archive['dls_server_archive_checksum']}"]
    return shlex.join(["dlsctl", "upgrade", *options, f"--line={json.dumps(line)}", "--acknowledge"])


# --- Scans ---


def _scans() -> dict[str, float]:
    """Seconds of a scan that knows nothing, of one that does, and of sha256sum, over a release of a real one's size."""
    release = f"/opt/dls/releases/{OLD}"
    pad = f"{release}/pad"
    _root(f"""mkdir {pad}
        missing=$(( {RELEASE_MB} - $(du -sm {release} | cut -f1) ))
        for number in $(seq 1 $(( missing / 10 ))); do head -c 10M /dev/urandom > {pad}/$number; done
        sync; sleep 3""")
    try:
        seconds = _timed(f"find {release} -type f -print0 | xargs -0 sha256sum", "rm -rf /opt/dls/kit/hashes")
        found = {"sha256sum": seconds[1]}
        _root("dlsctl state; rm -rf /opt/dls/kit/hashes")
        found["cold scan"], found["warm scan"] = _timed("dlsctl state")
    finally:
        _root(f"rm -rf {pad}")
    return found


def _timed(command: str, before: str = "true") -> list[float]:
    """Seconds that a command takes, twice in a row."""
    script = f"{before}; for _ in 1 2; do s=$(date +%s%N); {command} >/dev/null; echo $(( $(date +%s%N) - s )); done"
    return [int(line) / 1e9 for line in _root(script).split()]


# --- Outages ---


def _outages(order: str) -> dict[str, float]:
    """Seconds that the server is away from a client outside."""
    _root(f"""cd /opt/dls/current/data
        head -c {RANDOM_MB}M /dev/urandom > random
        head -c {TEXT_MB}M /dev/urandom | base64 > text
        chown --reference=. random text""")
    found = {
        "restart": outage(lambda: _root("systemctl restart dynamsoft-dls")),
        "backup": outage(lambda: _root("dlsctl backup")),
        "upgrade": outage(lambda: _root(order)),
        "rollback": outage(lambda: _root("dlsctl rollback")),
    }
    _root("dlsctl prune-releases --keep=0")
    return found


def outage(action: Callable[[], Any]) -> float:
    """The longest time between two answers of the portal while something is done, until it is there for good."""
    (host,) = hosts.read_hosts(LAB)
    answers, over = [time.monotonic()], threading.Event()

    def ask() -> None:
        while not over.is_set():
            if answers_now(host.address):
                answers.append(time.monotonic())

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        action()
        acted = time.monotonic()
        while not (answers[-1] > acted and answers[-1] - answers[-2] < 0.5):
            time.sleep(0.1)
        time.sleep(1)
    finally:
        over.set()
        thread.join()
    return max(after - before for before, after in itertools.pairwise(answers))


def answers_now(address: str) -> bool:
    """Whether the portal answers a new client within half a second."""
    connection = http.client.HTTPConnection(address, 48080, timeout=0.5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/page/index.html")
        return connection.getresponse().status == 200
    return False


# --- Sizes ---


def _sizes() -> dict[str, float]:
    """Bytes of a backup with all that belongs to it, and of the same state as tar and gzip make it."""
    _root("dlsctl stop")
    try:
        folder = json.loads(_root("dlsctl backup --json"))["folder"]
        paths = [
            entry["path"]
            for entry in json.loads(_root("dlsctl state --json"))["state"]
            if entry["change"] != "removed" and entry["kind"] in ("file", "link")
        ]
        packed = _root("tar -C /opt/dls/current -cf - -T - | gzip | wc -c", "\n".join(paths).encode())
    finally:
        _root("dlsctl start")
    return {"backup bytes": float(_root(f"du -sb {folder} | cut -f1")), "gzip bytes": float(packed)}


# --- Report ---


def summary(figures: Figures) -> dict[str, Any]:
    """Medians of what was measured and their ratios, with the single values."""
    median = {name: statistics.median(values) for name, values in figures.items()}
    ratio = {
        **{f"{name} to restart": median[name] / median["restart"] for name in ("upgrade", "rollback", "backup")},
        "backup to gzip of the state": median["backup bytes"] / median["gzip bytes"],
        **{f"{name} to sha256sum": median[name] / median["sha256sum"] for name in ("cold scan", "warm scan")},
    }
    return {
        "unit": "seconds, bytes",
        "rounds": len(figures["restart"]),
        "median": {name: round(value, 3) for name, value in median.items()},
        "ratio": {name: round(value, 3) for name, value in ratio.items()},
        "most": MOST,
        "measured": {name: [round(value, 3) for value in values] for name, values in figures.items()},
    }


def _report(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    for name, value in figures["median"].items():
        click.echo(f"{'median':7} {name:28} {value:14.2f}")
    for name, value in figures["ratio"].items():
        told = f"  at most {MOST[name]}{'' if value <= MOST[name] else ', missed'}" if name in MOST else ""
        click.echo(f"{'ratio':7} {name:28} {value:14.2f}{told}")
