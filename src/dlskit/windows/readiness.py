"""What keeps an installed server on Windows from the step of its life that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dlsctl.problems import Problem, Refused
from dlsctl.releases import numbers
from dlsctl.upgrade import WARNING
from dlsctl.values import set_hint
from dlskit.windows.host import Host
from dlskit.windows.look import backup


def for_upgrade(host: Host) -> Iterator[Problem]:
    prefix, version, old = host.prefix, str(host.values["version"]), str(host.current)
    if version == old:
        return
    if numbers(version) < numbers(old):
        hint = "go back with playbooks/rollback.yml"
        yield Refused(prefix + "version", f"must not be older than {old}", version, hint)
        return
    if not host.values["upgrade_acknowledged"]:
        name = prefix + "upgrade_acknowledged"
        yield Refused(name, f"must be true, for {WARNING}", "false", f"set {name}: true")
    if host.error:
        hint = "start it, or mend what its log says"
        yield Refused(host.service_name, "must answer before it is upgraded", host.error, hint)
    if host.values["upgrade_state"] == "fresh" and host.values["admin_password_set"]:
        name = prefix + "admin_password_set"
        hint = "set it to false until the password of the new release is set"
        yield Refused(name, "must be false, for a server without its state has no password", "true", hint)


def for_rollback(host: Host) -> Iterator[Problem]:
    version = host.values["version"]
    if version == host.current:
        return
    if host.before is None:
        hint = "restore a backup instead"
        yield Refused("rollback", "must have the release before the last upgrade", "none that is kept", hint)
    elif version != host.before:
        name = host.prefix + "version"
        rule = f"must name the release to go back to, which was in use before {host.current}: {host.before}"
        yield Refused(name, rule, version, set_hint(name))


def for_restore(host: Host) -> Iterator[Problem]:
    prefix, values, found = host.prefix, host.values, backup(host)
    if found is None:
        if host.backup:
            hint = f"restore another one, with {prefix}restore_backup"
            yield Refused(host.backup, "must be a backup as it was written", "a damaged manifest", hint)
        else:
            wanted = values["restore_backup"]
            got = f"none with the name {wanted}" if wanted else "none"
            yield Refused(host.paths["backup_dir"], "must hold the backup", got, "see which there are in that folder")
        return
    for name, rule, given, needed in (
        ("version", "must be the version that the backup holds", values["version"], found["version"]),
        (
            "archive_checksum",
            "must be that of the archive which the backup needs",
            values["archive_checksum"],
            f"sha256:{found['archive_sha256']}",
        ),
    ):
        if given != needed:
            yield Refused(prefix + name, f"{rule}, {needed}", given, set_hint(prefix + name))
    yield from unasked(host, found)


def unasked(host: Host, found: Mapping[str, Any]) -> Iterator[Problem]:
    """What a restore would do beyond itself, and was not told to."""
    another = host.current is not None and host.current != found["version"]
    for name, needed, what in (
        ("restore_replace", host.current is not None, f"for {host.current} is there, whose state is put aside"),
        ("restore_other_version", another, f"for {host.current} is there, and the backup is of {found['version']}"),
        (
            "restore_rehost",
            found["is_of_another_machine"],
            "for the backup is of another machine, to which its licence is bound",
        ),
    ):
        if needed and not host.values[name]:
            yield Refused(host.prefix + name, f"must be true, {what}", "false", f"set {host.prefix}{name}: true")


STEPS: dict[str, Callable[[Host], Iterator[Problem]]] = {
    "upgrade": for_upgrade,
    "rollback": for_rollback,
    "restore": for_restore,
}
