"""Licence files: placed for safe keeping beside the server; replaced, but never lost."""

import contextlib
import hashlib
import os
import re
import stat
from typing import Any, Dict, Iterator, List, Optional, Sequence

from dlsctl.deployment import Spec
from dlsctl.files import list_folder, read_bytes, read_json, relabel, sha256_file, sync_folder, write_atomic, write_json
from dlsctl.host import utc_now
from dlsctl.identity import recorded_identity
from dlsctl.installation import Installation, make_folders
from dlsctl.problems import Problem, Refused, shown

LICENSE_NAME = r"(?!index\.json\Z|history\Z|.*\.dlsctl-new\Z)[A-Za-z0-9_][A-Za-z0-9._ ()+@-]{0,126}"
LICENSE_FACTS = ("sha256", "license_id", "organization", "status")


def license_index(inst: Installation) -> Dict[str, Dict[str, Any]]:
    """What was recorded of each licence file that was placed, by file name."""
    path = os.path.join(inst.licenses, "index.json")
    files = (read_json(path) or {}).get("files", {})
    if not isinstance(files, dict) or not all(isinstance(record, dict) for record in files.values()):
        raise Refused(path, "must hold a record for each licence file", "something else", "remove it; run the playbook")
    return files


def write_license_index(inst: Installation, files: Dict[str, Dict[str, Any]]) -> None:
    write_json(os.path.join(inst.licenses, "index.json"), {"files": files}, 0o600)


def look_at_licenses(inst: Installation, index: Dict[str, Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Every licence file that was placed or lies there: its name, its record, and its `fault`, or None."""
    names = {name for name in list_folder(inst.licenses) if re.fullmatch(LICENSE_NAME, name)}
    found = []
    for name in sorted(names | set(index)):
        record = index.get(name, {})
        fault = license_fault(os.path.join(inst.licenses, name), record.get("sha256"))
        found.append(dict({key: record.get(key) for key in (*LICENSE_FACTS, "since", "uuid")}, name=name, fault=fault))
    return found


def license_fault(path: str, sha256: Optional[str]) -> Optional[str]:
    """What is wrong with a placed file, of which this hash was recorded; None where nothing is."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return "missing"
    if not sha256:
        return "not placed by the kit"
    if not stat.S_ISREG(status.st_mode) or sha256_file(path) != sha256:
        return "other content"
    if stat.S_IMODE(status.st_mode) != 0o600 or status.st_uid != os.geteuid():
        return "not its owner's alone"
    return None


def place_licenses(inst: Installation, wanted: Sequence[Dict[str, str]]) -> List[str]:
    """Put licence files where they are kept, and record them; returns the names of those that were not as wanted.

    Each of `wanted` is {name, content, sha256, license_id, organization, status}. What is replaced goes to the history.
    """
    make_folders(inst)
    os.chmod(inst.licenses, 0o700)
    index, uuid = license_index(inst), recorded_identity(inst).get("uuid")
    changes = []
    for item in wanted:
        sha256 = hashlib.sha256(item["content"].encode()).hexdigest()
        if not re.fullmatch(LICENSE_NAME, item["name"]) or sha256 != item["sha256"]:
            raise Refused(shown(item["name"]), "must arrive as it was checked", "something else", "run the same again")
    for item in wanted:
        name, data = item["name"], item["content"].encode()
        path = os.path.join(inst.licenses, name)
        known = index.get(name, {})
        if known.get("sha256") == item["sha256"] and license_fault(path, item["sha256"]) is None:
            continue
        if read_bytes(path) not in (None, data):
            keep_license(inst, name)
        write_atomic(path, data, 0o600)
        if known.get("sha256") != item["sha256"]:
            index[name] = dict({key: item[key] for key in LICENSE_FACTS}, since=utc_now(), uuid=uuid)
        changes.append(name)
    if changes:
        write_license_index(inst, index)
        relabel(inst.licenses)
    return changes


def keep_license(inst: Installation, name: str) -> str:
    """Put a licence file into the history too, under its time and hash; returns where it is there."""
    history, path = os.path.join(inst.licenses, "history"), os.path.join(inst.licenses, name)
    os.makedirs(history, 0o700, exist_ok=True)
    kept = os.path.join(history, "{}-{}-{}".format(utc_now().replace(":", ""), sha256_file(path), name))
    with contextlib.suppress(FileExistsError):  # of the same second and content
        os.link(path, kept)
    os.chmod(kept, 0o600)
    sync_folder(history)
    return kept


def forget_license(inst: Installation, name: str) -> str:
    """Move a licence file into the history and drop its record; returns what was done."""
    index = license_index(inst)
    path = os.path.join(inst.licenses, name)
    if not re.fullmatch(LICENSE_NAME, name) or not (name in index or os.path.lexists(path)):
        raise Refused("--forget", "must name a licence file of " + inst.licenses, shown(name), "see: dlsctl licenses")
    text = name + ": forgotten"
    if os.path.lexists(path):
        text += "; it is now " + keep_license(inst, name)
        os.unlink(path)
    if index.pop(name, None):
        write_license_index(inst, index)
    return text


def bind_licenses(inst: Installation) -> None:
    """Record the server's UUID, where it is known by now, with the licence files that were placed before."""
    index, uuid = license_index(inst), recorded_identity(inst).get("uuid")
    unbound = [record for record in index.values() if uuid and not record.get("uuid")]
    for record in unbound:
        record["uuid"] = uuid
    if unbound:
        write_license_index(inst, index)


def license_findings(spec: Spec, inst: Installation, seen: Sequence[Dict[str, Any]]) -> Iterator[Problem]:
    """What is wrong with the placed files, and which of those that the inventory names are not there.

    Files that the inventory does not name, while it names some, are the playbook's to report: they are no fault.
    """
    uuid, entries = recorded_identity(inst).get("uuid"), spec["values"].get(spec["prefix"] + "licenses")
    wanted = None if entries is None else {os.path.basename(entry["file"]) for entry in entries}
    for file in seen:
        path = os.path.join(inst.licenses, file["name"])
        if not file["sha256"] or (wanted is not None and file["name"] not in wanted):
            continue
        if file["fault"]:
            hint = "run the install playbook, or take it from {}/history".format(inst.licenses)
            yield Problem(path, "must be the licence file that was placed", file["fault"], hint)
        elif uuid and file["uuid"] not in (None, uuid):
            rule = "must be of the server with the UUID {}, for which it was placed".format(file["uuid"])
            yield Problem(path, rule, uuid, "have the vendor issue the licence anew, and place that file")
    for name in sorted((wanted or set()) - {file["name"] for file in seen if file["sha256"]}):
        yield Problem(
            os.path.join(inst.licenses, name),
            "must be placed, as the inventory says",
            "nothing",
            "run the install playbook",
        )
