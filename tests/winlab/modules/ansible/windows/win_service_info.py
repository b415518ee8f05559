#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_service_info")
name = module.params["name"]
if not name or "*" in name:
    module.fail_json(msg="the Windows lab tells of one service at a time")
try:
    seen = lab.service("query", name)
except ValueError as error:
    module.fail_json(msg=str(error))
if not seen.pop("exists"):
    module.exit_json(changed=False, exists=False, services=[])
fresh = {"failure_actions": [], "failure_actions_on_non_crash_failure": False, "failure_reset_period_sec": 0}
module.exit_json(changed=False, exists=True, services=[{**seen, **fresh, **lab.recovery(name)}])
