"""Schedule: the timer that systemd starts backups by, where the deployment has put one."""

import contextlib
import os
from typing import Dict, List

from dlsctl.host import has_systemd, run, systemctl, unit_properties
from dlsctl.installation import Installation
from dlsctl.problems import Problem

UNITS = "/etc/systemd/system"


def backup_unit(inst: Installation, kind: str) -> str:
    """The name of the unit that makes backups (`service`) or of the one that starts it (`timer`)."""
    return "{}-backup.{}".format(inst.service, kind)


def look_at(inst: Installation, kind: str) -> Dict[str, str]:
    return unit_properties(inst.service + "-backup", kind)


def boot_link(inst: Installation) -> str:
    return os.path.join(UNITS, "timers.target.wants", backup_unit(inst, "timer"))


def is_scheduled(inst: Installation) -> bool:
    """Whether the deployment has put a timer on this host."""
    return inst.supervisor == "systemd" and os.path.exists(os.path.join(UNITS, backup_unit(inst, "timer")))


def schedule_steps(inst: Installation) -> List[Dict[str, str]]:
    """What is to be done for the timer: `schedule` it, where it is new or another one, or `unschedule` it."""
    if inst.supervisor != "systemd" or not has_systemd():
        return []
    path = os.path.join(UNITS, backup_unit(inst, "timer"))
    timer = look_at(inst, "timer")
    active = timer.get("ActiveState") == "active"
    if not is_scheduled(inst):
        return [{"step": "unschedule", "path": path}] if active or os.path.islink(boot_link(inst)) else []
    is_stale = any(unit.get("NeedDaemonReload") == "yes" for unit in (timer, look_at(inst, "service")))
    if active and timer.get("UnitFileState") == "enabled" and not is_stale:
        return []
    return [{"step": "schedule", "path": path}]


def keep_schedule(inst: Installation, names: List[str]) -> None:
    """Take those of the steps: start the timer, now and at boot, or stop it."""
    if "schedule" in names:
        systemctl("daemon-reload")
        systemctl("enable", "--quiet", backup_unit(inst, "timer"))
        systemctl("restart", backup_unit(inst, "timer"))
    elif "unschedule" in names:
        unschedule(inst)


def unschedule(inst: Installation) -> None:
    """Stop the timer, whether its file is still there or not. A backup that is being made goes on."""
    run(["systemctl", "stop", backup_unit(inst, "timer")])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(boot_link(inst))
    systemctl("daemon-reload")
    run(["systemctl", "reset-failed", backup_unit(inst, "service")])


def schedule_problems(inst: Installation) -> List[Problem]:
    """What is wrong with the scheduled backups: the last one failed."""
    if not is_scheduled(inst):
        return []
    unit = backup_unit(inst, "service")
    result = look_at(inst, "service").get("Result", "success")
    if result == "success":
        return []
    hint = "see why with: journalctl --unit {}; when it is mended: systemctl start {}".format(unit, unit)
    return [Problem(unit, "must have made a backup the last time", result, hint)]
