"""A server that was started by hand on a host with systemd is taken over, while clients write to it."""

import base64
import http.client
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import play, site
from tests.lab import engine, hosts

pytestmark = pytest.mark.slow

SHELL, UNIT = "lab-adopt-shell", "lab-adopt-unit"
FOLDERS = {SHELL: "/opt/vendor/dls-linux", UNIT: "/srv/licences/dls-linux"}
OWN_UNIT = """[Service]
Type=forking
WorkingDirectory={0}
ExecStart={0}/startup.sh
Restart=always
[Install]
WantedBy=multi-user.target
"""
UNHEALTHY = "/opt/dls/releases/standin.properties"


@pytest.fixture(scope="module")
def lab() -> Iterator[hosts.Lab]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    lab = hosts.Lab("adopt")
    client = engine.connect()
    hosts.up(client, lab, dict.fromkeys(FOLDERS, "debian12"))
    for name, folder in FOLDERS.items():
        unpack(lab, name, folder)
    variables = {"dls_server_admin_password_set": True, "dls_server_allowed_networks": ["any"]}
    folders = {name: {"dls_server_adopt_from": folder} for name, folder in FOLDERS.items()}
    inventory = {"dls": {"vars": site.archive_variables() | variables, "hosts": folders}}
    (lab.inventory / "site.yml").write_text(yaml.safe_dump(inventory))
    yield lab
    hosts.down(client, lab)


TELLING = {"ANSIBLE_DISPLAY_OK_HOSTS": "true"}  # what a play says is in its output


def adopt(lab: hosts.Lab, name: str, *options: str) -> play.Result:
    return play.run("adopt", lab.inventory, "--limit", name, *options, quiet=True, environment=TELLING)


def find(lab: hosts.Lab, name: str) -> hosts.Host:
    return next(host for host in hosts.read_hosts(lab) if host.name == name)


def shell(lab: hosts.Lab, name: str, command: str, data: bytes = b"") -> str:
    """What a command that root runs on the host says."""
    line = hosts.ssh_command(lab, find(lab, name), f"sudo sh -c '{command}'")
    done = subprocess.run(line, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def unpack(lab: hosts.Lab, name: str, folder: str) -> None:
    """As the vendor documents it."""
    archive = Path(site.archive_variables()["dls_server_archive"])
    parent = str(Path(folder).parent)
    shell(lab, name, f"mkdir -p {parent} && tar xz -C {parent} && chmod -R 755 {folder}", archive.read_bytes())


def begin(lab: hosts.Lab, name: str, command: str) -> None:
    shell(lab, name, command)
    wait(lambda: uuids(lab, name, FOLDERS[name]))


def wait(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.5)


def uuids(lab: hosts.Lab, name: str, folder: str) -> list[str]:
    """What the server has called itself at each start, the first one first."""
    return re.findall(r"UUID: (\S+)", shell(lab, name, f"cat {folder}/logs/dls.log 2>/dev/null || true"))


class Writer:
    """A client that reports usage all the time, and knows which reports were taken."""

    def __init__(self, address: str) -> None:
        self.address, self.taken, self.over = address, list[str](), threading.Event()
        self.thread = threading.Thread(target=self.write)
        self.thread.start()

    def write(self) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            body = f"report {number:08}"
            connection = http.client.HTTPConnection(self.address, 48080, timeout=5)
            try:
                connection.request("POST", "/verify/v2", body)
                if connection.getresponse().status == 200:
                    self.taken.append(base64.b64encode(body.encode()).decode())
            except (OSError, http.client.HTTPException):
                pass  # while it is away; only what was taken counts
            finally:
                connection.close()
            time.sleep(0.02)

    def end(self) -> list[str]:
        self.over.set()
        self.thread.join()
        return self.taken


def reports(lab: hosts.Lab, name: str, folder: str) -> str:
    return shell(lab, name, f"cat {folder}/data/store.log")


def missing(lab: hosts.Lab, name: str, folder: str, taken: list[str]) -> list[str]:
    assert taken
    stored = reports(lab, name, folder)
    return [report for report in taken if report not in stored]


def test_server_from_a_shell_is_taken_over_with_every_write(lab: hosts.Lab) -> None:
    folder = FOLDERS[SHELL]
    rc_local = f"#!/bin/sh\ncd {folder} && ./startup.sh\n"
    shell(lab, SHELL, "cat > /etc/rc.local", rc_local.encode())
    begin(lab, SHELL, f"cd {folder} && ./startup.sh")
    (before,) = uuids(lab, SHELL, folder)
    predicted = play.succeed(adopt(lab, SHELL, "--check"), "check")
    assert predicted.changed
    assert uuids(lab, SHELL, folder) == [before]
    writer = Writer(find(lab, SHELL).address)
    try:
        done = play.succeed(adopt(lab, SHELL), "adopt")
        since = len(writer.taken)
        wait(lambda: len(writer.taken) > since)
    finally:
        taken = writer.end()
    assert "/etc/rc.local:2 starts it, too" in done.output
    release = "/opt/dls/releases/2.4.11"
    assert uuids(lab, SHELL, release) == [before, before]
    assert missing(lab, SHELL, release, taken) == []
    assert json.loads(shell(lab, SHELL, "dlsctl status --json"))["healthy"]
    assert shell(lab, SHELL, f"ls -d {folder} 2>/dev/null || echo gone").strip() == "gone"
    assert play.succeed(adopt(lab, SHELL), "adopt").changed == 0
    play.succeed(play.run("verify", lab.inventory, "--limit", SHELL, quiet=True), "verify")
    paths = {entry["path"] for entry in json.loads(shell(lab, SHELL, "dlsctl state --json"))["state"]}
    assert {path for path in paths if path.split("/")[0] not in ("data", "logs")} == set()


def test_server_of_somebodys_own_unit_goes_back_to_it_or_is_taken_over(lab: hosts.Lab) -> None:
    folder = FOLDERS[UNIT]
    shell(lab, UNIT, "cat > /etc/systemd/system/licences.service", OWN_UNIT.format(folder).encode())
    begin(lab, UNIT, "systemctl enable --now licences")
    (before,) = uuids(lab, UNIT, folder)
    shell(lab, UNIT, f"mkdir -p /opt/dls/releases && echo health.status=500 > {UNHEALTHY}")
    writer = Writer(find(lab, UNIT).address)
    try:
        failed = adopt(lab, UNIT, "-e", "dls_server_health_timeout=15")
        assert failed.code != 0
        assert "health: must answer http://127.0.0.1:48080" in failed.output
        assert "The host was put back as it was." in failed.output
        assert shell(lab, UNIT, "systemctl is-active licences").strip() == "active"
        assert set(uuids(lab, UNIT, folder)) == {before}
        begun = len(writer.taken)
        wait(lambda: len(writer.taken) > begun)
        shell(lab, UNIT, f"rm -f {UNHEALTHY}")
        done = play.succeed(adopt(lab, UNIT), "adopt")
    finally:
        taken = writer.end()
    assert "unit licences.service ran it: disable and remove it" in done.output
    release = "/opt/dls/releases/2.4.11"
    assert set(uuids(lab, UNIT, release)) == {before}
    assert missing(lab, UNIT, release, taken) == []
    assert shell(lab, UNIT, "systemctl is-active licences || true").strip() in ("inactive", "failed")  # ended by TERM
    assert json.loads(shell(lab, UNIT, "dlsctl status --json"))["healthy"]
