"""Uninstall: remove the server, its state saved first."""

import contextlib
import os
import shutil
import tarfile
import time
from typing import Any, Dict, List, Optional

from dlsctl.access import unload_filter, uses_filter
from dlsctl.files import add_to_tar, list_folder, sync_folder, walk
from dlsctl.installation import Installation
from dlsctl.journal import journaled, recovers
from dlsctl.problems import Problem, Refused
from dlsctl.service import start, stop
from dlsctl.state import state


def uninstall(inst: Installation, purge: bool = False) -> Optional[str]:
    """Stop the server and remove its releases and records. Returns the path of the saved state, or None.

    What the server wrote is saved to the backup folder first, from every release, unless `purge`.
    """
    versions = [] if purge else releases_with_record(inst)
    was_running = stop(inst)
    try:
        saved = ", ".join(path for path in [save_state(inst, version) for version in versions] if path) or None
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
    return saved


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


def save_state(inst: Installation, version: str) -> Optional[str]:
    """Write all that differs from the manifest to a tar file in the backup folder; None where nothing does."""
    entries = [entry for entry in state(inst, version) if entry["change"] != "removed" and entry["kind"] != "special"]
    if not entries:
        return None
    os.makedirs(inst.backup_dir, 0o700, exist_ok=True)
    path = os.path.join(
        inst.backup_dir, "uninstalled-{}-{}.tar.gz".format(version, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    )
    base = inst.release_dir(version)
    try:
        handle = os.open(path + ".partial", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
                wanted = {entry["path"] for entry in entries}
                for inside, full in walk(base):
                    if inside in wanted:
                        add_to_tar(tar, full, "state/" + inside)
                tar.add(inst.record_path(version), "release.json", recursive=False)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path + ".partial")
        raise OSError(error.errno, error.strerror or str(error), error.filename or path) from None
    os.rename(path + ".partial", path)
    sync_folder(inst.backup_dir)
    return path
