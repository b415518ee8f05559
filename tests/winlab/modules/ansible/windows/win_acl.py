#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_acl", dry=False)
module.only("path", "user", "rights", "type", "state", "inherit", "propagation")
options = module.params
path, user = module.there(options["path"]), module.sid(options["user"])
flags = options["inherit"] or "ContainerInherit, ObjectInherit"
wanted = {
    "user": user,
    "type": options["type"],
    "inherit": sorted(flag.strip() for flag in flags.split(",")) if path.is_dir() else ["None"],
    "propagation": options["propagation"],
    "rights": sorted(right.strip() for right in options["rights"].split(",")),
}
rules = lab.records.noted(path, "rights") or []
there = wanted in rules
if there == (options["state"] == "present"):
    module.exit_json(changed=False)
if there:
    rules.remove(wanted)
else:  # Windows makes one rule of those that differ in their rights only
    like = [rule for rule in rules if {**rule, "rights": 0} == {**wanted, "rights": 0}]
    rights = set(wanted["rights"]).union(*(rule["rights"] for rule in like))
    wanted["rights"] = ["FullControl"] if "FullControl" in rights else sorted(rights)
    rules = [rule for rule in rules if rule not in like] + [wanted]
lab.records.note(path, "rights", rules)
module.exit_json(changed=True)
