"""docs/ci/github-windows.yml, as far as it can be read here: nobody has run it."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.checkout import suite
from tests.checkout.paths import ROOT
from tests.windows import trial

FILE = ROOT / "docs/ci/github-windows.yml"
JOB = yaml.safe_load(FILE.read_text())["jobs"]["windows"]
STEPS = {step["name"]: step for step in JOB["steps"]}
SCRIPT = STEPS["Run the scenario"]["run"]


def test_it_says_that_it_was_never_run() -> None:
    assert "NEVER RUN" in FILE.read_text().partition("---")[0]


def test_the_script_is_one_of_bash() -> None:
    subprocess.run(["bash", "-n"], input=SCRIPT, text=True, check=True)


def test_what_the_script_calls_is_there() -> None:
    assert importlib.util.find_spec(*re.findall(r"python -m (\S+)", SCRIPT))
    choice = suite.Choice(False, False, "", re.findall(r"--only (\S+)", SCRIPT), (), 1)
    assert [step.name for step in suite.chosen(choice)] == ["molecule-windows"]
    assert f"{suite.WINDOWS}=.cache/trial " in SCRIPT
    told = re.findall(r"(?<![\w/.])(?:inventories|docs|molecule|playbooks|tests)/[\w./-]+", FILE.read_text())
    assert told
    assert [path for path in told if not (ROOT / path).exists()] == []
    assert (ROOT / "dls").exists()


def test_all_that_linux_needs_of_windows_is_passed_on() -> None:
    passed = set(JOB["env"]["WSLENV"].split(":"))
    assert set(re.findall(r"builtin\.env', '(\w+)'", SCRIPT)) <= passed
    assert passed - {"USERNAME"} == set(re.findall(r"\"(\w+)=\$password", STEPS["Let Ansible in"]["run"]))


def test_the_inventory_is_one(tmp_path: Path) -> None:
    inventory = shutil.copytree(ROOT / "inventories/windows", tmp_path / "trial")
    hosts = re.search(r"<<'END'\n(.*?)^END$", SCRIPT, re.DOTALL | re.MULTILINE)
    (inventory / "hosts.yml").write_text(hosts[1] if hosts else "")
    command = ["ansible-inventory", "--list", "-i", str(inventory)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["_meta"]["hostvars"]["runner"]["ansible_connection"] == "psrp"


@pytest.mark.parametrize("name", ["trial_upgrade", "trial_control_node_is_host"])
def test_the_scenario_s_own_variables_are_documented_where_it_reads_them(name: str) -> None:
    folder = ROOT / "molecule/windows"
    assert f"#   {name} " in (folder / "vars.yml").read_text()
    assert any(name in path.read_text() for path in folder.rglob("*.yml") if path.name != "vars.yml")


def test_the_inventory_for_trials_upgrades_to_a_newer_release() -> None:
    assert [int(part) for part in trial.OLDER.split(".")] < [int(part) for part in trial.NEWER.split(".")]
