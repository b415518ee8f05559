"""Apply: make the running server what the configuration says."""

import contextlib
import hashlib
import os
import stat
from typing import Any, Dict, List, Optional, Tuple

from dlsctl.access import (
    confirm_access,
    filter_is_loaded,
    filter_table,
    load_filter,
    needs_reload,
    renew_address_filter,
    uses_filter,
)
from dlsctl.configuration import wanted_dls_json
from dlsctl.files import give_to, read_bytes, relabel
from dlsctl.host import has_systemd, systemctl, unit_properties
from dlsctl.identity import identity, record_identity
from dlsctl.installation import Installation, Release, make_folders
from dlsctl.launch import is_stale, startup_with_ports, vendor_script
from dlsctl.password import forget_lost
from dlsctl.problems import Problem, Refused
from dlsctl.processes import is_running
from dlsctl.releases import other_version_hint, point_current
from dlsctl.sandbox import confirm_sight, rehearse
from dlsctl.schedule import keep_schedule, schedule_steps
from dlsctl.service import start, stop, wait_healthy
from dlsctl.state import kit_files, write_release_file

Step = Dict[str, Any]  # {step, path or version}


def plan(inst: Installation, version: Optional[str] = None) -> List[Step]:
    """What `apply` would do now, as a list of steps in order; empty where the host is as configured."""
    steps = []
    current = inst.current_version()
    version = version or current
    if version is None:
        raise Problem(inst.home, "must hold an installed release", None, "install one first")
    if current not in (None, version):
        raise Refused(
            "version",
            "must stay {} until it is upgraded".format(current),
            version,
            other_version_hint(inst, version),
        )
    inst.coming_version = version
    record = inst.release(version)
    base = inst.release_dir(version)
    steps += [{"step": "write", "path": path} for path, _, _ in pending_files(inst, record, base)]
    restart = bool(steps)
    steps += [{"step": "create", "path": path} for path in inst.folders() if not os.path.isdir(path)]
    if uses_filter(inst) and not filter_is_loaded(inst):
        steps.append({"step": "filter", "path": "inet " + filter_table(inst)})
    if not is_enabled(inst):
        steps.append({"step": "enable", "path": inst.unit_path()})
    elif inst.supervisor == "systemd" and needs_reload(inst):
        steps.append({"step": "reload", "path": inst.unit_path()})  # systemd filters addresses anew without a restart
    if current is None:
        steps.append({"step": "use", "version": version})
    account = inst.account()
    if account and os.stat(base).st_uid != account[0]:
        steps.append({"step": "own", "path": base})
        restart = True
    if not is_running(inst):
        steps.append({"step": "start"})
    elif restart or is_stale(inst, record):
        steps.append({"step": "restart"})
    return steps + schedule_steps(inst)


def pending_files(inst: Installation, record: Release, base: str) -> List[Tuple[str, Optional[bytes], int]]:
    """Files inside the release that are not as configured: (path, bytes or None to remove, mode)."""
    pending: List[Tuple[str, Optional[bytes], int]] = []
    wanted = wanted_dls_json(inst, base)
    actual = read_bytes(os.path.join(base, "dls.json"))
    if wanted is not None and wanted != actual:
        pending.append(("dls.json", wanted, 0o644))
    # The kit takes back only what it wrote itself and nobody changed since.
    ours = kit_files(inst, record["version"]).get("dls.json")
    if wanted is None and actual is not None and ours == hashlib.sha256(actual).hexdigest():
        pending.append(("dls.json", None, 0o644))
    if inst.launch == "vendor":
        path = os.path.join(base, "startup.sh")
        script = vendor_script(inst, record)
        wanted = startup_with_ports(script, inst.server_port, inst.data_port_of(record), record["line"])
        if wanted != script:
            pending.append(("startup.sh", wanted, stat.S_IMODE(os.stat(path).st_mode)))
    return pending


def write_pending(inst: Installation, record: Release, base: str) -> None:
    for path, data, mode in pending_files(inst, record, base):
        if data is None:
            os.unlink(os.path.join(base, path))
        else:
            write_release_file(inst, record["version"], path, data, mode)


def prepare_start(inst: Installation, names: List[str]) -> None:
    """Take the steps of a plan that come before a server is stopped or started.

    A server that is about to be restarted may listen on ports that only the earlier rules close: they stay until it is
    stopped, and only whether the new ones can be loaded is asked before.
    """
    if "filter" in names:
        load_filter(inst, *(["--check"] if "restart" in names else []))
    if "reload" in names:
        renew_address_filter(inst, live="restart" not in names)
    if "start" in names or "restart" in names:
        forget_lost(inst)
        rehearse(inst)


def write_due(inst: Installation, record: Release, names: List[str]) -> None:
    """Take the steps of a plan that write: folders, files inside the release, its owner and labels."""
    base = inst.release_dir(record["version"])
    make_folders(inst)
    write_pending(inst, record, base)
    if "own" in names:
        give_to(base, inst.account())
    if names:
        relabel(inst.home, *inst.folders())


def apply(inst: Installation, version: Optional[str] = None) -> List[Step]:
    """Write what is pending, start or restart the server where due, wait for its health; returns the steps taken."""
    steps = plan(inst, version)
    names = [step["step"] for step in steps]
    record = inst.release(version)
    version = str(record["version"])
    prepare_start(inst, names)
    if "restart" in names:
        stop(inst)
    try:
        if "filter" in names and "restart" in names:
            load_filter(inst)
        write_due(inst, record, names)
    except BaseException:
        if "restart" in names:  # a full disk, for example, is no reason to be without a server
            with contextlib.suppress(Problem, OSError):
                start(inst)
        raise
    if "use" in names:
        point_current(inst, version)
    record_identity(inst, identity())
    if "enable" in names:
        systemctl("daemon-reload")
        systemctl("enable", "--quiet", inst.service)
    if "start" in names or "restart" in names:
        start(inst)
    wait_healthy(inst)
    if steps:
        confirm_access(inst)
    confirm_sight(inst)
    keep_schedule(inst, names)
    return steps


def is_enabled(inst: Installation) -> bool:
    if inst.supervisor != "systemd":
        return True
    return has_systemd() and unit_properties(inst.service).get("UnitFileState") == "enabled"


def pending_steps(inst: Installation, current: Optional[str]) -> List[Step]:
    if not current or not inst.is_installed(current):
        return []
    try:
        return plan(inst)
    except Problem as problem:
        return [{"step": "fail", "why": str(problem)}]
