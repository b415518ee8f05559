"""The portal's password: whether it is known to be set. No server can be asked: the vendor documents no way."""

import os
from typing import Iterator, Optional

from dlsctl.files import sha256_file, walk
from dlsctl.host import read_proc
from dlsctl.installation import CONFIRMATION, Installation
from dlsctl.problems import Problem, Refused
from dlsctl.state import kit_files
from dlsctl.trees import clear


def record_path(inst: Installation) -> str:
    """The record that the portal took a password; it goes with the server's state."""
    return os.path.join(inst.kit, CONFIRMATION)


def is_recorded(inst: Installation) -> bool:
    """Whether the portal's password is recorded, and the state that holds it may be there."""
    return os.path.exists(record_path(inst)) and not is_lost(inst)


def is_lost(inst: Installation) -> bool:
    """Whether there is a record, but of a state that is gone: the release in use is as it was unpacked.

    Where files of the server are left, such as logs, or it has written new ones since, nothing can be told.
    """
    return os.path.exists(record_path(inst)) and inst.current_version() is not None and not has_state(inst)


def has_state(inst: Installation) -> bool:
    """Whether a server has written any file below the release in use. What the kit wrote does not count."""
    record = inst.release()
    base, ours = inst.release_dir(record["version"]), kit_files(inst, record["version"])
    members = {member.path: member for member in record["members"]}
    written = [
        path for path, full in walk(base) if path not in ours and (os.path.islink(full) or not os.path.isdir(full))
    ]
    if any(path not in members for path in written):
        return True
    files = [members[path] for path in written if members[path].kind == "file"]
    return any(sha256_file(os.path.join(base, member.path)) != member.sha256 for member in files)


def lost_problems(inst: Installation) -> Iterator[Problem]:
    """Whether the state that held the password is gone. Changes nothing."""
    if is_lost(inst):
        yield Problem(
            record_path(inst),
            "must be of the state that is in use, which holds the portal's password",
            "a release without any state",
            "restore a backup; or run the site playbook, which closes the server and has the password set anew",
        )


def require_held(inst: Installation) -> None:
    """Raise Refused where a server is about to start that others reach, without the state that held its password."""
    if is_lost(inst):
        require_closed_configuration(inst, "the state that held the portal's password is gone")


def forget_lost(inst: Installation) -> None:
    """Before a server starts anew: what is recorded of a state that is gone is not true of the next one."""
    require_held(inst)
    if is_lost(inst):
        clear(record_path(inst))


def opened_by(inst: Installation) -> Optional[str]:
    """What lets others than this host itself reach the portal: the configuration or the proxy; None where nothing does.

    An operator has opened it by saying that the portal has a password.
    """
    if set(inst.networks) - {"localhost"}:
        return "{} allows {}".format(inst.config_dir, ", ".join(inst.networks))
    if "$dls_portal" in (read_proc(inst.proxy or "") or ""):
        return "{} lets administrators to the portal".format(inst.proxy)
    return None


def may_lack_password(inst: Installation) -> bool:
    """Whether the portal of the server in use may have no password: nobody confirmed one, and none but this host has
    been let in; or what was confirmed is gone."""
    return not is_recorded(inst) and (opened_by(inst) is None or is_lost(inst))


def require_closed_configuration(inst: Installation, why: str) -> None:
    """Raise Refused where others would reach a portal that may have no password."""
    opened = opened_by(inst)
    if opened:
        raise Refused(
            "access",
            "must be closed to all but this host, because " + why,
            opened,
            "set dls_server_admin_password_set to false and run the site playbook, which closes it,"
            " for the version that is in use",
        )
