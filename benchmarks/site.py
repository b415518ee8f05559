"""`./dls bench site`: a site play that finds nothing to do, on one host and on ten.

Ten lab hosts get a server and its proxy once. Then the play runs again and again, on the first host alone and on all of
them, taking turns. Times are wall-clock seconds, figures are medians over the rounds.
"""

import statistics
import time
from typing import Any

import click
import yaml

from benchmarks.install import report
from dlsctl.problems import Problem
from tests.checkout import play, site
from tests.lab import engine, hosts

LAB = hosts.Lab("bench-site")
HOSTS = [f"lab-site{number:02}" for number in range(10)]
LIMITS = {"one host": HOSTS[0], "ten hosts": "all"}
MOST = 4.0  # times one host that ten may take, on two cores


def main(*, rounds: int, as_json: bool) -> None:
    """Measure, and print a table or JSON: seconds on one host and on ten, and their ratio."""
    client = engine.connect()
    times: dict[str, list[float]] = {name: [] for name in LIMITS}
    try:
        click.echo(f"installing on {len(HOSTS)} hosts", err=True)
        hosts.up(client, LAB, dict.fromkeys(HOSTS, "debian12"))
        variables = {**site.archive_variables(), **site.proxy_variables()}
        (LAB.inventory / "site.yml").write_text(yaml.safe_dump({"dls": {"vars": variables}}))
        play.succeed(play.run("site", LAB.inventory, quiet=True), "site")
        for number in range(rounds):
            click.echo(f"round {number + 1} of {rounds}", err=True)
            for name in sorted(LIMITS, reverse=bool(number % 2)):
                times[name].append(_seconds(LIMITS[name]))
    finally:
        hosts.down(client, LAB)
    report(summary(times), as_json)


def _seconds(limit: str) -> float:
    start = time.perf_counter()
    result = play.succeed(play.run("site", LAB.inventory, "--limit", limit, quiet=True), "site")
    seconds = time.perf_counter() - start
    if result.changed:
        raise Problem("site", "must find nothing to do", f"{result.changed} changes", "measure on a quiet machine")
    return seconds


def summary(times: dict[str, list[float]]) -> dict[str, Any]:
    """Medians of the measured seconds and the ratio of ten hosts to one, with the single values."""
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "unit": "seconds",
        "rounds": len(times["one host"]),
        "median": {name: round(value, 2) for name, value in median.items()},
        "ratio": {"ten to one": round(median["ten hosts"] / median["one host"], 2)},
        "most": {"ten to one": MOST},
        "measured": {name: [round(value, 2) for value in values] for name, values in times.items()},
    }
