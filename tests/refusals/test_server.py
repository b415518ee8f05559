"""Bad input and bad hosts: the playbook fails with a message that helps, and the host stays as it was."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import play, site
from tests.lab import engine, hosts, images
from tests.lab.paths import FILES
from tests.standin.build import cached

pytestmark = pytest.mark.slow

OTHER_SYSTEM = 'ID=plan9\\nPRETTY_NAME="Plan 9"\\n'


@dataclass(frozen=True)
class Case:
    """One refusal.

    variables: what the inventory says wrongly; None removes a variable. standin: settings of the archive.
    arrange, undo: shell on the host, before and after. message: what the failure says, white space as single blanks.
    """

    message: str
    variables: dict[str, Any] = field(default_factory=dict)
    standin: dict[str, str] = field(default_factory=dict)
    arrange: str = "true"
    undo: str = "true"


CASES = {
    "a wrong checksum": Case(
        r"v2\.4\.11\.tar\.gz: must have SHA-256 0{64}, got [0-9a-f]{64} HINT: ",
        {"dls_server_archive_checksum": f"sha256:{'0' * 64}"},
    ),
    "no checksum": Case(
        r"dls_server_archive_checksum: is required, got nothing HINT: .*[0-9a-f]{64}",
        {"dls_server_archive_checksum": None},
    ),
    "a missing archive": Case(
        r"/nowhere/dls\.tar\.gz'?: must be a readable file, got .* HINT: ",
        {"dls_server_archive": "/nowhere/dls.tar.gz"},
    ),
    "an archive for Windows": Case(r"\.zip: must be .*, got .* HINT: ", {"dls_server_archive": "windows"}),
    "an archive of another version": Case(r": .*2\.4\.1\b.*, got 2\.4\.11 HINT: ", {"dls_server_version": "2.4.1"}),
    "a misspelt variable": Case(
        r"dls_server_prot: is not a variable of this role HINT: did you mean dls_server_port\?",
        {"dls_server_prot": 48081},
    ),
    "a value of the wrong type": Case(
        r"dls_server_port: must be of type int, got 'eighty' HINT: ", {"dls_server_port": "eighty"}
    ),
    "a port out of range": Case(r"dls_server_port: must be 1 to 65535, got 99999 HINT: ", {"dls_server_port": 99999}),
    "a port in use": Case(
        r"dls_server_port: must be a free TCP port, got 48080, which python3 \(process \d+\) listens on HINT: ",
        arrange="systemd-run --quiet --unit=occupied python3 -m http.server 48080"
        " && until ss -lnt | grep -q :48080; do sleep 0.1; done",
        undo="systemctl stop occupied",
    ),
    "too little disk": Case(
        r"/opt/dls: must have dls_server_min_free_mb = 99999999 MiB free, got \d+ MiB HINT: free some space",
        {"dls_server_min_free_mb": 99999999},
    ),
    "an unsupported system": Case(
        r"operating system: must be of the family debian or redhat, got Plan 9 HINT: supported are Debian 11",
        arrange=f"printf '{OTHER_SYSTEM}' > /run/other-system && mount --bind /run/other-system /usr/lib/os-release",
        undo="umount /usr/lib/os-release",
    ),
    "a server that never gets healthy, vendor launch": Case(
        r"must answer .*, got .*503.* HINT: .*host was put back as it was",
        {"dls_server_health_timeout": 5},
        {"health.status": "503"},
    ),
    "a server that never gets healthy, direct launch": Case(
        r"must answer .*, got .*503.* HINT: .*host was put back as it was",
        {"dls_server_health_timeout": 5, "dls_server_launch": "direct"},
        {"health.status": "503"},
    ),
    "a server that ends at once": Case(
        r", got .* HINT: .*host was put back as it was",
        {"dls_server_health_timeout": 8, "dls_server_launch": "direct"},
        {"start.crash": "0"},
    ),
}


class TargetHost:
    """A blank lab host, and the playbook run against it."""

    def __init__(self, lab: hosts.Lab) -> None:
        self.lab = lab
        (self._host,) = hosts.read_hosts(lab)

    def shell(self, script: str) -> str:
        """Run a script as root on the host and return its output."""
        command = hosts.ssh_command(self.lab, self._host, "sudo sh -s")
        run = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def snapshot(self) -> list[str]:
        """Everything a deployment could change, as lines."""
        return self.shell((FILES / "snapshot.sh").read_text()).splitlines()

    def install(self, variables: dict[str, Any]) -> play.Result:
        """Run playbooks/install.yml with an inventory that holds variables."""
        return self.play("install", variables)

    def play(self, playbook: str | Path, variables: dict[str, Any], *options: str) -> play.Result:
        """Run a playbook with an inventory that holds variables."""
        (self.lab.inventory / "case.yml").write_text(yaml.safe_dump({"dls": {"vars": variables}}))
        return play.run(playbook, self.lab.inventory, *options, quiet=True, environment={"ANSIBLE_NOCOLOR": "true"})

    @property
    def address(self) -> str:
        return self._host.address


@pytest.fixture(scope="module")
def target() -> Iterator[TargetHost]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    lab = hosts.Lab("refusals")
    client = engine.connect()
    hosts.up(client, lab, {"lab-refusals": os.environ.get(images.PLATFORM) or "debian12"})
    yield TargetHost(lab)
    if "DLS_LAB_KEEP" not in os.environ:
        hosts.down(client, lab)


def site_of(case: Case) -> dict[str, Any]:
    """The inventory variables of a case: a good site, and what the case does to it."""
    variables: dict[str, Any] = {**site.archive_variables(settings=case.standin), **case.variables}
    if variables["dls_server_archive"] == "windows":
        path = Path(cached(site.VERSION, platform="win_x64"))
        variables |= {"dls_server_archive": str(path), "dls_server_archive_checksum": f"sha256:{site.sha256(path)}"}
    return {name: value for name, value in variables.items() if value is not None}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_a_hint_and_the_host_stays_as_it_was(target: TargetHost, name: str) -> None:
    case = CASES[name]
    target.shell(case.arrange)
    try:
        before = target.snapshot()
        result = target.install(site_of(case))
        after = target.snapshot()
    finally:
        target.shell(case.undo)
    assert result.code != 0
    assert re.search(case.message, " ".join(result.output.split())), result.output
    assert "Traceback" not in result.output
    assert sorted(set(after) ^ set(before)) == []


def test_all_problems_are_reported_at_once(target: TargetHost) -> None:
    names = ["a wrong checksum", "a misspelt variable", "too little disk"]
    variables = site_of(CASES[names[0]])
    for name in names:
        variables |= CASES[name].variables
    text = " ".join(target.install(variables).output.split())
    for name in names:
        assert re.search(CASES[name].message, text), json.dumps(text)
