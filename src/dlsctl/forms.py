"""The form of what comes from outside as JSON: a release line's facts and a backup's manifest.

Either may be damaged or forged, and root acts on it: nothing of them is used that has another form.
"""

import json
import os
import re
from typing import Any, Callable, Dict, Iterator, Tuple

from dlsctl.archives import VERSION_FORM
from dlsctl.host import seconds_of
from dlsctl.packs import COMPRESSIONS, ENCRYPTIONS
from dlsctl.problems import Refused, one_line, shown

Rule = Tuple[str, Callable[[Any], bool], str]  # key, test, what it must be
SECTIONS = {"release", "kit", "config", "licenses", "systemd"}
KINDS = {"file", "dir", "link", "special"}
LATEST = 2**63 * 10**9  # nanoseconds: what a time stamp's seconds can hold


def is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


RELEASE_OPTIONS = (  # of the verbs that take a vendor archive
    ("sha256", "the pinned checksum"),
    ("version", "the version it must hold"),
    ("line", "the release line's facts, as JSON"),
)


def is_number(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_sha256(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def is_time(value: Any) -> bool:
    """Whether a value is a point in time as `utc_now` writes it."""
    try:
        seconds_of(value)
    except (TypeError, ValueError):
        return False
    return True


def is_path(value: Any) -> bool:
    return is_text(value) and not {"", ".", ".."} & set(value.split("/"))


def are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def is_identity(value: Any) -> bool:
    if not isinstance(value, dict) or "machine_id_sha256" not in value:
        return False
    macs = value.get("mac") or {}
    labels = [label for key, label in value.items() if key != "mac"]
    return isinstance(macs, dict) and all(label is None or is_text(label) for label in [*labels, *macs.values()])


LINE_RULES: Tuple[Rule, ...] = (
    ("argv", lambda value: are_texts(value) and bool(value), "a list of words"),
    ("mode", lambda value: is_text(value) and bool(re.fullmatch("0?[0-7]{3}", value)), "octal, such as 0755"),
    ("server_port", lambda value: is_number(value, 1, 65535), "1 to 65535"),
    ("data_port", lambda value: is_number(value, 1, 65535), "1 to 65535"),
    ("health_path", lambda value: is_text(value) and bool(re.fullmatch("/[!-~]*", value)), "a path such as /page"),
)
PACK_RULES: Tuple[Rule, ...] = (
    ("file", lambda value: is_path(value) and "/" not in value, "a file's name"),
    ("size", lambda value: is_number(value, 0, 1 << 63), "a number of bytes"),
    ("sha256", is_sha256, "64 lower-case hexadecimal digits"),
    ("compression", lambda value: is_text(value) and value in COMPRESSIONS, " or ".join(COMPRESSIONS)),
    (
        "encryption",
        lambda value: value is None or (is_text(value) and value in ENCRYPTIONS),
        " or ".join(ENCRYPTIONS) + ", or null",
    ),
)
MANIFEST_RULES: Tuple[Rule, ...] = (
    ("format", lambda value: is_number(value, 1, 1), "1"),
    ("created", is_time, "a time such as 2026-01-31T12:00:00Z"),
    ("host", is_text, "text"),
    ("reason", is_text, "text"),
    ("method", is_text, "text"),
    ("outage", lambda value: isinstance(value, float) or is_number(value, 0, LATEST), "seconds"),
    ("version", lambda value: is_text(value) and bool(VERSION_FORM.match(value)), "a version such as 2.4.11"),
    ("archive_sha256", is_sha256, "64 lower-case hexadecimal digits"),
    ("networks", are_texts, "a list of networks"),
    ("identity", is_identity, "labels and their values, among them machine_id_sha256"),
    ("line", lambda value: isinstance(value, dict), "an object"),
    ("pack", lambda value: isinstance(value, dict), "an object"),
    (
        "sections",
        lambda value: isinstance(value, dict) and set(value) >= {"release", "kit", "licenses"},
        "an object with release, kit and licenses",
    ),
)
ENTRY_RULES: Tuple[Rule, ...] = (
    ("mode", lambda value: is_text(value) and bool(re.fullmatch("[0-7]{4}", value)), "four octal digits"),
    ("uid", lambda value: is_number(value, 0, 2**32 - 2), "a user's number"),
    ("gid", lambda value: is_number(value, 0, 2**32 - 2), "a group's number"),
    ("mtime_ns", lambda value: is_number(value, -LATEST, LATEST - 1), "nanoseconds"),
    ("size", lambda value: is_number(value, 0, 1 << 63), "a number of bytes"),
)
KIND_RULES: Dict[str, Tuple[Rule, ...]] = {
    "file": (("sha256", is_sha256, "64 lower-case hexadecimal digits"),),
    "link": (("link", lambda value: is_text(value) and 0 < len(os.fsencode(value)) < 4096, "what it points to"),),
}


def faults(value: Dict[str, Any], rules: Tuple[Rule, ...], name: str = "") -> Iterator[Tuple[str, str]]:
    """What of an object has another form: the rule that is broken, and what was there."""
    for key, test, text in rules:
        if key not in value:
            yield "must have {}{}".format(name, key), "none"
        elif not test(value[key]):
            yield "must have as {}{} {}".format(name, key, text), shown(value[key])


def facts_faults(entry: Dict[str, Any]) -> Iterator[Tuple[str, str]]:
    """What is wrong with the facts of one entry, beside its path."""
    name, kind = "entry {}, ".format(one_line(entry["path"])), entry.get("kind")
    if entry.get("change", "added") not in ("added", "modified", "removed"):
        yield "must have as {}change added, modified or removed".format(name), shown(entry["change"])
    if entry.get("change") == "removed":
        return
    if not is_text(kind) or kind not in KINDS:
        yield "must have as {}kind {}".format(name, ", ".join(sorted(KINDS))), shown(kind)
        return
    yield from faults(entry, ENTRY_RULES + KIND_RULES.get(str(kind), ()), name)
    for key in ("user", "group"):
        if not is_text(entry.get(key, "")):
            yield "must have as {}{} a name".format(name, key), shown(entry[key])


def entry_faults(entries: Any) -> Iterator[Tuple[str, str]]:
    """What is wrong with a section's entries, each alone and together."""
    if not isinstance(entries, list):
        yield "must have a list of entries in each section", shown(entries)
        return
    kinds: Dict[str, str] = {}  # by path, of what is there
    seen = set()
    for entry in entries:
        if not isinstance(entry, dict) or not is_path(entry.get("path")):
            yield "must have entries with paths that lead nowhere else", shown(entry)
            return
        path, kind = entry["path"], entry.get("kind")
        if path in seen:
            yield "must have each entry once", one_line(path)
        seen.add(path)
        yield from facts_faults(entry)
        if entry.get("change") != "removed":
            kinds[path] = str(kind)
    for path in kinds:
        above = path.rpartition("/")[0]
        if kinds.get(above, "dir") != "dir":
            yield "must have entries below folders only", one_line(path)


def manifest_faults(manifest: Dict[str, Any]) -> Iterator[Tuple[str, str]]:
    found = list(faults(manifest, MANIFEST_RULES))
    yield from found
    if found:
        return
    yield from faults(manifest["line"], LINE_RULES, "line ")
    yield from faults(manifest["pack"], PACK_RULES, "pack ")
    for section, entries in manifest["sections"].items():
        if section not in SECTIONS:
            yield "must have no sections but " + ", ".join(sorted(SECTIONS)), shown(section)
        yield from entry_faults(entries)


def require_manifest(path: str, manifest: Dict[str, Any]) -> None:
    """Raise Refused where a manifest, whose digest is right, has not the form of one."""
    for rule, got in manifest_faults(manifest):
        raise Refused(path, rule, got, "do not use it: this program has not written it so; use another backup")


def line_of(text: str) -> Dict[str, Any]:
    """A release line's facts from the command line. Raises Refused."""
    hint = "take it from the kit's playbook or its line in roles/dls_server"
    try:
        line = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused("--line", "must be JSON", error, hint) from None
    if not isinstance(line, dict):
        raise Refused("--line", "must be a JSON object", shown(line), hint)
    for rule, got in faults(line, LINE_RULES):
        raise Refused("--line", rule, got, hint)
    return line
