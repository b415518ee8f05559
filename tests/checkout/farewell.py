"""What a demo says at its end: where the server is, and what to do next."""

import re
import urllib.error
import urllib.request

import click

from dlsctl import Problem

_UUID = re.compile(rb"\b[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\b")


def say(changed: int, server: str, undo: str) -> None:
    """Print the outcome of an install and where to go from here."""
    outcome = "no change" if changed == 0 else f"{changed} changes"
    click.secho(f"\nDone: {outcome}.", bold=True)
    click.echo(f"  Portal  {server}/page/index.html#/")
    click.echo(f"  UUID    {read_uuid(server)}")
    click.echo("\nWhat to do next")
    click.echo("  open the portal: its first visitor sets the password of user admin")
    click.echo(f"  {undo.replace(' --down', '')}   again: finds nothing to change")
    click.echo(f"  {undo}   stops and removes it")
    click.echo("  README.md says how to install the real server from your own archive")


def read_uuid(server: str) -> str:
    """The UUID that the portal of the stand-in shows. Raise Problem when it shows none."""
    url = f"{server}/page/index.html"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - built from http:// here
            found = _UUID.search(answer.read())
    except (OSError, urllib.error.URLError) as error:
        raise Problem("portal", "must answer", str(error), f"open {url}") from error
    if not found:
        raise Problem("portal", "must show the UUID", "none", f"open {url}")
    return found.group().decode()
