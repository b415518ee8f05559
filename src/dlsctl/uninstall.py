"""Uninstall: remove the server, its state saved first."""

import contextlib
import os
import shutil
from typing import Any, Dict, List, Optional

from dlsctl.access import unload_filter, uses_filter
from dlsctl.backup import save_release
from dlsctl.files import list_folder
from dlsctl.installation import Installation
from dlsctl.journal import journaled, recovers
from dlsctl.problems import Problem, Refused
from dlsctl.schedule import unschedule
from dlsctl.service import start, stop
from dlsctl.state import state


def uninstall(inst: Installation, purge: bool = False) -> Optional[str]:
    """Stop the server and remove its releases and records. Returns the folders of the saved states, or None.

    The state of every release is backed up first, unless `purge`; a restore brings it back.
    """
    if not purge:
        require_kept_folders(inst)
    versions = [] if purge else releases_with_record(inst)
    was_running = stop(inst)
    try:
        with_state = [version for version in versions if state(inst, version)]
        saved = ", ".join(save_release(inst, version, "uninstall").folder for version in with_state) or None
    except BaseException:
        if was_running and inst.current_version():
            with contextlib.suppress(Problem, OSError):
                start(inst)
        raise
    shutil.rmtree(inst.archives, ignore_errors=True)  # first, since a full disk has no room for the journal
    with journaled(inst, "uninstall"):
        remove_releases(inst, {})
    shutil.rmtree(inst.kit)
    with contextlib.suppress(OSError):
        os.rmdir(inst.home)
    if uses_filter(inst):
        unload_filter(inst)
    if inst.supervisor == "systemd":
        unschedule(inst)
    return saved


def require_kept_folders(inst: Installation) -> None:
    """Refuse where the backups or licence files would be removed with the releases."""
    removed = [os.path.realpath(folder) for folder in (inst.releases, inst.archives, inst.kit)]
    for folder in (inst.backup_dir, inst.data_dir):
        real = os.path.realpath(folder)
        if any((real + "/").startswith(gone + "/") for gone in removed):
            rule = "must not be inside {}, whose folders are removed".format(inst.home)
            raise Refused(folder, rule, real, "move it away and configure where it is, or purge")


def releases_with_record(inst: Installation) -> List[str]:
    """The versions of all releases on this host; refused where there is no telling what is state in one of them."""
    versions = sorted(name for name in list_folder(inst.releases) if not name.startswith("."))
    for version in versions:
        if not inst.is_installed(version):
            raise Refused(
                inst.release_dir(version),
                "must have its record, which tells the server's state from the archive's files",
                "no " + inst.record_path(version),
                "save what you need of it and move it away, or purge",
            )
    return versions


@recovers("uninstall")
def remove_releases(inst: Installation, _facts: Dict[str, Any]) -> None:
    """Remove the releases, their archives and records; begun once, it is always finished."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(inst.current_link)
    for folder in (inst.releases, inst.archives, os.path.join(inst.kit, "releases")):
        shutil.rmtree(folder, ignore_errors=True)
