#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

KEYS = {"machine": r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment", "user": r"HKCU\Environment"}
module = lab.Lab("ansible.windows.win_environment")
options = module.params
if options["level"] not in KEYS:
    module.fail_json(msg=f"the Windows lab has no variables of level {options['level']}")
key, present = KEYS[options["level"]], options["state"] != "absent"
known = lab.registry(key) or {}
wanted = options["variables"] or {options["name"]: options["value"]}
done = {}
for name, value in wanted.items():
    if present and not value:
        module.fail_json(msg="When state=present, value must be defined and not an empty string")
    before, after = known.get(name, (None, None))[1], str(value) if present else None
    done[name] = {"before": before, "after": after, "changed": before != after}
    if before != after and not module.check_mode:
        lab.wine("reg", *(["add", key, "/d", after] if present else ["delete", key]), "/v", name, "/f")
module.exit_json(changed=any(each["changed"] for each in done.values()), env_values=done, values=done)
