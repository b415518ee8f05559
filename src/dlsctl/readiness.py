"""Readiness: what keeps a host from the step of its life cycle that an engine is about to take."""

import os
import re
from typing import Any, Callable, Dict, Iterator

from dlsctl.deployment import Spec
from dlsctl.files import free_bytes
from dlsctl.installation import Installation
from dlsctl.look import as_configured
from dlsctl.packs import require_tool
from dlsctl.pair import look_at_pair
from dlsctl.problems import Problem, Refused
from dlsctl.push import require_pushable
from dlsctl.releases import archive_path_of
from dlsctl.restore import Wish, refuse_unfit
from dlsctl.saving import require_same_recipient, require_sealable
from dlsctl.store import Backup, backups, find
from dlsctl.upgrade import (
    CARRY,
    Order,
    release_before,
    require_answer,
    require_password_of,
    require_ready,
    was_rolled_back,
)
from dlsctl.values import set_hint

Seen = Dict[str, Any]


def readiness_problems(spec: Spec, inst: Installation, seen: Seen) -> Iterator[Problem]:
    """What is in the way of the entry point that the spec names; what was learnt on the way is added to `seen`."""
    try:
        CHECKS[spec["entry"]](spec, inst, seen)
    except Problem as problem:
        problem.hint = in_variables(spec, problem.hint or "")
        yield problem


def in_variables(spec: Spec, hint: str) -> str:
    """A hint of the command line for whoever has variables: --other-version is dls_server_restore_other_version."""
    known = ("replace", "other-version", "rehost", "acknowledge")
    names = {"acknowledge": "upgrade_acknowledged"}

    def variable(option: "re.Match[str]") -> str:
        short = names.get(option[1], "restore_" + option[1].replace("-", "_"))
        return "{}{}: true".format(spec["prefix"], short)

    return re.sub("--({})".format("|".join(known)), variable, hint)


def for_backup(spec: Spec, inst: Installation, _seen: Seen) -> None:
    require_same_recipient(inst)
    require_sealable(inst)
    place, key = (spec["values"].get(spec["prefix"] + short) for short in ("backup_push", "backup_push_key"))
    if place:
        require_pushable(place, key or "")


def for_drill(spec: Spec, inst: Installation, seen: Seen) -> None:
    note_backup(spec, inst, seen, find(inst, spec["values"].get(spec["prefix"] + "drill_backup")), "drill_key")
    if not seen["backup"]["archive"]:
        path = archive_path_of(inst, seen["backup"]["archive_sha256"])
        hint = "copy it there, or take another backup with {}drill_backup".format(spec["prefix"])
        raise Refused(path, "must be the vendor's archive that the backup needs", "no file", hint)


def note_backup(spec: Spec, inst: Installation, seen: Seen, backup: Backup, key: str) -> None:
    """Add what is to be known of a backup. Raises Refused where the variable `key` has to be set for it and is not."""
    facts = {fact: backup.manifest[fact] for fact in ("version", "archive_sha256", "created")}
    archive = archive_path_of(inst, facts["archive_sha256"])
    seen["backup"] = dict(facts, name=backup.name, folder=backup.folder, archive=os.path.isfile(archive))
    encryption = backup.manifest["pack"]["encryption"]
    if encryption and not spec["values"].get(spec["prefix"] + key):
        rule = "must be set for a backup that is encrypted with " + encryption
        raise Refused(spec["prefix"] + key, rule, "nothing", "name the file with the private key on the control node")
    if encryption:  # the key itself comes from the control node later
        require_tool(encryption)


def for_restore(spec: Spec, inst: Installation, seen: Seen) -> None:
    values, prefix = spec["values"], spec["prefix"]
    sent = spec.get("sent_backup")
    if sent:
        backup = Backup(sent["name"], sent["name"], sent["manifest"])
    else:
        hint = "copy one there; the playbook takes one of the control node, {}restore_upload".format(prefix)
        backup = find(inst, values.get(prefix + "restore_backup"), hint)
    note_backup(spec, inst, seen, backup, "restore_key")
    version = seen["backup"]["version"]
    if version != values.get(prefix + "version"):
        wanted = values.get(prefix + "version")
        rule = "must be the version that backup {} holds, {}".format(backup.name, version)
        fitting = [other.name for other in backups(inst) if other.manifest["version"] == wanted]
        other = (
            "restore the newest of {} with {}restore_backup: {}, or ".format(wanted, prefix, fitting[-1])
            if fitting
            else ""
        )
        raise Refused(prefix + "version", rule, wanted, other + set_hint(prefix + "version"))
    pinned = (values.get(prefix + "archive_checksum") or "").replace("sha256:", "")
    if pinned != seen["backup"]["archive_sha256"]:
        rule = "must be that of the archive which the backup needs, sha256:" + seen["backup"]["archive_sha256"]
        raise Refused(prefix + "archive_checksum", rule, pinned, set_hint(prefix + "archive_checksum"))
    replace, other_version, rehost = (
        bool(values.get(prefix + "restore_" + name)) for name in ("replace", "other_version", "rehost")
    )
    refuse_unfit(inst, backup, Wish(replace=replace, other_version=other_version, rehost=rehost))


def for_upgrade(spec: Spec, inst: Installation, seen: Seen) -> None:
    values, prefix, old = spec["values"], spec["prefix"], str(inst.current_version())
    now = as_configured(inst)
    seen["pair"] = look_at_pair(now)
    version = values.get(prefix + "version")
    if seen["pair"]["servers"]:
        require_answer(now)  # also of one that is upgraded already: clients have it while the other one is not there
    if not version or version == old:
        return
    policy = values.get(prefix + "upgrade_state") or CARRY
    acknowledged = bool(values.get(prefix + "upgrade_acknowledged"))
    require_ready(now, old, Order("", "", version, {}, policy, acknowledged))
    free, needed = free_bytes(inst.home) >> 20, values[prefix + "min_free_mb"]
    if free < needed:
        rule = "must have {}min_free_mb = {} MiB free".format(prefix, needed)
        hint = "free some space, for example with: dlsctl prune-releases"
        raise Refused(inst.home, rule, "{} MiB".format(free), hint)


def for_rollback(spec: Spec, inst: Installation, seen: Seen) -> None:
    prefix, old = spec["prefix"], str(inst.current_version())
    wanted = spec["values"].get(prefix + "version")
    seen["pair"] = look_at_pair(as_configured(inst))
    if not wanted or (wanted == old and was_rolled_back(inst)):
        return
    require_same_recipient(inst)
    before = release_before(inst)
    if wanted != before:
        rule = "must name the release to go back to, which was in use before {}: {}".format(old, before)
        hint = "set it, with its archive and checksum, as they were before the upgrade"
        raise Refused(prefix + "version", rule, wanted, hint)
    require_password_of(as_configured(inst), before)


CHECKS: Dict[str, Callable[[Spec, Installation, Seen], None]] = {
    "backup": for_backup,
    "drill": for_drill,
    "restore": for_restore,
    "upgrade": for_upgrade,
    "rollback": for_rollback,
}
