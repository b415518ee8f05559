"""One suite for a host with a server, whatever deployed it. Expected values are the role's variables.

pytest --sudo --hosts=ansible://dls --ansible-inventory=FOLDER tests/testinfra
"""

import functools
import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host  # type: ignore[import-untyped]

from dlskit.inventory import read_host
from dlskit.lines import line_of

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def read_inventory(inventory: str) -> dict[str, dict[str, Any]]:
    """The variables of every host in an Ansible inventory, templates as they are written."""
    command = [sys.executable, "-m", "ansible", "inventory", "--list", "--inventory", inventory]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    hosts: dict[str, dict[str, Any]] = json.loads(run.stdout)["_meta"]["hostvars"]
    return hosts


@functools.cache
def resolved(inventory: str, name: str, role: str) -> dict[str, Any]:
    """Those of a role's variables that the inventory sets for a host, as Ansible resolves them."""
    entries = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    names = {option for entry in entries.values() for option in entry["options"]}
    return dict(read_host(inventory, name, tuple(names), None, ask_vault=False).variables)


def values_of(host: Host, request: pytest.FixtureRequest, role: str) -> dict[str, Any]:
    """A role's variables for this host: defaults, then the inventory; names without the prefix. address: the host's."""
    inventory = request.config.getoption("--ansible-inventory")
    hosts = read_inventory(inventory)
    name = host.backend.get_hostname()
    ((key, own),) = [(key, own) for key, own in hosts.items() if name in (key, own.get("ansible_host"))]
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text())
    values = {**defaults, **resolved(inventory, key, role)}
    return {"address": own.get("ansible_host", name), **{key.removeprefix(role + "_"): values[key] for key in values}}


@pytest.fixture
def expected(host: Host, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The variables of role dls_server for this host."""
    values = values_of(host, request, "dls_server")
    values.setdefault("data_port", line_of(values["version"]).facts["data_port"])
    return values


@pytest.fixture
def dlsctl(host: Host, expected: dict[str, Any]) -> Any:
    """Call: dlsctl("status") runs a verb with --json on the host and returns its answer."""

    def call(verb: str) -> Any:
        command = f"{expected['bin_dir']}/dlsctl {verb} --json --config {expected['config_dir']}/dlsctl.json"
        return json.loads(host.check_output(command))

    return call


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the server's journal with every failure."""
    report = yield
    arguments: dict[str, Any] = item.funcargs
    if report.failed and call.when == "call" and "host" in arguments and "expected" in arguments:
        name = arguments["expected"]["service_name"]
        journal = arguments["host"].run(f"journalctl --no-pager --lines 40 --unit {name}")
        report.sections.append(("Journal of the server", journal.stdout))
    return report
