#!/usr/bin/python
import secrets

from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_tempfile")
options = module.params
name = (options["prefix"] or "") + secrets.token_hex(4) + (options["suffix"] or "")
path = module.native(options["path"].rstrip("\\/") + "\\" + name)
if not path.parent.is_dir():
    module.fail_json(msg=f"No random temporary file worked: {options['path']} is no directory")
if not module.check_mode:
    path.mkdir() if options["state"] == "directory" else path.touch()
module.exit_json(changed=True, path=lab.paths.named(lab.PREFIX, path), state=options["state"])
