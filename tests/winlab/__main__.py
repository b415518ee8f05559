"""A Windows host that stays, by hand and from Molecule: `python -m tests.winlab up NAME --site FILE`."""

from pathlib import Path

import click

from dlsctl.problems import Problem
from tests.lab.hosts import Lab
from tests.winlab import host


@click.group()
def main() -> None:
    """Start and remove a Windows host made of Wine."""


@main.command()
@click.argument("name")
@click.option("--site", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def up(name: str, site: Path) -> None:
    """Start a fresh host and print the folder with its inventory, which has the inventory file SITE too."""
    click.echo(host.up(Lab(name).folder, site).inventory)


@main.command()
@click.argument("name")
def down(name: str) -> None:
    """Remove a host with everything it owns."""
    host.down(Lab(name).folder)


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except Problem as problem:
        click.echo(problem, err=True)
        raise SystemExit(problem.code) from None
