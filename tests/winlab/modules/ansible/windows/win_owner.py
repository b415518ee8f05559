#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_owner")
options = module.params
path, user = module.there(options["path"]), module.sid(options["user"])
changed = False
for each in [path, *(path.rglob("*") if options["recurse"] and path.is_dir() else [])]:
    owner = lab.records.noted(each, "owner") or lab.records.ADMINISTRATORS  # whom all belongs to that Ansible makes
    changed = changed or owner != user
    if owner != user and not module.check_mode:
        lab.records.note(each, "owner", user)
module.exit_json(changed=changed)
