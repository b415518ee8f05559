"""Read one host of an inventory with Ansible's own classes, and print it as JSON. inventory.py runs it as a child.

The argument is the question as JSON; the answer may hold secrets and goes to a pipe only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from ansible import constants
from ansible.cli import CLI
from ansible.inventory.host import Host
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import become_loader, connection_loader, init_plugin_loader
from ansible.template import Templar
from ansible.vars.manager import VariableManager

SSH_OPTIONS = ("host", "port", "remote_user", "password", "private_key_file", "ssh_executable", "ssh_args",
               "ssh_common_args", "ssh_extra_args", "host_key_checking")  # fmt: skip
BECOME_OPTIONS = ("user", "pass", "exe", "flags")


class Inventory:
    """An inventory as ansible-playbook reads it. See inventory.read_host for the vault's password."""

    def __init__(self, source: str, vault_password_file: str | None, ask_vault: bool) -> None:
        init_plugin_loader()
        self.loader = DataLoader()
        secrets = CLI.setup_vault_secrets(
            self.loader,
            vault_ids=list(constants.DEFAULT_VAULT_IDENTITY_LIST),
            vault_password_files=[vault_password_file] if vault_password_file else [],
            ask_vault_pass=ask_vault,
            auto_prompt=False,
        )
        self.loader.set_vault_secrets(secrets)
        self.hosts = InventoryManager(loader=self.loader, sources=[source])
        self.variables = VariableManager(loader=self.loader, inventory=self.hosts)

    def template(self, value: Any, values: Mapping[str, Any]) -> Any:
        """What a value comes to, with variables."""
        return Templar(loader=self.loader, variables=values).template(value)

    def resolve(self, wanted: Iterable[str], values: Mapping[str, Any], unresolved: dict[str, str]) -> dict[str, Any]:
        """What the names come to. Adds to `unresolved` the reason for each that Ansible cannot make out."""
        found = {}
        for name in wanted:
            try:
                found[name] = self.template(values[name], values)
                json.dumps(found[name], default=str)  # a vaulted value is decrypted only now
            except Exception as error:
                unresolved[name] = str(error).splitlines()[0]
                found.pop(name, None)
        return found

    def settings(self, host: Host, values: Mapping[str, Any], unresolved: dict[str, str]) -> dict[str, Any]:
        """Ansible's own variables of a host, of which its plugins take their options."""
        names = (name for name in values if name.startswith("ansible_") and name != "ansible_facts")
        return {**self.resolve(names, values, unresolved), "inventory_hostname": host.name}

    def connection(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """How Ansible connects to a host of such settings: `connection`, the plugin's name, and `ssh`, its options."""
        plugin = connection_loader.get("ssh", class_only=True)
        options = constants.config.get_plugin_options("connection", plugin._load_name, variables=own)
        return {
            "connection": str(own.get("ansible_connection", constants.DEFAULT_TRANSPORT)),
            "ssh": {name: options.get(name) for name in SSH_OPTIONS},
        }

    def become(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """How Ansible becomes root on a host of such settings: `become`, as said or None, `method`, and its options."""
        method = str(own.get("ansible_become_method") or constants.DEFAULT_BECOME_METHOD)
        plugin = become_loader.get(method, class_only=True)
        found = {"become": own.get("ansible_become"), "method": method}
        if plugin is None:
            return found
        options = constants.config.get_plugin_options("become", plugin._load_name, variables=dict(own))
        return {**found, **{name: options.get(f"become_{name}") for name in BECOME_OPTIONS}}


def main() -> None:
    """Answer the question in the first argument."""
    question = json.loads(sys.argv[1])
    inventory = Inventory(question["inventory"], question["vault_password_file"], question["ask_vault"])
    pattern = "dls:!localhost" if question["host"] is None else "all"
    names = sorted(host.name for host in inventory.hosts.get_hosts(pattern))
    host = inventory.hosts.get_host(question["host"] or (names[0] if len(names) == 1 else ""))
    if host is None:
        print(json.dumps({"hosts": names}))
        return
    values = inventory.variables.get_vars(host=host)
    unresolved: dict[str, str] = {}
    answer = {
        "name": host.name,
        **inventory.connection(inventory.settings(host, values, unresolved)),
        "variables": inventory.resolve([name for name in question["variables"] if name in values], values, unresolved),
        "unresolved": unresolved,
    }
    print(json.dumps(answer, default=str))


if __name__ == "__main__":
    main()
