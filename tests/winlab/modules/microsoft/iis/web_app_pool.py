#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("microsoft.iis.web_app_pool")
options, state = module.params, module.params["state"]
given = {"attributes": options["attributes"]} if options["attributes"] else {}
if state in ("started", "stopped"):
    given["state"] = state
wanted = None if state == "absent" else given
changed = module.keep("iis_pools", options["name"], wanted, state="started", attributes={})
module.exit_json(changed=changed or state == "restarted")
