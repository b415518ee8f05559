"""Undo: files and folders put back as they were."""

import contextlib
import os
import stat
from typing import Callable, List, Tuple

from dlsctl.files import existing_parent, read_bytes, write_atomic
from dlsctl.problems import Problem


class Undo:
    """Remembers files and folders before they change, to put them back with content, mode and owner."""

    def __init__(self) -> None:
        self._actions: List[Callable[[], None]] = []

    def keep(self, path: str) -> None:
        """Remember what is at `path`: a file, a link or nothing; and which of the folders above are not there yet."""
        parent = existing_parent(path)
        folder = os.path.dirname(path)
        while len(folder) > len(parent):
            self._actions.insert(0, lambda folder=folder: remove_empty(folder))  # type: ignore[misc]
            folder = os.path.dirname(folder)
        if os.path.islink(path):
            target = os.readlink(path)
            self._actions.append(lambda: replace_by_link(path, target))
        elif os.path.exists(path):
            data, status, above = read_bytes(path) or b"", os.stat(path), os.stat(os.path.dirname(path))
            owner = (status.st_uid, status.st_gid)
            self._actions.append(lambda: put_back(path, data, stat.S_IMODE(status.st_mode), owner))
            self._actions.append(lambda: put_folder_back(os.path.dirname(path), above))
        else:
            self._actions.append(lambda: remove(path))

    def run(self) -> List[Exception]:
        """Put everything back that can be; returns why the rest cannot."""
        failed: List[Exception] = []
        for action in reversed(self._actions):
            try:
                action()
            except (OSError, Problem) as error:
                failed.append(error)
        return failed


def put_folder_back(folder: str, status: os.stat_result) -> None:
    """Make a folder again that is no longer there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        os.chown(folder, status.st_uid, status.st_gid)
        os.chmod(folder, stat.S_IMODE(status.st_mode))


def put_back(path: str, data: bytes, mode: int, owner: Tuple[int, int]) -> None:
    """Give a file its content again, unless it still has it: a full disk has no room for another."""
    with contextlib.suppress(OSError, Problem):
        status = os.lstat(path)
        if read_bytes(path) == data and (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, *owner):
            return
    write_atomic(path, data, mode, owner)


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_empty(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def replace_by_link(path: str, target: str) -> None:
    remove(path)
    os.symlink(target, path)
