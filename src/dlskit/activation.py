"""Activation sheets: what somebody needs in the vendor's customer portal to activate a license for one server.

Facts, from the vendor's pages "Self-hosted DLS", "How to activate a license" and "Terms": the portal asks for a hosting
choice, the server's UUID and an alias; none of the three can be changed afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from dlsctl.files import write_atomic
from dlsctl.identity import UUID_FORM
from dlsctl.problems import Refused, shown
from dlskit import minisign
from dlskit.files import printable, read_file, unique_names

MODES = ("standalone", "main", "standby")
PORTAL = "https://www.dynamsoft.com/customer/license/fullLicense"
HOSTING = "Connect to My Self-Hosted License Server"
LARGEST = 1 << 20  # bytes of a file with servers

_TEMPLATES = Path(__file__).parent / "templates"
_COMMENT = "file:{} host:{} uuid:{}"  # of a signature: so a sheet does not pass for that of another host
_SHEET_MODE = 0o644  # a sheet holds no secret
_HINT = 'give {"host": ..., "uuid": ...}, or a list of such, with mode, version and license_id where known'

WARNINGS = (
    f'The choice "{HOSTING}" cannot be changed once the license is activated.',
    "The license is bound to this UUID for good. Its file can be imported on this one server and on no other.",
    "The server's UUID follows from its processor id, MAC address, machine id and motherboard serial number. "
    "If one of them changes, the license may stop working.",
    "The alias cannot be changed once the license is activated.",
)


class Server(NamedTuple):
    """A license server that wants a license. mode is one of MODES; version and license_id are empty where unknown."""

    host: str
    uuid: str
    mode: str = "standalone"
    version: str = ""
    license_id: str = ""


# What a field of a server must look like: the pattern, the rule in words.
_FORMS = {
    "host": (r"[A-Za-z0-9][A-Za-z0-9._-]{0,219}", "must be letters, digits, dots, dashes and underscores, 220 at most"),
    "uuid": (UUID_FORM, "must be as the portal's home page shows it"),
    "mode": ("|".join(MODES), f"must be one of {', '.join(MODES)}"),
    "version": (r"([0-9]+(\.[0-9]+){1,3})?", "must be a version such as 2.4.11"),
    "license_id": (r"([0-9]{1,20})?", "must be digits"),
}


def read_servers(path: str) -> list[Server]:
    """Return the servers that a JSON file names, one object or a list of them. Raises Refused."""
    what = printable(path)
    try:
        data = read_file(path, LARGEST, "give the path of a JSON file with servers")
        value = json.loads(data, object_pairs_hook=unique_names)
    except (ValueError, RecursionError) as error:
        raise Refused(what, "must be JSON, each name once", type(error).__name__, _HINT) from None
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise Refused(what, "must name a server", "an empty list", _HINT)
    return [server(entry, f"{what}, server {number}") for number, entry in enumerate(entries, 1)]


def server(fields: object, what: str, hint: str = _HINT) -> Server:
    """Return the server that `fields` describe, its UUID in upper case.

    Raises Refused, with `what` as their place, or where that is empty with the name of the field's option.
    """
    if not isinstance(fields, Mapping):
        raise Refused(what, "must be an object with host and uuid", shown(fields), hint)
    for name in fields:
        if name not in Server._fields:
            raise Refused(what, f"must have no fields but {', '.join(Server._fields)}", printable(str(name)), hint)
    if isinstance(number := fields.get("license_id"), int):
        fields = {**fields, "license_id": str(number)}
    for name, (pattern, rule) in _FORMS.items():
        value = fields.get(name, Server._field_defaults.get(name))
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            place = f"{what}, {name}" if what else f"--{name.replace('_', '-')}"
            raise Refused(place, rule, "nothing" if value is None else shown(value), hint)
    found = Server(**fields)
    return found._replace(uuid=found.uuid.upper())


def problems(servers: Iterable[Server]) -> Iterator[Refused]:
    """Yield what speaks against asking for licenses for `servers` together."""
    hosts: set[str] = set()
    host_of_uuid: dict[str, str] = {}
    for one in servers:
        if one.host.lower() in hosts:
            yield Refused(one.host, "must be named once", "a second time", "give one UUID for each host")
            continue
        hosts.add(one.host.lower())
        other = host_of_uuid.setdefault(one.uuid, one.host)
        if other != one.host:
            hint = (
                "one of them is a copy of the other's machine: clients refuse a clone (-20151). Read both UUIDs again"
            )
            yield Refused(one.host, "must have a UUID of its own", f"the UUID of {other}", hint)


def alias(one: Server, day: date | None = None) -> str:
    """Return a proposal for the alias: the vendor's own pattern, then the host. What is unknown stays in braces.

    The pattern is `DM_{License Id}_Date{Activation Date}` (page "Terms"), the date as the portal writes it: 20220328.
    """
    license_id = one.license_id or "{License Id}"
    activated = f"{day:%Y%m%d}" if day else "{Activation Date}"
    return f"DM_{license_id}_Date{activated}_{re.sub('[^A-Za-z0-9]+', '_', one.host)}"


def sheet(one: Server, day: date | None = None) -> dict[str, Any]:
    """Return a server's sheet as data, which the printed forms show too. `day`: when it is going to be activated."""
    proposal = alias(one, day)
    steps = [
        f"Log in to {PORTAL} and click Activate at the license for this server"
        + (f", {one.license_id}." if one.license_id else "."),
        f"Alias: enter {proposal}, or another name that tells what the license is for."
        + (" Replace what is in braces; write the date as 20220328." if "{" in proposal else ""),
        f'License Server Type: choose "{HOSTING}".',
        f"UUID: enter {one.uuid}, and compare it with this sheet.",
        "Click Activate. The activated license file is downloaded: keep it as it is.",
        "Check it with `dlskit license check FILE`, and import it in the portal of this server.",
    ]
    return {**one._asdict(), "alias": proposal, "portal": PORTAL, "hosting": HOSTING} | {
        "warnings": list(WARNINGS),
        "steps": steps,
    }


