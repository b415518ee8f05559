"""UUID and password as the playbooks see them through the portal of the stand-in, with this machine's browser."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dlsctl.problems import Problem
from dlskit.portal import browser
from tests.checkout import play, site
from tests.test_role_local import Machine, machine  # noqa: F401 - the fixture

pytestmark = pytest.mark.slow

PASSWORD = "pw of admin, 1"
SHOWN = {"ANSIBLE_DISPLAY_OK_HOSTS": "true"}


class Portal:
    """A server on this machine whose portal has the password of the inventory, set by the site playbook."""

    def __init__(self, machine: Machine) -> None:  # noqa: F811
        self.machine = machine
        machine.variables |= {
            "dls_server_admin_password": PASSWORD,
            "dls_server_upgrade_acknowledged": True,
            "dls_server_health_timeout": 60,
        }
        self.use("2.4.11")

    def use(self, version: str, **settings: str) -> None:
        """Let the inventory name a release of the stand-in; `_` in a setting's name stands for the dot."""
        told = {name.replace("_", "."): value for name, value in settings.items()}
        self.machine.variables |= site.archive_variables(version, told)

    def run(self, name: str, *options: str) -> play.Result:
        done = self.machine.play(name, *options, environment=SHOWN)
        assert PASSWORD not in done.output
        return done

    def succeed(self, name: str, *options: str) -> str:
        """Run a playbook that must succeed; returns its output in one line."""
        done = self.run(name, *options)
        assert done.code == 0, done.output
        return " ".join(done.output.split())

    def refuse(self, name: str, *options: str) -> str:
        """Run a playbook that must fail; returns the end of its output, with its line breaks."""
        done = self.run(name, *options)
        assert done.code != 0, done.output
        return done.output

    @property
    def record(self) -> Path:
        return self.machine.root / "opt/kit/admin-password-set"

    def wipe(self, *folders: str) -> None:
        """Stop the server and remove folders of its release, as somebody does by hand."""
        self.machine.dlsctl("stop")
        for folder in folders:
            shutil.rmtree(self.machine.root / "opt/current" / folder)

    @property
    def version(self) -> str:
        return (self.machine.root / "opt/current").readlink().name

    def networks(self) -> Any:
        return json.loads((self.machine.root / "etc/dlsctl.json").read_text())["allowed_networks"]

    def recorded(self) -> Any:
        return json.loads((self.machine.root / "opt/kit/identity.json").read_text()).get("uuid")


@pytest.fixture
def portal(machine: Machine) -> Portal:  # noqa: F811
    try:
        browser.require_playwright()
        browser.find()
    except Problem as problem:
        pytest.skip(str(problem).splitlines()[0])
    portal = Portal(machine)
    portal.succeed("site")
    return portal


def test_an_upgrade_reads_the_uuid_through_the_portal_and_puts_the_old_release_back_where_it_changes(
    portal: Portal,
) -> None:
    assert portal.recorded() is None  # so that the portal alone tells
    portal.use("2.4.12")
    said = portal.succeed("upgrade")
    same = re.search(r"The UUID is the same, ([0-9A-F-]{36}), read through the portal before and after", said)
    assert same, said
    assert portal.version == "2.4.12"
    assert portal.recorded() == same[1]
    (backup,) = portal.machine.backups()
    assert f"What 2.4.11 was left with is in the backup {backup}." in said
    assert "2.4.12 is in use already" in portal.succeed("upgrade")

    portal.use("2.4.13", uuid_salt="another")
    said = portal.refuse("upgrade")
    other = re.search(
        rf"\n +UUID: must stay {same[1]}, got ([0-9A-F-]{{36}})\n +HINT: the licence is bound to it: ", said
    )
    assert other, said
    assert other[1] != same[1]
    assert re.search(r"\n +Release 2\.4\.12 is in use again\.\n", said), said
    assert r"\n" not in said
    assert portal.version == "2.4.12"
    assert portal.recorded() == same[1]
    portal.use("2.4.12")
    portal.succeed("verify")
    assert portal.machine.changed("install") == 0

    portal.use("2.4.11")
    assert "2.4.11 is back with the state it had" in portal.succeed("rollback")
    done = portal.run("rollback")
    assert (done.code, done.changed) == (0, 0)
    assert "2.4.11 is in use already: there is nothing to roll back" in " ".join(done.output.split())


GONE = "portal: must have the password that {} records, got one that asks for its first, or no state HINT: restore"


def test_a_password_that_is_recorded_and_was_removed_by_hand_is_found_and_set_anew(portal: Portal) -> None:
    portal.machine.variables["dls_server_allowed_networks"] = ["localhost", "192.0.2.0/24"]
    portal.succeed("site")
    portal.succeed("verify")
    assert "192.0.2.0/24" in portal.networks()
    portal.wipe("data")  # the log is left, so only the portal can tell
    portal.machine.dlsctl("start")
    gone = GONE.format(portal.record)
    assert gone in " ".join(portal.refuse("verify").split())
    portal.use("2.4.12")
    assert gone in " ".join(portal.refuse("upgrade").split())
    assert portal.version == "2.4.11"
    portal.use("2.4.11")
    portal.succeed("install")
    assert portal.networks() == ["localhost"]
    assert not portal.record.exists()
    portal.succeed("site")
    assert portal.record.exists()
    assert "192.0.2.0/24" in portal.networks()
    portal.succeed("verify")
    assert portal.machine.changed("site") == 0


def test_a_server_all_whose_state_was_removed_by_hand_starts_closed(portal: Portal) -> None:
    portal.machine.variables["dls_server_allowed_networks"] = ["localhost", "192.0.2.0/24"]
    portal.succeed("site")
    portal.wipe("data", "logs")
    gone = GONE.format(portal.record)
    assert gone in " ".join(portal.refuse("verify").split())
    assert gone in " ".join(portal.refuse("upgrade").split())
    predicted = portal.run("site", "--check")
    assert predicted.code == 0, predicted.output
    assert portal.record.exists()
    said = portal.succeed("site")
    assert "Set the password through the portal" in said
    assert portal.record.exists()
    assert "192.0.2.0/24" in portal.networks()
    portal.succeed("verify")
