#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_reg_stat")
options = module.params
if not options["path"].upper().startswith("HKLM:\\"):
    module.fail_json(msg=f"path: {options['path']} is not below HKLM:, as the Windows lab has it")
key = "HKLM" + options["path"][5:]
values = lab.registry(key)


def told(kind, data):
    raw = int(data, 16) if kind == "REG_DWORD" else data.split("\\0") if kind == "REG_MULTI_SZ" else data
    return {"type": kind, "value": lab.paths.expanded(raw) if kind == "REG_EXPAND_SZ" else raw, "raw_value": raw}


if options["name"] is not None:
    found = (values or {}).get(options["name"])
    module.exit_json(changed=False, exists=found is not None, **(told(*found) if found else {}))
if values is None:
    module.exit_json(changed=False, exists=False)
properties = {name: told(*found) for name, found in values.items()}
module.exit_json(changed=False, exists=True, properties=properties, sub_keys=lab.sub_keys(key))
