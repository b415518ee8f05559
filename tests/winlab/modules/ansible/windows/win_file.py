#!/usr/bin/python
import shutil

from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_file", _original_basename={"type": "str"})
options = module.params
path = module.native(options["path"])
state = options["state"] or ("directory" if path.is_dir() else "file")
changed = False
if state == "absent":
    changed = path.exists()
    if changed and not module.check_mode:
        module.free(path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
elif state == "directory":
    if path.is_file():
        module.fail_json(msg=f"path {options['path']} is not a directory")
    changed = not path.is_dir()
    if changed and not module.check_mode:
        path.mkdir(parents=True)
elif state == "touch":
    changed = True
    if not module.check_mode:
        path.touch()
elif path.is_dir():
    module.fail_json(msg=f"path {options['path']} is not a file")
elif not path.exists():
    module.fail_json(msg=f"path {options['path']} will not be created")
module.exit_json(changed=changed)
