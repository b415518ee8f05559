"""What a bundle is to hold: a YAML file, checked to the last key before anything is done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dlsctl.problems import Refused, shown
from dlsctl.values import nearest
from dlskit.bundle.verify import NAME, SHA256
from dlskit.files import printable, read_file

LARGEST = 1 << 20  # bytes of the file
HINT = "docs/bundle.md has the keys and an example"
BUNDLE = re.compile(rf"(?!current(\.new)?\Z){NAME.pattern}")  # current: the link to the one that is installed
PYTHON = re.compile(r"3\.(1[1-9]|[2-9]\d)\Z")
PLATFORM = re.compile(r"manylinux_2_(\d{1,2})_(x86_64|aarch64)\Z")
VERSION = re.compile(r"\d+(\.\d+){1,3}\Z")
COLLECTION = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\Z")
PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*\Z")
MIRROR = re.compile(r"https?://[A-Za-z0-9._~:/\[\]-]+\Z")
DEBIAN = {"debian11": "bullseye", "debian12": "bookworm", "debian13": "trixie"}
REDHAT = {"rhel8": "8", "rhel9": "9"}
INSTALLERS = ("nssm", "rewrite", "arr")


@dataclass(frozen=True)
class Given:
    """A file of the operator's, and the SHA-256 that it must have; `version` may be empty."""

    path: Path
    sha256: str
    version: str


@dataclass(frozen=True)
class Target:
    """Packages for servers of one distribution, by name; for the RHEL family they may come from a folder instead."""

    packages: tuple[str, ...]
    folder: Path | None


@dataclass(frozen=True)
class Mirror:
    """Where packages of Debian come from, and their security updates."""

    main: str
    security: str


@dataclass(frozen=True)
class Spec:
    """What a bundle is to hold. Each field is a key of the file."""

    name: str
    pythons: tuple[str, ...]
    platforms: tuple[str, ...]
    archives: tuple[Given, ...]
    windows: Mapping[str, Given]
    collections: tuple[str, ...]
    targets: Mapping[str, Target]
    mirror: Mirror
    docs: bool

    @property
    def given(self) -> tuple[Given, ...]:
        """All files of the operator's with a pinned hash."""
        return (*self.archives, *self.windows.values())


# Each key with its type and what it is where it is missing; None: it must be there.
_KEYS: dict[str, tuple[type, Any]] = {
    "name": (str, None),
    "pythons": (list, None),
    "platforms": (list, ["manylinux_2_28_x86_64"]),
    "archives": (list, []),
    "windows": (dict, {}),
    "collections": (list, ["ansible.windows", "community.windows"]),
    "targets": (dict, {}),
    "mirror": (dict, {}),
    "docs": (bool, True),
}
_ARCHIVE: dict[str, tuple[type, Any]] = {"path": (str, None), "sha256": (str, None), "version": (str, None)}
_INSTALLER = _ARCHIVE | {"version": (str, "")}
_TARGET: dict[str, tuple[type, Any]] = {"packages": (list, []), "folder": (str, "")}
_MIRROR: dict[str, tuple[type, Any]] = {
    "main": (str, "http://deb.debian.org/debian"),
    "security": (str, "http://deb.debian.org/debian-security"),
}
_WORDS = {
    str: "text, in quotes where it looks like a number",
    list: "a list",
    dict: "keys and values",
    bool: "true or false",
}


