"""Push: a backup copied to a second place: a folder, where another machine's may be mounted, or one behind SFTP."""

import os
import re
import shutil
import socket

from dlsctl.files import list_folder, sync_folder
from dlsctl.problems import Refused
from dlsctl.sftp import RULE, SCHEME, parse, push_by_sftp, require_reachable
from dlsctl.store import MANIFEST, PARTIAL, Backup, check


def require_pushable(target: str, key: str = "") -> None:
    """Raise Problem where nothing could be copied to a folder or URL: before a server is stopped for it."""
    if target.startswith(SCHEME):
        remote = parse(target, key)
        if remote is None:
            raise Refused("push", RULE, target, "mend it")
        require_reachable(remote)
    else:
        require_folder(target)


def require_folder(folder: str) -> None:
    if not os.path.isdir(folder):
        hint = "mount it or make it, or name another with dls_server_backup_push or --push"
        raise Refused(folder, "must be a folder that is there, for the copy of a backup", "none", hint)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Refused(folder, "must be writable, for the copy of a backup", "one that is not", "mount it writable")


def push(backup: Backup, target: str, key: str = "") -> str:
    """Copy a backup to <target>/<host>/<name>, where it appears complete or not at all; returns that path or URL.

    The copy is flushed, and read back to its end. Raises Refused or Problem; the backup itself is only read.
    """
    remote = parse(target, key)
    return push_by_sftp(backup, remote) if remote else push_to_folder(backup, target)


def push_to_folder(backup: Backup, folder: str) -> str:
    place = os.path.join(folder, socket.gethostname())
    target = os.path.join(place, backup.name)
    if os.path.lexists(target):
        raise Refused(target, "must not be there yet", "a backup of that name", "move it away")
    os.makedirs(place, 0o700, exist_ok=True)
    for name in list_folder(place):
        if re.fullmatch(PARTIAL, name):  # of a run that was killed
            shutil.rmtree(os.path.join(place, name))
    partial = os.path.join(place, ".{}.partial".format(backup.name))
    os.mkdir(partial, 0o700)
    try:
        for name in (os.path.basename(backup.pack), MANIFEST):
            copy_flushed(os.path.join(backup.folder, name), os.path.join(partial, name))
        check(Backup(backup.name, partial, backup.manifest))
        sync_folder(partial)
        os.rename(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(place)
    return target


def copy_flushed(source: str, target: str) -> None:
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as stream, open(source, "rb") as original:
        shutil.copyfileobj(original, stream, 1 << 20)
        stream.flush()
        os.fsync(stream.fileno())
