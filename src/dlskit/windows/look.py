"""The look at a Windows host: what the role's tasks need to know before they act."""

from __future__ import annotations

import json
import re
from typing import Any

from dlsctl.store import digest_of
from dlskit.windows import networks, service
from dlskit.windows.host import Host


def look(host: Host) -> dict[str, Any]:
    """Everything that the tasks need, under the names that dlsctl's look has, and what only Windows needs.

    files: what the role's files hold now, so that it can be put back; None for one that is not there. service: the
    values of the registry that are wanted, `as_it_is` those that were found. firewall: the addresses of the rules.
    """
    values = wanted_values(host)
    return {
        "installed": host.installed,
        "current": host.current,
        "running": host.running,
        "healthy": host.error is None,
        "error": host.error,
        "enabled": host.service.get("start_mode") == "auto",
        "differs": differing(host, values),
        "present": present(host),
        "files": [
            {"path": item["path"], "content": host.contents.get(item["path"].casefold())} for item in host.wanted_files
        ],
        "missing_folders": [path for path in folders(host) if not host.has_folder(path)],
        "missing_own_folders": [],
        "missing_packages": [],
        "missing_user": False,
        "hidden": [],
        "steps": [],
        "licenses": licenses(host),
        "clock_skew": host.clock_skew,
        "service": [value._asdict() for value in values],
        "as_it_is": [
            found._asdict() for found in (service.as_it_is(value, host.keys) for value in values) if found is not None
        ],
        "start_mode": host.service.get("start_mode"),
        "firewall": {"allowed": networks.allowed(allowed(host)), "blocked": networks.blocked(allowed(host))},
        "records": host.records,
        "identity": {"uuid": host.kit_text("uuid") or None, "machine_id": host.facts.get("ansible_machine_id")},
        "nssm_differs": nssm_differs(host),
        "ours": ours(host),
        "is_alone": not host.foreign,
        "license_index": host.record(host.paths["data_dir"] + "\\licenses\\index.json").get("files", {}),
        "ports": {"port": ports(host, "server"), "internal": ports(host, "data")},
        "uuid": host.kit_text("uuid"),
        "journal": host.journal,
        "upgrades": host.upgrades,
        "backup": backup(host),
    }


def allowed(host: Host) -> list[str]:
    """Who reaches the server's port: nobody but the host until its portal is known to have a password."""
    return list(host.values["allowed_networks"] or []) if host.values["admin_password_set"] else []


def wanted_values(host: Host) -> list[service.Value]:
    """What NSSM is to be told: for the release that is asked for, or the one in use where none is."""
    version = host.values["version"] if host.entry in ("main", "restore", "upgrade", "rollback") else host.current
    version = version or host.current
    if not version:
        return []
    return service.values(host.service_name, host.paths["home"], version, host.line, host.values)


def differing(host: Host, values: list[service.Value]) -> list[str]:
    """Files and registry values that are not as the inventory says."""
    found = [
        item["path"]
        for item in host.wanted_files
        if (item["content"] or None) != host.contents.get(item["path"].casefold())
    ]
    return found + [f"{value.path}\\{value.name}".rstrip("\\") for value in values if service.differs(value, host.keys)]


def present(host: Host) -> list[str]:
    """What of the kit is on the host."""
    found = [host.paths["home"] + "\\kit"] if host.has_kit else []
    found += [item["path"] for item in host.wanted_files if host.file(item["path"])]
    return found + ([host.service_name] if host.service else [])


def ports(host: Host, name: str) -> list[int]:
    """The port that NSSM gives the server now, under the vendor's name of it; [] where there is no server."""
    return [int(port) for port in re.findall(rf"--{name}\.port=(\d+)", str(host.parameter("AppParameters") or ""))]


def told(host: Host) -> dict[str, Any]:
    """The manifest of the backup that is to be restored, {} where there is none or it is another than was written."""
    try:
        found = json.loads(host.manifest)
    except ValueError:
        return {}
    whole = isinstance(found, dict) and found.get("digest") == digest_of(
        {key: value for key, value in found.items() if key != "digest"}
    )
    return found if whole else {}


def backup(host: Host) -> dict[str, Any] | None:
    """What is to be known of the backup that is to be restored."""
    found = told(host)
    if not found:
        return None
    facts = {key: found.get(key) for key in ("version", "archive_sha256", "created")}
    machine = (found.get("identity") or {}).get("machine_id")
    return {
        **facts,
        "name": host.backup.rpartition("\\")[2],
        "folder": host.backup,
        "archive": False,
        "removed": [entry["path"] for entry in found["sections"]["release"] if entry.get("change") == "removed"],
        "confirmed": any(entry["path"] == "admin-password-set" for entry in found["sections"]["kit"]),
        "is_of_another_machine": bool(machine) and machine != host.facts.get("ansible_machine_id"),
    }


def nssm_differs(host: Host) -> bool:
    """Whether the NSSM on the host is another one than the pinned one."""
    there = host.file(host.kit("nssm.exe"))
    pinned = str(host.values.get("nssm_checksum") or "").removeprefix("sha256:")
    return there is not None and bool(pinned) and there.get("checksum") != pinned


def ours(host: Host) -> dict[str, str]:
    """Checksums of the files in a release that the kit has put there, by their path in it."""
    there = host.file(host.paths["config_dir"] + "\\dls.json")
    return {"dls.json": there["checksum"]} if there else {}


def folders(host: Host) -> list[str]:
    return [*host.paths.values(), host.paths["home"] + "\\kit"]


def licenses(host: Host) -> list[dict[str, Any]]:
    """Every licence file on the host: name, sha256 and fault, as dlsctl has them, and held, the checksum found."""
    index = host.record(host.paths["data_dir"] + "\\licenses\\index.json").get("files", {})
    entries = host.in_folder(host.files, host.paths["data_dir"] + "\\licenses")
    there = {entry["filename"]: entry.get("checksum") for entry in entries if entry["filename"] != "index.json"}
    found = []
    for name in sorted({*there, *index}):
        known = index.get(name, {}).get("sha256")
        fault = None if known and there.get(name) == known else "other content" if known else "not placed by the kit"
        fault = fault if name in there else "missing"
        found.append({**index.get(name, {}), "name": name, "sha256": known, "fault": fault, "held": there.get(name)})
    return found
