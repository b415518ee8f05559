"""Releases: an archive, unpacked and recorded."""

import contextlib
import os
import shutil
from typing import Any, Dict, Iterable, List

from dlsctl.archives import Archive, ArchiveLimits, Member, read_tar, unpack_tar
from dlsctl.files import give_to, require_free, sync_folder, write_json
from dlsctl.host import utc_now
from dlsctl.installation import Installation
from dlsctl.journal import journaled, recovers
from dlsctl.problems import Refused


def staging_dir(inst: Installation, version: str) -> str:
    return os.path.join(inst.releases, ".{}.partial".format(version))


@recovers("install")
def undo_install(inst: Installation, facts: Dict[str, Any]) -> None:
    shutil.rmtree(staging_dir(inst, facts["version"]), ignore_errors=True)
    if not os.path.isdir(inst.release_dir(facts["version"])):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(inst.record_path(facts["version"]))


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
