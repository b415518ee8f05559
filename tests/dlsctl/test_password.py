"""The record that the portal took a password, and the state that holds it, which somebody may remove by hand."""

import shutil
from pathlib import Path

import pytest

from dlsctl.journal import locked
from dlsctl.password import is_lost, is_recorded, may_lack_password
from tests.dlsctl.conftest import Site

OPEN = ["10.0.0.0/8", "localhost"]


def record(site: Site) -> Path:
    path = site.home / "kit/admin-password-set"
    path.write_text("yes")
    return path


@pytest.fixture
def visited(site: Site) -> Site:
    """A server that others reach, with a record of its first visit; it is stopped."""
    site.deploy()
    record(site)
    site.call("stop")
    site.configure(allowed_networks=OPEN)
    return site


def wipe(site: Site) -> None:
    shutil.rmtree(site.release / "data")


def test_a_record_is_believed_while_the_server_has_state(visited: Site) -> None:
    assert is_recorded(visited.installation)
    visited.call("start")
    assert visited.ask("status")["password_recorded"] is True


@pytest.mark.parametrize("verb", ["start", "restart", "apply", "run"])
def test_a_server_whose_state_is_gone_is_not_started_while_others_reach_it(visited: Site, verb: str) -> None:
    wipe(visited)
    done = visited.call(verb, check=False)
    assert done.returncode == 6, done.stderr
    said = done.stderr
    assert (
        "access: must be closed to all but this host, because the state that held the portal's password is gone" in said
    )
    assert "set dls_server_admin_password_set to false and run the site playbook, which closes it" in said
    assert is_lost(visited.installation), "so that the next start is refused, too"
    status = visited.call("status", check=False).stdout
    assert (
        "must be of the state that is in use, which holds the portal's password, got a release without any state"
        in status
    )


@pytest.mark.parametrize("verb", ["start", "restart", "apply"])
def test_a_server_whose_state_is_gone_starts_closed_and_its_record_goes(visited: Site, verb: str) -> None:
    wipe(visited)
    visited.configure(allowed_networks=["localhost"])
    visited.call(verb)
    assert not (visited.home / "kit/admin-password-set").exists()
    assert may_lack_password(visited.installation)
    assert visited.ask("status")["password_recorded"] is False


def test_a_vendor_s_file_that_the_server_has_changed_is_state(visited: Site) -> None:
    wipe(visited)
    (visited.release / "dls.json.sample").write_text("a password")
    assert is_recorded(visited.installation)


def test_files_of_the_kit_are_no_state(visited: Site) -> None:
    (visited.root / "etc/dls.json").write_text('{"serverMode": "main_standby", "servers": ["self", "http://b/"]}')
    visited.call("apply", check=False)
    visited.call("stop")
    assert (visited.release / "dls.json").exists()
    wipe(visited)
    assert is_lost(visited.installation)


def test_a_backup_without_state_has_no_password(visited: Site) -> None:
    wipe(visited)
    visited.call("backup")
    done = visited.call("restore", "--replace", check=False)
    assert done.returncode == 6
    assert "because the portal may have had no password when the backup was made" in done.stderr
    with locked(visited.installation):
        assert may_lack_password(visited.installation)
