"""Read one host of an inventory with Ansible's own classes, and print it as JSON. Run by inventory.py as a child.

The argument is the question as JSON; the answer may hold secrets and goes to a pipe only.
"""

import json
import sys
from typing import Any


def main() -> None:
    """Answer the question in the first argument."""
    question = json.loads(sys.argv[1])
    from ansible import constants  # noqa: PLC0415 - slow, and only here
    from ansible.cli import CLI  # noqa: PLC0415
    from ansible.inventory.manager import InventoryManager  # noqa: PLC0415
    from ansible.parsing.dataloader import DataLoader  # noqa: PLC0415
    from ansible.plugins.loader import connection_loader, init_plugin_loader  # noqa: PLC0415
    from ansible.template import Templar  # noqa: PLC0415
    from ansible.vars.manager import VariableManager  # noqa: PLC0415

    init_plugin_loader()
    loader = DataLoader()
    files = [question["vault_password_file"]] if question["vault_password_file"] else []
    secrets = CLI.setup_vault_secrets(
        loader,
        vault_ids=list(constants.DEFAULT_VAULT_IDENTITY_LIST),
        vault_password_files=files,
        ask_vault_pass=question["ask_vault"],
        auto_prompt=False,
    )
    loader.set_vault_secrets(secrets)
    inventory = InventoryManager(loader=loader, sources=[question["inventory"]])
    names = sorted(host.name for host in inventory.get_hosts("dls:!localhost" if question["host"] is None else "all"))
    host = inventory.get_host(question["host"] or (names[0] if len(names) == 1 else ""))
    if host is None:
        print(json.dumps({"hosts": names}))
        return
    values = VariableManager(loader=loader, inventory=inventory).get_vars(host=host)
    templar = Templar(loader=loader, variables=values)
    unresolved: dict[str, str] = {}

    def resolved(wanted: Any) -> dict[str, Any]:
        found = {}
        for name in wanted:
            try:
                found[name] = templar.template(values[name])
                json.dumps(found[name], default=str)  # a vaulted value is decrypted only now
            except Exception as error:
                unresolved[name] = str(error).splitlines()[0]
                found.pop(name, None)
        return found

    connection = resolved(name for name in values if name.startswith("ansible_") and name != "ansible_facts")
    connection["inventory_hostname"] = host.name
    ssh_plugin = connection_loader.get("ssh", class_only=True)
    options = constants.config.get_plugin_options("connection", ssh_plugin._load_name, variables=connection)
    wanted = ("host", "port", "remote_user", "private_key_file", "ssh_executable", "ssh_args", "ssh_common_args",
              "ssh_extra_args", "host_key_checking")  # fmt: skip
    answer = {
        "name": host.name,
        "connection": str(connection.get("ansible_connection", constants.DEFAULT_TRANSPORT)),
        "ssh": {name: options.get(name) for name in wanted},
        "variables": resolved(name for name in question["variables"] if name in values),
        "unresolved": unresolved,
    }
    print(json.dumps(answer, default=str))


if __name__ == "__main__":
    main()
