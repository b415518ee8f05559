"""A backup copied to a second place: complete or not there; and the outcome of one run by its name."""

import errno
import json
import socket
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
    (target / socket.gethostname() / ".x.partial").mkdir()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(module, "copy_flushed", full)
        push(backup, str(target))
    assert list((target / socket.gethostname()).iterdir()) == []
    push(backup, str(target))
    with pytest.raises(Refused, match="must not be there yet"):
        push(backup, str(target))


def test_the_outcome_of_a_run_is_asked_for_by_its_name(site: Site, target: Path) -> None:
    site.call("backup", "--run=first")
    (backup,) = backups(site.installation)
    answer = json.loads(site.call("outcome", "--run=first", "--json").stdout)
    assert answer["name"] == backup.name
    assert site.call("outcome", "--run=other", check=False).returncode == EXIT_REFUSED
    assert site.call("outcome").returncode == EXIT_OK
