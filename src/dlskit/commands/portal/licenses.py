"""Licenses: their files, their projects and the keys for clients."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dlskit.commands.portal.visit import DRY_RUN, TARGET, VISIT, Options, options, show, signed_in

MIB = 1 << 20


@click.command("import")
@options(
    click.argument("file", type=click.Path()),
    click.option("--project", metavar="NAME", required=True, help="Project that the file's items are for."),
    click.option("--create", is_flag=True, help="Make the project where there is none of this name."),
    click.option(
        "--again", is_flag=True, help="Import though items of the file are there, such as one with new dates."
    ),
    click.option("--for-standby", is_flag=True, help="The server is a standby, and the file is bound to its own UUID."),
    *TARGET,
    *VISIT,
    DRY_RUN,
)
def import_command(  # noqa: PLR0913, PLR0917 - one parameter an option
    file: str,
    project: str,
    create: bool,
    again: bool,
    for_standby: bool,
    common: Options,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import the license file FILE, - for standard input, into a project.

    Nothing is done when the project has the file's items already. A file that the portal refuses, such as one that is
    bound to another UUID, changes nothing.
    """
    from dlskit.portal import verbs  # noqa: PLC0415
    from dlskit.portal.target import UUID  # noqa: PLC0415

    content = license_file(file, common)
    target = common.target()
    with signed_in(common, target) as found:
        if expected := target.variable(UUID):
            verbs.uuid(found, str(expected))
        if not for_standby:
            verbs.refuse_standby(found, str(target.variable("dls_server_mode") or ""))
        answer = verbs.import_license(found, content, project, create=create, again=again, dry_run=dry_run)
    show(answer, as_json, dry_run)


def license_file(path: str, common: Options) -> tuple[str, bytes]:
    """Return name and content of a license file. Raises Refused for what no portal can take."""
    from dlsctl.problems import Refused  # noqa: PLC0415
    from dlskit.license_file import parse  # noqa: PLC0415

    hint = "give the file that the vendor's customer portal made at the activation"
    if path == "-":
        if common.password_file == "-":  # noqa: S105
            raise Refused("standard input", "must be the license file or the password", "both", "give one as a file")
        name, content = "license.txt", sys.stdin.buffer.read(MIB + 1)
    else:
        with Path(path).open("rb") as opened:
            name, content = Path(path).name, opened.read(MIB + 1)
    if not content.strip() or len(content) > MIB:
        got = f"more than {MIB} bytes" if content.strip() else "an empty file"
        raise Refused(name, f"must be a license file of at most {MIB} bytes", got, hint)
    if content.startswith(b"$ANSIBLE_VAULT"):
        hint = f"ansible-vault view {path} | dlskit portal import - ..."
        raise Refused(name, "must be a license file", "one that is encrypted with ansible-vault", hint)
    parse(content, name)
    return name, content


@click.command("projects")
@options(
    click.option("--create", metavar="NAME", help="Make a project of this name, unless there is one."),
    *TARGET,
    *VISIT,
    DRY_RUN,
)
def projects_command(create: str | None, common: Options, dry_run: bool, as_json: bool) -> None:
    """List the projects (2.2: handshake codes) with their items, or make one."""
    from dlskit.portal import verbs  # noqa: PLC0415

    with signed_in(common, common.target()) as found:
        answer = verbs.projects(found, create, dry_run)
    show(answer, as_json, dry_run)


@click.command("keys")
@options(
    click.option("--project", metavar="NAME", help="Only the key of this project, as it is; else all, as JSON."),
    click.option("--out", metavar="FILE", required=True, help="File to write, readable for its owner only."),
    *TARGET,
    *VISIT,
    DRY_RUN,
)
def keys_command(project: str | None, out: str, common: Options, dry_run: bool, as_json: bool) -> None:
    """Write license keys to a file. They are secrets, and never printed."""
    from dlskit.portal import verbs  # noqa: PLC0415

    with signed_in(common, common.target()) as found:
        answer = verbs.keys(found, project, Path(out), {}, dry_run)
    show(answer, as_json, dry_run)
