"""Reboots the lab's Windows: the real plugin does it by PowerShell."""

import json
import os
import subprocess
from pathlib import Path

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        if self._task.check_mode:
            return {**result, "changed": True, "rebooted": True, "elapsed": 0}
        for words in (["wineserver", "-k"], ["wineserver", "-w"], ["wineserver", "-p"], ["wine", "wineboot"]):
            subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                start_new_session=True,
            )
        facts = Path(os.environ["WINEPREFIX"], "lab/facts.json")
        if facts.exists():
            kept = {**json.loads(facts.read_text() or "{}"), "ansible_reboot_pending": False}
            facts.write_text(json.dumps(kept))
        return {**result, "changed": True, "rebooted": True, "elapsed": 0}
