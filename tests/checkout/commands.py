"""demo, test and bench: what their options are. The work is in modules that are imported when a command runs."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from tests.checkout import bootstrap
from tests.checkout.paths import ROOT


@click.command()
@click.option("--down", is_flag=True, help="Stop the server and remove everything the demo made.")
@click.option("--containers", is_flag=True, help="Install into a systemd container instead; needs a Docker engine.")
def demo(down: bool, containers: bool) -> None:
    """Install a running server on this machine, without root, to see what the kit does.

    The server is a stand-in built from the tests; the playbook is the one that installs the real thing.
    """
    if containers:
        need_development_packages()
        from tests.checkout import container_demo  # noqa: PLC0415

        (container_demo.down if down else container_demo.up)()
        return
    from tests.checkout import local_demo  # noqa: PLC0415

    (local_demo.down if down else local_demo.up)()


@click.command()
@click.option("--bootstrap", "with_engine", is_flag=True, help="Install and start a container engine if none answers.")
@click.option("--fast", is_flag=True, help="Only what needs neither containers nor more than a minute.")
@click.option("-k", "expression", default="", metavar="EXPR", help="Only the pytest tests that match, as pytest -k.")
@click.option("--only", multiple=True, metavar="STEP", help="Only the named steps; repeatable.")
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="IMAGE",
    help="Run the scenarios with their servers on this image of the lab; repeatable, or `all`.",
)
@click.option(
    "--jobs",
    default=os.cpu_count() or 1,
    show_default="the number of processors",
    type=click.IntRange(min=1),
    help="How many slow steps, or files of quick tests, run at once.",
)
@click.option("--full", is_flag=True, help="Every fault at every step and system call: see docs/faults.md.")
def test(full: bool, **options: Any) -> None:
    """Run every test that this machine can run, and say what was skipped and why."""
    need_development_packages()
    from tests.checkout import suite  # noqa: PLC0415

    if full:
        os.environ[suite.FULL] = "1"
    raise SystemExit(suite.run(suite.Choice(**options)))


@click.group()
def bench() -> None:
    """Measure."""


BENCHMARKS = {  # by module of benchmarks: its rounds, and what it does
    "install": (5, "Time the playbook against a shell script that does the same on the same kind of container."),
    "site": (5, "Time a site play that finds nothing to do, on one container and on ten."),
    "engines": (3, "Time deploys by pyinfra against a shell script and the playbook, and on ten containers."),
    "lifecycle": (3, "Measure how long a server is away for a backup and an upgrade, and what backups and scans cost."),
    "bundle": (3, "Time building and verifying a bundle against copying and sha256sum, and take their memory."),
}


def _benchmark(name: str, rounds: int, text: str) -> click.Command:
    def measure(rounds: int, as_json: bool) -> None:
        need_development_packages()
        importlib.import_module(f"benchmarks.{name}").main(rounds=rounds, as_json=as_json)

    options: list[click.Parameter] = [
        click.Option(
            ["--rounds"], default=rounds, show_default=True, type=click.IntRange(min=1), help="Runs of each kind."
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the figures as JSON."),
    ]
    return click.Command(name, callback=measure, params=options, help=text)


for _name, (_rounds, _text) in BENCHMARKS.items():
    bench.add_command(_benchmark(_name, _rounds, _text))


def need_development_packages() -> None:
    """Add requirements-dev.lock to the checkout's .venv. In any other environment the packages are taken as there."""
    if Path(sys.prefix) == ROOT / ".venv":
        try:
            bootstrap.install(ROOT, "requirements-dev.lock")
        except bootstrap.Failed as failure:
            click.echo(failure, err=True)
            raise SystemExit(1) from None
