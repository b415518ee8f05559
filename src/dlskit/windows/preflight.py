"""Preflight of a Windows host: whether it can become what the variables say, from what modules have gathered there.

``python -m dlskit.windows.preflight`` reads a document as JSON from standard input and prints {problems, look}, as
``dlsctl preflight`` does on a Linux host; exit code 6 where there are problems.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from dlsctl.problems import EXIT_OK, EXIT_REFUSED, Problem, Refused, one_line
from dlsctl.releases import numbers
from dlsctl.store import BACKUP_NAME
from dlsctl.values import set_hint, variable_problems
from dlskit.windows import rules
from dlskit.windows.findings import findings
from dlskit.windows.host import Host
from dlskit.windows.look import look
from dlskit.windows.readiness import STEPS

OLDEST_BUILD = 14393  # Windows Server 2016
OLDEST_POWERSHELL = 5
INSTALLS = ("main", "restore", "upgrade", "adopt")  # what puts files of a release on the host
RECOVERING = ("main", "backup", "restore", "upgrade", "rollback")  # as in tasks/windows/look.yml
NEEDS_RELEASE = ("licenses", "backup", "drill", "upgrade", "rollback")


def preflight(document: Mapping[str, Any]) -> dict[str, Any]:
    """All that is wrong at once, and the look at the host: {problems, look}.

    document: `spec`, what the role asks, as dlsctl's preflight takes it; `paths`, the folders in use, by short name;
    `host`, what modules have gathered; see Host. look is None where the folders cannot be made out.
    """
    spec = {**document["spec"], "values": dict(document["spec"]["values"])}
    paths = document["paths"]
    prefix = spec["prefix"]
    problems = list(variable_problems(spec))
    defaults = {name: option.get("default") for name, option in spec["options"].items()}
    problems += rules.posix_problems(prefix, spec["values"], defaults)
    problems += rules.variable_rules(prefix, spec["values"], paths, installs=spec["entry"] in INSTALLS)
    bad = {problem.what.split("/")[0] for problem in problems} & set(spec["options"])
    if bad & {prefix + short for short in (*rules.FOLDERS, "service_name")}:
        return answer(problems, None)
    spec["values"].update({name: defaults[name] for name in bad})
    host = Host.of(document["host"], spec, paths)
    seen = look(host)
    problems += entry_problems(host)
    if spec["entry"] == "verify":
        seen["findings"] = [str(problem) for problem in findings(host, seen)]
        seen["pair"] = None
    return answer(problems, seen)


def answer(problems: list[Problem], seen: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"problems": [dict(problem.as_dict(), text=str(problem)) for problem in problems], "look": seen}


def entry_problems(host: Host) -> Iterator[Problem]:
    """What is in the way of the step that is asked for."""
    entry = host.entry
    if entry == "verify":
        return
    yield from foreign_problems(host)
    if host.journal and entry != "uninstall" and "told" not in host.journal:
        hint = "see which release the service runs and whether it is whole, then remove that file"
        rule = "must tell what a run that has died was doing"
        yield Refused(host.kit("journal.json"), rule, "a damaged file", hint)
    elif host.journal and entry in RECOVERING:
        return  # that change is taken back first, then the host is looked at again
    if entry in INSTALLS:
        yield from password_problems(host)
        yield from machine_problems(host)
        yield from port_problems(host)
    if entry == "main":
        yield from release_problems(host)
    if entry == "uninstall" and host.values["uninstall_purge"]:
        yield from purge_problems(host)
    if entry in NEEDS_RELEASE and not host.current:
        yield Refused(host.paths["home"], "must hold an installed release", "nothing", "run the install playbook first")
    if entry in STEPS and (host.current or entry == "restore"):
        yield from STEPS[entry](host)


def foreign_problems(host: Host) -> Iterator[Problem]:
    """What stands where the kit would put, or remove, its own: another program's service."""
    path = str(host.service.get("path") or "").strip('"')
    if host.service and path.casefold() != host.kit("nssm.exe").casefold():
        yield Refused(
            host.prefix + "service_name",
            "must not be the name of another program's service",
            f"{host.service_name} ({path or 'of an unknown program'})",
            "choose another name, or remove that service if it is an earlier install of the server",
        )


def password_problems(host: Host) -> Iterator[Problem]:
    """Where the variables say that the portal has a password and it has none."""
    if host.values["admin_password_set"] and host.current is None and host.entry == "main":
        yield Refused(
            host.prefix + "admin_password_set",
            "must be false for a server that is not installed yet, because its portal will have no password",
            "true",
            "install it, set the password, then say so; for a new host among others, in its host_vars",
        )


