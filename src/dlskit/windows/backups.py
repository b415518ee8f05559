"""Backups on a Windows host: their manifest, written last, and whether one is as it was written.

``python -m dlskit.windows.backups`` reads what manifest() takes, or with `told` faults(), as JSON from standard input;
it prints what that returns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dlsctl.store import MANIFEST, digest_of
from dlskit.windows.state import relative

FORMAT = 1
SECTIONS = ("release", "kit", "config", "licenses")


def manifest(
    folder: str, found: Sequence[Mapping[str, Any]], removed: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of a backup whose files lie in a folder.

    found: everything below it, as win_find lists it with checksums (SHA-256). removed: entries of the state that are
    vendor files that were gone. facts: what else is to be told: version, archive_sha256, line, reason, method, outage,
    created, host, identity.
    """
    sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    for entry in sorted(found, key=lambda each: str(each["path"])):
        section, _, path = relative(entry["path"], folder).partition("/")
        if path:
            kind = "dir" if entry.get("isdir") else "file"
            described: dict[str, Any] = {"path": path, "kind": kind}
            if kind == "file":
                described |= {"size": entry.get("size") or 0, "sha256": entry["checksum"]}
            sections[section].append(described)
    sections["release"] += [{"path": each["path"], "kind": each["kind"], "change": "removed"} for each in removed]
    whole = {**facts, "format": FORMAT, "platform": "win_x64", "sections": sections}
    return {**whole, "digest": digest_of(whole)}


def faults(folder: str, found: Sequence[Mapping[str, Any]], told: Mapping[str, Any]) -> list[str]:
    """What of a backup is not as its manifest says: texts."""
    rest = {key: value for key, value in told.items() if key != "digest"}
    if told.get("digest") != digest_of(rest):
        return ["manifest.json: must be as it was written, got another one"]
    there = {relative(entry["path"], folder): entry for entry in found}
    listed = {
        f"{section}/{entry['path']}": entry
        for section, entries in told["sections"].items()
        for entry in entries
        if entry.get("change") != "removed"
    }
    texts = []
    for path, entry in sorted(listed.items()):
        actual = there.get(path)
        if actual is None:
            texts.append(f"{path}: must be there, got nothing")
        elif entry["kind"] == "file" and (actual.get("checksum"), actual.get("size")) != (
            entry["sha256"],
            entry["size"],
        ):
            texts.append(f"{path}: must be as it was written, got another content")
    others = sorted(path for path in there if path != MANIFEST and path not in {*listed, *SECTIONS})
    return texts + [f"{path}: must be named by the manifest" for path in others]


if __name__ == "__main__":
    document = json.load(sys.stdin)
    print(json.dumps(faults(**document) if "told" in document else manifest(**document)))
