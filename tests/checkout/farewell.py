"""What a demo says at its end: where the server is, and what to do next."""

import re
from pathlib import Path

import click

from dlsctl.problems import Problem
from tests.checkout.paths import ROOT

_UUID = re.compile(r"\b[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\b")


def say(changed: int, server: str, log: str, command: str, inventory: Path) -> None:
    """Print the outcome of an install and where to go from here.

    server: address of the portal. log: the server's log. command: what started the demo. inventory: what it was
    installed from.
    """
    outcome = "no change" if changed == 0 else f"{changed} changes"
    click.secho(f"\nDone: {outcome}.", bold=True)
    click.echo(f"  Portal  {server}/page/index.html#/")
    click.echo(f"  UUID    {read_uuid(log)}")
    click.echo("\nWhat to do next")
    click.echo("  open the portal: its first visitor sets the password of user admin")
    click.echo(f"  {command}          again: finds nothing to change")
    click.echo(f"  {command} --down   stops and removes it")
    inventory = inventory.relative_to(ROOT)
    click.echo("  . .venv/bin/activate, then any playbook, from the folder of the checkout:")
    click.echo(f"    ansible-playbook -i {inventory} playbooks/verify.yml")
    click.echo("  an archive to upgrade to: python -m tests.standin build --version 2.4.12 --out .demo")
    click.echo("  README.md says how to install the real server from your own archive")


def read_uuid(log: str) -> str:
    """The UUID in a stand-in's log, which has it after each start. Raise Problem when it is not there."""
    found = _UUID.findall(log)
    if not found:
        raise Problem("server log", "must hold the UUID", "none", "open the portal")
    uuid: str = found[-1]
    return uuid
