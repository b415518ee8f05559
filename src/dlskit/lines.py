"""The vendor's facts for each release line, from ``vendor/*.yml``: data, so another release needs no other code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dlsctl.problems import Refused

FOLDER = Path(__file__).with_name("vendor")


@dataclass(frozen=True)
class Line:
    """One release line: its file, the first version it holds for, and what the file says."""

    path: Path
    since: tuple[int, ...]
    facts: Mapping[str, Any]


@cache
def lines() -> tuple[Line, ...]:
    """Return all release lines, the oldest first."""
    found = []
    for path in FOLDER.glob("*.yml"):
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
        found.append(Line(path, tuple(facts["since"]), facts))
    return tuple(sorted(found, key=lambda line: line.since))


def line_of(version: str) -> Line:
    """Return the newest line that is not newer than `version`, such as 2.4.11; for an older one, the oldest line.

    Raises Refused when that is no version.
    """
    parts = version.split(".")
    if not 2 <= len(parts) <= 4 or not all(part.isascii() and part.isdigit() for part in parts):
        raise Refused("version", "must be numbers with dots, such as 2.4.11", version, "read it off the archive's name")
    number = tuple(int(part) for part in parts)
    return [line for line in lines() if line.since <= number or line is lines()[0]][-1]
