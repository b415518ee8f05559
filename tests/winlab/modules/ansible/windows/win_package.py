#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_package")
module.only(
    *("path", "product_id", "state", "arguments", "creates_path", "log_path", "expected_return_code", "provider"),
    "chdir",
)
options, present = module.params, module.params["state"] == "present"
if present and not options["path"]:
    module.fail_json(msg="state is present but all of the following are missing: path")
if options["path"] and not module.check_mode and not module.native(options["path"]).is_file():
    module.fail_json(msg=f"the file at the path '{options['path']}' cannot be reached")
if not options["product_id"] and not options["creates_path"]:
    module.fail_json(msg="the Windows lab reads no product ID from an installer: give product_id or creates_path")
if options["creates_path"] and present and module.native(options["creates_path"]).exists():
    module.exit_json(changed=False, rc=0, reboot_required=False)
name = options["product_id"] or options["creates_path"]
changed = (name in lab.records.read(lab.PREFIX, "packages")) != present
if changed:
    module.keep("packages", name, module.given("product_id", "state") if present else None)
module.exit_json(changed=changed, rc=0, reboot_required=False)