def forms(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the three forms of a sheet by file name. The same sheet gives the same text."""
    name = f"{content['host']}.activation"
    return {
        f"{name}.txt": _rendered("activation-sheet.txt.j2", content),
        f"{name}.html": _rendered("activation-sheet.html.j2", content),
        f"{name}.json": json.dumps(content, indent=1) + "\n",
    }


def write(content: Mapping[str, Any], folder: Path, key: minisign.SecretKey | None = None) -> list[Path]:
    """Write a sheet's three forms into `folder`, each with a signature if there is a key; return the files written.

    Files of an earlier sheet are replaced, and signatures that do not fit any more removed.
    """
    written = []
    for name, text in forms(content).items():
        path, signature = folder / name, folder / (name + minisign.SUFFIX)
        signature.unlink(missing_ok=True)
        write_atomic(str(path), text.encode(), _SHEET_MODE)
        written.append(path)
        if key:
            comment = _COMMENT.format(name, content["host"], content["uuid"])
            write_atomic(str(signature), minisign.sign(text.encode(), key, comment).encode(), _SHEET_MODE)
            written.append(signature)
    return written


def check_name(path: str, comment: str) -> None:
    """Raise Refused where the signature of the sheet at `path` was made for a sheet of another name.

    A comment of another form is not ours, and says nothing of the name.
    """
    signed = re.fullmatch(_COMMENT.format(r"(\S+)", r"\S+", r"\S+"), comment)
    if signed and signed[1] != Path(path).name:
        hint = "give the sheet back its name, if it is the one that you look for"
        got = f"one that was signed as {signed[1]}"
        raise Refused(printable(path), "must have the name under which it was signed", got, hint)


def _rendered(template: str, content: Mapping[str, Any]) -> str:
    import jinja2  # noqa: PLC0415 - only `request` renders

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(content)
