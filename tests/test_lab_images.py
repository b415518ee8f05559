"""Every image of the lab is, to a role, the distribution it stands for, and can install what roles install."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab import engine, hosts, images

pytestmark = pytest.mark.slow

DISTRIBUTIONS = {
    "debian11": ("Debian", "11", "Debian", "apt"),
    "debian12": ("Debian", "12", "Debian", "apt"),
    "debian13": ("Debian", "13", "Debian", "apt"),
    "rocky9": ("Rocky", "9", "RedHat", "dnf"),
    "ubuntu2204": ("Ubuntu", "22", "Debian", "apt"),
    "ubuntu2404": ("Ubuntu", "24", "Debian", "apt"),
}
INSTALL = """
set -eu
if command -v apt-get >/dev/null; then
    apt-get --quiet update
    DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes --no-install-recommends install "$@"
else
    dnf --quiet --assumeyes install "$@"
    rpm --query "$@"
fi
systemctl start nginx firewalld
firewall-cmd --state
python3 -c "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1').status)"
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[hosts.Lab]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    lab = hosts.Lab("images")
    client = engine.connect()
    hosts.up(client, lab, {f"lab-{name}": name for name in images.IMAGES})
    yield lab
    hosts.down(client, lab)


def find(lab: hosts.Lab, name: str) -> hosts.Host:
    return next(host for host in hosts.read_hosts(lab) if host.name == f"lab-{name}")


def takes_connections(host: hosts.Host, port: int) -> bool:
    try:
        socket.create_connection((host.address, port), timeout=3).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("name", images.IMAGES)
def test_ansible_takes_it_for_the_distribution(lab: hosts.Lab, name: str) -> None:
    arguments = ["--one-line", "--module-name=setup", "--args=gather_subset=distribution,pkg_mgr"]
    command = [sys.executable, "-m", "ansible", "adhoc", f"--inventory={lab.inventory}", *arguments, f"lab-{name}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    facts = json.loads(answer.partition("=>")[2])["ansible_facts"]
    keys = ("distribution", "distribution_major_version", "os_family", "pkg_mgr")
    assert tuple(facts[f"ansible_{key}"] for key in keys) == DISTRIBUTIONS[name]


@pytest.mark.parametrize("name", images.IMAGES)
def test_what_roles_install_is_there_without_a_network_and_the_firewall_holds(lab: hosts.Lab, name: str) -> None:
    host = find(lab, name)
    packages = images.REPOSITORY_PACKAGES + images.find(name).repository
    command = hosts.ssh_command(lab, host, f"sudo sh -s {' '.join(packages)}")
    done = subprocess.run(command, input=INSTALL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.split()[-1] == "200", done.stdout
    assert takes_connections(host, 22)
    assert not takes_connections(host, 80)
