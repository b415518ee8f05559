"""What stands in the way beyond the host itself: the archive, the licence files, the other host of a pair."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pyinfra import context
from pyinfra.api import DeployError, Host

from deploys import looks
from deploys.looks import Look, Wanted
from deploys.source import SERVER, SOURCES
from dlskit import pair, placing


def problems(host: Host, look: Look, needs_archive: bool, entry: str) -> list[str]:
    """Why a host must not be changed, one text for each problem; of its pair only where it is fit itself."""
    found = [problem for problem in own_problems(look, needs_archive) if problem]
    return found or list(compared(host, look, entry)["problems"])


def own_problems(look: Look, needs_archive: bool) -> Iterator[str]:
    """What stands in the way of a host alone."""
    yield from look.problems
    if needs_archive:
        yield archive_problem(
            look.wanted["archive"], look.wanted["sha256"], str(look.wanted.get("dls_server_version", ""))
        )
    if wants_licenses(look.wanted):
        yield from licenses(look.wanted)["problems"]


@cache
def archive_problem(archive: str, sha256: str, version: str) -> str:
    """What is wrong with the vendor's archive on the control node, as dlsctl judges it; asked once for all hosts."""
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "dlsctl", "archive", archive, f"--sha256={sha256}", f"--version={version}"],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stderr.strip() if ran.returncode else ""


def wants_licenses(wanted: Wanted) -> bool:
    """Whether the inventory has licence files for the host."""
    return wanted.get("dls_server_licenses") is not None


def licenses(wanted: Wanted) -> dict[str, Any]:
    """What is wrong with the licence files of all hosts, and which a host is to have."""
    request = wanted["license_request"]
    return placing.judge(request["hosts"], request["contents"])


def extra_licenses(look: Look) -> list[str]:
    """The licence files that are on the host and not in the inventory, which names some."""
    if not wants_licenses(look.wanted):
        return []
    named = {Path(entry["file"]).name for entry in look.wanted["dls_server_licenses"]}
    return [one["name"] for one in look.seen["licenses"] if one["name"] not in named]


def due_licenses(host: Host, look: Look) -> list[dict[str, Any]]:
    """The licence files that are not on the host as they should be, with their contents."""
    if not wants_licenses(look.wanted):
        return []
    there = {one["name"]: one["sha256"] for one in look.seen["licenses"] if not one.get("fault")}
    contents = {Path(path).name: text for path, text in look.wanted["license_request"]["contents"].items()}
    own = licenses(look.wanted)["hosts"].get(host.data.kit_name, [])
    return [{**one, "content": contents[one["name"]]} for one in own if there.get(one["name"]) != one["sha256"]]


def compared(host: Host, look: Look, entry: str) -> Mapping[str, Any]:
    """What dlskit.pair says of this host and the other one of its pair; nothing of a server that stands alone."""
    if not look.wanted["is_paired"]:
        return {"problems": [], "findings": [], "parts": [], "checked": ""}
    request = look.wanted["pair_request"]
    other, lost = other_look(host, look, entry)
    request = {
        **request,
        "own": {**request["own"], "look": look.seen},
        "other": {**request["other"], "look": other.seen if other else {}, "lost": lost},
    }
    return pair.compare(pair.read(request))


def other_host(host: Host, look: Look) -> Host | None:
    """The other host of the pair, where it is in this run; None for a host that is in none."""
    if not look.wanted["is_paired"]:
        return None
    name = look.wanted["pair_request"]["other"]["name"]
    return next((each for each in looks.others(host) if each.data.kit_name == name), None)


def other_look(host: Host, look: Look, entry: str) -> tuple[Look | None, bool]:
    """What the other host of the pair was seen to be; and whether it was in this run and cannot be changed."""
    if not look.wanted["is_paired"]:
        return None, False
    other = other_host(host, look)
    if other is None:
        name = look.wanted["pair_request"]["other"]["name"]
        return None, any(each.data.kit_name == name for each in context.state.inventory)
    try:
        found = looks.look(other, SERVER, entry)
    except DeployError:
        return None, True
    return found, bool(found.problems)
