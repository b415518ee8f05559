"""The scenario for real Windows hosts, as far as it can be tried without one."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.checkout.paths import ROOT
from tests.windows import collections, stub

pytestmark = pytest.mark.slow

SCENARIO = ROOT / "molecule/windows"
CALLERS = [ROOT / "roles", SCENARIO]
CONFIG = yaml.safe_load((SCENARIO / "molecule.yml").read_text())


def test_it_goes_through_a_server_s_whole_life() -> None:
    steps = CONFIG["scenario"]["test_sequence"]
    assert steps[1:-1] == [
        *("prepare", "converge", "idempotence", "verify", "side_effect", "idempotence", "verify", "cleanup")
    ]
    plays = yaml.safe_load((SCENARIO / "side_effect.yml").read_text())
    taken = [play["ansible.builtin.import_playbook"] for play in plays if "ansible.builtin.import_playbook" in play]
    assert [Path(path).stem for path in taken] == ["backup", "restore", "upgrade", "verify", "rollback"]


@pytest.mark.parametrize("name", ["prepare", "verify", "side_effect", "cleanup"])
def test_ansible_finds_all_that_a_playbook_names(name: str, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("dls: {hosts: {server: {ansible_connection: psrp}}}\n")
    command = ["ansible-playbook", "--syntax-check", "-i", str(inventory), str(SCENARIO / f"{name}.yml")]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections.path()), "ANSIBLE_ROLES_PATH": "roles"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_host_that_was_not_marked_is_not_emptied(tmp_path: Path) -> None:
    host = stub.Host(tmp_path, {"ansible.windows.win_stat": {"stat": {"exists": False}}})
    done = host.run_playbook(SCENARIO / "cleanup.yml", CALLERS, dls_server_version="2.4.1")
    assert done.code == 0, done.output
    assert [name for name, _ in host.calls()] == ["win_stat"]


def test_a_host_that_is_refused_is_not_emptied_for_an_earlier_mark(tmp_path: Path) -> None:
    host = stub.Host(tmp_path, {"ansible.windows.setup": {"failed": True, "msg": "this host is not blank"}})
    done = host.run_playbook(SCENARIO / "prepare.yml", CALLERS, "-e", '{"__dls_server_platform": "windows"}')
    assert done.code != 0
    assert "this host is not blank" in done.output
    *_, (name, arguments) = host.calls()
    assert (name, arguments["state"], arguments["path"]) == ("win_file", "absent", r"C:\ProgramData\dls-trial.txt")
