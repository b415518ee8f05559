#!/usr/bin/python
import json

from ansible_collections.ansible.windows.plugins.module_utils import lab

ACTIONS = ("failure_actions", "failure_actions_on_non_crash_failure", "failure_reset_period_sec")
module = lab.Lab("ansible.windows.win_service")
module.only("name", "state", "start_mode", "description", "display_name", *ACTIONS)
options = module.params
name, changed = options["name"], False
if options["start_mode"] == "delayed":
    module.fail_json(msg="the Windows lab has no start mode delayed")


def act(*words):
    """Have the service manager do something with the service, unless it is only asked what would be."""
    global changed  # noqa: PLW0603 - one result, told at the end
    changed = True
    if not module.check_mode:
        lab.service(words[0], name, *words[1:])


def set_recovery(before):
    """Keep what the service manager of Wine does not: it goes when the service goes."""
    global changed  # noqa: PLW0603
    after = {**before, **{key: options[key] for key in ACTIONS if options[key] is not None}}
    if before != after:
        changed = True
        if not module.check_mode:
            lab.wine("reg", "add", lab.service_key(name), "/v", lab.RECOVERY, "/d", json.dumps(after), "/f")


try:
    seen = lab.service("query", name)
    if options["state"] == "absent":
        if seen["exists"]:
            if seen["state"] != "stopped":
                act("stop")
            act("delete")
        module.exit_json(changed=changed, exists=False)
    if not seen["exists"]:
        module.fail_json(msg=f"Service '{name}' is not installed, need to set 'path' to create a new service")
    for option in ("start_mode", "description", "display_name"):
        if options[option] is not None and options[option] != seen[option]:
            act(option, options[option])
    set_recovery(lab.recovery(name))
    steps = {"started": ["start"], "stopped": ["stop"], "restarted": ["stop", "start"]}.get(options["state"], [])
    for step in [] if options["state"] == seen["state"] else steps:
        act(step)
    module.exit_json(changed=changed, **lab.service("query", name))
except ValueError as error:
    module.fail_json(msg=str(error))
