"""Whether the license files that an inventory names may be placed: asked for all hosts of a play at once.

``python -m dlskit.placing`` reads what judge() takes as JSON from standard input and prints what it returns as JSON.
The contents travel so, and not as paths, because Ansible has decrypted those that are in its vault.
"""

from __future__ import annotations

import dataclasses
import json
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dlsctl.problems import Refused
from dlskit import license_file
from dlskit.files import printable

VARIABLE = "dls_server_licenses"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A license file that a host is to have: the host, and its path on the control node."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"{VARIABLE} of {printable(self.host)}, {printable(self.path)}"


def judge(hosts: Mapping[str, Any], contents: Mapping[str, str | None]) -> dict[str, Any]:
    """What is wrong with the files of all hosts together, and what is to be placed where.

    hosts: the variable of each host. contents: the text of each path, None where Ansible could not read it. Returns
    {problems: texts, hosts: {host: [{name, sha256, license_id, organization, status}]}}. Values that are no list of
    entries with a file are passed over: dlsctl's preflight tells what is wrong with them.
    """
    found: dict[Wanted, license_file.LicenseFile] = {}
    problems: list[Refused] = []
    for one in wanted(hosts):
        try:
            found[one] = read(one, contents.get(one.path))
        except Refused as problem:
            problems.append(problem)
    problems += license_file.problems(list(found.values()))
    placed: dict[str, list[dict[str, str]]] = {host: [] for host in hosts}
    for one, file in found.items():
        placed[one.host].append(
            {
                "name": Path(one.path).name,
                "sha256": file.sha256,
                "license_id": file.id,
                "organization": file.organization,
                "status": file.status,
            }
        )
    return {"problems": list(map(str, problems)), "hosts": placed}


def wanted(hosts: Mapping[str, Any]) -> Iterator[Wanted]:
    """Every file that a host is to have, host by host."""
    for host, entries in hosts.items():
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and isinstance(entry.get("file"), str):
                yield Wanted(host, entry["file"])


def read(one: Wanted, content: str | None) -> license_file.LicenseFile:
    """What a file says. Raises Refused for one that could not be read, or is no license file."""
    if content is None:
        hint = "name a license file on the control node"
        try:
            mode = Path(one.path).expanduser().stat().st_mode
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: of ~ and a user that there is not
            got = getattr(error, "strerror", None) or error
            raise Refused(str(one), "must be a readable file", got, hint) from None
        if not stat.S_ISREG(mode):
            raise Refused(str(one), "must be a file", "a folder or device", hint)
        hint = "where it is in Ansible Vault, give its password with --ask-vault-pass or --vault-password-file"
        raise Refused(str(one), "must be a file that Ansible can read or decrypt", "nothing", hint)
    data = content.encode("utf-8", "surrogateescape")  # so Ansible reads what is not UTF-8
    if len(data) > license_file.LARGEST:
        rule = f"must have at most {license_file.LARGEST} bytes"
        raise Refused(str(one), rule, len(data), "name the license file as the vendor's customer portal gave it")
    return license_file.parse(data, str(one))


if __name__ == "__main__":
    print(json.dumps(judge(**json.load(sys.stdin))))
