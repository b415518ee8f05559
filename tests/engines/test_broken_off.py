"""Deploys that something breaks off: the connection is cut, a disk is full, a folder takes no file.

What must hold: the exit code and a word, the host as it was or whole, and that the same deploy, run again, ends well.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from tests.checkout.paths import ROOT
from tests.checkout.site import archive_variables
from tests.engines.test_parity import SNAPSHOT
from tests.lab import engine, hosts

pytestmark = pytest.mark.slow

OLD, NEW = "2.4.11", "2.4.12"
HOST = "lab-broken"
FAILED = 1  # exit code of a deploy
ENVIRONMENT = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
CUT = "pkill -KILL -f '^sshd: kit'"  # every connection of the lab's user
SPACE = 500  # MiB of the server's own file system
MOUNT = f"""
mkdir -p /run/small /opt/dls
mount -t tmpfs -o size={SPACE}m none /run/small
mkdir /run/small/upper /run/small/work
mount -t overlay -o lowerdir=/srv,upperdir=/run/small/upper,workdir=/run/small/work none /opt/dls
rm -rf /opt/dls/*
"""
BEING_UNPACKED = "[ $(du -sm /opt/dls | cut -f1) -gt 45 ]"  # the archive itself has 36
FILL, FREE = "cat /dev/zero >/opt/dls/filler 2>/dev/null", "rm -f /opt/dls/filler"


class Broken:
    """A host with a file system of its own for the server, and what an operator does to it."""

    def __init__(self) -> None:
        self.lab = hosts.Lab("engines-broken")
        (self.host,) = hosts.up(engine.connect(), self.lab, {HOST: "debian12"})
        self.container = engine.connect().containers.get(self.host.container)
        self.set(OLD)

    def set(self, version: str) -> None:
        """The version that the inventory wants."""
        wanted = {
            **archive_variables(version),
            "dls_server_min_free_mb": SPACE // 2,
            "dls_server_upgrade_acknowledged": True,
        }
        (self.lab.inventory / "site.yml").write_text(yaml.safe_dump({"dls": {"vars": wanted}}))

    def inside(self, script: str) -> str:
        """Run a script as root, over no connection of ssh; returns what it prints."""
        code, output = self.container.exec_run(["sh", "-euc", script])
        assert isinstance(output, bytes)
        assert code == 0, f"{script}\n{output.decode()}"
        return output.decode()

    def deploy(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "dlskit", "deploy", name, "-i", str(self.lab.inventory), *options]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, cwd=ROOT)

    def succeed(self, name: str) -> None:
        done = self.deploy(name)
        assert done.returncode == 0, done.stdout + done.stderr
        done = self.deploy(name, "--dry")
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def once(self, seen: str, action: str) -> Iterator[None]:
        """Within, a host that does something as soon as a condition of a shell is true."""
        script = f"until {seen}; do sleep 0.02; done; {action} || true; touch /run/was-done"
        self.inside("rm -f /run/was-done")
        self.container.exec_run(["sh", "-c", script], detach=True)
        yield
        assert self.inside("test ! -e /run/was-done || echo done").strip() == "done", f"never came to: {seen}"

    def snapshot(self) -> dict[str, Any]:
        command = hosts.ssh_command(self.lab, self.host, "sudo python3 -")
        done = subprocess.run(command, input=SNAPSHOT, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def version(self) -> str:
        return self.inside("readlink /opt/dls/current").strip().rpartition("/")[2]


@pytest.fixture(scope="module")
def broken() -> Iterator[Broken]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    made = Broken()
    yield made
    hosts.down(engine.connect(), made.lab)


def test_where_a_folder_takes_no_file_the_host_stays_as_it_was(broken: Broken) -> None:
    broken.inside("mount --bind /etc/systemd/system /etc/systemd/system")
    broken.inside("mount -o remount,ro,bind /etc/systemd/system")
    try:
        before = broken.snapshot()
        done = broken.deploy("install")
        after = broken.snapshot()
    finally:
        broken.inside("umount /etc/systemd/system")
    assert done.returncode == FAILED, done.stdout + done.stderr
    assert "Read-only file system" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert after == before


def test_where_the_disk_is_full_in_the_middle_of_an_install_nothing_is_left_of_it(broken: Broken) -> None:
    broken.inside(MOUNT)
    before = broken.snapshot()
    with broken.once(BEING_UNPACKED, FILL):
        done = broken.deploy("install")
    broken.inside(FREE)
    assert done.returncode == FAILED, done.stdout + done.stderr
    assert "No space left" in done.stdout + done.stderr
    assert broken.snapshot() == before
    broken.succeed("install")


def test_where_the_connection_is_cut_while_the_archive_is_copied_nothing_is_left_of_the_install(broken: Broken) -> None:
    assert broken.deploy("uninstall", "-e", "dls_server_uninstall_purge=true").returncode == 0
    before = broken.snapshot()
    with broken.once('[ -n "$(find /tmp -user kit -type f -size +10M)" ]', CUT):
        done = broken.deploy("install")
    assert done.returncode == FAILED, done.stdout + done.stderr
    assert "Copy the vendor archive: must succeed, got what is said above" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert broken.snapshot() == before
    assert broken.inside("find /tmp -user kit") == ""
    broken.succeed("install")


def test_an_upgrade_whose_connection_is_cut_comes_to_its_end_and_is_told(broken: Broken) -> None:
    broken.set(NEW)
    step = (
        "grep -q '\"upgrade\"' /opt/dls/kit/journal.json 2>/dev/null && ! grep -q '\"stage\"' /opt/dls/kit/journal.json"
    )
    with broken.once(step, CUT):
        done = broken.deploy("upgrade")
    assert done.returncode == 0, done.stdout + done.stderr
    assert broken.version() == NEW
    assert broken.deploy("verify").returncode == 0
