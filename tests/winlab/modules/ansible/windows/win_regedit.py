#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

TYPES = {"string": "REG_SZ", "expandstring": "REG_EXPAND_SZ", "dword": "REG_DWORD", "multistring": "REG_MULTI_SZ"}
LARGEST = 0xFFFFFFFF
module = lab.Lab("ansible.windows.win_regedit")
module.only("path", "name", "data", "type", "state", "delete_key")
options = module.params
if not options["path"].upper().startswith("HKLM:\\"):
    module.fail_json(msg=f"path: {options['path']} is not below HKLM:, as the Windows lab has it")
key, name, data = "HKLM" + options["path"][5:], options["name"] or None, options["data"]
if options["type"] not in TYPES:
    module.fail_json(msg=f"the Windows lab has no values of type {options['type']}")
if name is None and options["type"] != "string":
    module.warn("the data type when name is not specified can only be 'string'")
    options["type"] = "string"
values = lab.registry(key)
before = (values or {}).get(name or "")


def reg(*words):
    code, output, errors = (0, "", "") if module.check_mode else lab.wine("reg", *words)
    if code:
        module.fail_json(msg=errors or output)


if options["state"] == "absent":
    if name is None and options["delete_key"]:
        if values is not None:
            reg("delete", key, "/f")
        module.exit_json(changed=values is not None)
    if before:
        reg("delete", key, *(["/v", name] if name else ["/ve"]), "/f")
    module.exit_json(changed=before is not None)
if name is None and data is None:
    if values is None:
        reg("add", key, "/f")
    module.exit_json(changed=values is None)
if options["type"] == "dword":
    number = int(str(data or 0), 0)
    if number > LARGEST:
        module.fail_json(msg="data cannot be larger than 0xffffffff when type is dword")
    text = hex(number & LARGEST)
else:
    text = "\\0".join(map(str, data)) if isinstance(data, list) else "" if data is None else str(data)
changed = before != (TYPES[options["type"]], text)
if changed:
    reg("add", key, *(["/v", name] if name else ["/ve"]), "/t", TYPES[options["type"]], "/d", text, "/f")
module.exit_json(
    changed=changed,
    data_changed=before is not None and before[1] != text,
    data_type_changed=before is not None and before[0] != TYPES[options["type"]],
)
