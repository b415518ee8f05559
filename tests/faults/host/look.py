"""What is on this host, as JSON: releases with the writes in their stores, what was acknowledged, what is left over."""

import base64
import hashlib
import json
import os
from typing import List

RELEASES, KIT, BACKUPS = "/opt/dls/releases", "/opt/dls/kit", "/var/backups/dls"


def stored(tree: str) -> List[int]:
    """The numbers of the writes in a store, in order; a last line that was cut off was never acknowledged."""
    try:
        with open(os.path.join(tree, "data/store.log"), "rb") as stream:
            lines = stream.read().decode().split("\n")[:-1]
    except OSError:
        return []
    records = [json.loads(line) for line in lines]
    bodies = [base64.b64decode(record["body"]).decode() for record in records if record.get("type") == "usage"]
    return [int(body.split()[1]) for body in bodies]


def acknowledged() -> List[List[int]]:
    try:
        with open("/root/faults/acknowledged") as stream:
            return [[int(word) for word in line.split()] for line in stream if line.endswith("\n")]
    except OSError:
        return []


def digest(folder: str) -> str:
    """One hash over the names and contents of a folder."""
    found = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            found.update(os.path.relpath(path, folder).encode() + b"\0")
            with open(path, "rb") as stream:
                found.update(hashlib.sha256(stream.read()).digest())
    return found.hexdigest()


def names(folder: str) -> List[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


# The notes before the stores: what is acknowledged in between must not count as missing.
noted = acknowledged()
trees = {
    name: {"inode": os.stat(os.path.join(RELEASES, name)).st_ino, "stored": stored(os.path.join(RELEASES, name))}
    for name in names(RELEASES)
    if os.path.isdir(os.path.join(RELEASES, name))
}
print(
    json.dumps(
        {
            "acknowledged": noted,
            "current": os.path.basename(os.readlink("/opt/dls/current")),
            "trees": trees,
            "backups": {name: digest(os.path.join(BACKUPS, name)) for name in names(BACKUPS)},
            "kit": names(KIT),
        }
    )
)
