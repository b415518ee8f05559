#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

FRESH = {name: "any" for name in ("localip", "localport", "program", "protocol", "remoteip", "remoteport", "service")}
FRESH |= {"action": "allow", "direction": "in", "enabled": True, "profiles": ["domain", "private", "public"]}
LISTED = ("localip", "remoteip")  # addresses, in any order
module = lab.Lab("community.windows.win_firewall_rule")
given = module.given("name", "state")
name = module.params["name"]
if not name:
    module.fail_json(msg="the Windows lab knows rules by their name")
if given.get("localport", "any") != "any" and given.get("protocol", "any").lower() not in ("tcp", "udp"):
    module.fail_json(msg="localport needs a protocol that has ports: tcp or udp")
for option in LISTED:
    if option in given:
        given[option] = ",".join(sorted(address.strip() for address in given[option].split(",")))
if "profiles" in given:
    given["profiles"] = sorted(given["profiles"])
changed = module.keep("firewall", name, None if module.params["state"] == "absent" else given, **FRESH)
module.exit_json(changed=changed, msg="written down by the Windows lab, which filters nothing")
