#!/usr/bin/python
import socket
import time

from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_wait_for")
module.only("host", "port", "path", "state", "timeout", "delay", "sleep", "connect_timeout")
options = module.params
if options["state"] == "drained":
    module.fail_json(msg="the Windows lab has no state drained")
begun = time.monotonic()
time.sleep(options["delay"] or 0)


def is_there():
    if options["path"]:
        return module.native(options["path"]).exists()
    try:
        socket.create_connection((options["host"], options["port"]), options["connect_timeout"] / 1000).close()
    except OSError:
        return False
    return True


if not options["path"] and not options["port"]:
    time.sleep(options["timeout"])
    module.exit_json(changed=False, elapsed=time.monotonic() - begun, wait_attempts=0)
wanted = options["state"] in ("started", "present")
attempts = 1
while is_there() != wanted:
    if time.monotonic() - begun > options["timeout"]:
        module.fail_json(msg=f"timeout while waiting for {options['path'] or options['port']}")
    time.sleep(options["sleep"])
    attempts += 1
module.exit_json(changed=False, elapsed=time.monotonic() - begun, wait_attempts=attempts)
