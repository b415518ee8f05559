"""A vendor archive for Windows, read on the control node: whether it is the pinned one, and what it unpacks to.

``python -m dlskit.windows.zips FILE --sha256=HEX --version=VERSION --home=FOLDER`` prints the record of the release as
JSON. A refusal goes to standard error, with exit code 6.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from dlsctl.archives import Archive, installed_members
from dlsctl.problems import EXIT_REFUSED, Problem, Refused, problem_of, shown
from dlskit.archive import inspect

LONGEST_FILE, LONGEST_FOLDER = 259, 247  # characters, for programs that do not ask for more: MAX_PATH
PIN_HINT = "check the archive, or pin this one with: ./dls archive pin FILE"


def read(path: str, sha256: str, version: str, home: str) -> dict[str, Any]:
    """The record of the release that an archive holds: version, archive_sha256, size, top, members.

    size is what the archive and the unpacked release take, in bytes; top the folder that holds everything in the
    archive, or ""; members are [path, kind, mode, size, sha256, link] without it. Raises Refused for an archive that
    is hostile, for Linux, not the pinned one, or too deep for the folder `home` on the host.
    """
    archive = inspect(path)
    for what, wanted, found in (
        ("platform", "win_x64", archive.platform),
        ("SHA-256", sha256, archive.sha256),
        ("version", version, archive.version),
    ):
        if wanted != found:
            raise Refused(path, f"must have {what} {wanted or '(none given)'}", found, PIN_HINT)
    for problem in too_long(archive, home):
        raise problem
    return {
        "version": archive.version,
        "archive_sha256": archive.sha256,
        "size": archive.size + sum(member.size for member in archive.members),
        "top": archive.top,
        "members": [list(member) for member in installed_members(archive)],
    }


def staging_folder(home: str, version: str) -> str:
    """Where an archive is unpacked before its release gets its name."""
    return f"{home}\\releases\\.staged-{version}"


def too_long(archive: Archive, home: str) -> Iterator[Problem]:
    """The first path that Windows would not take where the archive is unpacked."""
    folder = staging_folder(home, archive.version)
    for member in archive.members:
        path = folder + "\\" + member.path.replace("/", "\\")
        longest = LONGEST_FOLDER if member.kind == "dir" else LONGEST_FILE
        deep = utf16_length(path.rpartition("\\")[0]) > LONGEST_FOLDER
        if utf16_length(path) > longest or deep:
            yield Refused(
                "dls_server_home",
                f"must be so short that no path has over {LONGEST_FILE} characters, no folder {LONGEST_FOLDER}",
                f"{home}, with which {shown(member.path)} has {utf16_length(path)}",
                "choose a shorter folder, such as C:\\dls",
            )
            return


def utf16_length(text: str) -> int:
    """Characters as Windows counts them."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def main(arguments: list[str]) -> int:
    """Print the record of the archive that the arguments name; returns the exit code."""
    parser = argparse.ArgumentParser(prog="dlskit.windows.zips", allow_abbrev=False)
    parser.add_argument("file")
    for name in ("sha256", "version", "home"):
        parser.add_argument("--" + name, required=True)
    options = parser.parse_args(arguments)
    try:
        record = read(options.file, options.sha256, options.version, options.home)
    except (Problem, OSError) as error:
        problem = problem_of(error)
        print(problem, file=sys.stderr)
        return problem.code if isinstance(error, Problem) else EXIT_REFUSED
    print(json.dumps(record))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
