"""A release is installed whole or not at all, whatever happens on the way."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from dlsctl.intake import install
from dlsctl.journal import locked
from dlsctl.problems import EXIT_BLOCKED, EXIT_BUSY, EXIT_REFUSED, Refused
from tests.dlsctl import tiny
from tests.dlsctl.conftest import LINE, Site
from tests.dlsctl.replacing import replace


def test_install_unpacks_without_the_top_folder_and_records_a_manifest(site: Site) -> None:
    site.install()
    assert (site.release / "startup.sh").stat().st_mode & 0o777 == 0o755
    record = json.loads((site.home / "kit/releases/2.4.11.json").read_text())
    assert ["startup.sh", "file", 0o755] in [member[:3] for member in record["members"]]
    assert len(list((site.home / "archives").iterdir())) == 1


def test_install_takes_an_archive_without_a_top_folder(site: Site) -> None:
    site.install(tiny.build(site.root, top=""))
    assert (site.release / "startup.sh").is_file()


def test_second_install_changes_nothing(site: Site) -> None:
    site.install()
    before = snapshot(site.home)
    assert "already" in site.install().stdout
    assert snapshot(site.home) == before


def test_install_gives_every_file_the_mode_that_the_vendor_documents(site: Site) -> None:
    site.install(mode="0777")
    assert {stat.S_IMODE(path.stat().st_mode) for path in site.release.rglob("*")} == {0o777}


@pytest.mark.parametrize(
    ("sha256", "version", "message"),
    [
        ("0" * 64, "2.4.11", "must have SHA-256 " + "0" * 64),
        (None, "2.4.1", "must have version 2.4.1, got 2.4.11"),
    ],
)
def test_install_refuses_another_archive_than_was_pinned(site: Site, sha256: str, version: str, message: str) -> None:
    archive = tiny.build(site.root)
    done = site.call(
        "install",
        str(archive),
        f"--sha256={sha256 or tiny.sha256(archive)}",
        f"--version={version}",
        f"--line={json.dumps(LINE)}",
        check=False,
    )
    assert done.returncode == EXIT_REFUSED
    assert message in done.stderr
    assert "HINT: " in done.stderr
    assert list((site.home / "releases").iterdir()) == []


def test_install_refuses_another_archive_for_an_installed_version(site: Site) -> None:
    site.install()
    done = site.install(tiny.build(site.root, before="pass  # another build"), check=False)
    assert done.returncode == EXIT_REFUSED
    assert "must come from the archive it was installed from" in done.stderr


def test_install_refuses_a_disk_that_is_too_small(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "free_bytes", lambda path: 0)
    archive = tiny.build(site.root)
    with locked(site.installation), pytest.raises(Refused, match="MiB free"):
        install(site.installation, str(archive), tiny.sha256(archive), "2.4.11", LINE)


def test_failed_install_leaves_no_trace(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*words: Any) -> None:
        raise OSError("the disk is full")

    replace(monkeypatch, "unpack_tar", fails)
    archive = tiny.build(site.root)
    with locked(site.installation):
        before = snapshot(site.home)
        with pytest.raises(OSError, match="the disk is full"):
            install(site.installation, str(archive), tiny.sha256(archive), "2.4.11", LINE)
    assert snapshot(site.home) == before


def test_two_at_a_time_are_refused_and_the_holder_is_named(site: Site) -> None:
    site.install()
    with locked(site.installation):
        done = site.call("stop", check=False)
    assert done.returncode == EXIT_BUSY
    assert f"held by process {os.getpid()}" in done.stderr


def test_journal_of_a_newer_dlsctl_blocks_every_change(site: Site) -> None:
    site.install()
    (site.home / "kit/journal.json").write_text('{"verb": "teleport", "facts": {}}')
    done = site.call("stop", check=False)
    assert done.returncode == EXIT_BLOCKED
    assert "got teleport" in done.stderr


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its mode and size; the lock names its last holder and is left out."""
    paths = (path for path in folder.rglob("*") if path.name != "lock")
    return {str(path): (path.lstat().st_mode, path.lstat().st_size if path.is_file() else 0) for path in paths}
