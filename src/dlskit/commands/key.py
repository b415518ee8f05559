"""``dlskit key``: license keys, which clients have in their code. A key is a secret and never an argument."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from dlskit.commands import json_option, print_rows, stop_for

if TYPE_CHECKING:
    from dlskit.license_key import LicenseKey

URL_VARIABLES = ("dls_server_main_url", "dls_server_standby_url")


@click.group("key")
def key_group() -> None:
    """Look into license keys (DLS2...). A key comes from a file, or from standard input as "-"."""


@key_group.command("inspect")
@click.argument("file", type=click.Path())
@json_option
def inspect_command(file: str, as_json: bool) -> None:
    """Say what the license key in FILE says, and which URLs a client calls with it.

    The session password is not shown, nor is the value of a field that is not known.
    """
    from dlskit.license_key import calls, notes  # noqa: PLC0415

    key = read_key(file)
    answer = as_dict(key) | {"calls": calls(key), "notes": notes(key)}
    if as_json:
        click.echo(json.dumps(answer))
        return
    print_rows(rows(key, answer["calls"], answer["notes"]))


@key_group.command("check")
@click.argument("file", type=click.Path())
@click.option("--main-url", metavar="URL", help="The main server's URL that the key must have.")
@click.option("--standby-url", metavar="URL", help="The standby server's URL that the key must have.")
@click.option("-i", "--inventory", type=click.Path(), help="Take the URLs from this inventory of Ansible instead.")
@click.option("--host", help="The host of the inventory, either one of a pair; not needed where it has only one.")
@click.option("--vault-password-file", type=click.Path(), help="As Ansible's option, for a vault in the inventory.")
@json_option
def check_command(file: str, as_json: bool, **expected: str | None) -> None:
    """Check the license key in FILE for a self-hosted server, and its URLs against those that it must have.

    Exits with 5 where a URL differs, with 6 where the key is no valid one.
    """
    from dlskit.license_key import problems  # noqa: PLC0415

    main, standby = expected_urls(**expected)
    key = read_key(file)
    wrong = list(problems(key, name_of(file), main, standby))
    if as_json:
        click.echo(json.dumps(as_dict(key) | {"problems": [problem.as_dict() for problem in wrong]}))
    if wrong:
        stop_for(wrong)
    if not as_json:
        compared = " with the URLs expected" if main or standby else ""
        click.echo(f"{name_of(file)}: a valid license key of organization {key.organization}{compared}")


@key_group.command("diff")
@click.argument("file", type=click.Path())
@click.argument("other", type=click.Path())
@json_option
def diff_command(file: str, other: str, as_json: bool) -> None:
    """Say in what the license keys in FILE and OTHER differ. Exits with 5 where they do."""
    from dlsctl.problems import EXIT_DIFFERS  # noqa: PLC0415
    from dlskit.license_key import differences  # noqa: PLC0415

    found = differences(read_key(file), read_key(other))
    if as_json:
        listed = [dict(zip(("field", "file", "other"), one, strict=True)) for one in found]
        click.echo(json.dumps({"differences": listed}))
    elif found:
        print_rows({field: f"{left} -> {right}" for field, left, right in found})
    else:
        click.echo("the two keys say the same")
    if found:
        raise click.exceptions.Exit(EXIT_DIFFERS)


def name_of(file: str) -> str:
    """Return how messages name where a key comes from. Only a file's name is repeated: all else may be a key."""
    from pathlib import Path  # noqa: PLC0415

    from dlskit.files import STDIN, printable  # noqa: PLC0415

    if file == STDIN:
        return "standard input"
    try:
        return printable(file) if Path(file).exists() else "FILE"
    except (OSError, ValueError):  # too long for a name, as a key may be
        return "FILE"


def read_key(file: str) -> LicenseKey:
    """Return the license key in a file, or on standard input."""
    from dlskit.files import read_file  # noqa: PLC0415
    from dlskit.license_key import LARGEST, decode  # noqa: PLC0415

    hint = "give the path of a file with the key, or - for standard input; a key as an argument is seen by everybody"
    data = read_file(file, LARGEST, hint, name_of(file))
    return decode(data.decode("utf-8-sig", "replace"), name_of(file))


def expected_urls(
    main_url: str | None,
    standby_url: str | None,
    inventory: str | None,
    host: str | None,
    vault_password_file: str | None,
) -> tuple[str, str]:
    """Return the URLs of main and standby to compare a key with, empty where there is none to compare."""
    if not inventory and not host:
        return valid_url("--main-url", main_url or ""), valid_url("--standby-url", standby_url or "")
    if not inventory or main_url or standby_url:
        message = "give --inventory, with --host where it has several, or --main-url and --standby-url"
        raise click.UsageError(message, click.get_current_context())
    from dlsctl.problems import Refused  # noqa: PLC0415
    from dlskit.inventory import read_host  # noqa: PLC0415

    found = read_host(inventory, host, URL_VARIABLES, vault_password_file, ask_vault=False)
    for name in URL_VARIABLES:
        if not found.variables.get(name):
            got = found.unresolved.get(name, "nothing")
            hint = "only hosts of a pair have it: use --main-url for a server that stands alone"
            raise Refused(f"{name} of {found.name}", "must be in the inventory", got, hint)
    main, standby = (valid_url(name, str(found.variables[name])) for name in URL_VARIABLES)
    return main, standby


def valid_url(what: str, url: str) -> str:
    """Return a URL to compare with. Raises Refused where it is none."""
    from dlsctl.pair import url_parts  # noqa: PLC0415
    from dlsctl.problems import Refused, shown  # noqa: PLC0415

    if url and not url_parts(url):
        raise Refused(what, "must be an http(s) URL", shown(url), "write it as in https://dls1.example.com/dls/")
    return url


def as_dict(key: LicenseKey) -> dict[str, Any]:
    """Return what --json prints of a license key: no password, no value of an unknown field."""
    return {
        "organization": key.organization,
        "handshake_code": key.handshake_code,
        "main_url": key.main_url,
        "standby_url": key.standby_url,
        "session_password_set": bool(key.session_password),
        "unknown": list(key.unknown),
    }


def rows(key: LicenseKey, calls: list[str], notes: list[str]) -> dict[str, str]:
    """Return what is shown of a license key to a person, by label."""
    from dlskit.files import plain, printable  # noqa: PLC0415

    lines = {
        "organization": printable(key.organization) or "none",
        "handshake code": printable(key.handshake_code) or "none",
        "main server": plain(key.main_url) or "none",
        "standby server": plain(key.standby_url) or "none",
        "session password": "set, not shown" if key.session_password else "none",
    }
    if key.unknown:
        lines["other fields"] = ", ".join(printable(name) for name in key.unknown)
    in_order = [f"{number}. {plain(url)}" for number, url in enumerate(calls, 1)]
    lines["clients call"] = "\n".join(in_order) or "the vendor's public servers"
    return lines | ({"notes": "\n".join(notes)} if notes else {})
