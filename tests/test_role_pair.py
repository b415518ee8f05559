"""A pair of hosts as the role sees it: two installations on this machine, without supervisor."""

import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlsctl.installation import Installation
from dlsctl.processes import server_processes
from tests.checkout import play, site
from tests.checkout.paths import ROOT
from tests.dlsctl import tiny
from tests.dlsctl.conftest import free_port

pytestmark = pytest.mark.slow


class Pair:
    """Two hosts of an inventory, dls-main and dls-standby, with folders and ports of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        archive = tiny.build(root)
        ports = {"main": free_port(), "standby": free_port()}
        self.shared: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_become": False,
            "dls_server_version": "2.4.11",
            "dls_server_archive": str(archive),
            "dls_server_archive_checksum": "sha256:" + tiny.sha256(archive),
            "dls_server_supervisor": "none",
            "dls_server_launch": "direct",
            "dls_server_user": pwd.getpwuid(os.geteuid()).pw_name,
            "dls_server_health_timeout": 20,
            "dls_server_min_free_mb": 1,
            "dls_server_main_url": f"http://127.0.0.1:{ports['main']}/",
            "dls_server_standby_url": f"http://127.0.0.1:{ports['standby']}/",
        }
        self.hosts: dict[str, dict[str, Any]] = {
            f"dls-{mode}": {
                "dls_server_mode": mode,
                "dls_server_port": port,
                "dls_server_data_port": free_port(),
                "dls_server_home": f"{root}/{mode}/opt",
                "dls_server_config_dir": f"{root}/{mode}/etc",
                "dls_server_data_dir": f"{root}/{mode}/lib",
                "dls_server_backup_dir": f"{root}/{mode}/backups",
                "dls_server_bin_dir": f"{root}/{mode}/bin",
            }
            for mode, port in ports.items()
        }

    def play(self, name: str | Path, *options: str, environment: dict[str, str] | None = None) -> play.Result:
        inventory = self.root / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"dls": {"hosts": self.hosts, "vars": self.shared}}))
        return play.run(name, inventory, *options, quiet=True, environment=environment)

    def refused(self, *options: str, playbook: str = "install", environment: dict[str, str] | None = None) -> str:
        """Install, which must fail and leave no folder; returns the output in one line."""
        done = self.play(playbook, *options, environment=environment)
        assert done.code != 0, done.output
        assert not [name for name in ("main", "standby") if (self.root / name).exists()]
        return " ".join(done.output.split())

    def dlsctl(self, mode: str, *words: str) -> None:
        command = [sys.executable, f"{self.root}/{mode}/bin/dlsctl", *words]
        subprocess.run([*command, "--config", f"{self.root}/{mode}/etc/dlsctl.json"], check=True, capture_output=True)

    def name_servers(self, mode: str, servers: list[str]) -> None:
        """Change the dls.json of one server by hand, and restart it."""
        path = self.root / mode / "opt/current/dls.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"servers": servers}))
        self.dlsctl(mode, "restart")

    def finding(self, host: str) -> str:
        """Verify, which must fail on a host; returns the output in one line."""
        done = self.play("verify")
        assert done.recap[host]["failed"] == 1, done.output
        return " ".join(done.output.split())


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    yield Pair(tmp_path)
    for config in tmp_path.glob("*/etc/dlsctl.json"):
        for pid in server_processes(Installation(json.loads(config.read_text()))):
            os.kill(pid, signal.SIGKILL)


INCOMPLETE = (
    "dls_server_mode: must be main on one host and standby on one other with the same dls_server_main_url and"
    " dls_server_standby_url, got {}"
)


def test_the_example_inventory_of_a_pair_is_one(pair: Pair) -> None:
    here = {f"dls{number}.example.com": pair.hosts[name] for number, name in enumerate(pair.hosts, start=1)}
    for host in here.values():
        del host["dls_server_mode"]
    shared = {name: value for name, value in pair.shared.items() if not name.endswith("_url")}
    overlay = pair.root / "overlay.yml"
    overlay.write_text(yaml.safe_dump({"dls": {"hosts": {name: shared | own for name, own in here.items()}}}))
    done = play.run("install", ROOT / "inventories/pair", "--inventory", str(overlay), "--check", "--diff", quiet=True)
    assert done.code == 0, done.output
    for server in ("https://dls1.example.com/dls/", "self"):
        assert re.search(rf'\+ +"servers": \[.*"{server}"', done.output), done.output


def test_a_main_without_its_standby_is_no_pair_also_with_another_pair_beside_it(pair: Pair) -> None:
    other = {"dls_server_main_url": "http://c.example/", "dls_server_standby_url": "http://d.example/"}
    pair.hosts["dls-standby"] |= other
    assert INCOMPLETE.format("main on dls-main HINT: ") in pair.refused("--limit", "dls-main")


def test_another_version_on_the_other_host_is_refused_also_when_only_one_host_is_asked(pair: Pair) -> None:
    pair.hosts["dls-standby"]["dls_server_version"] = "2.4.1"
    text = "dls_server_version: must be the same on both hosts of a pair, got 2.4.11, and 2.4.1 on dls-standby HINT: "
    assert text in pair.refused("--limit", "dls-main")


def test_a_host_whose_partner_is_refused_is_left_alone(pair: Pair) -> None:
    pair.hosts["dls-standby"]["dls_server_port"] = 0
    rule = "dls-standby: must be fit for this run, as the other host of dls-main's pair, got a refusal or"
    assert rule in pair.refused()
    assert pair.play("install", "--check", "--limit", "dls-main").code == 0


def skewed(folder: Path, ahead: dict[str, int]) -> dict[str, str]:
    """An environment whose python3 sees a clock that is ahead by so many seconds when it is asked with the mark."""
    real = shutil.which("python3")
    cases = "\n".join(f"*{shlex.quote(mark)}*) ahead={seconds} ;;" for mark, seconds in ahead.items())
    (folder / "python3").write_text(
        f'#!/bin/sh\n[ "$1 $2" = "-I -c" ] || exec {real} "$@"\nasked=$(cat)\nahead=0\n'
        f'case "$asked" in\n{cases}\nesac\ncode=$3\nprintf %s "$asked" |\n'
        f'{real} -I -c "import time; now = time.time; time.time = lambda: now() + $ahead; $code"\n'
    )
    (folder / "python3").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_a_host_whose_partner_s_proxy_is_refused_is_left_alone(pair: Pair) -> None:
    pair.hosts["dls-main"] |= {"dls_proxy_server_names": ["dls1.example.com"], "dls_proxy_prefix": "dls"}
    text = pair.refused(playbook="site")
    assert "dls_proxy_prefix: must " in text
    assert "dls-main: must be fit for this run, as the other host of dls-standby's pair" in text


def test_invariant_19_clocks_of_a_pair_that_differ_too_much_are_refused_though_each_is_near_the_control_node_s(
    pair: Pair,
) -> None:
    clocks = skewed(pair.root, {f"{pair.root}/main/opt": -40, f"{pair.root}/standby/opt": 40})
    found = pair.refused(environment=clocks)
    rule = "clock: must be within dls_server_max_clock_skew = 60 s of {}'s, got {}"
    assert rule.format("dls-main", "+") in found
    assert rule.format("dls-standby", "-") in found
    assert "control node's" not in found
    assert pair.play("install", "--check", "--limit", "dls-main", environment=clocks).code == 0
    pair.shared["dls_server_max_clock_skew"] = 100
    assert pair.play("install", "--check", environment=clocks).code == 0


def test_a_pair_that_works_passes_and_a_second_run_changes_nothing(pair: Pair) -> None:
    pair.shared |= site.archive_variables()
    assert pair.play("install", "--limit", "dls-main").code == 0
    assert pair.play("install").code == 0
    assert pair.play("install").changed == 0
    done = pair.play("verify", environment={"ANSIBLE_DISPLAY_OK_HOSTS": "true"})
    assert done.code == 0, done.output
    assert "as main of its pair, compared with dls-standby" in done.output
    alone = pair.play("verify", "--limit", "dls-standby", environment={"ANSIBLE_DISPLAY_OK_HOSTS": "true"})
    assert "as standby of its pair, but dls-main was not asked" in alone.output

    # A standby that follows another main than the inventory's serves clients beside it.
    pair.name_servers("standby", [f"http://127.0.0.1:{free_port()}/", "self"])
    text = pair.finding("dls-standby")
    assert "dls.json: must mirror that of the pair's other host and name this one as its standby, got servers [" in text
    assert "standby: must refuse clients with error 100 while the main works, got error 101 HINT: the standby" in text
    assert "Connection refused; check dls_server_admin_password_set, without which no server reaches another" in text

    # A standby alone serves clients, and is right to.
    pair.name_servers("standby", [pair.shared["dls_server_main_url"], "self"])
    pair.dlsctl("main", "stop")
    done = pair.play("verify")
    assert done.recap["dls-main"]["failed"] == 1
    assert done.recap["dls-standby"]["failed"] == 0, done.output


def test_a_main_that_refuses_clients_is_found(pair: Pair) -> None:
    refusing = tiny.build(pair.root, before="error = 100")
    pair.shared["dls_server_archive_checksum"] = "sha256:" + tiny.sha256(refusing)
    assert pair.play("install").code == 0
    text = pair.finding("dls-main")
    assert "main: must serve clients, got error 100, as of a standby or of a server that is not ready HINT: " in text
