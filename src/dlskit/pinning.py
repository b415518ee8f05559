"""Pinning: the lines of an inventory file that name the vendor archive, written in place of those that are there."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import yaml

from dlsctl.files import write_atomic
from dlsctl.problems import Refused
from dlskit.files import printable, read_file

LIMIT = 1 << 20  # bytes of a variables file
HINT = "name a file of variables such as inventories/mysite/group_vars/dls.yml"


def lines_of(values: dict[str, str]) -> str:
    """The YAML lines of variables, one each."""
    return yaml.safe_dump(values, sort_keys=False, width=10_000)


def pin_into(path: str, values: dict[str, str]) -> bool:
    """Set variables in a YAML file, each in the line where it is or at the end; all else stays. False: nothing to do.

    Raises Refused where the file is none of variables, or would not hold the values afterwards.
    """
    data = read_file(path, LIMIT, HINT)
    try:
        before = data.decode()
    except UnicodeDecodeError:
        raise Refused(
            printable(path), "must be in UTF-8", "another encoding", "convert it, or edit it by hand"
        ) from None
    after = before
    end = "\r\n" if "\r\n" in before else "\n"
    for name, value in values.items():
        line = lines_of({name: value}).rstrip("\n") + end
        after, count = re.subn(rf"^{name}:.*\n?", line.replace("\\", r"\\"), after, flags=re.MULTILINE)
        if not count:
            after += ("" if after.endswith("\n") or not after else end) + line
    if not _holds(after, values):
        got = "one that has them in another form, or twice"
        raise Refused(
            printable(path), "must be a YAML file of variables, each on a line of its own", got, "edit it by hand"
        )
    if after != before:
        place = Path(path).resolve()  # a link stays one
        status = place.stat()
        owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
        write_atomic(str(place), after.encode(), stat.S_IMODE(status.st_mode), owner)
    return after != before


def _holds(text: str, values: dict[str, str]) -> bool:
    """Whether a text is YAML of variables, no inventory, that has each of the values once; it is parsed, not built."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return False
    if not isinstance(root, yaml.MappingNode) or any(_is_group(node) for _, node in root.value):
        return False
    return all(
        [(node.tag, node.value) for key, node in root.value if key.value == name] == [("tag:yaml.org,2002:str", value)]
        for name, value in values.items()
    )


def _is_group(node: yaml.Node) -> bool:
    """Whether a node is what an inventory says of a group."""
    return isinstance(node, yaml.MappingNode) and any(
        key.value in ("hosts", "children") and isinstance(below, yaml.MappingNode) for key, below in node.value
    )
