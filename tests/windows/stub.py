"""A host that answers as told: one program in place of every module for Windows, which notes how it was called.

It shows that a role's tasks can be evaluated, in which order they call, and what they hand over; of what the real
modules do it shows nothing.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.checkout.play import Result, run
from tests.windows import contract

MODULE = """#!/usr/bin/python3
# WANT_JSON
import json, sys
NAME, FOLDER = {name!r}, {folder!r}
given = json.load(open(sys.argv[1]))
arguments = {{key: value for key, value in given.items() if not key.startswith("_ansible_")}}
with open(FOLDER + "/calls", "a") as log:
    log.write(json.dumps([NAME, arguments, given["_ansible_check_mode"]]) + "\\n")
answers = json.load(open(FOLDER + "/answers.json")).get(NAME, {{"changed": True}})
if isinstance(answers, list):
    others = [answer for word, answer in answers if word in json.dumps(arguments)]
    answers = [*others, {{"changed": True, "rc": 0, "stdout": "", "stderr": ""}}][0]
print(json.dumps(answers))
"""


@dataclass
class Host:
    """answers: by module, either what it returns or pairs of (text in its arguments, what it returns then)."""

    folder: Path
    answers: dict[str, Any]

    def play(self, role: str, entry: str | Sequence[str], *options: str, **variables: Any) -> Result:
        """Run an entry point of a role, or several in one run; the calls of earlier runs are forgotten."""
        tasks = [
            {"ansible.builtin.include_role": {"name": role, "tasks_from": name, "rolespec_validate": False}}
            for name in ([entry] if isinstance(entry, str) else entry)
        ]
        playbook = self.folder / "play.yml"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        extra = json.dumps({f"__{role}_platform": "windows"})
        return self.run_playbook(playbook, [Path("roles") / role], "-e", extra, *options, **variables)

    def run_playbook(self, playbook: Path, callers: Sequence[Path], *options: str, **variables: Any) -> Result:
        """Run a playbook on host `server` of group dls. callers: the folders whose modules are answered for."""
        self._answer_for(callers)
        inventory = self.folder / "hosts.json"
        given = {"ansible_connection": "local", **variables}
        inventory.write_text(json.dumps({"dls": {"hosts": {"server": given}}}))
        environment = {
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_DISPLAY_OK_HOSTS": "true",
            "ANSIBLE_ROLES_PATH": "roles",
        }
        return run(playbook, inventory, *options, quiet=True, environment=environment)

    def _answer_for(self, callers: Sequence[Path]) -> None:
        shutil.rmtree(self.folder / "collections", ignore_errors=True)
        called = {call.module for folder in callers for call in contract.calls(folder)}
        for name in called | {"ansible.windows.setup"}:
            namespace, collection, module = name.split(".")
            path = self.folder / f"collections/ansible_collections/{namespace}/{collection}/plugins/modules/{module}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(MODULE.format(name=name, folder=str(self.folder)))
        (self.folder / "answers.json").write_text(json.dumps(self.answers))
        (self.folder / "calls").write_text("")

    def calls(self, *, check: bool = False) -> list[tuple[str, dict[str, Any]]]:
        """The calls of the last run: short names of modules and arguments; those in check mode only where asked."""
        lines = [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]
        return [(name.rsplit(".", 1)[1], arguments) for name, arguments, checked in lines if checked == check]
