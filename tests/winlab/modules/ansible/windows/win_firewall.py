#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_firewall")
module.only("profiles", "state")
options, changed = module.params, False
told = {}
with lab.records.changing(lab.PREFIX, "profiles") as known:
    for profile in ("Domain", "Private", "Public"):
        before, considered = known.get(profile, "enabled"), profile in options["profiles"]
        state = options["state"] if considered else before
        changed = changed or state != before
        if not module.check_mode:
            known[profile] = state
        told[profile] = {"enabled": state == "enabled", "considered": considered, "currentstate": before == "enabled"}
module.exit_json(changed=changed, restart_required=False, profiles=options["profiles"], state=options["state"], **told)
