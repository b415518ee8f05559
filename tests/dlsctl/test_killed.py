"""Killed right before any system call that changes something, and run again, a host is whole."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

import dlsctl.uninstall
from dlsctl.apply import pending_files
from dlsctl.cli import main
from dlsctl.intake import install
from dlsctl.journal import locked
from dlsctl.problems import EXIT_OK
from dlsctl.releases import point_current
from dlsctl.state import state
from dlsctl.store import backups
from tests.dlsctl import tiny
from tests.dlsctl.conftest import LINE, Site

FATAL_CALLS = ("fsync", "rename", "mkdir", "makedirs", "chmod", "unlink", "rmdir", "symlink", "open")


def dies_in_child(action: Callable[[], None], name: str, number: int) -> bool:
    """Run `action` in a child killed right before its Nth call of os.<name>; False where it ended before that."""
    child = os.fork()
    if child == 0:
        original = getattr(os, name)
        calls = 0

        def fatal(*words: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                os._exit(9)
            return original(*words, **options)

        setattr(os, name, fatal)
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def every_death(action: Callable[[], None], call: str) -> int:
    """Kill `action` before its first call of os.<call>, run it anew and kill it before its second, and so on."""
    number = 1
    while dies_in_child(action, call, number):
        number += 1
        assert number < 500, f"{call} is called without end"
    return number - 1


@pytest.mark.parametrize("call", FATAL_CALLS)
def test_killed_install_is_whole_after_the_next_run(site: Site, call: str) -> None:
    archive = tiny.build(site.root)

    def attempt() -> None:
        with locked(site.installation):
            install(site.installation, str(archive), tiny.sha256(archive), "2.4.11", LINE)

    every_death(attempt, call)
    attempt()
    assert [path.name for path in (site.home / "releases").iterdir()] == ["2.4.11"]
    assert not (site.home / "kit/journal.json").exists()
    point_current(site.installation, "2.4.11")
    assert state(site.installation) == []


def test_recover_finishes_or_undoes_what_a_killed_run_has_left_and_nothing_else(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tiny.build(site.root)

    def attempt() -> None:
        with locked(site.installation):
            install(site.installation, str(archive), tiny.sha256(archive), "2.4.11", LINE)

    assert dies_in_child(attempt, "chmod", 3)
    assert (site.home / "kit/journal.json").exists()
    for text in ("what an interrupted install had left was finished or undone", "nothing is left half done"):
        assert main(["recover", "--config", str(site.config)]) == EXIT_OK
        assert text in capsys.readouterr().out
        assert not (site.home / "kit/journal.json").exists()
    assert list((site.home / "releases").iterdir()) == []


@pytest.mark.parametrize("call", FATAL_CALLS)
def test_killed_apply_is_complete_after_the_next_run(no_server: Site, call: str) -> None:
    site = no_server
    site.install()
    (site.root / "etc/dls.json").write_text('{"servers": ["self", "http://standby/"]}')

    def apply() -> None:
        assert site.apply() == 0

    every_death(apply, call)
    apply()
    assert json.loads((site.release / "dls.json").read_text())["servers"] == ["self", "http://standby/"]
    assert f"--server.port={site.settings['port']}" in (site.release / "startup.sh").read_text()
    assert state(site.installation) == []
    assert (site.root / "backups").stat().st_mode & 0o777 == 0o700
    assert pending_files(site.installation, site.installation.release(), str(site.release)) == []


@pytest.mark.parametrize("call", FATAL_CALLS)
def test_killed_uninstall_loses_no_state_and_is_complete_after_the_next_run(no_server: Site, call: str) -> None:
    site = no_server
    site.install()
    assert site.apply() == 0
    (site.release / "licence.dat").write_text("precious")

    def uninstall() -> None:
        if (site.home / "kit").exists():
            with locked(site.installation):
                dlsctl.uninstall.uninstall(site.installation)

    every_death(uninstall, call)
    uninstall()
    assert list(site.home.glob("*")) == []
    assert backups(site.installation)
