#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("community.windows.win_scheduled_task")
given = module.given("name", "path", "state")
name = (module.params["path"] or "\\").rstrip("\\") + "\\" + module.params["name"]
changed = module.keep("tasks", name, None if module.params["state"] == "absent" else given)
module.exit_json(changed=changed, msg="written down by the Windows lab, which runs no tasks")
