#!/usr/bin/python
from datetime import UTC, datetime

from ansible_collections.ansible.windows.plugins.module_utils import lab

GROUPS = {
    "min": {"date_time", "distribution", "dns", "env", "local", "platform", "powershell_version", "user"},
    "network": {"all_ipv4_addresses", "all_ipv6_addresses", "interfaces", "windows_domain", "winrm"},
    "hardware": {"bios", "memory", "processor", "uptime", "virtual"},
    "external": {"facter"},
}
GROUPS["all"] = set().union(*GROUPS.values())
now = datetime.now(UTC)
FACTS = {  # by the subset that the real module has them in; the lab has no others
    "date_time": {
        "ansible_date_time": {
            "date": now.strftime("%Y-%m-%d"),
            "epoch_int": int(now.timestamp()),
            "iso8601": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "time": now.strftime("%H:%M:%S"),
        },
    },
    "distribution": {
        "ansible_distribution": "Microsoft Windows Server 2022 Standard",
        "ansible_distribution_major_version": "10",
        "ansible_distribution_version": "10.0.20348.0",
        "ansible_os_family": "Windows",
        "ansible_os_installation_type": "Server",
        "ansible_os_product_type": "server",
    },
    "env": {
        "ansible_env": {"ProgramData": r"C:\ProgramData", "SystemRoot": r"C:\windows", "TEMP": r"C:\windows\temp"},
    },
    "memory": {"ansible_memtotal_mb": 4096, "ansible_memfree_mb": 2048, "ansible_swaptotal_mb": 0},
    "platform": {
        "ansible_architecture": "64-bit",
        "ansible_architecture2": "x86_64",
        "ansible_hostname": "WINLAB",
        "ansible_machine_id": "S-1-5-21-1-2-3",
        "ansible_reboot_pending": False,
        "ansible_system": "Win32NT",
    },
    "powershell_version": {"ansible_powershell_version": 5},
}


def subsets(words):
    """The subsets that are gathered: all that are not left out, and those that are asked for by name."""
    out, wanted = set(), set()
    for word in words:
        name = word.removeprefix("!")
        found = GROUPS.get(name, {name})
        if word.startswith("!"):
            out |= found - GROUPS["min"] if name == "all" else found
        elif found <= GROUPS["all"]:
            wanted |= found
        else:
            module.warn(f"invalid value {word} specified in gather_subset")
    return GROUPS["all"] - out | wanted


module = lab.Lab("ansible.windows.setup")
asked = subsets(module.params["gather_subset"] or ["all"])
told = lab.records.read(lab.PREFIX, "facts")
facts = {"gather_subset": module.params["gather_subset"], "module_setup": True}
for subset, found in FACTS.items():
    if subset in asked:
        facts.update({name: told.get(name, fact) for name, fact in found.items()})
module.exit_json(changed=False, ansible_facts=facts)
