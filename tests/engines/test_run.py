"""A run of `dlskit deploy` on hosts of which some do not answer or are refused."""

import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyinfra import context
from pyinfra.api import Config, Inventory, State

import deploys
from deploys.remote import Lost
from deploys.run import Run
from deploys.source import ENTRIES, Source
from deploys.tell import is_news
from dlsctl.problems import EXIT_REFUSED
from dlskit.commands.deploy import DEPLOYS
from tests.checkout.paths import ROOT

ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
HERE = {"ansible_connection": "local", "ansible_become": False}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, where neither an ssh configuration is nor keys."""
    monkeypatch.setitem(ENVIRONMENT, "HOME", str(tmp_path))


def run(folder: Path, hosts: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    """A dry run of deploy install on hosts without a version of the server: they are refused."""
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"dls": {"hosts": hosts}}))
    command = [sys.executable, "-P", "-m", "dlskit", "deploy", "install", "-i", str(inventory), "--dry", *options]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, cwd=folder)


@pytest.fixture
def silent() -> dict[str, Any]:
    """A host on whose port nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return {"ansible_host": "127.0.0.1", "ansible_port": port}


def test_a_host_without_a_release_is_refused_with_the_roles_own_words(tmp_path: Path) -> None:
    done = run(tmp_path, {"dls1": HERE})
    assert done.returncode == 6
    assert "dls_server_version" in done.stderr
    assert "refused" in done.stdout


def test_a_silent_host_does_not_keep_the_others_from_being_looked_at(tmp_path: Path, silent: dict[str, Any]) -> None:
    done = run(tmp_path, {"dls1": HERE, "dls2": silent})
    assert done.returncode == 1
    assert "unreachable" in done.stdout
    assert "dls_server_version" in done.stderr


@pytest.mark.parametrize(
    "bad", [{"ansible_ssh_private_key_file": "/none"}, {"ansible_host": 300 * "x"}], ids=["key", "name"]
)
def test_a_host_that_cannot_be_called_does_not_keep_the_others_from_being_looked_at(
    tmp_path: Path, bad: dict[str, Any]
) -> None:
    done = run(tmp_path, {"dls1": HERE, "dls2": bad})
    assert done.returncode == 1
    assert "dls2: must be reached as the inventory says" in done.stderr
    assert "dls_server_version" in done.stderr


@pytest.mark.parametrize("error", [Lost("the end of the connection"), ValueError("no JSON")])
def test_a_host_that_is_gone_while_it_is_looked_at_keeps_no_other_from_its_deploy(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def verify() -> None:
        if context.host.data.kit_name == "dls1":
            raise error

    monkeypatch.setattr(deploys, "verify", verify)
    hosts = [(f"@fake/{name}", {"kit_name": name, "fake_delay": 0}) for name in ("dls1", "dls2")]
    this = Run(State(Inventory((hosts, {})), Config()), "verify", Source("none"), dry=False, strict=False)
    this.connect()
    this.prepare()
    assert this.ends == {"dls1": "refused", "dls2": "unchanged"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    """The host takes the connection and says nothing. A terminal tells all processes of Ctrl-C, others one of them."""
    inventory = tmp_path / "hosts.yml"
    with socket.create_server(("127.0.0.1", 0)) as server:
        mute = {"ansible_host": "127.0.0.1", "ansible_port": server.getsockname()[1]}
        inventory.write_text(yaml.safe_dump({"dls": {"hosts": {"dls1": mute}}}))
        command = [sys.executable, "-P", "-m", "dlskit", "deploy", "install", "-i", str(inventory)]
        with subprocess.Popen(
            command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            server.settimeout(60)
            connection, _ = server.accept()
            with connection:
                (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
                _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same again" in errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_while_the_inventory_is_read_ends(tmp_path: Path, number: signal.Signals) -> None:
    """An inventory script waits for a cloud that does not answer."""
    called = tmp_path / "called"
    os.mkfifo(called)
    script = tmp_path / "inventory.sh"
    script.write_text(f"#!/bin/sh\necho $$ >{called}\nexec sleep 60\n")
    script.chmod(0o755)
    command = [sys.executable, "-P", "-m", "dlskit", "deploy", "install", "-i", str(script)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        waiting = int(called.read_text())
        time.sleep(2)  # by now pyinfra is imported
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(waiting, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert errors.count("\n") == 1
    assert "run the same again" in errors


def test_a_strict_run_looks_at_none_where_one_is_silent(tmp_path: Path, silent: dict[str, Any]) -> None:
    done = run(tmp_path, {"dls1": HERE, "dls2": silent}, "--strict")
    assert done.returncode == 6
    assert "must all answer, got none from dls2" in done.stderr
    assert "dls_server_version" not in done.stderr


def test_a_misspelt_variable_is_told_as_by_the_playbook(tmp_path: Path) -> None:
    done = run(tmp_path, {"dls1": {**HERE, "dls_server_prot": 1}})
    assert done.returncode == 6
    assert "dls_server_prot" in done.stderr


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("[dls1] No changes", False),
        ("[dls1]    No changes", False),
        ("[dls1] Error (ignored): executed 0 commands", False),
        ("[dls1] Error: executed 2 commands", False),
        ("[dls1] Success", True),
        ("[dls1] port 48080: must be free, got nginx", True),
    ],
)
def test_what_helps_nobody_is_not_shown(line: str, shown: bool) -> None:
    assert is_news(logging.LogRecord("pyinfra", logging.INFO, "", 0, line, (), None)) is shown


def test_the_command_line_of_pyinfra_says_what_it_misses(tmp_path: Path) -> None:
    for inventory in ("", str(tmp_path / "none")):
        path = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "DLS_INVENTORY": inventory}
        command = [sys.executable, "-m", "pyinfra", "--dry", "deploys/hosts.py", "deploys.site"]
        done = subprocess.run(command, env=path, capture_output=True, text=True, check=False, cwd=ROOT)
        assert (done.returncode, "Traceback" in done.stderr) == (EXIT_REFUSED, False)
        assert "HINT: " in done.stderr


def test_a_host_that_cannot_become_root_is_refused(tmp_path: Path) -> None:
    """There is no sudo on the path."""
    bare = tmp_path / "bin"
    bare.mkdir()
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"dls": {"hosts": {"dls1": {"ansible_connection": "local"}}}}))
    command = [sys.executable, "-P", "-m", "dlskit", "deploy", "install", "-i", str(inventory), "--dry"]
    done = subprocess.run(
        command, env={**ENVIRONMENT, "PATH": str(bare)}, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode != 0
    assert "sudo" in done.stderr


def test_the_commands_of_the_manual_are_understood(tmp_path: Path) -> None:
    manual = (ROOT / "docs/pyinfra.md").read_text()
    commands = re.findall(r"^\./dls (deploy .*)$", manual, re.MULTILINE)
    assert len(commands) == 3
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"dls": {"hosts": {"dls1": HERE}}}))
    for command in commands:
        words = command.replace("inventories/mysite", str(inventory)).split()
        done = subprocess.run(
            [sys.executable, "-P", "-m", "dlskit", *words],
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 6, done.stderr  # refused for want of a release, and not for want of sense


def test_every_deploy_has_a_playbook_of_its_name_or_is_an_entry_of_the_role() -> None:
    playbooks = {file.stem for file in (ROOT / "playbooks").glob("*.yml")}
    assert set(DEPLOYS) - playbooks == {"licenses"}
    assert set(DEPLOYS) == set(ENTRIES)
