"""docs/awx.md names what playbooks read and write on the control node: all of it, and nothing that there is not."""

import re
from typing import Any

import pytest
import yaml

from tests.checkout.paths import ROOT

PAGE = (ROOT / "docs/awx.md").read_text()
READ = PAGE.partition("**Read**")[2].partition("\n\n")[0]
WRITTEN = PAGE.partition("**Written**")[2].partition("**Read**")[0]
SPECS = [yaml.safe_load(path.read_text())["argument_specs"] for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
OPTIONS = {name: option for spec in SPECS for entry in spec.values() for name, option in entry["options"].items()}
WRITES = {"dls_server_backup_fetch_dir", "dls_server_drill_report_dir", "dls_server_keys_dir", "dls_proxy_snippet_dest"}


def is_there(option: dict[str, Any]) -> bool:
    """Whether a variable names a path on the control node."""
    parts = [option, *(option.get("options") or {}).values()]
    return any(part.get("type") == "path" and "on the control node" in str(part["description"]) for part in parts)


def test_every_path_on_the_control_node_is_told() -> None:
    there = {name for name, option in OPTIONS.items() if is_there(option)} - {"dls_server_portal_browser"}
    assert {name for name in there if f"`{name}`" in WRITTEN} == WRITES
    assert {name for name in there if f"`{name}`" in READ} == there - WRITES


def test_every_variable_that_is_named_exists() -> None:
    named = set(re.findall(r"`(dls_(?:server|proxy)_\w+)", PAGE)) - {"dls_server", "dls_proxy"}
    assert named - set(OPTIONS) == set()


def test_every_playbook_of_a_job_template_is_there() -> None:
    rows = re.findall(r"^\| DLS \w+ \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert {"site", "verify", "backup", "upgrade"} <= set(rows)
    assert [name for name in rows if not (ROOT / f"playbooks/{name}.yml").is_file()] == []


@pytest.mark.parametrize("module", ["copy", "template", "file", "fetch", "tempfile"])
def test_tasks_that_write_on_the_control_node_are_those_that_the_page_tells(module: str) -> None:
    """A task that writes at localhost is one of the two files whose variables the page names."""
    known = {"fetch.yml", "snippet.yml"}
    for path in ROOT.glob("roles/*/tasks/**/*.yml"):
        for task in re.split(r"(?m)^ *- (?=name:)", path.read_text()):
            here = "delegate_to: localhost" in task or "ansible.builtin.fetch:" in task
            assert not (here and f"ansible.builtin.{module}:" in task) or path.name in known, path


def test_no_play_has_serial_and_none_names_another_host_group() -> None:
    for path in ROOT.glob("playbooks/*.yml"):
        for play in yaml.safe_load(path.read_text()):
            assert "serial" not in play
            assert play.get("hosts", "dls") == "dls"
