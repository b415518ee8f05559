"""One host of an Ansible inventory, with its variables as Ansible resolves them, vault and templates included.

The reading is done in a child process by Ansible's own classes (inventory_reader.py): importing them takes half a
second that other commands do not pay, and nothing of them gets into this process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsctl.problems import Problem, Refused

READER = Path(__file__).with_name("inventory_reader.py")


@dataclass(frozen=True)
class Host:
    """A host: its name, how Ansible connects to it, ssh's settings, and those of the variables asked for that it has.

    unresolved: the reason for each variable that has a value which Ansible cannot make out here.
    """

    name: str
    connection: str
    ssh: Mapping[str, Any]
    variables: Mapping[str, Any]
    unresolved: Mapping[str, str]


def read_host(
    inventory: str, name: str | None, variables: tuple[str, ...], vault_password_file: str | None, ask_vault: bool
) -> Host:
    """Return the host `name` of `inventory` with those of `variables` that it has.

    Without a name, the only host of the group dls. `vault_password_file`: as Ansible's option; None: what Ansible's
    configuration says. `ask_vault`: ask for the vault's password at the terminal. Raises Refused for an inventory or a
    host that there is not, Problem when Ansible cannot read it.
    """
    require(inventory)
    question = {
        "inventory": inventory,
        "host": name,
        "variables": variables,
        "vault_password_file": vault_password_file,
        "ask_vault": ask_vault,
    }
    run = subprocess.run(
        [sys.executable, str(READER), json.dumps(question)],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise unreadable(inventory, run.stderr)
    answer = json.loads(run.stdout)
    if "hosts" in answer:
        raise _unknown(name, answer["hosts"])
    return Host(**answer)


def require(inventory: str) -> None:
    """Refuse an inventory that is not there."""
    if not Path(inventory).exists():
        rule = "must be an inventory's folder or file"
        raise Refused("--inventory", rule, inventory, "name it: -i inventories/mysite")


def unreadable(inventory: str, errors: str) -> Problem:
    """What to tell where Ansible could not read an inventory: the last line of its errors that is of use here."""
    lines = [line for line in errors.splitlines() if line.strip() and not line.startswith("If you are using a module")]
    last = lines[-1] if lines else "no answer"
    hint = f"try: ansible-inventory -i {inventory} --list"
    if "decrypt" in last.lower():
        hint = "name the file with the vault's password, --vault-password-file PATH or ANSIBLE_VAULT_PASSWORD_FILE"
    return Problem(inventory, "must be readable for Ansible", last, hint)


def _unknown(name: str | None, hosts: list[str]) -> Refused:
    shown = ", ".join(hosts[:8]) + (" ..." if len(hosts) > 8 else "")
    if name is None:
        rule = "must be named where the group dls has not exactly one host"
        return Refused("--host", rule, f"{len(hosts)} hosts", f"--host with one of: {shown}" if hosts else "add a host")
    return Refused("--host", "must be a host of the inventory", name, f"it has: {shown}" if hosts else "it has no host")
