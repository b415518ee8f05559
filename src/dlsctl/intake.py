"""Intake: a pinned vendor archive becomes a release on this host."""

import os
from typing import Any, Dict

from dlsctl.archives import Archive, ArchiveLimits
from dlsctl.files import give_to, require_free, sync_folder
from dlsctl.installation import Installation
from dlsctl.journal import journaled
from dlsctl.problems import Refused
from dlsctl.releases import record_release, staging_dir, with_mode
from dlsctl.tarballs import read_tar
from dlsctl.unpacking import unpack_tar


def install(inst: Installation, archive_path: str, sha256: str, version: str, line: Dict[str, Any]) -> bool:
    """Unpack a vendor archive as release `version` beside any other; True where it was not there before.

    `sha256` is the pinned checksum; `line` holds the vendor's facts of the release line: `argv`, `mode`, `server_port`,
    `data_port` and `health_path`. The release appears under its final name in one rename, complete or not at all.
    """
    if inst.is_installed(version):
        known = inst.release(version)["archive_sha256"]
        if known != sha256:
            raise Refused(
                "release " + version,
                "must come from the archive it was installed from",
                sha256,
                "its archive had " + known,
            )
        return False
    archive = pinned_archive(archive_path, sha256, version)
    needed = sum(member.size for member in archive.members) + archive.size
    require_free(inst.releases, needed)
    with journaled(inst, "install", version=version):
        place_release(inst, archive_path, archive, line)
    return True


def pinned_archive(path: str, sha256: str, version: str) -> Archive:
    """Read a Linux archive and refuse it unless it is the one that was pinned."""
    archive = read_tar(path)
    for what, wanted, found in (
        ("SHA-256", sha256, archive.sha256),
        ("platform", "linux_x64", archive.platform),
        ("version", version, archive.version),
    ):
        if wanted != found:
            raise Refused(
                path,
                "must have {} {}".format(what, wanted or "(none given)"),
                found,
                "check the archive, or pin this one with: ./dls archive pin FILE",
            )
    return archive


def place_release(inst: Installation, archive_path: str, archive: Archive, line: Dict[str, Any]) -> None:
    staging = staging_dir(inst, archive.version)
    os.mkdir(staging, 0o755)
    unpack_release(inst, archive_path, archive, line, staging)
    os.chmod(staging, int(line["mode"], 8))
    give_to(staging, inst.account())
    os.rename(staging, inst.release_dir(archive.version))
    sync_folder(inst.releases)


def unpack_release(inst: Installation, archive_path: str, archive: Archive, line: Dict[str, Any], into: str) -> None:
    """Unpack an archive into an empty folder, with the modes of its line, keep it, and write the release's record."""
    members = with_mode(unpack_tar(archive_path, into, archive, ArchiveLimits()), line)
    for member in members:
        if member.kind != "link":
            os.chmod(os.path.join(into, member.path), member.mode)
    record_release(inst, archive_path, archive, line, members)
