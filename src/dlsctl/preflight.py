"""Preflight: whether the host can become what the variables say."""

import os
import pwd
import re
import time
from typing import Any, Dict, Iterator

from dlsctl.adopt import Takeover, adopted_before
from dlsctl.adoptable import folder_problems
from dlsctl.deployment import Spec
from dlsctl.files import existing_parent, free_bytes, list_folder, read_tail
from dlsctl.host import (
    has_systemd,
    memory_mb,
    port_owner,
    read_proc,
    run,
    taken_port,
    unit_properties,
    user_exists,
)
from dlsctl.installation import Installation
from dlsctl.journal import busy_problems
from dlsctl.licenses import license_index, look_at_licenses
from dlsctl.look import as_configured, findings, look
from dlsctl.mounts import in_memory
from dlsctl.packages import family_problems, platform
from dlsctl.pair import look_at_pair
from dlsctl.problems import Problem, Refused, one_line
from dlsctl.processes import is_running, server_processes
from dlsctl.readiness import CHECKS, readiness_problems
from dlsctl.releases import other_version_hint
from dlsctl.saving import require_sealable, saving_problems
from dlsctl.store import BACKUP_NAME
from dlsctl.values import CALENDAR_HINT, CALENDAR_RULE, SHAPING, set_hint, value_problems, variable_problems


def repository_problems(spec: Spec) -> Iterator[Problem]:
    """Whether the repositories that packages come from, where any are given, have one for this host."""
    given, wanted = spec.get("repositories"), platform()
    if given is not None and wanted and wanted not in given:
        yield Refused(
            spec["prefix"] + "package_repositories",
            "must hold a repository called {}".format(wanted),
            ", ".join(given) or "none",
            "build the bundle with {} among its targets, or leave the variable out where the host has sources".format(
                wanted
            ),
        )


def password_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """Where the variables say that the portal has a password and it has none, or it has none and others get to it."""
    values, prefix = spec["values"], spec["prefix"]
    if values.get(prefix + "admin_password_set") and inst.current_version() is None:
        yield Refused(
            prefix + "admin_password_set",
            "must be false for a server that is not installed yet, because its portal will have no password",
            "true",
            "install it, set the password, then say so; for a new host among others, in its host_vars",
        )
    proxy = spec.get("proxy")
    if proxy and not values.get(prefix + "admin_password_set") and "$dls_portal" in (read_proc(proxy) or ""):
        yield Refused(
            prefix + "admin_password_set",
            "must be true where a proxy on the host lets administrators to the portal",
            "false, and {}".format(proxy),
            "run the site playbook, which closes the proxy first, or remove it with the uninstall playbook",
        )


def host_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """What keeps this host from becoming what the variables say."""
    yield from password_problems(spec, inst)
    yield from machine_problems(spec, inst)
    yield from port_problems(spec, inst)
    yield from release_problems(spec, inst)


def machine_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """What keeps this host from running any release."""
    values, prefix = spec["values"], spec["prefix"]
    yield from family_problems()
    yield from repository_problems(spec)
    if os.uname().machine != "x86_64":
        yield Refused("processor", "must be x86_64, as the vendor's archive is", os.uname().machine, "use another host")
    if inst.supervisor == "systemd":
        if not has_systemd():
            yield Refused(
                prefix + "supervisor",
                "must be none on a host that systemd did not boot",
                "systemd",
                set_hint(prefix + "supervisor"),
            )
        if os.geteuid() != 0:
            yield Refused(
                "user",
                "must be root for {}supervisor: systemd".format(prefix),
                pwd.getpwuid(os.geteuid()).pw_name,
                "run the playbook with become: true",
            )
        yield from memory_problems(spec)
        if inst.launch == "direct" and user_exists(inst.user) and pwd.getpwnam(inst.user).pw_uid == 0:
            yield Refused(prefix + "user", "must not be root", inst.user, "name a user that has no other rights")
    elif inst.launch == "direct" and os.geteuid() != 0 and inst.user != pwd.getpwuid(os.geteuid()).pw_name:
        yield Refused(
            prefix + "user",
            "must be the user who runs the playbook, who is not root",
            inst.user,
            set_hint(prefix + "user"),
        )
    skew = int(time.time() - spec["epoch"])
    if abs(skew) > values[prefix + "max_clock_skew"]:
        yield Refused(
            "clock",
            "must be within {} s of the control node's".format(values[prefix + "max_clock_skew"]),
            "{:+d} s".format(skew),
            "synchronize both clocks, for example with chrony",
        )
    memory = memory_mb()
    if memory < values[prefix + "min_memory_mb"]:
        yield Refused(
            "memory",
            "must be {}min_memory_mb = {} MiB or more".format(prefix, values[prefix + "min_memory_mb"]),
            "{} MiB".format(memory),
            "give the host more memory, or lower the limit",
        )
    schedule = values.get(prefix + "backup_schedule")
    if schedule and has_systemd() and run(["systemd-analyze", "calendar", schedule])[0]:
        yield Refused(prefix + "backup_schedule", CALENDAR_RULE, repr(schedule), CALENDAR_HINT)
    yield from saving_problems(inst)
    yield from busy_problems(inst)


