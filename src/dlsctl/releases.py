"""Releases: what is recorded of each, and the one in use."""

import contextlib
import os
import shutil
from typing import Any, Dict, Iterable, List

from dlsctl.archives import VERSION_FORM, Archive, Member
from dlsctl.files import sync_folder, write_json
from dlsctl.host import utc_now
from dlsctl.installation import Installation
from dlsctl.journal import recovers


def staging_dir(inst: Installation, version: str) -> str:
    return os.path.join(inst.releases, ".{}.partial".format(version))


@recovers("install")
def undo_install(inst: Installation, facts: Dict[str, Any]) -> None:
    shutil.rmtree(staging_dir(inst, facts["version"]), ignore_errors=True)
    if not os.path.isdir(inst.release_dir(facts["version"])):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(inst.record_path(facts["version"]))


def other_version_hint(inst: Installation, wanted: str) -> str:
    """What to do where the inventory names another version than the one in use."""
    current = str(inst.current_version())
    stay = ", or set dls_server_version to " + current
    if not (VERSION_FORM.match(wanted) and VERSION_FORM.match(current)) or numbers(wanted) > numbers(current):
        return "upgrade it with playbooks/upgrade.yml" + stay
    if inst.is_installed(wanted):
        return "go back with playbooks/rollback.yml" + stay
    return "restore a backup of it with playbooks/restore.yml" + stay


def numbers(version: str) -> List[int]:
    return [int(number) for number in version.split(".")]


def with_mode(members: Iterable[Member], line: Dict[str, Any]) -> List[Member]:
    """The members of a release with the mode that the vendor documents for all of its line."""
    mode = int(line["mode"], 8)
    return [member if member.kind == "link" else member._replace(mode=mode) for member in members]


def record_release(
    inst: Installation, archive_path: str, archive: Archive, line: Dict[str, Any], members: List[Member]
) -> None:
    """Keep a release's archive, and write its record."""
    keep_archive(inst, archive_path, archive.sha256)
    write_json(
        inst.record_path(archive.version),
        {
            "version": archive.version,
            "archive_sha256": archive.sha256,
            "line": line,
            "installed": utc_now(),
            "members": [list(member) for member in members],
        },
    )


def keep_archive(inst: Installation, path: str, sha256: str) -> None:
    """Keep a vendor archive on the host: a restore needs it, and nothing from outside then."""
    kept = archive_path_of(inst, sha256)
    if not os.path.exists(kept):
        shutil.copyfile(path, kept + ".partial")
        with open(kept + ".partial", "rb") as stream:
            os.fsync(stream.fileno())
        os.rename(kept + ".partial", kept)
        sync_folder(inst.archives)


def archive_path_of(inst: Installation, sha256: str) -> str:
    return os.path.join(inst.archives, sha256 + ".tar.gz")


def point_current(inst: Installation, version: str) -> None:
    """Move `current` to a release in one rename."""
    temporary = inst.current_link + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(os.path.join("releases", version), temporary)
    os.rename(temporary, inst.current_link)
    sync_folder(inst.home)