def machine_problems(host: Host) -> Iterator[Problem]:
    """What keeps this host from running any release."""
    facts = host.facts
    version = str(facts.get("ansible_distribution_version") or "0")
    if facts.get("ansible_os_installation_type") == "Client" or build_of(version) < OLDEST_BUILD:
        got = f"{facts.get('ansible_distribution') or 'an unknown one'} ({version})"
        yield Refused("operating system", "must be Windows Server 2016 or later", got, "use another host")
    if facts.get("ansible_architecture2") != "x86_64":
        processor = facts.get("ansible_architecture2") or facts.get("ansible_architecture")
        yield Refused("processor", "must be x86_64, as the vendor's archive is", processor, "use another host")
    powershell = facts.get("ansible_powershell_version") or 0
    if powershell < OLDEST_POWERSHELL:
        hint = "install Windows Management Framework 5.1"
        yield Refused("PowerShell", "must be 5.1, which Ansible's modules need", powershell, hint)
    if facts.get("ansible_reboot_pending"):
        yield Refused("host", "must not wait for a reboot", "one that is pending", "reboot it, then run the same again")
    limit = host.values["max_clock_skew"]
    if abs(host.clock_skew) > limit:
        hint = "synchronize both clocks, for example with: w32tm /resync"
        yield Refused("clock", f"must be within {limit} s of the control node's", f"{host.clock_skew:+.0f} s", hint)
    memory, least = facts.get("ansible_memtotal_mb") or 0, host.values["min_memory_mb"]
    if memory < least:
        rule = f"must be {host.prefix}min_memory_mb = {least} MiB or more"
        yield Refused("memory", rule, f"{memory} MiB", "give the host more memory, or lower the limit")
    if host.open_profiles:
        hint = "switch it on in every profile, after you have allowed the connection that Ansible uses"
        rule = "must be on, since it keeps the server's ports closed"
        yield Refused("Windows firewall", rule, "off for " + ", ".join(host.open_profiles), hint)
    yield from drive_problems(host)


def purge_problems(host: Host) -> Iterator[Problem]:
    """Folders that are removed whole must hold nothing but what the kit has put there."""
    for short, own in (
        ("config_dir", r"dls\.json"),
        ("data_dir", "licenses"),
        ("backup_dir", rf"\.?{BACKUP_NAME}(\.partial)?"),
    ):
        entries = host.in_folder([*host.files, *host.folders], host.paths[short])
        foreign = sorted(entry["filename"] for entry in entries if not re.fullmatch(own, entry["filename"]))
        if foreign:
            got = f"{host.paths[short]} with {one_line(foreign[0])}"
            rule = "must hold only the kit's files to be purged"
            yield Refused(host.prefix + short, rule, got, "move that away, or uninstall without purge")


def build_of(version: str) -> int:
    """The build of a version such as 10.0.14393.0, 0 where it has none."""
    parts = version.split(".")
    return int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else 0


def drive_problems(host: Host) -> Iterator[Problem]:
    """Drives that are not there, or too full for a release."""
    for short, path in host.paths.items():
        if path[0].upper() not in host.drives:
            got = f"{path}; the host has " + (", ".join(f"{letter}:" for letter in sorted(host.drives)) or "no drive")
            yield Refused(host.prefix + short, "must be on a drive of the host", got, set_hint(host.prefix + short))
    letter, least = host.paths["home"][0].upper(), host.values["min_free_mb"]
    free = host.drives.get(letter, 0) >> 20
    if letter in host.drives and host.values["version"] not in host.installed and free < least:
        rule = f"must have {host.prefix}min_free_mb = {least} MiB free"
        yield Refused(host.paths["home"], rule, f"{free} MiB", f"free some space on drive {letter}:")


def port_problems(host: Host) -> Iterator[Problem]:
    for short in ("port", "data_port"):
        for listener in host.listening:
            if listener["port"] == host.values[short] and not (host.running and host.is_ours(listener["name"])):
                got = f"{listener['port']}, which {listener['name'] or 'a process'} ({listener['pid']}) listens on"
                hint = "stop that process or choose another port"
                yield Refused(host.prefix + short, "must be a free TCP port", got, hint)
                break


def release_problems(host: Host) -> Iterator[Problem]:
    """What keeps the release from being installed here, or from being the one that is."""
    version, current, prefix = host.values["version"], host.current, host.prefix
    if current and version and current != version:
        newer = numbers(version) > numbers(current)
        hint = f"{'upgrade it with playbooks/upgrade.yml' if newer else 'go back with playbooks/rollback.yml'}, or set"
        yield Refused(
            prefix + "version",
            f"must stay {current} on this host until it is upgraded",
            version,
            f"{hint} {prefix}version to {current}",
        )
    used = host.parameter("AppDirectory")
    if used and not current:
        hint = "save what you need of it, then remove the service and that folder"
        rule = "must have its record, which tells the server's state from the archive's files"
        yield Refused(str(used), rule, "none", hint)
    if version in host.installed:
        pinned, known = host.values["archive_checksum"], host.records[version]["archive_sha256"]
        if pinned and pinned != "sha256:" + known:
            rule = f"must be that of the archive release {version} was installed from"
            yield Refused(prefix + "archive_checksum", rule, pinned, "it was sha256:" + known)
    elif host.foreign and not host.has_kit:
        got = f"{host.paths['home']} with {host.foreign[0]}"
        hint = "choose another folder, or move away what is in it"
        yield Refused(prefix + "home", "must be empty or made by the kit", got, hint)


if __name__ == "__main__":
    result = preflight(json.load(sys.stdin))
    print(json.dumps(result))
    sys.exit(EXIT_REFUSED if result["problems"] else EXIT_OK)
