"""Labels of SELinux, where it is enforcing; run on no such host, only built and called."""

import shutil
from pathlib import Path

import pytest

import dlsctl.host
from dlsctl.deployment import prepare
from dlsctl.files import relabel_command
from tests.dlsctl.conftest import Site
from tests.dlsctl.replacing import replace

RESTORECON = "/usr/sbin/restorecon"


@pytest.mark.parametrize(
    ("enforce", "restorecon"), [(None, RESTORECON), ("0\n", RESTORECON), ("", RESTORECON), ("1", None)]
)
def test_nothing_is_labelled_unless_selinux_is_enforcing(enforce: str | None, restorecon: str | None) -> None:
    assert relabel_command(["/opt/dls"], enforce, restorecon) == []


def test_command_labels_the_paths_with_all_below_them_and_passes_over_missing_ones() -> None:
    command = relabel_command(["/opt/dls", "/etc/dls/dls.json"], "1", RESTORECON)
    assert command == [RESTORECON, "-R", "-i", "/opt/dls", "/etc/dls/dls.json"]
    assert relabel_command([], "1", RESTORECON) == []


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run on a host on which SELinux is enforcing."""
    done: list[list[str]] = []
    which, read_proc = shutil.which, dlsctl.host.read_proc
    replace(monkeypatch, "read_proc", lambda path: "1" if path == "/sys/fs/selinux/enforce" else read_proc(path))
    monkeypatch.setattr(shutil, "which", lambda name, **how: RESTORECON if name == "restorecon" else which(name, **how))

    def run(argv: list[str]) -> tuple[int, str]:
        done.append(argv)
        return 0, ""

    replace(monkeypatch, "run", run)
    return done


def test_files_that_prepare_writes_are_labelled_and_others_not(commands: list[list[str]], tmp_path: Path) -> None:
    spec = {"files": [{"path": str(tmp_path / "a"), "mode": "0644", "content": "x"}], "folders": [str(tmp_path / "b")]}
    prepare(spec, check=True)
    assert commands == []
    prepare(spec, check=False)
    assert commands == [[RESTORECON, "-R", "-i", str(tmp_path / "b"), str(tmp_path / "a")]]
    prepare(spec, check=False)
    assert len(commands) == 1


def test_release_is_labelled_once_it_is_in_place(no_server: Site, commands: list[list[str]]) -> None:
    no_server.install()
    assert no_server.apply() == 0
    (labelled,) = commands
    assert labelled[:4] == [RESTORECON, "-R", "-i", str(no_server.home)]
