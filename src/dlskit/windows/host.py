"""A Windows host, as Ansible's modules have seen it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dlskit.windows import service


@dataclass(frozen=True)
class Host:
    """What was seen of a host, and what it is to become.

    entry: the step that is asked for. values: the role's variables by short name, None where one has no value. line:
    the vendor's facts. paths: the folders in use. wanted_files: what the role writes: path and content.
    The rest is what modules have returned: facts (setup) at epoch (seconds on the control node), drives (free bytes by
    letter), listening (win_listen_ports_facts), service (win_service_info, {} where there is none), keys (properties by
    registry key), files and folders (win_find, and paths that are known to be folders), contents (text by path, in
    lower case), health (win_uri), open_profiles (of the firewall, those that are switched off), backup and manifest
    (the folder of the one to restore, and the text of its manifest).
    """

    prefix: str
    entry: str
    values: Mapping[str, Any]
    line: Mapping[str, Any]
    paths: Mapping[str, str]
    wanted_files: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]
    epoch: float
    drives: Mapping[str, int]
    listening: Sequence[Mapping[str, Any]]
    service: Mapping[str, Any]
    keys: Mapping[str, Mapping[str, Any]]
    files: Sequence[Mapping[str, Any]]
    folders: Sequence[Mapping[str, Any]]
    contents: Mapping[str, str]
    health: Mapping[str, Any]
    open_profiles: Sequence[str]
    backup: str = ""
    manifest: str = ""

    @classmethod
    def of(cls, seen: Mapping[str, Any], spec: Mapping[str, Any], paths: Mapping[str, str]) -> Host:
        """The host that a document tells of: `seen` has the raw results, `spec` is as the preflight takes it."""
        prefix = spec["prefix"]
        names = {name[len(prefix) :]: None for name in spec["options"]}
        values = {**names, **{name[len(prefix) :]: value for name, value in spec["values"].items()}}
        for name in ("version", "archive_checksum", "nssm", "backup_schedule"):
            values.setdefault(name, None)
        profiles = ("Domain", "Private", "Public")
        firewall = seen.get("firewall") or {}
        entries = [*(seen.get("entries") or []), *map(as_folder, seen.get("folders") or [])]
        return cls(
            prefix=prefix,
            entry=spec["entry"],
            values=values,
            line=spec["line"],
            paths=paths,
            wanted_files=spec.get("files", []),
            facts=seen.get("facts") or {},
            epoch=float(seen["epoch"]),
            drives=free_bytes(seen.get("disks") or []),
            listening=seen.get("listening") or [],
            service=next((each for each in seen.get("services") or [] if is_named(each, values["service_name"])), {}),
            keys=seen.get("keys") or {},
            files=[entry for entry in entries if not entry.get("isdir")],
            folders=[entry for entry in entries if entry.get("isdir")],
            contents={path.casefold(): text_of(content) for path, content in (seen.get("contents") or {}).items()},
            health=seen.get("health") or {},
            backup=seen.get("backup") or "",
            manifest=text_of(seen.get("manifest") or ""),
            open_profiles=[name for name in profiles if not firewall.get(name, {}).get("enabled", True)],
        )

    @property
    def service_name(self) -> str:
        return str(self.values["service_name"])

    def kit(self, name: str) -> str:
        """The path of one of the kit's own files."""
        return f"{self.paths['home']}\\kit\\{name}"

    def in_folder(self, entries: Sequence[Mapping[str, Any]], folder: str) -> list[Mapping[str, Any]]:
        """Those of the entries that lie in a folder itself."""
        return [entry for entry in entries if parent(entry["path"]) == folder.casefold()]

    def file(self, path: str) -> Mapping[str, Any] | None:
        """What is known of a file, None where it is not there."""
        return next((entry for entry in self.files if entry["path"].casefold() == path.casefold()), None)

    def has_folder(self, path: str) -> bool:
        return any(entry["path"].casefold() == path.casefold() for entry in self.folders)

    def record(self, path: str) -> dict[str, Any]:
        """What a JSON file of the kit holds, {} where it is not there or damaged."""
        try:
            found = json.loads(self.contents.get(path.casefold(), "{}"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def kit_text(self, name: str) -> str:
        """What one of the kit's own files says, "" where it is not there."""
        return self.contents.get(self.kit(name).casefold(), "").strip()

    @property
    def journal(self) -> dict[str, Any]:
        """The journal of a change that has not ended, {} where there is none."""
        path = self.kit("journal.json")
        if self.file(path) is None:
            return {}
        return self.record(path) or {"step": "unknown, for the file is damaged"}

    @property
    def upgrades(self) -> list[dict[str, Any]]:
        """The changes of the version, the oldest first: {old, new, at, backup}."""
        return list(self.record(self.kit("upgrades.json")).get("upgrades", []))

    @property
    def before(self) -> str | None:
        """The release that was in use before the current one, None where there was none or it is not kept."""
        lasting: list[dict[str, Any]] = []
        for done in self.upgrades:
            if lasting and (done["old"], done["new"]) == (lasting[-1]["new"], lasting[-1]["old"]):
                lasting.pop()
            else:
                lasting.append(done)
        before = next((done["old"] for done in reversed(lasting) if done["new"] == self.current), None)
        return before if before in self.installed else None

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The record of each release that was installed whole, by version."""
        found = {}
        for entry in self.in_folder(self.files, self.kit("releases")):
            record = self.record(entry["path"])
            if {"version", "archive_sha256", "members"} <= set(record):
                found[record["version"]] = record
        return found

    @property
    def installed(self) -> list[str]:
        """The versions that have both a record, which is written last, and a folder."""
        return sorted(v for v in self.records if self.has_folder(service.release_folder(self.paths["home"], v)))

    def parameter(self, name: str) -> Any:
        """What NSSM is told under a name, None where it is told nothing."""
        return self.keys.get(service.key(self.service_name), {}).get(name, {}).get("raw_value")

    @property
    def current(self) -> str | None:
        """The release that the service runs."""
        folder = str(self.parameter("AppDirectory") or "").casefold()
        home = self.paths["home"]
        return next((v for v in self.installed if service.release_folder(home, v).casefold() == folder), None)

    @property
    def running(self) -> bool:
        """Whether the service manager says so; a service that is about to start does."""
        return self.service.get("state") in ("started", "start_pending")

    @property
    def error(self) -> str | None:
        """Why the portal is not healthy, or None."""
        if self.current is None:
            return "not installed"
        if not self.running:
            return "stopped"
        status = self.health.get("status_code")
        if status == 200:
            return None
        return (
            f"status {status}" if status and status > 0 else str(self.health.get("msg") or "no answer").split("\n")[0]
        )

    def is_ours(self, process: str | None) -> bool:
        """Whether a process has the name of one of the server's."""
        return str(process or "").casefold().removesuffix(".exe") in self.line["programs"]

    @property
    def clock_skew(self) -> float:
        """Seconds by which the host's clock is ahead of the control node's."""
        text = str((self.facts.get("ansible_date_time") or {}).get("iso8601") or "")
        try:
            return round(datetime.fromisoformat(text).timestamp() - self.epoch, 1)
        except ValueError:
            return 0.0

    @property
    def has_kit(self) -> bool:
        return self.has_folder(f"{self.paths['home']}\\kit")

    @property
    def foreign(self) -> list[str]:
        """What lies in the home and was not put there by the kit."""
        entries = self.in_folder([*self.folders, *self.files], self.paths["home"])
        names = {entry["filename"] for entry in entries}
        return sorted(names - {"releases", "archives", "kit"})


def is_named(service: Mapping[str, Any], name: str) -> bool:
    """Whether a service has this name: win_service_info also finds those that are only displayed with it."""
    return str(service.get("name") or name).casefold() == name.casefold()


def as_folder(path: str) -> dict[str, Any]:
    return {"path": path, "filename": path.rpartition("\\")[2], "isdir": True}


def parent(path: str) -> str:
    return path.casefold().rpartition("\\")[0]


def text_of(content: str) -> str:
    return base64.b64decode(content).decode("utf-8", "replace")


def free_bytes(disks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Free bytes by drive letter, from win_disk_facts."""
    found = {}
    for disk in disks:
        for partition in disk.get("partitions") or []:
            letter = str(partition.get("drive_letter") or "")[:1].upper()
            if letter.isalpha():
                found[letter] = sum(volume.get("size_remaining") or 0 for volume in partition.get("volumes") or [])
    return found
