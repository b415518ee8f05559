#!/usr/bin/python
import subprocess

from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_command", dry=False)
module.only("_raw_params", "cmd", "argv", "chdir", "creates", "removes", "output_encoding_override")
options = module.params
line = options["_raw_params"] or options["cmd"] or subprocess.list2cmdline(options["argv"] or [])
if not line:
    module.fail_json(msg="one of the following is required: _raw_params, argv, cmd")
for name, ends in (("creates", True), ("removes", False)):
    if options[name] and module.native(options[name]).exists() == ends:
        module.exit_json(
            changed=False, skipped=True, rc=0, cmd=line, msg=f"skipped, since {options[name]} exists or not"
        )
if options["chdir"] and not module.native(options["chdir"]).is_dir():
    module.fail_json(msg=f"The directory name is invalid: '{options['chdir']}'")
try:
    kind, number, output, errors = lab.run_line(line, options["chdir"] or "")
except ValueError as error:
    module.fail_json(msg=str(error))
if kind == "E":
    module.fail_json(msg=f"Failed to run: '{line}', Win32ErrorCode {number}", rc=2, cmd=line)
done = {"changed": True, "cmd": line, "rc": number, "stdout": output, "stderr": errors}
module.exit_json(**done) if number == 0 else module.fail_json(msg="non-zero return code", **done)
