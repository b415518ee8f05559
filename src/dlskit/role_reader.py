"""What the variables of the kit's roles come to, for hosts of an inventory: read with Ansible's own classes.

Run as a child of who asks. The question comes as JSON on standard input: `inventory`, `vault_password_file` and
`ask_vault` as inventory.read_host takes them; `limit`, a pattern of hosts; `extra`, a list of what --extra-vars takes;
`kit`, the folder with `roles`; `views`, by name: of a `role` the `names` of variables, `given` some, and
`aliases`, which are variables that stand for others.

The answer goes as JSON to a pipe, as it may hold secrets: `hosts`, and of each `connection`, `ssh`, `become` and
`views`; `windows`, the hosts that are left out for what they are; `unresolved`, by host the reason for each variable
of the inventory that cannot be made out here, for example because it takes facts: such a host has no views;
`unmatched`, the parts of the limit that name no host.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import context
from ansible.inventory.host import Host
from ansible.inventory.manager import split_host_pattern
from ansible.module_utils.common.collections import ImmutableDict
from ansible.template import trust_as_template
from ansible.vars.hostvars import HostVars

from dlskit.inventory_reader import Inventory

BECOME = ("ansible_become", "ansible_become_user", "ansible_become_method", "ansible_become_password",
          "ansible_become_pass")  # fmt: skip
# Variables of a role that are the same for every host: made out once.
SHARED = ("kit", "piped", "lines", "spec", "proxy_spec", "server_spec", "own", "known", "secrets", "families",
          "documented_versions")  # fmt: skip


class Reader:
    """Reads the roles of a kit for the hosts of an inventory."""

    def __init__(self, question: Mapping[str, Any]) -> None:
        self.kit = Path(question["kit"])
        self.views: Mapping[str, Mapping[str, Any]] = question["views"]
        # Where Ansible takes them from, for every host.
        context.CLIARGS = ImmutableDict(extra_vars=[trust_as_template(words) for words in question["extra"]])
        self.inventory = Inventory(question["inventory"], question["vault_password_file"], question["ask_vault"])
        self.extra: Mapping[str, Any] = self.inventory.variables.extra_vars
        self.limit: str = question["limit"]
        self.inventory.hosts.subset(self.limit or None)
        self.hosts: list[Host] = self.inventory.hosts.get_hosts("dls")
        self.hostvars = HostVars(self.inventory.hosts, self.inventory.variables, self.inventory.loader)
        self.roles: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def answer(self) -> dict[str, Any]:
        """What there is to say of the hosts."""
        hosts, windows, unresolved = {}, [], {}
        for host in self.hosts:
            values = self.inventory.variables.get_vars(host=host)
            problems: dict[str, str] = {}
            found = {
                **self.inventory.connection(host, values, problems),
                "become": self.inventory.resolve([name for name in BECOME if name in values], values, problems),
            }
            if self.view(values, {"role": "dls_server", "names": ["__dls_server_platform"]}) == ["windows"]:
                windows.append(host.name)
                continue
            self.inventory.resolve([name for name in values if name.startswith("dls_")], values, problems)
            if problems:
                unresolved[host.name] = problems
            else:
                found["views"] = {name: self.view(values, view) for name, view in self.views.items()}
            hosts[host.name] = found
        self.inventory.hosts.subset(None)
        limits = [name for name in split_host_pattern(self.limit) if name and name[0] not in "!&"]
        unmatched = [name for name in limits if not self.inventory.hosts.get_hosts(name)]
        return {"hosts": hosts, "windows": windows, "unresolved": unresolved, "unmatched": unmatched}

    def view(self, values: Mapping[str, Any], view: Mapping[str, Any]) -> list[Any]:
        """What the variables of a view come to, in the order of its names."""
        defaults, own = self.role(view["role"], values)
        names = [host.name for host in self.hosts]
        magic = {
            "role_path": str(self.kit / "roles" / view["role"]),
            "hostvars": self.hostvars,
            "ansible_play_hosts_all": names,
            "ansible_play_hosts": names,
            "ansible_playbook_python": sys.executable,
        }
        scope = {**defaults, **values, **own, **magic, **view.get("given", {}), **self.extra}
        scope.update({alias: scope[name] for alias, name in view.get("aliases", {}).items()})
        return [self.inventory.template(scope[name], scope) for name in view["names"]]

    def role(self, name: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The defaults and the variables of a role for Linux, those made out that are the same for every host."""
        if name not in self.roles:
            folder = self.kit / "roles" / name
            defaults = self._load(folder / "defaults/main.yml")
            own = {**self._load(folder / "vars/main.yml"), **self._load(folder / "vars/linux.yml")}
            scope = {**defaults, **values, **own, "role_path": str(folder), "ansible_playbook_python": sys.executable}
            for shared in (f"__{name}_{short}" for short in SHARED):
                if shared in own:
                    own[shared] = scope[shared] = self.inventory.template(scope[shared], scope)
            self.roles[name] = defaults, own
        return self.roles[name]

    def _load(self, file: Path) -> dict[str, Any]:
        return self.inventory.loader.load_from_file(str(file), trusted_as_template=True) if file.exists() else {}


def main() -> None:
    """Answer the question on standard input."""
    print(json.dumps(Reader(json.load(sys.stdin)).answer(), default=str))


if __name__ == "__main__":
    main()
