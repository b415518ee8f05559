"""The vendor's license files: what one says, and what a set of them must not say.

Form, from the vendor's page of terms: `Key: value` lines, the last of which is `LicenseItems:`, then one or more items.
How an item looks inside is not documented, so items are kept as the text that they are. The names of the keys are in
the vendor's data, one set for each release line; a file may use any of them.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import NamedTuple

from dlsctl.problems import Refused, shown
from dlskit.files import plain, printable, read_file
from dlskit.lines import lines

LARGEST = 1 << 20  # bytes; a license file has some KiB
ACTIVATED, NEW = "activated", "new"  # the documented states; the vendor writes the first letter either way

_PATH_HINT = "give the path of the license file; --max-size raises the limit"
_FORM_HINT = "take the file as the vendor's customer portal gave it, without opening and saving it in between"
_CUT_HINT = "the file is cut short or no license file: download it again from the vendor's customer portal"
_DATE = re.compile(  # in an item, or behind the documented word in an alias
    r"(?<![0-9])(20[0-9]{2})([-/.])([0-9]{2})\2([0-9]{2})(?![0-9])|Date(20[0-9]{2})([0-9]{2})([0-9]{2})(?![0-9])"
)


class LicenseFile(NamedTuple):
    """One license file. Empty: what it has no line for.

    size is in bytes, sha256 in hex; items is the text behind `LicenseItems:` with its own line ends; dates are all that
    were found in the file, as YYYY-MM-DD; unknown holds the lines with other keys, in their order.
    """

    path: str
    size: int
    sha256: str
    id: str
    alias: str
    text_version: str
    organization: str
    status: str
    items: str
    dates: tuple[str, ...]
    unknown: tuple[tuple[str, str], ...]


def read(path: str, limit: int = LARGEST) -> LicenseFile:
    """Read a license file of at most `limit` bytes. Raises Refused for one that is not of the documented form."""
    return parse(read_file(path, limit, _PATH_HINT), path)


def parse(data: bytes, path: str) -> LicenseFile:
    """Return what a license file with this content says; `path` names it. Raises Refused as `read` does."""
    what = printable(path)
    text = _text(data, what)
    head, unknown, items = _split(text, what)
    return LicenseFile(
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        id=_number(head, "id", what),
        alias=head.get("alias", ""),
        text_version=head.get("text_version", ""),
        organization=_number(head, "organization", what),
        status=_needed(head, "status", what),
        items=items,
        dates=_dates(text),
        unknown=unknown,
    )


def problems(files: Sequence[LicenseFile]) -> Iterator[Refused]:
    """Yield what speaks against importing `files`, each on a server of its own and all for one organization."""
    first: dict[str, LicenseFile] = {}
    for file in files:
        what = printable(file.path)
        yield from _status_problems(file, what)
        earlier = first.setdefault(file.id, file)
        if earlier is not file:
            got = f"{file.id}, as {printable(earlier.path)} has"
            hint = "a license is bound to one server: take for each the file that was activated for its UUID"
            yield Refused(what, "must have a license id that no other file has", got, hint)
        if file.organization != files[0].organization:
            rule = f"must be of the organization of {printable(files[0].path)}, {files[0].organization}"
            yield Refused(what, rule, file.organization, "check together only the files of one organization")


def _status_problems(file: LicenseFile, what: str) -> Iterator[Refused]:
    if file.status.casefold() == NEW:
        hint = "activate it in the vendor's customer portal for its server's UUID, and take the file that comes then"
        yield Refused(what, "must be activated", file.status, hint)
    elif file.status.casefold() != ACTIVATED:
        hint = "only New and Activated are documented: ask the vendor what this status means"
        yield Refused(what, "must have the status Activated", plain(file.status[:100]), hint)


def _text(data: bytes, what: str) -> str:
    if data.startswith(b"$ANSIBLE_VAULT;"):
        hint = "give it decrypted: ansible-vault view FILE | dlskit license check -"
        raise Refused(what, "must be a license file", "one that Ansible Vault has encrypted", hint)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Refused(what, "must be UTF-8 text", "UTF-16", _FORM_HINT)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(what, "must be UTF-8 text", f"another byte at {error.start}", _FORM_HINT) from None
    for match in re.finditer(r"[\x00-\x1f\x7f-\x9f]", text.replace("\r\n", "\n")):
        if match[0] not in "\t\n":
            got = f"the control character {shown(match[0])}"
            raise Refused(what, "must be text with line ends LF or CRLF", got, _FORM_HINT)
    return text


def _field_of_key() -> dict[str, str]:
    """Return the field that each key of the vendor's files stands for, old names and new."""
    return {key: field for line in lines() for field, key in line.facts["license_file"].items()}


def _split(text: str, what: str) -> tuple[dict[str, str], tuple[tuple[str, str], ...], str]:
    """Return the known fields, the lines with other keys, and the items."""
    field_of_key = _field_of_key()
    known: dict[str, str] = {}
    unknown: list[tuple[str, str]] = []
    start = number = 0
    while start < len(text):
        found = text.find("\n", start)
        end = found if found >= 0 else len(text)
        key, colon, value = (part.strip() for part in text[start:end].partition(":"))
        number, start = number + 1, end + 1
        if not colon and not key:
            continue
        if not colon or not key:  # the line itself may be of a file that is a secret
            got = f"another line, number {number}"
            raise Refused(what, "must consist of `Key: value` lines before its items", got, _CUT_HINT)
        field = field_of_key.get(key)
        if field == "items":
            return known, tuple(unknown), _items(value, text[start:], what)
        if field is None:
            unknown.append((key, value))
        elif known.setdefault(field, value) != value:
            got = f"{shown(known[field])} and {shown(value)}"
            raise Refused(what, f"must have one value for {_keys(field)}", got, _FORM_HINT)
    raise Refused(what, f"must have the line `{_keys('items')}:`", "none", _CUT_HINT)


def _items(same_line: str, below: str, what: str) -> str:
    items = f"{same_line}\n{below}" if same_line else below
    if not items.strip():
        raise Refused(what, f"must have an item below `{_keys('items')}:`", "none", _CUT_HINT)
    return items.strip("\r\n")


def _keys(field: str) -> str:
    """Return the names of a field's key for a message, the newest first."""
    return " or ".join(dict.fromkeys(line.facts["license_file"][field] for line in reversed(lines())))


def _needed(head: dict[str, str], field: str, what: str) -> str:
    if field not in head:
        raise Refused(what, f"must have the line `{_keys(field)}: ...`", "none", _CUT_HINT)
    return head[field]


def _number(head: dict[str, str], field: str, what: str) -> str:
    value = _needed(head, field, what)
    if not re.fullmatch(r"[0-9]{1,20}", value):
        raise Refused(what, f"must have digits for {_keys(field)}", shown(value), _CUT_HINT)
    return value


def _dates(text: str) -> tuple[str, ...]:
    found = set()
    for match in _DATE.finditer(text):
        year, month, day = match.group(1, 3, 4) if match[1] else match.group(5, 6, 7)
        try:
            found.add(date(int(year), int(month), int(day)).isoformat())
        except ValueError:  # such as 2026-13-45
            continue
    return tuple(sorted(found))
