"""License keys ("Key String" in the portal): what one says, and whether it is what it should be.

Form, as the vendor's portal and SDKs have it: `DLS2`, then Base64 of a JSON object. A key is a secret, since it may
hold the session password: neither the password nor a field of unknown meaning is ever shown, and no message holds a
piece of a key that could not be read.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from dlsctl.pair import url_parts
from dlsctl.problems import EXIT_DIFFERS, Problem, Refused, shown
from dlskit.files import plain, printable, unique_names
from dlskit.lines import lines

PREFIX = "DLS2"
LARGEST = 1 << 16  # bytes; a key has some hundred
_KEY_HINT = "copy the whole Key String again with the button beside it in the portal"
_URL_HINT = "correct it in the portal (Projects, Set Server URL) and copy the Key String again"
_PORTAL_HINT = "set it in the portal (Projects, Set Server URL) and copy the Key String again"


class Differs(Problem):
    """A key says something else than it should."""

    code = EXIT_DIFFERS


@dataclass(frozen=True)
class LicenseKey:
    """One key. Empty: what it does not say."""

    organization: str
    handshake_code: str
    main_url: str
    standby_url: str
    session_password: str = field(repr=False)
    unknown: dict[str, object] = field(repr=False)


# The fields, by the names that they have in a key.
_FIELDS = {
    "organizationID": "organization",
    "handshakeCode": "handshake_code",
    "mainServerURL": "main_url",
    "standbyServerURL": "standby_url",
    "sessionPassword": "session_password",
}


def decode(text: str, what: str) -> LicenseKey:
    """Return what a key says; `what` names its place. Raises Refused, without showing the key."""
    text = text.strip()
    if not text.startswith(PREFIX):
        rule = f"must hold one license key, {PREFIX}..."
        if projects := _by_project(text):
            hint = "hand over one of them: jq -r '.\"PROJECT\"' FILE | dlskit key inspect -"
            raise Refused(what, rule, f"the keys of {projects} projects", hint)
        raise Refused(what, rule, f"{len(text)} other characters", _KEY_HINT)
    try:
        data = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
        raise Refused(what, f"must be whole Base64 behind {PREFIX}", "another or a cut text", _KEY_HINT) from None
    fields = _fields(data, what)
    known = {name: _text(fields, key, what) for key, name in _FIELDS.items()}
    return LicenseKey(**known, unknown={key: value for key, value in fields.items() if key not in _FIELDS})


def problems(key: LicenseKey, what: str, main_url: str = "", standby_url: str = "") -> Iterator[Problem]:
    """Yield what is wrong with a key for a self-hosted server, and where its URLs are not the expected ones."""
    if not re.fullmatch(r"[0-9]{1,20}", key.organization):
        yield Refused(what, "must have the digits of an organizationID", shown(key.organization), _KEY_HINT)
    if key.handshake_code and not key.handshake_code.startswith(key.organization + "-"):
        got = f"{shown(key.handshake_code)} for organization {shown(key.organization)}"
        yield Refused(what, "must have a handshakeCode of its organization", got, _KEY_HINT)
    if not key.main_url and not main_url:
        got = "none: clients would ask the vendor's public servers"
        yield Refused(what, "must have a mainServerURL", got, _PORTAL_HINT)
    for name, url, expected in (
        ("mainServerURL", key.main_url, main_url),
        ("standbyServerURL", key.standby_url, standby_url),
    ):
        if url and not url_parts(url):
            yield Refused(what, f"must have an http(s) URL as {name}", shown(url), _URL_HINT)
        elif expected and url_parts(url) != url_parts(expected):
            yield Differs(what, f"must have the {name} {plain(expected)}", plain(url) or "none", _URL_HINT)
    if key.standby_url and url_parts(key.standby_url) == url_parts(key.main_url):
        yield Refused(what, "must have two servers as main and standby", "one URL for both", _URL_HINT)


def calls(key: LicenseKey) -> list[str]:
    """Return the URLs that a client calls for a license, in the order in which it tries them.

    None means that it asks the vendor's public servers. Seen in the vendor's SDKs: a missing last slash is added, and
    a path kept.
    """
    paths = lines()[-1].facts["client_paths"]
    path = next(entry["path"] for entry in paths if "GET" in entry["methods"])
    return [f"{url.rstrip('/')}/{path}" for url in (key.main_url, key.standby_url) if url]


def notes(key: LicenseKey) -> list[str]:
    """Return what is worth knowing of a valid key."""
    found = []
    if not key.handshake_code:
        found.append("no handshake code: the organization's default project counts")
    if any(url.startswith("http://") for url in (key.main_url, key.standby_url)):
        found.append("http: the vendor's JavaScript and iOS SDKs need https")
    return found


def differences(one: LicenseKey, other: LicenseKey) -> list[tuple[str, str, str]]:
    """Return (field, what `one` says, what `other` says) for each difference, without showing what is secret."""
    found = []
    for key, name in _FIELDS.items():
        left, right = getattr(one, name), getattr(other, name)
        if left != right:
            texts = _masked(left or None, right or None) if name == "session_password" else _told(left, right)
            found.append((key, *texts))
    for key in dict.fromkeys([*one.unknown, *other.unknown]):
        left, right = one.unknown.get(key), other.unknown.get(key)
        if left != right:
            found.append((printable(key), *_masked(left, right)))
    return found


def _by_project(text: str) -> int:
    """Return how many keys a text holds that `dlskit portal keys` has written, by project; 0 for another text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return 0
    return len(value) if isinstance(value, dict) and all(str(key).startswith(PREFIX) for key in value.values()) else 0


def _told(left: str, right: str) -> tuple[str, str]:
    return plain(left) or "none", plain(right) or "none"


def _masked(left: object, right: object) -> tuple[str, str]:
    """Return words for two values that differ and that nobody may see; None is no value."""
    if left is None or right is None:
        return "none" if left is None else "set", "none" if right is None else "set"
    return "set", "set to another value"


def _fields(data: bytes, what: str) -> dict[str, object]:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique_names, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refused(what, "must hold a JSON object in UTF-8, each name once", "something else", _KEY_HINT) from None
    if not isinstance(value, dict):
        raise Refused(what, "must hold a JSON object", "another value", _KEY_HINT)
    return value


def _no_number(name: str) -> None:
    raise ValueError(name)  # NaN, which is no JSON and equals no other


def _text(fields: dict[str, object], key: str, what: str) -> str:
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise Refused(what, f"must have text as {key}", f"a JSON {type(value).__name__}", _KEY_HINT)
    return value
