#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("microsoft.iis.website")
options, name, state = module.params, module.params["name"], module.params["state"]
before = lab.records.read(lab.PREFIX, "iis_sites").get(name)
if state == "absent":
    module.exit_json(changed=module.keep("iis_sites", name, None))
if before is None and not options["physical_path"]:
    module.fail_json(msg="missing required arguments: physical_path")
given = module.given("name", "state", "bindings", "physical_path")
if options["physical_path"]:
    folder = module.native(options["physical_path"])
    if not folder.is_dir():
        module.fail_json(msg="specified folder must already exist: physical_path")
    given["physical_path"] = lab.paths.named(lab.PREFIX, folder)
if state in ("started", "stopped"):
    given["state"] = state


def address(binding):
    return ":".join("" if binding.get(part) is None else str(binding[part]) for part in ("ip", "port", "hostname"))


bindings, told = dict((before or {}).get("bindings", {})), options["bindings"] or {}
for each in [*(told.get("set") or []), *(told.get("add") or [])]:
    if each["protocol"] == "https" and not (each["certificate_hash"] or each["use_ccs"]):
        module.fail_json(msg="must either specify a certificate_hash or use_ccs.")
    bindings[address(each)] = {key: value for key, value in each.items() if value is not None}
gone = [address(each) for each in told.get("remove") or []]
if told.get("set") is not None:
    gone = set(bindings) - {address(each) for each in told["set"]}
given["bindings"] = {key: value for key, value in bindings.items() if key not in gone}
changed = module.keep("iis_sites", name, given, state="started", application_pool="DefaultAppPool")
module.exit_json(changed=changed or state == "restarted")
