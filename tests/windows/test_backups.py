"""The manifest of a backup on Windows names every file, and tells one that is another."""

import json
from typing import Any

import pytest

from dlskit.windows import backups

FOLDER = r"D:\backups\.20270115T080000Z-2.4.11.partial"
FACTS = {"version": "2.4.11", "reason": "playbook"}


def entry(path: str, checksum: str | None = None, size: int = 5) -> dict[str, Any]:
    return {"path": f"{FOLDER}\\{path}", "isdir": checksum is None, "checksum": checksum, "size": size}


FOUND = [entry("release"), entry(r"release\data"), entry(r"release\data\db", "aa"), entry(r"kit\uuid", "bb")]


def test_the_manifest_names_every_file_by_section_and_what_was_gone() -> None:
    removed = [{"path": "startup.bat", "kind": "file", "text": "removed startup.bat"}]
    told = backups.manifest(FOLDER, FOUND, removed, FACTS)
    assert told["sections"] == {
        "release": [
            {"path": "data", "kind": "dir"},
            {"path": "data/db", "kind": "file", "size": 5, "sha256": "aa"},
            {"path": "startup.bat", "kind": "file", "change": "removed"},
        ],
        "kit": [{"path": "uuid", "kind": "file", "size": 5, "sha256": "bb"}],
        "config": [],
        "licenses": [],
    }
    assert backups.faults(FOLDER, FOUND, json.loads(json.dumps(told))) == []


CHANGES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a file of another content": (
        [*FOUND[:2], entry(r"release\data\db", "xx"), FOUND[3]],
        "release/data/db: must be as",
    ),
    "a file of another size": (
        [*FOUND[:2], entry(r"release\data\db", "aa", 6), FOUND[3]],
        "release/data/db: must be as",
    ),
    "a file that is gone": (FOUND[:3], "kit/uuid: must be there, got nothing"),
    "a file that nobody wrote": ([*FOUND, entry(r"kit\x", "cc")], "kit/x: must be named by the manifest"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_not_as_it_was_written_is_named(name: str) -> None:
    found, said = CHANGES[name]
    (text,) = backups.faults(FOLDER, found, backups.manifest(FOLDER, FOUND, [], FACTS))
    assert text.startswith(said)


def test_another_manifest_is_not_believed() -> None:
    told = backups.manifest(FOLDER, FOUND, [], FACTS) | {"version": "2.4.12"}
    assert backups.faults(FOLDER, FOUND, told) == ["manifest.json: must be as it was written, got another one"]
