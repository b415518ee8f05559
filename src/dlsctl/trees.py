"""Entries of a tree, copied with everything that belongs to them: content, mode, owner and times."""

import contextlib
import fcntl
import grp
import hashlib
import os
import pwd
import shutil
import stat
from typing import Any, BinaryIO, Dict, Iterable, Tuple

from dlsctl.files import Entry, open_regular, sha256_of, sync_folder
from dlsctl.problems import Problem, one_line

FICLONE = 0x40049409  # ioctl_ficlone(2): the copy shares its blocks with the original until one of them is written
COPIED = ("file", "dir", "link")  # kinds of entries; sockets, pipes and devices are made anew by whoever needs them


def copy_entry(entry: Entry, full: str, target: str, flush: bool = True) -> Entry:
    """Copy what can be opened as `full` to its path below `target`; returns the entry as it was copied.

    `target` must be a folder that only this user can enter: what is there already is replaced. Mode, owner and times
    are set by `settle`, when everything is there. Without `flush` the copy does not outlast a loss of power.
    """
    path = os.path.join(target, entry["path"])
    clear(path, keep_folder=entry["kind"] == "dir")
    if entry["kind"] == "dir":
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        return entry
    if entry["kind"] == "link":
        os.symlink(entry["link"], path)
        return entry
    with os.fdopen(open_regular(full), "rb") as source:
        with new_file(path) as copy:
            with contextlib.suppress(OSError):
                fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
            sha256 = sha256_of(copy) if os.fstat(copy.fileno()).st_size else copy_bytes(source, copy)
            if flush:
                os.fsync(copy.fileno())
        status = os.fstat(source.fileno())
    return dict(entry, sha256=sha256, size=os.stat(path).st_size, mtime_ns=status.st_mtime_ns)


def new_file(path: str) -> BinaryIO:
    """Open a file that must not exist yet for reading and writing, for nobody else."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "r+b")


def copy_bytes(source: BinaryIO, copy: BinaryIO) -> str:
    """Copy to the end of `source`; returns the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    for block in iter(lambda: source.read(1 << 20), b""):
        digest.update(block)
        copy.write(block)
    copy.flush()
    return digest.hexdigest()


def clear(path: str, keep_folder: bool = False) -> None:
    """Remove what is at `path`, whatever it is; with `keep_folder` a folder stays."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(kind):
        os.unlink(path)
    elif not keep_folder:
        shutil.rmtree(path)


def make_parents(target: str, path: str, mode: int = 0o700) -> None:
    """Make the folders above a path below `target` that are not there yet.

    Raises Problem where a link is in a folder's place: whoever made it could lead root elsewhere.
    """
    parts = path.split("/")
    for count in range(1, len(parts)):
        parent = os.path.join(target, *parts[:count])
        try:
            is_folder = stat.S_ISDIR(os.lstat(parent).st_mode)
        except FileNotFoundError:
            os.mkdir(parent)
            os.chmod(parent, mode)
        else:
            if not is_folder:
                raise Problem(
                    one_line(path), "must be below folders", "a link or file above it", "find out who made it"
                )


def remove(target: str, path: str) -> None:
    """Remove what is at a path below `target`; nothing is where a link or file is above it."""
    parts = path.split("/")
    parents = [os.path.join(target, *parts[:count]) for count in range(1, len(parts))]
    if all(os.path.isdir(parent) and not os.path.islink(parent) for parent in parents):
        clear(os.path.join(target, path))


def settle(entries: Iterable[Entry], target: str) -> None:
    """Set owner, mode and times of entries below `target`, what is inside a folder before the folder.

    A file of another than the tree's owner, or of root's, gets no set-user-ID or set-group-ID bit: a backup may be
    forged, and the server needs none.
    """
    tree = os.stat(target)
    for entry in sorted(entries, key=lambda entry: str(entry["path"]), reverse=True):
        if entry.get("change") == "removed" or entry["kind"] not in COPIED:
            continue
        path = os.path.join(target, entry["path"])
        if os.geteuid() == 0:
            os.chown(path, *owner_of(entry), follow_symlinks=False)
        if entry["kind"] != "link":
            status, mode = os.lstat(path), int(entry["mode"], 8)
            owner = (status.st_uid, status.st_gid)
            if entry["kind"] == "file" and (0 in owner or owner != (tree.st_uid, tree.st_gid)):
                mode &= 0o1777
            os.chmod(path, mode)
        os.utime(path, ns=(entry["mtime_ns"], entry["mtime_ns"]), follow_symlinks=False)


def owner_of(entry: Entry) -> Tuple[int, int]:
    """The (uid, gid) of an entry on this host: by name where it has one, since another host may number them anew.

    -1, which changes nothing, for a name that this host does not know: a number of its own may be somebody else's.
    """
    uid, gid = entry["uid"], entry["gid"]
    if "user" in entry:
        uid = -1
        with contextlib.suppress(KeyError):
            uid = pwd.getpwnam(entry["user"]).pw_uid
    if "group" in entry:
        gid = -1
        with contextlib.suppress(KeyError):
            gid = grp.getgrnam(entry["group"]).gr_gid
    return uid, gid


def named_owner(entry: Entry) -> Entry:
    """The entry with the names of its owner, where the host knows them."""
    names: Dict[str, Any] = {}
    with contextlib.suppress(KeyError):
        names["user"] = pwd.getpwuid(entry["uid"]).pw_name
    with contextlib.suppress(KeyError):
        names["group"] = grp.getgrgid(entry["gid"]).gr_name
    return dict(entry, **names)


def sync_tree(target: str) -> None:
    """Flush the folders of a tree; its files were flushed as they were written."""
    for folder, _, _ in os.walk(target):
        sync_folder(folder)
