"""The role on this machine: a small archive, no supervisor, everything below a temporary folder."""

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlsctl.installation import Installation
from dlsctl.processes import server_processes
from tests.checkout import play
from tests.checkout.paths import ROOT
from tests.dlsctl import tiny
from tests.dlsctl.conftest import free_port

pytestmark = pytest.mark.slow


@dataclass
class Machine:
    """This machine as the role's only host."""

    root: Path
    variables: dict[str, Any]

    def play(self, name: str, *options: str, environment: dict[str, str] | None = None) -> play.Result:
        inventory = self.root / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"dls": {"hosts": {"localhost": self.variables}}}))
        return play.run(name, inventory, *options, quiet=True, environment=environment)

    def changed(self, name: str, *options: str) -> int:
        """Run a playbook that must succeed; returns how many tasks changed something."""
        done = self.play(name, *options)
        assert done.code == 0, done.output
        return done.changed

    def backups(self) -> list[str]:
        return sorted(path.parent.name for path in (self.root / "backups").glob("*/manifest.json"))

    def dlsctl(self, *words: str) -> str:
        command = [
            sys.executable,
            str(self.root / "bin/dlsctl"),
            *words,
            "--config",
            str(self.root / "etc/dlsctl.json"),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def status(self) -> Any:
        return json.loads(self.dlsctl("status", "--json"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    archive = tiny.build(tmp_path)
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become": False,
        "dls_server_version": "2.4.11",
        "dls_server_archive": str(archive),
        "dls_server_archive_checksum": "sha256:" + tiny.sha256(archive),
        "dls_server_supervisor": "none",
        "dls_server_launch": "direct",
        "dls_server_user": pwd.getpwuid(os.geteuid()).pw_name,
        "dls_server_port": free_port(),
        "dls_server_data_port": free_port(),
        "dls_server_health_timeout": 10,
        "dls_server_min_free_mb": 1,
        "dls_server_home": f"{tmp_path}/opt",
        "dls_server_config_dir": f"{tmp_path}/etc",
        "dls_server_data_dir": f"{tmp_path}/lib",
        "dls_server_backup_dir": f"{tmp_path}/backups",
        "dls_server_bin_dir": f"{tmp_path}/bin",
    }
    yield Machine(tmp_path, variables)
    settings = json.loads((tmp_path / "etc/dlsctl.json").read_text()) if (tmp_path / "etc/dlsctl.json").exists() else {}
    for pid in server_processes(Installation(settings)) if settings else []:
        os.kill(pid, signal.SIGKILL)


def test_second_run_changes_nothing_and_check_mode_predicts_the_first(machine: Machine) -> None:
    predicted = machine.changed("install", "--check")
    assert not (machine.root / "opt").exists()
    assert machine.changed("install") == predicted
    assert machine.changed("install") == 0
    assert machine.changed("verify") == 0
    assert machine.status()["healthy"]


@pytest.mark.parametrize("launch", ["vendor", "direct"])
def test_change_that_cannot_get_healthy_is_taken_back(machine: Machine, launch: str) -> None:
    machine.variables["dls_server_launch"] = launch
    machine.changed("install")
    port = machine.variables["dls_server_port"]
    with socket.socket() as other:  # bound, but not listening: nothing for the preflight to see
        other.bind(("", 0))
        done = machine.play("install", "-e", f"dls_server_port={other.getsockname()[1]}")
    assert done.code != 0
    assert "health: must answer http://127.0.0.1:" in done.output
    assert "The host was put back as it was." in done.output
    status = machine.status()
    assert (status["port"], status["healthy"]) == (port, True)
    assert machine.changed("install") == 0


TWO_RUNS = """
- hosts: dls
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: dls_server, tasks_from: preflight}
    - ansible.builtin.command: {argv: "{{ other_run }}", chdir: "{{ kit }}"}
    - ansible.builtin.command: {argv: [mv, "{{ dls_server_archive }}", "{{ dls_server_archive }}.away"]}
    - ansible.builtin.import_role: {name: dls_server, tasks_from: configure}
"""


def test_a_first_install_that_fails_leaves_a_server_alone_that_another_run_has_installed(machine: Machine) -> None:
    playbook = machine.root / "two_runs.yml"
    playbook.write_text(TWO_RUNS)
    other = [sys.executable, "-m", "ansible", "playbook", "-i", str(machine.root / "hosts.yml")]
    other += [str(ROOT / "playbooks/install.yml")]
    done = machine.play(str(playbook), "-e", json.dumps({"other_run": other, "kit": str(ROOT)}))
    assert done.code != 0
    assert "Another run has installed the server meanwhile. It was left as it is." in " ".join(done.output.split())
    assert machine.status()["healthy"]


@pytest.mark.parametrize("value", ["false", "no"])
def test_purge_that_is_switched_off_by_text_purges_nothing(machine: Machine, value: str) -> None:
    machine.changed("install")
    machine.changed("uninstall", "-e", f"dls_server_uninstall_purge={value}")
    assert len(machine.backups()) == 1
    assert (machine.root / "lib/licenses").is_dir()
    assert machine.changed("uninstall", "-e", f"dls_server_uninstall_purge={value}") == 0


def interpreter(machine: Machine, version: str, command: str) -> None:
    """Let the host's Python say a version of itself, and do something else than run a module."""
    python = machine.root / "python3"
    python.write_text(f'#!/bin/sh\n[ "$1" != --version ] || {{ echo Python {version}; exit; }}\n{command}\n')
    python.chmod(0o755)
    machine.variables["ansible_python_interpreter"] = str(python)


def test_python_that_is_too_old_for_ansible_is_named(machine: Machine) -> None:
    (machine.root / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 6, 8, 'final', 0)\n")
    interpreter(machine, "3.6.8", f'PYTHONPATH={machine.root} exec {sys.executable} "$@"')
    done = machine.play("install")
    assert done.code != 0
    said = " ".join(done.output.split())
    assert re.search(r"Python: must be 3\.8 or newer, or what ansible-core 2\S+ needs, got 3\.6 HINT: ", said), said
    assert not (machine.root / "opt").exists()


def test_host_that_cannot_be_looked_at_for_another_reason_is_told_that_reason(machine: Machine) -> None:
    interpreter(machine, "3.11.2", "echo no space left >&2; exit 3")
    done = machine.play("install")
    assert done.code != 0
    assert "Python: must be" not in done.output
    assert "no space left" in done.output.rpartition("Give up")[2], done.output


def test_forgotten_variables_are_all_named(machine: Machine) -> None:
    for name in ("version", "archive", "archive_checksum"):
        del machine.variables["dls_server_" + name]
    done = machine.play("install")
    assert done.code != 0
    for name in ("version", "archive", "archive_checksum"):
        assert f"dls_server_{name}: is required, got nothing" in done.output
    assert not (machine.root / "opt").exists()
