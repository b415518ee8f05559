"""Whether backups can be made as the variables say is told before a host changes, or a server is stopped for one."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dlsctl.problems import Refused
from dlsctl.readiness import readiness_problems
from dlsctl.saving import saving_problems
from dlskit import fetched
from tests.dlsctl.conftest import Site
from tests.dlsctl.test_store import add

AGE = "age1" + "q" * 58


@pytest.fixture
def installed(site: Site) -> Site:
    site.install()
    (site.home / "current").symlink_to(site.release)
    return site


def refusals(site: Site, entry: str, **values: Any) -> list[str]:
    """What an engine is told that has these values in its inventory."""
    site.settings |= values
    spec = {"entry": entry, "prefix": "dls_server_", "values": {f"dls_server_{k}": v for k, v in values.items()}}
    return [str(problem) for problem in readiness_problems(spec, site.installation, {})]


@pytest.fixture
def without_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)


def test_recipient_that_the_host_does_not_know_of_yet_is_refused_before_a_backup_is_made(installed: Site) -> None:
    (told,) = refusals(installed, "backup", backup_recipient=AGE)
    rule = "must be the one that this host encrypts to, none"
    assert told.startswith(f"dls_server_backup_recipient: {rule}, got {AGE}\nHINT: run the install")


def test_recipient_that_only_the_host_still_has_is_refused_too(installed: Site) -> None:
    installed.configure(backup_recipient=AGE)
    (told,) = refusals(installed, "backup", backup_recipient="")
    assert f"must be the one that this host encrypts to, {AGE}, got none" in told


@pytest.mark.usefixtures("without_tools")
def test_host_that_cannot_encrypt_is_told_the_way_out(installed: Site) -> None:
    installed.configure(backup_recipient=AGE)
    (told,) = refusals(installed, "backup", backup_recipient=AGE)
    assert told == (
        "age: must be installed on this host, since the backup needs it, got none\n"
        "HINT: install age, or take dls_server_backup_recipient out of the inventory and run the install playbook"
    )


@pytest.mark.usefixtures("without_tools")
def test_recipient_without_its_program_and_place_that_is_not_there_are_told_together(installed: Site) -> None:
    installed.settings |= {"backup_recipient": AGE, "backup_push": "/nowhere"}
    assert [problem.what for problem in saving_problems(installed.installation)] == ["age", "/nowhere"]


@pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not on this machine")
def test_key_file_that_is_not_on_the_host_is_told(installed: Site) -> None:
    installed.settings |= {"backup_recipient": "/etc/dls/backup.asc"}
    (problem,) = saving_problems(installed.installation)
    assert "dls_server_backup_recipient: must be a key on this host, got /etc/dls/backup.asc" in str(problem)


def test_place_for_copies_is_asked_only_where_it_is_new(installed: Site, tmp_path: Path) -> None:
    installed.configure(backup_push=str(tmp_path / "unmounted"))
    assert list(saving_problems(installed.installation)) == []
    installed.settings |= {"backup_push": str(tmp_path / "another")}
    assert len(list(saving_problems(installed.installation))) == 1


def test_host_without_a_backup_is_told_where_one_can_come_from(site: Site) -> None:
    (told,) = refusals(site, "restore")
    assert "must hold a backup, got none" in told
    assert "the playbook takes one of the control node, dls_server_restore_upload" in told


def test_drill_of_a_backup_whose_archive_is_gone_is_told_of_the_other_ways(installed: Site) -> None:
    name = add(installed, 1)
    (told,) = refusals(installed, "drill", drill_backup=name)
    assert "must be the vendor's archive that the backup needs, got no file" in told
    assert "dls_server_drill_backup" in told


def test_folder_of_the_control_node_that_is_no_backup_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="must be a complete backup, got no manifest") as told:
        fetched.read(str(tmp_path / "20261125T033000Z-2.4.11"))
    assert "control node" in str(told.value)


def test_schedule_whose_metrics_have_no_folder_is_refused_before_the_first_night(site: Site) -> None:
    site.settings |= {"backup_metrics": str(site.root / "none/dls.prom")}
    (told,) = saving_problems(site.installation)
    assert "none: must be a folder that is there, for dls_server_backup_metrics, got none" in str(told)
    (site.root / "none").mkdir()
    assert list(saving_problems(site.installation)) == []
