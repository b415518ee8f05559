"""``dlskit license``: the vendor's license files, and what is needed to get one."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from dlskit.commands import F, json_option, print_rows, stop_for
from dlskit.commands.signing import public_key, secret_key, sign_options

if TYPE_CHECKING:
    from dlskit.activation import Server
    from dlskit.license_file import LicenseFile

KIB = 1 << 10


@click.group("license")
def license_group() -> None:
    """Look into license files, and write what is needed to get one."""


def size_option(command: F) -> F:
    """Add the option that raises or lowers what a license file may grow to, passed to the command as `max_size`."""
    return click.option(
        "--max-size",
        type=click.IntRange(1, 1 << 20),
        default=1024,
        show_default=True,
        metavar="KIB",
        help="Refuse a license file of more than this many KiB.",
    )(command)


@license_group.command("inspect")
@click.argument("files", metavar="FILE...", type=click.Path(), nargs=-1, required=True)
@size_option
@json_option
def inspect_command(files: tuple[str, ...], max_size: int, as_json: bool) -> None:
    """Say what the license FILE says: id, alias, organization, status, items, dates.

    Items are shown as they are, since the vendor does not document them. Nothing is written.
    """
    from dlskit.license_file import read  # noqa: PLC0415

    found = [read(path, max_size * KIB) for path in files]
    if as_json:
        click.echo(json.dumps({"files": [as_dict(file) for file in found]}))
        return
    for number, file in enumerate(found):
        if number:
            click.echo()
        print_rows(rows(file))


@license_group.command("check")
@click.argument("files", metavar="FILE...", type=click.Path(), nargs=-1, required=True)
@size_option
@json_option
def check_command(files: tuple[str, ...], max_size: int, as_json: bool) -> None:
    """Check license files before they are imported: give those of all servers of one organization at once.

    Refused are files that are not activated, damaged, cut short or too large, two with one license id, and files of
    different organizations. Whether the vendor's server takes a file, only an import can tell.
    """
    from dlsctl.problems import Refused  # noqa: PLC0415
    from dlskit.files import printable  # noqa: PLC0415
    from dlskit.license_file import problems, read  # noqa: PLC0415

    found: list[LicenseFile] = []
    wrong: list[Refused] = []
    for path in files:
        try:
            found.append(read(path, max_size * KIB))
        except Refused as problem:
            wrong.append(problem)
    wrong += problems(found)
    if as_json:
        answer = {"files": [as_dict(file) for file in found], "problems": [problem.as_dict() for problem in wrong]}
        click.echo(json.dumps(answer))
    if wrong:
        stop_for(wrong)
    if not as_json:
        for file in found:
            click.echo(f"{printable(file.path)}: license {file.id} of organization {file.organization}, {file.status}")


@license_group.command("request")
@click.argument("files", metavar="[FILE]...", type=click.Path(), nargs=-1)
@click.option("--host", help="Host name of the one server to write a sheet for, if no FILE names any.")
@click.option("--uuid", help="UUID of that server, from the home page of its portal.")
@click.option("--mode", metavar="MODE", help="What that server is: standalone (the default), main or standby.")
@click.option("--version", metavar="VERSION", help="Release of that server, such as 2.4.11.")
@click.option("--license-id", metavar="ID", help="License id of the license to activate, if it is known.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="Day of activation, if known.")
@click.option("--out", type=click.Path(), required=True, metavar="DIR", help="Folder to write to; made if missing.")
@sign_options
@json_option
def request_command(  # noqa: PLR0913 - one parameter an option
    *,
    files: tuple[str, ...],
    date: datetime | None,
    out: str,
    sign_key: str | None,
    password_file: str | None,
    as_json: bool,
    **server: str | None,
) -> None:
    """Write activation sheets: what somebody enters in the vendor's customer portal to get a license for a server.

    Each server gets a text, a JSON file and a page to print, with its UUID, a proposal for the alias, and what cannot
    be undone. Servers come from JSON files, {"host": ..., "uuid": ...} or a list of such, or from --host and --uuid.
    """
    from pathlib import Path  # noqa: PLC0415

    from dlskit import activation  # noqa: PLC0415

    servers = [one for path in files for one in activation.read_servers(path)] + given_server(server)
    if wrong := list(activation.problems(servers)):
        stop_for(wrong)
    key = secret_key(sign_key, password_file) if sign_key else None
    folder = Path(out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    sheets = [activation.sheet(one, date.date() if date else None) for one in servers]
    written = [str(path) for sheet in sheets for path in activation.write(sheet, folder, key)]
    click.echo(json.dumps({"sheets": sheets, "files": written}) if as_json else "\n".join(written))


@license_group.command("verify-request")
@click.argument("files", metavar="FILE...", type=click.Path(), nargs=-1, required=True)
@click.option(
    "--public-key",
    "key",
    type=click.Path(),
    required=True,
    envvar="DLSKIT_PUBLIC_KEY",
    show_envvar=True,
    help="Public key of minisign, of whoever signed. Take it from elsewhere than the sheets.",
)
@json_option
def verify_request_command(files: tuple[str, ...], key: str, as_json: bool) -> None:
    """Check that the sheets FILE are as they were signed; the signature of each is beside it, in FILE.minisig."""
    from dlskit import minisign  # noqa: PLC0415
    from dlskit.activation import LARGEST, check_name  # noqa: PLC0415
    from dlskit.files import printable, read_file  # noqa: PLC0415

    trusted = public_key(key)
    answer = []
    for path in files:
        sheet = read_file(path, LARGEST, "give the path of a signed sheet")
        signature = read_file(path + minisign.SUFFIX, minisign.LARGEST, minisign.SIGNATURE_HINT)
        comment = minisign.verify(sheet, signature, trusted, printable(path))
        check_name(path, comment)
        answer.append({"file": path, "key": str(trusted), "comment": comment})
    if as_json:
        click.echo(json.dumps({"signed": answer}))
        return
    for one in answer:
        click.echo(f"{printable(one['file'])}: signed by {one['key']}, {one['comment']}")


def given_server(fields: dict[str, str | None]) -> list[Server]:
    """Return the server that the options describe, if they do."""
    from dlskit.activation import server  # noqa: PLC0415

    given = {name: value for name, value in fields.items() if value is not None}
    if not given:
        context = click.get_current_context()
        if not context.params["files"]:
            raise click.UsageError("missing a FILE, or --host and --uuid", context)
        return []
    for name in ("host", "uuid"):
        if name not in given:
            raise click.UsageError(f"--host and --uuid go together: missing --{name}", click.get_current_context())
    return [server(given, "", f"see {click.get_current_context().command_path} --help")]


def as_dict(file: LicenseFile) -> dict[str, Any]:
    """Return what --json prints of a license file."""
    return file._asdict() | {"unknown": [{"key": key, "value": value} for key, value in file.unknown]}


def rows(file: LicenseFile) -> dict[str, str]:
    """Return what is shown of a license file to a person, by label."""
    from dlskit.files import escaped, printable  # noqa: PLC0415

    lines = {
        "file": printable(file.path),
        "license id": file.id,
        "alias": printable(file.alias) or "none",
        "organization": file.organization,
        "status": printable(file.status) or "none",
        "text version": printable(file.text_version) or "none",
        "SHA-256": file.sha256,
        "dates": ", ".join(file.dates) or "none found",
    }
    if file.unknown:
        lines["other lines"] = "\n".join(escaped(f"{key}: {value}") for key, value in file.unknown)
    return lines | {"items": "\n".join(escaped(line.rstrip("\r")) for line in file.items.split("\n"))}
