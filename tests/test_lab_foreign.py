"""A launcher that puts itself into the background, on a host with systemd: watched, restarted, stopped, closed."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.checkout import play, site
from tests.lab import engine, hosts

pytestmark = pytest.mark.slow

BUILD = Path(__file__).parent / "foreign" / "build.sh"
NAME = "lab-foreign"
OPEN = '{"dls_server_allowed_networks": ["any"], "dls_server_admin_password_set": true}'


@pytest.fixture(scope="module")
def lab() -> Iterator[hosts.Lab]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    if not shutil.which("gcc"):
        pytest.skip("no C compiler is on this machine")
    lab = hosts.Lab("foreign")
    client = engine.connect()
    hosts.up(client, lab, {NAME: "debian12"})
    yield lab
    hosts.down(client, lab)


def shell(lab: hosts.Lab, command: str) -> str:
    (host,) = hosts.read_hosts(lab)
    done = subprocess.run(hosts.ssh_command(lab, host, command), capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def answers(lab: hosts.Lab, port: int) -> bool:
    """Whether a connection from outside the host is taken."""
    (host,) = hosts.read_hosts(lab)
    try:
        socket.create_connection((host.address, port), timeout=3).close()
    except OSError:
        return False
    return True


def test_launcher_that_backgrounds_itself_is_watched_by_systemd(lab: hosts.Lab, tmp_path: Path) -> None:
    built = subprocess.run(
        ["sh", str(BUILD), "-L", "daemon", "2.4.11", str(tmp_path)], check=True, capture_output=True, text=True
    )
    archive = Path(built.stdout.split()[-1])
    variables = {
        "dls_server_version": "2.4.11",
        "dls_server_archive": str(archive),
        "dls_server_archive_checksum": f"sha256:{site.sha256(archive)}",
    }
    (lab.inventory / "site.yml").write_text(yaml.safe_dump({"dls": {"vars": variables}}))
    play.succeed(play.run("install", lab.inventory, quiet=True), "install")
    assert answers(lab, 22)
    assert not answers(lab, 48080)
    for victim in ("^./linux/jre/bin", "^./linux/bin"):
        shell(lab, f"sudo pkill -KILL -f '{victim}'")
        deadline = time.monotonic() + 40
        time.sleep(3)
        while "healthy" not in (said := shell(lab, "sudo dlsctl status")) or "not healthy" in said:
            assert time.monotonic() < deadline, said + shell(lab, "sudo journalctl -u dynamsoft-dls -n 30")
            time.sleep(1)
    play.succeed(play.run("verify", lab.inventory, quiet=True), "verify")
    assert not answers(lab, 48080)
    play.succeed(play.run("install", lab.inventory, "-e", OPEN, quiet=True), "open")
    assert answers(lab, 48080)
    assert "stopped" in shell(lab, "sudo dlsctl stop")
    assert "dynamsoftdls" not in shell(lab, "ps -eo args | grep '^./linux'")