def adoption_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """What keeps a server by hand from being taken over, as far as it can be told without the vendor's archive."""
    yield from machine_problems(spec, inst)
    if not spec["values"].get(spec["prefix"] + "admin_password_set"):
        rule = "must be true for a server that is taken over: until then only its own host reaches it, and no client"
        hint = "log in to its portal as admin, with a password, and set it to true"
        yield Refused(spec["prefix"] + "admin_password_set", rule, "false", hint)
    folder, version = (spec["values"].get(spec["prefix"] + name) for name in ("adopt_from", "version"))
    if not folder or not version:
        return
    order = Takeover(os.path.realpath(folder), folder, "", "", version, spec["line"])
    if adopted_before(inst, order) is None:
        yield from release_problems(spec, inst)
        yield from folder_problems(inst, order.folder, version, order.line)


def foreign_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """What stands where the kit would put, or remove, its own: another service's unit, another program."""
    prefix = spec["prefix"]
    path = os.path.join(spec["values"][prefix + "bin_dir"], "dlsctl")
    if os.path.lexists(path) and b"Dynamsoft License Server" not in read_tail(path, 1 << 20):
        yield Refused(path, "must be the kit's dlsctl or not be there", "another file", set_hint(prefix + "bin_dir"))
    if inst.supervisor != "systemd" or not has_systemd():
        return
    path = inst.unit_path()
    fragment = unit_properties(inst.service).get("FragmentPath") or path
    ours = "WorkingDirectory={}/current\n".format(inst.home).encode()
    if fragment != path or (os.path.lexists(path) and ours not in read_tail(path)):
        yield Refused(
            prefix + "service_name",
            "must not be the name of another service's unit",
            "{} ({})".format(inst.service, fragment),
            "choose another name; if it is the kit's own unit, masked or edited, put it right first",
        )


def removal_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """What is in the way of an uninstall: its last backup, or what others have put into the folders that are purged."""
    if spec["values"].get(spec["prefix"] + "uninstall_purge"):
        yield from purge_problems(spec, inst)
    elif inst.current_version():
        try:
            require_sealable(as_configured(inst))
        except Problem as problem:
            yield problem


def purge_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    """Folders that are removed whole must hold nothing but what the kit has put there."""
    for short, ours in (
        ("config_dir", r"dlsctl\.json|dls\.json"),
        ("data_dir", r"licenses"),
        ("backup_dir", r"\.?{}(\.partial(\.copy)?)?".format(BACKUP_NAME)),
    ):
        folder = spec["values"][spec["prefix"] + short]
        foreign = sorted(name for name in list_folder(folder) if not re.fullmatch(ours, name))
        if foreign:
            yield Refused(
                spec["prefix"] + short,
                "must hold only the kit's files to be purged",
                "{} with {}".format(folder, one_line(foreign[0])),
                "move that away, or uninstall without purge",
            )


def memory_problems(spec: Spec) -> Iterator[Problem]:
    """Whether what must outlive a boot is on disks."""
    for short in ("home", "config_dir", "data_dir", "backup_dir"):
        folder = spec["values"][spec["prefix"] + short]
        kind = in_memory(os.path.realpath(existing_parent(folder)))
        if kind:
            hint = "mount a disk there, or choose another folder"
            yield Refused(spec["prefix"] + short, "must be on a disk", "{} in {}".format(folder, kind), hint)


def port_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    prefix = spec["prefix"]
    ours = server_processes(inst)
    for name, port in (("port", inst.server_port), ("data_port", inst.data_port)):
        owner = port_owner(port) if port else None
        if owner is not None and owner not in ours and not (owner == 0 and is_running(inst)):
            yield taken_port(prefix + name, port, owner)


