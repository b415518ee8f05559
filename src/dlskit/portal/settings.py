"""What one portal is to hold, as a playbook hands it over: one JSON object, with its secrets, on standard input."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlsctl.problems import Refused, shown
from dlskit import license_file
from dlskit.inventory import Host
from dlskit.portal.target import Target, alerts, of_host

LARGEST = 16 << 20  # bytes of the whole object; a license file has some KiB


@dataclass(frozen=True)
class License:
    """A license file, by name and content, and the project it is for; `create`: to be made where it is missing."""

    name: str
    content: bytes = field(repr=False)
    project: str
    create: bool = True


@dataclass(frozen=True)
class Settings:
    """What a portal is to hold. Empty: what is left as it is.

    uuid: the one that the portal must show. urls: main, standby or both. alerts: as dls_server_alerts, in texts.
    keys_file: where license keys go on this machine. timeout: seconds for each element and answer. browser: a program.
    """

    target: Target
    password: str = field(repr=False)
    urls: Mapping[str, str]
    uuid: str
    alerts: Mapping[str, str] = field(repr=False)
    licenses: tuple[License, ...]
    keys_file: Path | None
    browser: str | None
    timeout: float
    dry_run: bool


# Each key with its type and what it is where it is missing.
_KEYS: dict[str, tuple[type, Any]] = {
    "name": (str, None),
    "connection": (str, "ssh"),
    "ssh": (dict, {}),
    "port": (int, 0),
    "version": (str, ""),
    "password": (str, None),
    "uuid": (str, ""),
    "urls": (dict, {}),
    "alerts": (dict, {}),
    "licenses": (list, []),
    "keys_file": (str, ""),
    "browser": (str, ""),
    "timeout": (int, 15),
    "dry_run": (bool, False),
}
_LICENSE_KEYS: dict[str, tuple[type, Any]] = {
    "name": (str, None),
    "content": (str, None),  # in Base64
    "project": (str, None),
    "create": (bool, True),
}
_HINT = "docs/portal.md has the object"


def read(data: bytes) -> Settings:
    """Return the settings in a JSON object. Raises Refused, without repeating a value of it."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise Refused("settings", "must be a JSON object", "something else", _HINT) from None
    value = _checked("settings", document, _KEYS)
    _check_values(value)
    variables = {f"dls_server_{key}": value[key] or None for key in ("version", "port")}
    host = Host(value["name"], value["connection"], value["ssh"], variables, {})
    if not value["password"]:
        hint = "put it into a vaulted file of the inventory"
        raise Refused("dls_server_admin_password", "must be set to take the steps of the portal", "nothing", hint)
    return Settings(
        target=of_host(host),
        password=value["password"],
        uuid=value["uuid"],
        urls=value["urls"],
        alerts=alerts(value["alerts"]),
        licenses=tuple(_license(entry, number) for number, entry in enumerate(value["licenses"], 1)),
        keys_file=Path(value["keys_file"]).expanduser() if value["keys_file"] else None,
        browser=value["browser"] or None,
        timeout=value["timeout"],
        dry_run=value["dry_run"],
    )


def _check_values(value: Mapping[str, Any]) -> None:
    if value["timeout"] < 1:
        raise Refused("settings, timeout", "must be 1 or more", value["timeout"], _HINT)
    if not 0 <= value["port"] <= 65535:
        raise Refused("settings, port", "must be 0 to 65535", value["port"], _HINT)
    if value["connection"].rpartition(".")[2] != "local" and not value["ssh"].get("host"):
        raise Refused("settings, ssh", "must have the host", "nothing", _HINT)
    if not all(which in ("main", "standby") and isinstance(url, str) for which, url in value["urls"].items()):
        raise Refused("settings, urls", "must be texts for main and standby", "something else", _HINT)


def _license(entry: object, number: int) -> License:
    what = f"license {number}"
    value = _checked(what, entry, _LICENSE_KEYS)
    try:
        content = base64.b64decode(value.pop("content"), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(what, "must have its content in Base64", "another text", _HINT) from None
    license_file.parse(content, value["name"])
    return License(content=content, **value)


def _checked(what: str, value: object, keys: Mapping[str, tuple[type, Any]]) -> dict[str, Any]:
    """Return the object with every key, if it has no other ones and every value is of its type."""
    if not isinstance(value, dict):
        raise Refused(what, "must be a JSON object", type(value).__name__, _HINT)
    if unknown := sorted(set(value) - set(keys)):
        raise Refused(what, f"must have no keys but {', '.join(keys)}", shown(unknown[0]), _HINT)
    found = {key: value.get(key, default) for key, (_, default) in keys.items()}
    for key, (kind, _) in keys.items():
        if not isinstance(found[key], kind) or (kind is int and isinstance(found[key], bool)):
            got = "nothing" if found[key] is None else type(found[key]).__name__
            raise Refused(f"{what}, {key}", f"must be {kind.__name__}", got, _HINT)
    return found
