"""A backup copied to a second place: complete or not there; and the outcome of one run by its name."""

import errno
import json
import os
import socket
import stat
from pathlib import Path

import pytest

from dlsctl import push as module
from dlsctl.problems import EXIT_OK, EXIT_REFUSED, Refused
from dlsctl.push import push
from dlsctl.store import backups
from tests.dlsctl.conftest import Site


@pytest.fixture
def target(site: Site) -> Path:
    site.install()
    (site.home / "current").symlink_to(site.release)
    (site.release / "licence.dat").write_text("precious")
    (site.root / "mounted").mkdir()
    return site.root / "mounted"


def test_a_copy_is_complete_and_private(site: Site, target: Path) -> None:
    pushed = Path(site.ask("backup", f"--push={target}")["pushed"])
    (backup,) = backups(site.installation)
    assert pushed == target / socket.gethostname() / backup.name
    assert sorted(path.name for path in pushed.iterdir()) == sorted(path.name for path in Path(backup.folder).iterdir())
    assert oct(pushed.stat().st_mode & 0o777) == "0o700"
    assert "every byte is as it was written" in site.call("verify-backup", str(pushed)).stdout


def test_a_target_that_is_not_there_is_refused_before_anything_is_done(site: Site, target: Path) -> None:
    target.rmdir()
    site.configure(backup_push=str(target))
    done = site.call("backup", check=False)
    assert done.returncode == EXIT_REFUSED
    assert f"{target}: must be a folder that is there, for the copy of a backup, got none" in done.stderr
    assert backups(site.installation) == []


def test_invariant_6_a_copy_that_fails_leaves_nothing(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.call("backup")
    (backup,) = backups(site.installation)

    def full(_source: str, copy: str) -> None:
        Path(copy).write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", copy)

    (target / socket.gethostname()).mkdir()
    leftover = target / socket.gethostname() / f".{backup.name}.partial"
    leftover.mkdir()
    (leftover / "state.tar.gz").write_text("half of a run that was killed")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(module, "copy_flushed", full)
        push(backup, str(target))
    assert list((target / socket.gethostname()).iterdir()) == []
    push(backup, str(target))
    with pytest.raises(Refused, match="must not be there yet"):
        push(backup, str(target))


def test_what_others_have_put_there_is_left_alone(site: Site, target: Path) -> None:
    place = target / socket.gethostname()
    (place / ".snapshots.partial").mkdir(parents=True)
    (place / ".upload.partial").write_text("of another program")
    site.call("backup", f"--push={target}")
    assert {".snapshots.partial", ".upload.partial"} < {path.name for path in place.iterdir()}


def test_a_folder_whose_file_system_cannot_flush_folders_takes_copies(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.call("backup")
    (backup,) = backups(site.installation)
    real = os.fsync

    def flush(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", flush)
    assert (Path(push(backup, str(target))) / "manifest.json").exists()


def test_where_copies_fail_the_backups_are_pruned_all_the_same_and_told_to_be_complete(
    site: Site, target: Path
) -> None:
    site.configure(backup_push=str(target), backup_keep=1)
    (target / socket.gethostname()).write_text("in the way")
    for _ in range(2):
        done = site.call("backup", "--scheduled", check=False)
        assert done.returncode != 0
    (backup,) = backups(site.installation)
    assert f"{target / socket.gethostname()}: must be accessible, got File exists\n" in done.stderr
    assert f"the backup itself is complete, on this host: {backup.folder}" in done.stderr


def test_the_outcome_of_a_run_is_asked_for_by_its_name(site: Site, target: Path) -> None:
    site.call("backup", "--run=first")
    (backup,) = backups(site.installation)
    answer = json.loads(site.call("outcome", "--run=first", "--json").stdout)
    assert answer["name"] == backup.name
    assert site.call("outcome", "--run=other", check=False).returncode == EXIT_REFUSED
    assert site.call("outcome").returncode == EXIT_OK
