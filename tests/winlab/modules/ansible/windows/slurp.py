#!/usr/bin/python
import base64

from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.slurp")
path = module.native(module.params["src"])
if not path.is_file():
    module.fail_json(msg=f"Path {module.params['src']} is {'a directory' if path.is_dir() else 'not found'}")
module.exit_json(changed=False, content=base64.b64encode(path.read_bytes()).decode(), encoding="base64")
