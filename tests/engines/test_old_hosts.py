"""Deploys on hosts that Ansible cannot work on: one with no Python at all, and one whose only Python is 3.6."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.checkout.paths import ROOT
from tests.checkout.site import archive_variables, proxy_variables
from tests.lab import engine, hosts

pytestmark = pytest.mark.slow

HOSTS = {"lab-python36": "python36", "lab-no-python": "no_python"}
OLD, NEW = "2.4.11", "2.4.12"
PENDING = 5
OPEN = {"dls_server_admin_password_set": True, "dls_server_allowed_networks": ["localhost"]}
CLOSED = {"dls_server_admin_password_set": False}
PYTHON36 = {**os.environ, "PYENV_VERSION": "3.6"}


def has_python36() -> bool:
    try:
        done = subprocess.run(["python3.6", "--version"], env=PYTHON36, capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


class OldHost:
    """A host of the lab, with what an operator does to it."""

    def __init__(self, lab: hosts.Lab, host: hosts.Host) -> None:
        self.lab, self.host = lab, host

    def set(self, **variables: Any) -> None:
        everything = {**proxy_variables(), **OPEN, **variables}
        (self.lab.inventory / "site.yml").write_text(yaml.safe_dump({"dls": {"vars": everything}}))

    def deploy(self, name: str, *options: str) -> int:
        """Run a deploy; returns the exit code, which must not be one of failure."""
        inventory = str(self.lab.inventory)
        command = [sys.executable, "-P", "-m", "dlskit", "deploy", name, "-i", inventory, "-l", self.host.name]
        path = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        done = subprocess.run([*command, *options], env=path, capture_output=True, text=True, check=False)
        assert done.returncode in (0, PENDING), done.stdout + done.stderr
        return done.returncode

    def run(self, command: str) -> str:
        words = hosts.ssh_command(self.lab, self.host, command)
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def leave_out_with_python_of_the_distribution(old: OldHost) -> None:
    if old.host.name == "lab-no-python":
        pytest.skip("it has the Python of its distribution by now, as the hosts of the scenario engines have")


@pytest.fixture(scope="module", params=HOSTS)
def old(request: pytest.FixtureRequest) -> Iterator[OldHost]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    if request.param == "lab-python36" and not has_python36():
        pytest.skip("this machine has no python3.6 to put into an image")
    client, lab = engine.connect(), hosts.Lab(f"old{list(HOSTS).index(request.param)}")
    (host,) = hosts.up(client, lab, {request.param: HOSTS[request.param]})
    yield OldHost(lab, host)
    hosts.down(client, lab)


def test_a_server_is_installed_and_stays_as_it_is(old: OldHost) -> None:
    before = old.run("command -v python3 >/dev/null && python3 --version || echo none")
    assert before.startswith("Python 3.6.") if old.host.name == "lab-python36" else before == "none"
    old.set(**archive_variables(OLD), **CLOSED)
    assert old.deploy("install", "--dry") == PENDING
    assert old.deploy("install") == 0
    assert old.deploy("install", "--dry") == 0
    assert before in (old.run("python3 --version"), "none")


def test_an_upgrade_is_rolled_back(old: OldHost) -> None:
    leave_out_with_python_of_the_distribution(old)
    old.set(**archive_variables(NEW), **CLOSED, dls_server_upgrade_acknowledged=True)
    assert old.deploy("upgrade") == 0
    assert old.run("readlink /opt/dls/current").endswith(NEW)
    old.set(**archive_variables(OLD), **CLOSED)
    assert old.deploy("rollback") == 0
    assert old.run("readlink /opt/dls/current").endswith(OLD)
    assert old.deploy("install", "--dry") == 0


def test_a_backup_is_restored(old: OldHost) -> None:
    leave_out_with_python_of_the_distribution(old)
    assert old.deploy("backup") == 0
    old.set(**archive_variables(OLD), **CLOSED, dls_server_restore_replace=True)
    assert old.deploy("restore") == 0
    assert old.deploy("install", "--dry") == 0


def test_it_is_opened_behind_its_proxy(old: OldHost) -> None:
    old.set(**archive_variables(OLD))
    assert old.deploy("site") == 0
    assert old.deploy("site", "--dry") == 0
    assert old.deploy("verify") == 0


def test_nothing_of_the_server_is_left(old: OldHost) -> None:
    assert old.deploy("uninstall") == 0
    assert old.run("systemctl list-unit-files 'dynamsoft-dls*' --no-legend | wc -l") == "0"
    assert old.deploy("uninstall", "--dry") == 0
