"""``dlskit init``: the inventory of a new site."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from dlskit.commands import json_option


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["single", "pair", "windows"]), default="single", show_default=True)
@json_option
def init_command(folder: Path, kind: str, as_json: bool) -> None:
    """Make the new FOLDER an inventory: one server, a pair, or a server on Windows.

    A kit that was installed from a bundle names the bundle's newest archive and its package repositories there. What
    else has to be said is explained in the files.
    """
    from dlskit import site  # noqa: PLC0415

    bundle = site.bundle_of_this_kit()
    values = site.make(folder, kind, bundle)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "set": values}))
        return
    certificates = ", and put certificate and key of each host into files/" if kind == "pair" else ""
    click.echo(f"{folder}: name your hosts in hosts.yml, read group_vars/dls.yml{certificates}")
    path, programs, where = str(folder), "", ""
    if bundle:  # its programs are in no PATH, and read ansible.cfg and the playbooks from its folder
        path, programs, where = str(folder.absolute()), "../venv/bin/", f", in {site.in_use(bundle).parent / 'kit'}"
    if bundle and "dls_server_archive" not in values:
        click.echo(f"The bundle has no archive for {kind}: name yours in group_vars/dls.yml, with `dlskit archive pin`")
    steps = f"then{where}: {programs}ansible-playbook -i {shlex.quote(path)} playbooks/site.yml --check"
    if kind != "windows":
        steps += f", or {programs}dlskit deploy site -i {shlex.quote(path)} --dry"
    click.echo(steps)
