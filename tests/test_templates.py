"""Templates, rendered as both engines render them, pass the checkers of what they configure."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import jsonschema
import pytest
import yaml

import dlsctl

ROOT = Path(__file__).parents[1]
UNIT = "dynamsoft-dls.service.j2"


def render(name: str, **changes: Any) -> str:
    """A template with the role's defaults and the engines' options; an undefined variable is an error."""
    variables = yaml.safe_load((ROOT / "roles/dls_server/defaults/main.yml").read_text())
    loader = jinja2.FileSystemLoader(ROOT / "templates")
    environment = jinja2.Environment(
        loader=loader,
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - configuration files, not HTML
    )
    return environment.get_template(name).render({**variables, "__dls_server_data_port": 30201, **changes})


@pytest.fixture
def host(tmp_path: Path) -> dict[str, str]:
    """Variables of a host on which every program that a unit names is there."""
    for program in ("home/current/startup.sh", "bin/dlsctl"):
        path = tmp_path / program
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return {"dls_server_home": f"{tmp_path}/home", "dls_server_bin_dir": f"{tmp_path}/bin", "dls_server_user": "root"}


def systemd_complaints(folder: Path, unit: str) -> str:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not on this machine")
    path = folder / "dynamsoft-dls.service"
    path.write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    return "\n".join(line for line in done.stderr.splitlines() if "dynamsoft-dls" in line)


@pytest.mark.parametrize("launch", ["vendor", "direct"])
def test_unit_passes_systemd_analyze(tmp_path: Path, host: dict[str, str], launch: str) -> None:
    unit = render(
        UNIT, dls_server_launch=launch, dls_server_allowed_networks=["localhost", "10.0.0.0/8", "::1"], **host
    )
    assert systemd_complaints(tmp_path, unit) == ""


def test_systemd_analyze_would_see_a_mistake(tmp_path: Path, host: dict[str, str]) -> None:
    unit = render(UNIT, **host).replace("RestartSec=5", "RestartSecs=5")
    assert "RestartSecs" in systemd_complaints(tmp_path, unit)


@pytest.mark.parametrize("launch", ["vendor", "direct"])
def test_unit_lets_only_the_allowed_networks_reach_the_server(launch: str) -> None:
    lines = render(UNIT, dls_server_launch=launch).splitlines()
    assert "IPAddressDeny=any" in lines
    assert "IPAddressAllow=localhost" in lines


def test_dls_json_is_what_the_vendor_documents() -> None:
    servers = ["self", "https://standby.example/dls/?a=1&b='2'"]
    rendered = json.loads(render("dls.json.j2", dls_server_servers=servers))
    assert rendered == {"servers": servers}
    jsonschema.validate(rendered, dlsctl.DLS_JSON_SCHEMA)


def test_dlsctl_json_holds_every_setting_of_an_installation() -> None:
    settings = json.loads(render("dlsctl.json.j2"))
    assert vars(dlsctl.Installation(settings))["health_timeout"] == 120
    assert (settings["port"], settings["data_port"]) == (48080, 30201)


def test_templates_use_plain_jinja_and_no_facts() -> None:
    for path in (ROOT / "templates").iterdir():
        text = path.read_text()
        assert not re.search(r"ansible_|lookup|to_json|to_nice_json", text), path.name


@pytest.mark.parametrize("path", sorted((ROOT / "src/dlskit/vendor").glob("*.yml")), ids=lambda path: path.stem)
def test_vendor_data_of_every_line_has_the_same_keys(path: Path) -> None:
    line = yaml.safe_load(path.read_text())
    assert list(line) == ["since", "documented", "server_port", "data_port", "health_path", "client_paths", "linux"]
    assert path.stem == ".".join(map(str, line["since"]))
    assert list(line["linux"]) == ["packages", "mode", "user_prefix", "argv"]
