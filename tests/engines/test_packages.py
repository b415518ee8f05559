"""Packages from a repository of the control node, on hosts whose own sources lead nowhere: by both engines."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import play
from tests.checkout.paths import ROOT
from tests.checkout.site import archive_variables, proxy_variables
from tests.lab import engine, hosts

pytestmark = pytest.mark.slow

IMAGES = {"ansible-debian": "debian11", "pyinfra-rhel": "rocky9"}  # each engine, and each family
CALLED = {"rocky9": "rhel9"}  # as the repository of its platform is
# Afterwards the host's sources name a folder that is not there.
NOWHERE = """
sed -i 's,file:/*srv/lab-packages,file:///nowhere,' /etc/apt/sources.list /etc/yum.repos.d/*.repo 2>/dev/null
rm -rf /srv/lab-packages /var/lib/apt/lists/* /var/cache/dnf/*
"""
SOURCES = "cat /etc/apt/sources.list /etc/yum.repos.d/*.repo 2>/dev/null"
LEFT = "find /var/lib/apt /var/cache/apt /var/cache/dls* /var/cache/dnf 2>/dev/null | sort"
REFUSED = 6


class Host:
    """A host of the lab, the engine that works on it, and what the inventory says of it."""

    def __init__(self, lab: hosts.Lab, host: hosts.Host, repositories: Path) -> None:
        self.lab, self.host, self.engine = lab, host, host.name.partition("-")[0]
        self.variables = {
            **archive_variables(),
            **proxy_variables(),
            "dls_server_launch": "vendor",  # whose script needs packages
            "dls_server_package_repositories": str(repositories),
        }

    def deploy(self, playbook: str, **variables: Any) -> tuple[int, str]:
        """Run a playbook, or the deploy of its name; returns exit code and output."""
        inventory, extra = self.lab.inventory, json.dumps({**self.variables, **variables})
        if self.engine == "ansible":
            done = play.run(playbook, inventory, "--limit", self.host.name, "-e", extra, quiet=True)
            return done.code, done.output
        command = [sys.executable, "-P", "-m", "dlskit", "deploy", playbook, "-i", str(inventory), "-e", extra]
        path = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        ran = subprocess.run([*command, "-l", self.host.name], env=path, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    def run(self, command: str) -> bytes:
        words = hosts.ssh_command(self.lab, self.host, "sudo sh -s")
        return subprocess.run(words, input=command.encode(), capture_output=True, check=False).stdout


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repositories")


@pytest.fixture(scope="module", params=IMAGES)
def host(request: pytest.FixtureRequest, repositories: Path) -> Iterator[Host]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    client, image = engine.connect(), IMAGES[request.param]
    lab = hosts.Lab(f"packages{list(IMAGES).index(request.param)}")
    (only,) = hosts.up(client, lab, {request.param: image})
    (lab.inventory / "site.yml").write_text(yaml.safe_dump({"dls": {"vars": {}}}))
    host = Host(lab, only, repositories)
    packages = io.BytesIO(host.run("tar -C /srv/lab-packages -cf - ."))
    with tarfile.open(fileobj=packages) as archive:
        archive.extractall(repositories / CALLED.get(image, image), filter="data")
    host.run(NOWHERE)
    yield host
    hosts.down(client, lab)


def test_packages_come_from_the_control_node_and_nothing_of_them_stays(host: Host) -> None:
    before, sources = host.run(LEFT), host.run(SOURCES)
    code, output = host.deploy("install", dls_server_admin_password_set=False)
    assert code == 0, output[-3000:]
    assert host.run("command -v netstat")
    code, output = host.deploy("site", dls_server_admin_password_set=True)
    assert code == 0, output[-3000:]
    assert host.run("command -v nginx")
    assert host.run(SOURCES) == sources
    after = host.run(LEFT)
    assert after == before, set(after.splitlines()) ^ set(before.splitlines())


def test_a_platform_that_is_not_there_is_refused(host: Host, tmp_path: Path) -> None:
    (tmp_path / "debian12").mkdir()
    code, output = host.deploy("site", dls_server_package_repositories=str(tmp_path))
    assert code == (2 if host.engine == "ansible" else REFUSED)
    assert "dls_server_package_repositories: must hold a repository called" in " ".join(output.split())
