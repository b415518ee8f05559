#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_feature")
module.only("name", "state", "include_management_tools", "include_sub_features")
wanted = {} if module.params["state"] == "present" else None
changed = [name for name in module.params["name"] if module.keep("features", name, wanted)]
module.exit_json(
    changed=bool(changed),
    feature_result=[{"display_name": name} for name in changed],
    reboot_required=False,
    success=True,
    exitcode="Success" if changed else "NoChangeNeeded",
)
