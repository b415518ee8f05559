#!/usr/bin/python
from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_shell", dry=False)
module.declared(module.params["_raw_params"] or module.params["cmd"] or "")
