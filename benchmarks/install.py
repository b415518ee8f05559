"""`./dls bench install`: the playbook against a shell script that does the same over SSH.

Each round makes two fresh lab hosts of the same image and installs on each, playbook and script taking turns in going
first; then both run again with nothing to do. Times are wall-clock seconds, figures are medians over the rounds.
"""

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml

from tests.checkout import play, site
from tests.lab import engine, hosts

LAB = hosts.Lab("bench")
SCRIPT = Path(__file__).with_name("install.sh")
HOSTS = {"playbook": "lab-playbook", "script": "lab-script"}
Times = dict[str, list[float]]


def main(*, rounds: int, as_json: bool) -> None:
    """Measure, and print a table or JSON: seconds by kind of run, and ratios playbook to script."""
    client = engine.connect()
    archive = site.archive_variables()
    times: Times = {f"{run} {way}": [] for run in ("fresh", "again") for way in HOSTS}
    try:
        for number in range(rounds):
            click.echo(f"round {number + 1} of {rounds}", err=True)
            hosts.up(client, LAB, dict.fromkeys(HOSTS.values(), "debian12"))
            (LAB.inventory / "site.yml").write_text(yaml.safe_dump({"dls": {"vars": archive}}))
            ways = list(_ways(archive).items())
            for run in ("fresh", "again"):
                for way, install in ways if number % 2 == 0 else reversed(ways):
                    times[f"{run} {way}"].append(seconds(install))
    finally:
        hosts.down(client, LAB)
    report(summary(times), as_json)


def run_script(lab: hosts.Lab, name: str, archive: dict[str, str]) -> None:
    """Install on a host of a lab by the shell script."""
    target = next(host for host in hosts.read_hosts(lab) if host.name == name)
    checksum = archive["dls_server_archive_checksum"].removeprefix("sha256:")
    ssh = hosts.ssh_command(lab, target, "")[:-1]
    subprocess.run([str(SCRIPT), archive["dls_server_archive"], checksum, *ssh], check=True)


def _ways(archive: dict[str, str]) -> dict[str, Callable[[], None]]:

    def run_playbook() -> None:
        options = ("--limit", HOSTS["playbook"])
        play.succeed(play.run("install", LAB.inventory, *options, quiet=True), "playbook")

    return {"playbook": run_playbook, "script": partial(run_script, LAB, HOSTS["script"], archive)}


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes, in wall-clock seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def summary(times: Times) -> dict[str, Any]:
    """Medians and ratios of the measured seconds, with the single values."""
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "unit": "seconds",
        "rounds": len(times["fresh script"]),
        "median": {name: round(value, 2) for name, value in median.items()},
        "ratio": {run: round(median[f"{run} playbook"] / median[f"{run} script"], 2) for run in ("fresh", "again")},
        "measured": {name: [round(value, 2) for value in values] for name, values in times.items()},
    }


def report(figures: dict[str, Any], as_json: bool) -> None:
    """Print the figures as a table or JSON: medians, ratios, and what these may be at most where that is said."""
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    for kind in ("median", "ratio", "most"):
        for name, value in figures.get(kind, {}).items():
            click.echo(f"{kind:7} {name:24} {value:8.2f}")
