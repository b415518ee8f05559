"""Labs by hand and from Molecule: `python -m tests.lab up NAME --host lab-vendor=debian12`."""

import os
from pathlib import Path
from typing import Any

import click
import yaml

from dlsctl.problems import Problem
from tests.checkout.site import archive_variables
from tests.lab import engine, hosts, images


@click.group()
def main() -> None:
    """Start and remove lab hosts."""


@main.command()
@click.argument("name")
@click.option("--host", "wanted", multiple=True, metavar="NAME=IMAGE", help="A host of the lab; repeatable.")
@click.option(
    "--site",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An inventory file to join with the lab's own; its hosts with lab_image are started too.",
)
@click.option("--archive", is_flag=True, help="Build a stand-in archive and point the inventory at it.")
def up(name: str, wanted: tuple[str, ...], site: Path | None, archive: bool) -> None:
    """Start fresh hosts and print the folder with their Ansible inventory."""
    lab = hosts.Lab(name)
    pairs = dict(pair.partition("=")[::2] for pair in wanted)
    groups = on_platform(yaml.safe_load(site.read_text()), os.environ.get(images.PLATFORM)) if site else {}
    hosts.up(engine.connect(), lab, pairs | images_of(groups), "ungrouped" if site else "dls")
    if site:
        (lab.inventory / "site.yml").write_text(yaml.safe_dump(groups, sort_keys=False))
    if archive:
        variables = archive_variables()
        (lab.inventory / "archive.yml").write_text(yaml.safe_dump({"dls": {"vars": variables}}))
    click.echo(lab.inventory)


def on_platform(groups: dict[str, Any], platform: str | None) -> dict[str, Any]:
    """Inventory groups with every host of group dls on one platform; None leaves them as they are.

    The group `distributions`, which holds a host of each other platform, is left out then.
    """
    if not platform:
        return groups
    return groups | {"dls": _on_platform(groups["dls"], platform)}


def _on_platform(group: dict[str, Any], platform: str) -> dict[str, Any]:
    moved = {name: {**facts, "lab_image": platform} for name, facts in (group.get("hosts") or {}).items()}
    children = {name: child for name, child in (group.get("children") or {}).items() if name != "distributions"}
    return group | {
        "hosts": moved,
        "children": {name: _on_platform(child or {}, platform) for name, child in children.items()},
    }


def images_of(groups: dict[str, Any]) -> dict[str, str]:
    """The hosts of inventory groups, at any depth, that name a lab_image, with that image."""
    found: dict[str, str] = {}
    for group in groups.values():
        hosts_of_group = (group or {}).get("hosts") or {}
        found |= {host: facts["lab_image"] for host, facts in hosts_of_group.items() if "lab_image" in (facts or {})}
        found |= images_of((group or {}).get("children") or {})
    return found


@main.command()
@click.argument("name")
def down(name: str) -> None:
    """Remove a lab with everything it owns."""
    hosts.down(engine.connect(), hosts.Lab(name))


@main.command("images")
def list_images() -> None:
    """Make every image and print its tag."""
    client = engine.connect()
    images.ensure_all(client, images.IMAGES.values())
    for image in images.IMAGES.values():
        click.echo(f"{image.name} {image.tag}")


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except Problem as problem:
        click.echo(problem, err=True)
        raise SystemExit(problem.code) from None
