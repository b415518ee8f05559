#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_acl_inheritance")
module.only("path", "state", "reorganize")
options = module.params
path = module.there(options["path"])
closed, wanted = bool(lab.records.noted(path, "closed")), options["state"] == "absent"
if closed != wanted and not module.check_mode:
    if options["reorganize"]:
        module.fail_json(msg="the Windows lab has no reorganize")
    lab.records.note(path, "closed", wanted)
module.exit_json(changed=closed != wanted)
