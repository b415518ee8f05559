"""The bill of materials of a bundle, in CycloneDX 1.6, made of what its manifest says.

It has neither a time nor a serial number, which the format leaves free: the same bundle has the same one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from dlskit.bundle.verify import Entry

NAME = "sbom.cdx.json"


def render(name: str, entries: Iterable[Entry]) -> bytes:
    """Return the bill of materials: a component for each origin with a package URL, with the hash if it is one file."""
    files: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry["origin"].startswith("pkg:"):
            files.setdefault(entry["origin"], []).append(entry)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "bundle", "name": name}},
        "components": [_component(purl, files[purl]) for purl in sorted(files)],
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _component(purl: str, entries: list[Entry]) -> dict[str, Any]:
    path, _, version = purl.partition("?")[0].partition("@")
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": path.rpartition("/")[2],
        "version": unquote(version),
        "purl": purl,
    }
    if len(entries) == 1:
        component["hashes"] = [{"alg": "SHA-256", "content": entries[0]["sha256"]}]
    return component
