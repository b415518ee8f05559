"""The same inventory by Ansible and by pyinfra makes the same host, byte for byte, and each finds nothing left to do.

Runs in the Molecule scenario engines. Each test takes both hosts to the next step of a server's life.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import play
from tests.checkout.paths import ROOT
from tests.checkout.site import archive_variables
from tests.dlsproxy.certificates import issue
from tests.lab import hosts

pytestmark = pytest.mark.slow

ANSIBLE, PYINFRA = "lab-ansible", "lab-pyinfra"
OLD, NEW = "2.4.11", "2.4.12"
SNAPSHOT = (Path(__file__).parent / "snapshot.py").read_text()
UNCHANGED = 0
PENDING = 5
OWN = ("/licenses/server.lic", "/licenses/index.json")  # of each host its own
CANARY = "seat-of-gold-5c1d"
LICENCE = "LicenseId: {}\r\nOrganizationID: 216998\r\nLicenseStatus: Activated\r\nLicenseItems:\r\n" + CANARY + "\r\n"


class Engines:
    """The two hosts, and what an operator does to them; `kit` is the checkout that pyinfra's deploys come from."""

    def __init__(self) -> None:
        self.lab = hosts.Lab("engines")
        self.hosts = {host.name: host for host in hosts.read_hosts(self.lab)}
        self.variables: dict[str, Any] = {"dls_server_admin_password_set": False}
        self.printed = ""

    def set(self, **variables: Any) -> None:
        """Set variables of both hosts."""
        self.variables.update(variables)
        own = {name: self.own(name, number) for number, name in enumerate(self.hosts, start=1)}
        text = yaml.safe_dump({"dls": {"hosts": own, "vars": self.variables}})
        (self.lab.inventory / "story.yml").write_text(text)

    def own(self, name: str, number: int) -> dict[str, Any]:
        """A licence file of each host's own."""
        path = self.lab.folder / name / "server.lic"
        path.parent.mkdir(exist_ok=True)
        path.write_text(LICENCE.format(number))
        return {"dls_server_licenses": [{"file": str(path)}]} if "dls_proxy_tls_key" in self.variables else {}

    def ansible(self, name: str, host: str) -> int:
        """Run a playbook on a host; returns how many tasks changed something."""
        done = play.run(name, self.lab.inventory, "--limit", host, "--diff", "-vvv", quiet=True)
        self.printed += done.output
        assert done.code == 0, done.output[-3000:]
        return done.changed

    def pyinfra(self, name: str, host: str, *options: str, kit: Path = ROOT) -> int:
        """Run a deploy on a host; returns the exit code."""
        command = [sys.executable, "-P", "-m", "dlskit", "deploy", name, "-i", str(self.lab.inventory), "-l", host]
        path = {**os.environ, "PYTHONPATH": f"{kit / 'src'}:{kit}"}
        done = subprocess.run([*command, *options], env=path, capture_output=True, text=True, check=False, cwd=kit)
        self.printed += done.stdout + done.stderr
        assert done.returncode in (UNCHANGED, PENDING), done.stdout + done.stderr
        return done.returncode

    def step(self, playbook: str, kit: Path = ROOT) -> None:
        """Take both hosts one step further, each by its own engine; a dry run says so before, and changes nothing."""
        before = self.snapshot(PYINFRA)
        assert self.pyinfra(playbook, PYINFRA, "--dry", kit=kit) == PENDING
        assert self.snapshot(PYINFRA) == before
        assert self.pyinfra(playbook, PYINFRA, kit=kit) == 0
        assert self.ansible(playbook, ANSIBLE) > 0

    def assert_nothing_left(self, playbook: str) -> None:
        """Each engine finds nothing to do on the other one's host."""
        assert self.ansible(playbook, PYINFRA) == 0
        assert self.pyinfra(playbook, ANSIBLE, "--dry") == UNCHANGED
        assert self.pyinfra(playbook, PYINFRA, "--dry") == UNCHANGED

    def snapshot(self, name: str) -> dict[str, Any]:
        command = hosts.ssh_command(self.lab, self.hosts[name], "sudo python3 -")
        done = subprocess.run(command, input=SNAPSHOT, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        found.update({f"file {path}": said for path, said in found.pop("files").items()})
        return found

    def differences(self) -> dict[str, Any]:
        """What is not the same on the two hosts."""
        one, other = self.snapshot(ANSIBLE), self.snapshot(PYINFRA)
        names = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
        return {name: (one.get(name), other.get(name)) for name in names if not name.endswith(OWN)}


@pytest.fixture(scope="module")
def engines() -> Engines:
    return Engines()


def test_a_server_alone_is_installed_alike(engines: Engines) -> None:
    engines.set()
    engines.step("install")
    assert engines.differences() == {}
    engines.assert_nothing_left("install")


def test_a_server_behind_its_proxy_with_licence_backups_and_open_networks_is_made_alike(engines: Engines) -> None:
    issued = issue("dls.example.com", "dls.example.com")
    engines.set(
        dls_server_admin_password_set=True,
        dls_server_allowed_networks=["localhost", "10.0.0.0/8"],
        dls_server_backup_schedule="03:30",
        dls_proxy_server_names=["dls.example.com"],
        dls_proxy_protocols=["http", "https"],
        dls_proxy_tls_certificate=issued.pem,
        dls_proxy_tls_key=issued.key,
        dls_proxy_admin_networks=["10.0.0.0/8"],
    )
    engines.step("site")
    assert engines.differences() == {}
    engines.assert_nothing_left("site")
    assert engines.pyinfra("verify", ANSIBLE) == 0
    engines.ansible("verify", PYINFRA)
    secrets = [CANARY, *issued.key.splitlines()[1:3]]
    assert [secret for secret in secrets if secret in engines.printed] == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("templates/dynamsoft-dls.service.j2", "LimitNOFILE=65536", "LimitNOFILE=65537"),
        ("roles/dls_server/vars/linux.yml", 'mode: "0644"', 'mode: "0640"'),
        ("roles/dls_server/defaults/main.yml", "dls_server_stop_timeout: 30", "dls_server_stop_timeout: 31"),
    ],
    ids=["template", "mode", "default"],
)
def test_one_byte_that_only_one_engine_has_is_seen(
    engines: Engines, tmp_path: Path, file: str, old: str, new: str
) -> None:
    for part in ("src", "roles", "templates", "deploys"):
        shutil.copytree(ROOT / part, tmp_path / part)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    engines.pyinfra("site", PYINFRA, kit=tmp_path)
    assert engines.differences() != {}
    engines.pyinfra("site", PYINFRA)
    assert engines.differences() == {}


def test_an_upgrade_and_its_rollback_leave_the_same_hosts(engines: Engines) -> None:
    engines.set(**archive_variables(NEW), dls_server_upgrade_acknowledged=True)
    engines.step("upgrade")
    assert engines.differences() == {}
    engines.assert_nothing_left("upgrade")
    engines.assert_nothing_left("site")
    engines.set(**archive_variables(OLD))
    engines.step("rollback")
    assert engines.differences() == {}
    engines.assert_nothing_left("site")


def test_a_backup_of_one_engine_is_restored_by_the_other(engines: Engines) -> None:
    assert engines.pyinfra("backup", ANSIBLE) == 0
    engines.ansible("backup", PYINFRA)
    engines.set(dls_server_restore_replace=True)
    assert engines.pyinfra("restore", PYINFRA) == 0
    engines.ansible("restore", ANSIBLE)
    assert engines.pyinfra("verify", PYINFRA) == 0
    engines.ansible("verify", ANSIBLE)


def test_both_leave_nothing_behind_but_what_is_to_stay(engines: Engines) -> None:
    engines.step("uninstall")
    found = engines.differences()
    assert found == {}
    engines.assert_nothing_left("uninstall")
