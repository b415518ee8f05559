"""`./dls bench engines`: deploys by pyinfra against a shell script, against the playbook, and on ten hosts.

Each round makes two fresh lab hosts and installs on one by `dlskit deploy`, on the other by the script of
`bench install`: first the stand-in's archive, then one of LARGE_MB, as a vendor's may be. Then ten hosts get a server
and its proxy, and deploy and playbook find nothing to do, taking turns. Times are wall-clock seconds, figures are
medians over the rounds.
"""

import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.install import report, run_script, seconds
from dlsctl.problems import Problem
from tests.checkout import play, site
from tests.checkout.paths import ROOT
from tests.lab import engine, hosts

LAB = hosts.Lab("bench-engines")
FRESH = {"deploy": "lab-deploy", "script": "lab-script"}
TEN = [f"lab-site{number:02}" for number in range(10)]
NOTHING_TO_DO = {"deploy one host", "deploy ten hosts", "playbook one host"}
LARGE_MB = 300
RATIOS = {  # by name: what is divided by what, and the most that it may be, on two cores
    "fresh deploy to script": ("fresh deploy", "fresh script", 1.3),
    "large deploy to script": ("large deploy", "large script", 1.3),
    "deploy to playbook": ("deploy one host", "playbook one host", 0.4),
    "ten hosts to one": ("deploy ten hosts", "deploy one host", 3.0),
}
Times = dict[str, list[float]]


def main(*, rounds: int, as_json: bool) -> None:
    """Measure, and print a table or JSON: seconds by kind of run, and their ratios."""
    client = engine.connect()
    archive = site.archive_variables()
    kinds = (*(f"{size} {way}" for size in ("fresh", "large") for way in FRESH), *sorted(NOTHING_TO_DO))
    times: Times = {name: [] for name in kinds}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for size, variables in (("fresh", archive), ("large", enlarge(archive, Path(folder)))):
                for number in range(rounds):
                    click.echo(f"{size} archive on fresh hosts, round {number + 1} of {rounds}", err=True)
                    hosts.up(client, LAB, dict.fromkeys(FRESH.values(), "debian12"))
                    write_site(variables)
                    ways: list[tuple[str, Callable[[], object]]] = [
                        ("deploy", partial(deploy, "install", FRESH["deploy"])),
                        ("script", partial(run_script, LAB, FRESH["script"], variables)),
                    ]
                    for way, install in ways if number % 2 == 0 else reversed(ways):
                        times[f"{size} {way}"].append(seconds(install))
        click.echo(f"installing on {len(TEN)} hosts", err=True)
        hosts.up(client, LAB, dict.fromkeys(TEN, "debian12"))
        write_site({**archive, **site.proxy_variables()})
        deploy("site", "all")
        for number in range(rounds):
            click.echo(f"nothing to do, round {number + 1} of {rounds}", err=True)
            for name in sorted(NOTHING_TO_DO, reverse=bool(number % 2)):
                times[name].append(seconds(partial(nothing_to_do, name)))
    finally:
        hosts.down(client, LAB)
    report(summary(times), as_json)


def enlarge(archive: dict[str, str], folder: Path) -> dict[str, str]:
    """The role variables of an archive with the same files, and random ones that make LARGE_MB of it."""
    old = Path(archive["dls_server_archive"])
    new = folder / old.name
    with tarfile.open(old) as source, tarfile.open(new, "w:gz", compresslevel=1) as target:
        for member in source:
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
        top = member.name.split("/")[0]
        for number in range(LARGE_MB - (old.stat().st_size >> 20)):
            added = tarfile.TarInfo(f"{top}/lib/added-{number}.jar")
            added.size = 1 << 20
            target.addfile(added, io.BytesIO(os.urandom(added.size)))
    return {**archive, "dls_server_archive": str(new), "dls_server_archive_checksum": f"sha256:{site.sha256(new)}"}


def write_site(variables: dict[str, Any]) -> None:
    """What the inventory says of all hosts."""
    (LAB.inventory / "site.yml").write_text(yaml.safe_dump({"dls": {"vars": variables}}))


def deploy(name: str, limit: str) -> str:
    """Run a deploy; returns what it printed."""
    command = [sys.executable, "-P", "-m", "dlskit", "deploy", name, "-i", str(LAB.inventory), "-l", limit]
    path = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"deploy {name}", "must succeed", done.stderr[-500:])
    return done.stdout


def nothing_to_do(name: str) -> None:
    """Run an engine on hosts that are as wanted."""
    limit = TEN[0] if name.endswith("one host") else "all"
    if name.startswith("playbook"):
        changed = bool(play.succeed(play.run("site", LAB.inventory, "--limit", limit, quiet=True), "site").changed)
    else:
        changed = "changed" in deploy("site", limit).replace("unchanged", "")
    if changed:
        raise Problem(name, "must find nothing to do", "changes", "measure on a quiet machine")


def summary(times: Times) -> dict[str, Any]:
    """Medians of the measured seconds and their ratios, with the single values."""
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "unit": "seconds",
        "rounds": len(times["fresh script"]),
        "median": {name: round(value, 2) for name, value in median.items()},
        "ratio": {name: round(median[one] / median[other], 2) for name, (one, other, _) in RATIOS.items()},
        "most": {name: most for name, (_, _, most) in RATIOS.items()},
        "measured": {name: [round(value, 2) for value in values] for name, values in times.items()},
    }
