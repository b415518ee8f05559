"""The look: everything an engine needs to know of a host before it acts."""

import os
import pwd
import time
from typing import Any, Dict, List

from dlsctl.access import open_ports, open_problem
from dlsctl.apply import is_enabled, pending_steps
from dlsctl.deployment import Spec, as_it_is, is_as_expected
from dlsctl.host import user_exists
from dlsctl.identity import drift_problem, identity, identity_drift
from dlsctl.installation import DEFAULT_CONFIG, Installation
from dlsctl.journal import unfinished_problems
from dlsctl.licenses import license_findings
from dlsctl.packages import look_at_packages, os_family
from dlsctl.password import lost_problems
from dlsctl.problems import Problem
from dlsctl.processes import is_running
from dlsctl.releases import other_version_hint
from dlsctl.sandbox import hidden_labels, labels_in_sight, sandbox_announcement
from dlsctl.schedule import schedule_problems
from dlsctl.service import portal_error, portal_url


def as_configured(inst: Installation) -> Installation:
    """The same installation with the settings that it has on this host now; `inst` where it has none yet."""
    try:
        return Installation.load(os.path.join(inst.config_dir, os.path.basename(DEFAULT_CONFIG)))
    except (Problem, OSError):
        return inst


def look(spec: Spec, inst: Installation) -> Dict[str, Any]:
    """Everything a deployment engine needs to know of the host before it acts, in one answer.

    `spec` may hold `files` (those expected: path, mode and content), `folders` and `packages`.
    """
    current = inst.current_version()
    now = as_configured(inst)
    expected = spec.get("files", [])
    seen = {
        "installed": inst.installed(),
        "current": current,
        "running": is_running(now) if current else False,
        "error": portal_error(now, now.release()) if current else "not installed",
        "enabled": is_enabled(inst),
        "differs": [item["path"] for item in expected if not is_as_expected(item)],
        "present": [path for path in [inst.kit] + [item["path"] for item in expected] if os.path.exists(path)],
        "files": [as_it_is(item) for item in expected if not item.get("self")],
        "users": [entry.pw_name for entry in pwd.getpwall()],
        "missing_user": inst.launch == "direct" and not user_exists(inst.user),
        "missing_folders": [path for path in spec.get("folders", []) if not os.path.isdir(path)],
        "sandbox": sandbox_announcement(spec, inst),
        "hidden": hidden_labels(inst, labels_in_sight(inst)),
        "drift": identity_drift(inst, identity()),
        "missing_own_folders": [path for path in [*inst.folders(), inst.home] if not os.path.isdir(path)],
        "clock_skew": round(time.time() - spec["epoch"], 1),
    }
    seen.update(look_at_packages(spec.get("packages", []), os_family()), healthy=seen["error"] is None)
    seen["steps"] = pending_steps(inst, current)
    if seen["running"] and inst.unit_path() in seen["differs"] and {"step": "restart"} not in seen["steps"]:
        seen["steps"].append({"step": "restart"})
    return seen


def findings(spec: Spec, inst: Installation, seen: Dict[str, Any]) -> List[str]:
    """What is not as it should be on a host where the server is installed: one text each."""
    wanted = spec["values"].get(spec["prefix"] + "version")
    if seen["current"] is None:
        return [str(Problem(inst.home, "must hold an installed release", "nothing", "run the install playbook"))]
    found = []
    if wanted and wanted != seen["current"]:
        found.append(
            Problem(
                spec["prefix"] + "version",
                "must be the installed one",
                "{}, {} is installed".format(wanted, seen["current"]),
                other_version_hint(inst, wanted),
            )
        )
    if not seen["running"]:
        found.append(Problem(inst.service, "must be running", "stopped", "start it with: dlsctl start"))
    elif not seen["healthy"]:
        found.append(
            Problem(inst.service, "must answer " + portal_url(inst, inst.release()), seen["error"], "see its log")
        )
    exposed = open_ports(inst) if inst.supervisor == "systemd" else []
    if exposed:
        found.append(open_problem(inst, exposed))
    found += unfinished_problems(inst)
    found += lost_problems(inst)
    found += [drift_problem(change) for change in seen["drift"]]
    if seen["hidden"]:
        found.append(
            Problem(
                inst.service + ".service",
                "must show the server every label that it has seen before",
                "hidden from it: " + ", ".join(seen["hidden"]),
                "take back what hides them, from the unit or its drop-ins",
            )
        )
    found += license_findings(spec, inst, seen["licenses"])
    found += schedule_problems(inst)
    if not seen["enabled"]:
        found.append(Problem(inst.service, "must be started at boot", "disabled", "run the install playbook"))
    found += [
        Problem(path, "must be as the inventory says", "other content", "run the install playbook")
        for path in seen["differs"]
    ]
    found += [
        Problem(
            step.get("path", inst.service),
            "must need no " + step["step"],
            step.get("why", "one is due"),
            "run the install playbook",
        )
        for step in seen["steps"]
        if step["step"] != "start"
    ]
    return [str(problem) for problem in found]