def read(path: str) -> Spec:
    """Return the specification in a file; paths in it start at its folder. Raises Refused and names the key."""
    folder = Path(path).absolute().parent
    value = _keys("", _document(read_file(path, LARGEST, HINT), printable(path)), _KEYS)
    archives = [_given(f"archives, {n}", entry, _ARCHIVE, folder) for n, entry in enumerate(value["archives"], 1)]
    _known("windows", value["windows"], INSTALLERS)
    _known("targets", value["targets"], [*DEBIAN, *REDHAT])
    mirror = _keys("mirror", value["mirror"], _MIRROR)
    return Spec(
        name=_form("name", value["name"], BUNDLE, "letters, digits, dots and dashes, 64 at most, not current"),
        pythons=_texts("pythons", value["pythons"], PYTHON, 'versions such as "3.11", which is the oldest', least=1),
        platforms=_texts(
            "platforms", value["platforms"], PLATFORM, "such as manylinux_2_28_x86_64: glibc and machine", least=1
        ),
        archives=tuple(archives),
        windows={
            name: _given(f"windows, {name}", entry, _INSTALLER, folder) for name, entry in value["windows"].items()
        },
        collections=_texts("collections", value["collections"], COLLECTION, "such as ansible.windows"),
        targets={name: _target(name, entry, folder) for name, entry in sorted(value["targets"].items())},
        mirror=Mirror(**{key: _form(f"mirror, {key}", text, MIRROR, "an address") for key, text in mirror.items()}),
        docs=value["docs"],
    )


class _Loader(yaml.SafeLoader):
    """Refuses a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        if len(found) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key twice", node.start_mark)
        return found


def _document(data: bytes, name: str) -> object:
    try:
        return yaml.load(data, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        got = getattr(error, "problem", None) or type(error).__name__
        raise Refused(name, "must be YAML", f"{got}, line {mark.line + 1}" if mark else got, HINT) from None


def _keys(what: str, value: object, keys: Mapping[str, tuple[type, Any]]) -> dict[str, Any]:
    """Return the mapping with every key, if it has no other ones and every value is of its type."""
    if not isinstance(value, dict):
        raise Refused(what or "specification", "must be keys and values", type(value).__name__, HINT)
    _known(what, value, list(keys))
    found = {}
    for key, (kind, default) in keys.items():
        place = f"{what}, {key}" if what else key
        found[key] = value.get(key, default)
        if key not in value and default is None:
            raise Refused(place, "must be there", "nothing", HINT)
        if type(found[key]) is not kind:
            raise Refused(place, f"must be {_WORDS[kind]}", shown(found[key]), HINT)
    return found


def _known(what: str, value: Mapping[Any, Any], names: list[str] | tuple[str, ...]) -> None:
    for key in value:
        if key not in names:
            near = nearest(str(key), names, "")
            hint = f"did you mean {near}?" if near else HINT
            raise Refused(what or "specification", f"must have no keys but {', '.join(names)}", shown(key), hint)


def _form(what: str, value: object, form: re.Pattern[str], words: str) -> str:
    if not isinstance(value, str) or not form.match(value):
        raise Refused(what, f"must be {words}", shown(value), HINT)
    return value


def _texts(what: str, values: list[Any], form: re.Pattern[str], words: str, least: int = 0) -> tuple[str, ...]:
    """Return the texts of a list in their order by content, each once."""
    found = [_form(f"{what}, {number}", value, form, words) for number, value in enumerate(values, 1)]
    if len(set(found)) != len(found) or len(found) < least:
        raise Refused(what, "must name one or more, each once" if least else "must name each once", shown(values), HINT)
    return tuple(sorted(found))


def _given(what: str, entry: object, keys: Mapping[str, tuple[type, Any]], folder: Path) -> Given:
    value = _keys(what, entry, keys)
    if keys["version"][1] is None or value["version"]:
        _form(f"{what}, version", value["version"], VERSION, "numbers with dots, such as 2.4.11")
    sha256 = value["sha256"].removeprefix("sha256:")
    _form(f"{what}, sha256", sha256, SHA256, "64 digits of 0-9 and a-f, as sha256sum prints them")
    return Given(folder / Path(value["path"]).expanduser(), sha256, value["version"])


def _target(name: str, entry: object, folder: Path) -> Target:
    value = _keys(f"targets, {name}", entry, _TARGET)
    packages = _texts(f"targets, {name}, packages", value["packages"], PACKAGE, "a package's name")
    if bool(packages) == bool(value["folder"]):
        raise Refused(f"targets, {name}", "must have either packages or a folder", shown(entry), HINT)
    if value["folder"] and name in DEBIAN:
        raise Refused(f"targets, {name}", "must have packages: a folder is for the RHEL family", shown(entry), HINT)
    return Target(packages, folder / Path(value["folder"]).expanduser() if value["folder"] else None)
