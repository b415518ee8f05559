"""Files: nothing half-written is ever seen under its final name."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tarfile
import time
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from dlsctl.host import Account, read_proc, run
from dlsctl.problems import Refused, one_line, shown

Entry = Dict[str, Any]  # {path, change, kind, mode, uid, gid, mtime_ns, size, sha256, link}


def portable(name: str) -> str:
    """A file's name as every host reads it alike; this process has it in the encoding of its locale."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def native(name: str) -> str:
    """A portable name as this process calls the file, whatever its locale."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))


def renamed(entries: List[Entry], form: Callable[[str], str]) -> List[Entry]:
    """Entries with their names, and what links point to, in another form."""
    return [
        dict(entry, **{key: form(entry[key]) for key in ("path", "link") if isinstance(entry.get(key), str)})
        for entry in entries
    ]


def sync_folder(path: str) -> None:
    """Flush a folder to disk, where its file system can."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # as some that are mounted from another machine say
            raise
    finally:
        os.close(handle)


TEMPORARY = ".dlsctl-new"  # ends the name of a file until it is complete


def write_atomic(path: str, data: bytes, mode: int = 0o644, owner: Optional[Account] = None) -> None:
    """Replace the file `path` by the bytes `data` in one rename, flushed to disk; `owner` is (uid, gid)."""
    temporary = path + TEMPORARY
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        write_new(temporary, data, mode, owner)
        os.rename(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise OSError(error.errno, error.strerror, path) from None  # a failing write does not name its file
    sync_folder(os.path.dirname(path) or ".")


def write_new(path: str, data: bytes, mode: int, owner: Optional[Account]) -> None:
    """Write a file that must not exist yet, and flush it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
        if owner:
            os.fchown(stream.fileno(), *owner)
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())


# Of a file that is read whole. The server's user may put any file into a release; a real start script has some KiB.
LARGEST_FILE = 16 << 20


def open_regular(path: str) -> int:
    """Open a regular file for reading: not what a link points to, and without waiting for a named pipe's writer."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "something that is no regular file", path)


def read_bytes(path: str, largest: Optional[int] = None) -> Optional[bytes]:
    """The content of a regular file of bounded size, or None where there is none."""
    largest = LARGEST_FILE if largest is None else largest
    try:
        handle = open_regular(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        if error.errno in (errno.ELOOP, errno.EINVAL, errno.ENXIO):
            raise Refused(path, "must be a regular file", "something else", "look at it and remove it") from None
        raise
    with os.fdopen(handle, "rb") as stream:
        data = stream.read(largest + 1)
    if len(data) > largest:
        raise Refused(path, "must have at most {} bytes".format(largest), "more", "look at it and remove it")
    return data


def read_tail(path: str, size: int = 1 << 16) -> bytes:
    """The last bytes of a regular file, or nothing where it cannot be read."""
    try:
        handle = open_regular(path)
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as stream:
        stream.seek(max(os.fstat(handle).st_size - size, 0))
        return stream.read(size)


def relabel_command(paths: Sequence[str], enforce: Optional[str], restorecon: Optional[str]) -> List[str]:
    """The command that gives `paths`, with all below them, the labels of the host's SELinux policy; nothing if not due.

    `enforce` is what /sys/fs/selinux/enforce holds, `restorecon` the path of that program; None where there is none.
    """
    return [restorecon, "-R", "-i", *paths] if paths and restorecon and (enforce or "").strip() == "1" else []


def relabel(*paths: str) -> None:
    """Where SELinux is enforcing, label files that were written. A label that cannot be set is no failure."""
    command = relabel_command(paths, read_proc("/sys/fs/selinux/enforce"), shutil.which("restorecon"))
    if command:
        run(command)


def read_json(path: str, largest: Optional[int] = None) -> Any:
    """The JSON object in a file, or None where there is no file. Raises Refused for anything else."""
    data = read_bytes(path, largest)
    if data is None:
        return None
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(path, "must be JSON", error, "correct or remove the file") from None
    if not isinstance(value, dict):
        raise Refused(path, "must be a JSON object", shown(value), "correct or remove the file")
    return value


def write_json(path: str, value: Any, mode: int = 0o644) -> None:
    write_atomic(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode(), mode)


def sha256_of(stream: IO[bytes]) -> str:
    """The SHA-256 of what a stream has left."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def sha256_file(path: str) -> str:
    with os.fdopen(open_regular(path), "rb") as stream:
        return sha256_of(stream)


def give_to(folder: str, account: Optional[Account]) -> None:
    """Make `account` the owner of a tree; links themselves, not what they point to."""
    if account is None:
        return
    os.chown(folder, *account)
    for _, full in walk(folder):
        os.chown(full, *account, follow_symlinks=False)


def refuse_unreadable(error: OSError) -> None:
    """What to do about a folder that cannot be read: one that is gone by now is none, but none is left out unsaid."""
    if not isinstance(error, FileNotFoundError):
        raise error


DEEPEST = 200  # folders below each other: each is held open, and a path must not exceed some thousand bytes


def walk(base: str, onerror: Optional[Callable[[OSError], None]] = None) -> Iterator[Tuple[str, str]]:
    """Every path below `base`: relative to it, and as a name to open at once.

    Links are not followed. The second name goes through the opened parent folder (proc(5), fd), so that the server's
    user, who owns the release, cannot lead root elsewhere by putting a link in a folder's place. `base` itself may be
    a link: it is in a folder of root's. Raises Refused where the tree is too deep.
    """
    if not os.path.isdir(base):
        return
    base = os.path.realpath(base)
    for parent, folders, files, handle in os.fwalk(base, onerror=onerror):
        if parent.count("/") - base.count("/") > DEEPEST:
            where, rule = one_line(parent), "must be at most {} folders deep".format(DEEPEST)
            raise Refused(where, rule, "more", "find out who made it; remove the topmost of them that is not needed")
        for name in folders + files:
            yield os.path.relpath(os.path.join(parent, name), base), "/proc/self/fd/{}/{}".format(handle, name)


def describe(path: str, full: str, hashes: Optional["Hashes"] = None) -> Entry:
    """What is at `full`, an entry without `change`; `hashes` may know the SHA-256 of a file from an earlier run."""
    status = os.lstat(full)
    entry = {
        "path": path,
        "mode": "{:04o}".format(stat.S_IMODE(status.st_mode)),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime_ns": status.st_mtime_ns,
        "size": 0,
        "sha256": None,
    }
    if stat.S_ISLNK(status.st_mode):
        return dict(entry, kind="link", link=os.readlink(full))
    if stat.S_ISDIR(status.st_mode):
        return dict(entry, kind="dir")
    if stat.S_ISREG(status.st_mode):
        sha256 = hashes.of(path, full, status) if hashes else sha256_file(full)
        return dict(entry, kind="file", size=status.st_size, sha256=sha256)
    return dict(entry, kind="special")


RECENT = 2 * 10**9  # nanoseconds: a file that changed so shortly before may change again within one tick of the clock


class Hashes:
    """SHA-256 of files by path, kept in a file over runs: a file is read again where inode, size or a time differ.

    No user but root can set a file's ctime, so the server's user cannot hide a change.
    """

    def __init__(self, path: str) -> None:
        self.path, self.now = path, int(time.time() * 10**9)
        self.known: Dict[str, List[Any]] = {}
        self.seen: Dict[str, List[Any]] = {}
        with contextlib.suppress(OSError, Refused):
            self.known = read_json(path) or {}

    def of(self, path: str, full: str, status: os.stat_result) -> str:
        facts = [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        known = self.known.get(path)
        sha256 = str(known[-1]) if known and known[:-1] == facts else sha256_file(full)
        if status.st_ctime_ns < self.now - RECENT:
            self.seen[path] = [*facts, sha256]
        return sha256

    def keep(self) -> None:
        """Write what is known now. That it cannot be written is no failure: the next run reads the files."""
        if self.seen != self.known:
            with contextlib.suppress(OSError):
                os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
                write_json(self.path, self.seen, 0o600)


def existing_parent(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def free_bytes(path: str) -> int:
    disk = os.statvfs(existing_parent(path))
    return disk.f_bavail * disk.f_frsize


SPARE = 64 << 20  # bytes that a copy leaves free


def room_problems(folder: str, size: int, purpose: str = "") -> Iterator[Refused]:
    """Whether a folder's file system lacks room for so many bytes."""
    free = free_bytes(folder)
    if free < size:
        rule = "must have {} MiB free{}".format(size >> 20, purpose)
        yield Refused(folder, rule, "{} MiB".format(free >> 20), "free some space")


def require_free(folder: str, size: int, purpose: str = "") -> None:
    """Raise Refused where a folder's file system lacks room for so many bytes."""
    for problem in room_problems(folder, size, purpose):
        raise problem


def unused_name(folder: str, form: str) -> str:
    """`form` with nothing in the place of {}, or -2, -3 and so on where there is such a name already."""
    name, number = form.format(""), 1
    while os.path.lexists(os.path.join(folder, name)):
        number += 1
        name = form.format("-{}".format(number))
    return name


def hashed(text: Optional[str]) -> Optional[str]:
    return hashlib.sha256(text.strip().encode()).hexdigest() if text and text.strip() else None


def add_to_tar(tar: tarfile.TarFile, path: str, name: str) -> None:
    """Add one entry, as `name`, without following a link even where it has just taken a file's place."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        tar.addfile(tar.gettarinfo(path, name))
        return
    with os.fdopen(open_regular(path), "rb") as stream:
        tar.addfile(tar.gettarinfo(arcname=name, fileobj=stream), stream)


def list_folder(path: str) -> List[str]:
    return os.listdir(path) if os.path.isdir(path) else []