def release_problems(spec: Spec, inst: Installation) -> Iterator[Problem]:
    values, prefix = spec["values"], spec["prefix"]
    version, current = values.get(prefix + "version"), inst.current_version()
    if current and version and current != version:
        yield Refused(
            prefix + "version",
            "must stay {} on this host until it is upgraded".format(current),
            version,
            other_version_hint(inst, version),
        )
    if version and inst.is_installed(version):
        pinned = (values.get(prefix + "archive_checksum") or "").replace("sha256:", "")
        known = inst.release(version)["archive_sha256"]
        if pinned and pinned != known:
            yield Refused(
                prefix + "archive_checksum",
                "must be that of the archive release {} was installed from".format(version),
                pinned,
                "it was sha256:" + known,
            )
        return
    foreign = sorted(set(list_folder(inst.home)) - {"releases", "archives", "current", "kit"})
    if foreign and not os.path.isdir(inst.kit):
        yield Refused(
            prefix + "home",
            "must be empty or made by the kit",
            "{} with {}".format(inst.home, foreign[0]),
            "choose another folder, or move away what is in it",
        )
    parent = existing_parent(inst.home)
    free = free_bytes(inst.home) >> 20
    if free < values[prefix + "min_free_mb"]:
        yield Refused(
            inst.home,
            "must have {}min_free_mb = {} MiB free".format(prefix, values[prefix + "min_free_mb"]),
            "{} MiB".format(free),
            "free some space on the file system of " + parent,
        )
    if os.statvfs(parent).f_flag & os.ST_NOEXEC:
        yield Refused(
            inst.home,
            "must be on a file system that may run programs",
            "noexec on " + parent,
            "mount it without noexec",
        )


def preflight(spec: Spec) -> Dict[str, Any]:
    """All that is wrong at once, and the look at the host: {problems, look}. Changes nothing."""
    problems = list(variable_problems(spec))
    problems += value_problems(spec["prefix"], spec["values"])
    bad = {problem.what.split("/")[0] for problem in problems} & set(spec["options"])
    if bad & {spec["prefix"] + short for short in SHAPING}:
        return {"problems": [dict(problem.as_dict(), text=str(problem)) for problem in problems], "look": None}
    # The host can still be looked at: for what is wrong, its default stands in.
    spec["values"].update({name: spec["options"][name].get("default") for name in bad})
    inst = installation_of(spec)
    seen = look(spec, inst)
    try:
        index = license_index(inst)
    except Refused as problem:
        index = {}
        problems += [problem] if spec["entry"] != "uninstall" else []
    seen["licenses"] = look_at_licenses(inst, index)
    if spec["entry"] != "verify":
        problems += foreign_problems(spec, inst)
    if spec["entry"] == "main":
        problems += host_problems(spec, inst)
    if spec["entry"] == "adopt":
        problems += adoption_problems(spec, inst)
    problems += step_problems(spec, inst, seen)
    if spec["entry"] == "uninstall":
        problems += removal_problems(spec, inst)
    if spec["entry"] == "verify":
        seen["findings"] = findings(spec, inst, seen)
        seen["pair"] = look_at_pair(inst)
    return {"problems": [dict(problem.as_dict(), text=str(problem)) for problem in problems], "look": seen}


def step_problems(spec: Spec, inst: Installation, seen: Dict[str, Any]) -> Iterator[Problem]:
    """What is in the way of a step of a server's life, from its licence files to its rollback."""
    step = spec["entry"]
    if step == "restore":
        yield from machine_problems(spec, inst)
        yield from port_problems(spec, inst)
    elif step in CHECKS:
        yield from busy_problems(inst)
    if step in ("licenses", *CHECKS) and step != "restore" and not seen["current"]:
        yield Refused(inst.home, "must hold an installed release", "nothing", "run the install playbook first")
    elif step in CHECKS:
        yield from readiness_problems(spec, inst, seen)


def installation_of(spec: Spec) -> Installation:
    """The installation that the variables describe, whether it is there yet or not."""
    length = len(spec["prefix"])
    settings = {name[length:]: value for name, value in spec["values"].items()}
    if not settings.get("admin_password_set"):
        settings["allowed_networks"] = ["localhost"]
    return Installation(dict(settings, proxy=spec.get("proxy")))
