"""Labs by hand and from Molecule: `python -m tests.lab up NAME --host lab-vendor=debian12`."""

import shutil
from pathlib import Path

import click

from dlsctl import Problem
from tests.lab import engine, hosts, images


@click.group()
def main() -> None:
    """Start and remove lab hosts."""


@main.command()
@click.argument("name")
@click.option("--host", "wanted", multiple=True, metavar="NAME=IMAGE", help="A host of the lab; repeatable.")
@click.option(
    "--site",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="An inventory file or group_vars folder to put beside the lab's own; repeatable.",
)
def up(name: str, wanted: tuple[str, ...], site: tuple[Path, ...]) -> None:
    """Start fresh hosts and print the folder with their Ansible inventory."""
    lab = hosts.Lab(name)
    pairs = dict(pair.partition("=")[::2] for pair in wanted)
    hosts.up(engine.connect(), lab, pairs)
    for path in site:
        if path.is_dir():
            shutil.copytree(path, lab.inventory / path.name)
        else:
            shutil.copy(path, lab.inventory / path.name)
    click.echo(lab.inventory)


@main.command()
@click.argument("name")
def down(name: str) -> None:
    """Remove a lab with everything it owns."""
    hosts.down(engine.connect(), hosts.Lab(name))


@main.command("images")
def list_images() -> None:
    """Make every image and print its tag."""
    client = engine.connect()
    for image in images.IMAGES.values():
        click.echo(f"{image.name} {images.ensure(client, image)}")


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except Problem as problem:
        click.echo(problem, err=True)
        raise SystemExit(problem.code) from None
