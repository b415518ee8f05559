"""A backup on the control node: whether its files are as its manifest says.

``python -m dlskit.fetched FOLDER`` prints {name, files, manifest} as JSON, or what is wrong.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from dlsctl.packs import damaged
from dlsctl.problems import Problem, Refused, problem_of, shown
from dlsctl.store import MANIFEST, open_backup, pack_facts


def read(folder: str) -> dict[str, Any]:
    """Return name, files and manifest of the backup in a folder, compared byte by byte, whoever it is encrypted to.

    Raises Problem where a file is missing or another one.
    """
    path = Path(folder).absolute()
    if not (path / MANIFEST).exists():
        hint = "name a folder on the control node, as playbooks/backup.yml has fetched it"
        raise Refused(shown(str(path)), "must be a complete backup", f"no {MANIFEST}", hint)
    backup = open_backup(str(path))
    expected = backup.manifest["pack"]
    try:
        actual = pack_facts(backup.pack)
    except OSError as error:
        raise damaged(backup.pack, error.strerror) from None
    for fact in ("size", "sha256"):
        if actual[fact] != expected[fact]:
            raise damaged(backup.pack, f"{fact} {actual[fact]} in place of {expected[fact]}")
    return {"name": backup.name, "files": [expected["file"], MANIFEST], "manifest": backup.manifest}


if __name__ == "__main__":
    try:
        print(json.dumps(read(sys.argv[1])))
    except (Problem, OSError) as error:
        problem = problem_of(error)
        print(problem, file=sys.stderr)
        sys.exit(problem.code)
