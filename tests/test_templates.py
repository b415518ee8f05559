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

from dlsctl.configuration import DLS_JSON_SCHEMA
from dlsctl.installation import Installation

ROOT = Path(__file__).parents[1]
UNIT = "dynamsoft-dls.service.j2"
RECOVERY = "dynamsoft-dls-recovery.service.j2"
BACKUP, TIMER = "dynamsoft-dls-backup.service.j2", "dynamsoft-dls-backup.timer.j2"


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
    return environment.get_template(name).render(
        {
            **variables,
            "__dls_server_proxy": "/etc/nginx/conf.d/dls.conf",
            "__dls_server_networks": ["localhost"],
            **changes,
        }
    )


@pytest.fixture
def host(tmp_path: Path) -> dict[str, str]:
    """Variables of a host on which every program that a unit names is there."""
    for program in ("home/current/startup.sh", "bin/dlsctl"):
        path = tmp_path / program
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return {"dls_server_home": f"{tmp_path}/home", "dls_server_bin_dir": f"{tmp_path}/bin", "dls_server_user": "root"}


def systemd_complaints(folder: Path, unit: str, name: str = "dynamsoft-dls.service") -> str:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not on this machine")
    path = folder / name
    path.write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    return "\n".join(line for line in done.stderr.splitlines() if "dynamsoft-dls" in line)


@pytest.mark.parametrize("launch", ["vendor", "direct"])
@pytest.mark.parametrize("hardening", ["full", "none"])
def test_unit_passes_systemd_analyze(tmp_path: Path, host: dict[str, str], launch: str, hardening: str) -> None:
    unit = render(
        UNIT,
        dls_server_launch=launch,
        dls_server_hardening=hardening,
        dls_server_memory_max_mb=2048,
        **host,
    )
    assert systemd_complaints(tmp_path, unit) == ""


def test_systemd_analyze_would_see_a_mistake(tmp_path: Path, host: dict[str, str]) -> None:
    unit = render(UNIT, **host).replace("RestartSec=5", "RestartSecs=5")
    assert "RestartSecs" in systemd_complaints(tmp_path, unit)


def test_unit_starts_nothing_before_the_port_filter_is_loaded() -> None:
    lines = render(UNIT).splitlines()
    (filter_line,) = [line for line in lines if line.startswith("ExecStartPre=")]
    assert filter_line == "ExecStartPre=+/usr/local/sbin/dlsctl filter --config /etc/dls/dlsctl.json"
    assert "ExecStartPre" not in render(UNIT, dls_server_port_filter="systemd")


@pytest.mark.parametrize("hardening", ["full", "none"])
def test_units_of_the_backup_pass_systemd_analyze(tmp_path: Path, host: dict[str, str], hardening: str) -> None:
    more = {"dls_server_backup_push": "/mnt/backups", "dls_server_backup_metrics": "/var/lib/metrics/dls.prom"}
    unit = render(BACKUP, dls_server_hardening=hardening, **host, **more)
    assert systemd_complaints(tmp_path, unit) == ""
    assert ("ReadWritePaths=-/var/lib/metrics" in unit.splitlines()) == (hardening == "full")
    (tmp_path / "dynamsoft-dls-backup.service").write_text(unit)
    timer = render(TIMER, dls_server_backup_schedule="Mon..Fri 03:30")
    assert systemd_complaints(tmp_path, timer, "dynamsoft-dls-backup.timer") == ""
    assert "Persistent=true" in timer.splitlines()
    wrong = timer.replace("03:30", "25:30")
    assert "calendar" in systemd_complaints(tmp_path, wrong, "dynamsoft-dls-backup.timer")


def test_boot_finishes_or_undoes_what_a_loss_of_power_has_interrupted(tmp_path: Path, host: dict[str, str]) -> None:
    unit = render(RECOVERY, **host)
    assert systemd_complaints(tmp_path, unit, "dynamsoft-dls-recovery.service") == ""
    lines = unit.splitlines()
    assert f"ExecStart={host['dls_server_bin_dir']}/dlsctl recover --config /etc/dls/dlsctl.json" in lines
    assert f"ConditionPathExists={host['dls_server_home']}/kit/journal.json" in lines
    assert "Wants=dynamsoft-dls-recovery.service" in render("multi-user-dls.conf.j2").splitlines()


def test_backups_are_made_in_a_sandbox(tmp_path: Path, host: dict[str, str]) -> None:
    assert exposure(tmp_path, render(BACKUP, **host)) <= 5.0


def test_access_drop_in_lets_only_the_named_networks_reach_the_server() -> None:
    lines = render("dynamsoft-dls-access.conf.j2", __dls_server_networks=["localhost", "10.0.0.0/8"]).splitlines()
    assert lines[-2:] == ["IPAddressDeny=any", "IPAddressAllow=localhost 10.0.0.0/8"]


def test_nftables_closes_the_ports_again_whenever_it_empties_the_ruleset() -> None:
    lines = render("nftables-dls.conf.j2").splitlines()
    for event in ("ExecStartPost", "ExecReload", "ExecStopPost"):
        assert f"{event}=-/usr/local/sbin/dlsctl filter --config /etc/dls/dlsctl.json" in lines


@pytest.mark.parametrize(("launch", "most"), [("vendor", 5.0), ("direct", 2.0)])
def test_unit_is_exposed_at_most_so_far(tmp_path: Path, host: dict[str, str], launch: str, most: float) -> None:
    assert exposure(tmp_path, render(UNIT, dls_server_launch=launch, **host)) <= most
    assert exposure(tmp_path, render(UNIT, dls_server_launch=launch, dls_server_hardening="none", **host)) > most


def exposure(folder: Path, unit: str) -> float:
    """The overall exposure level that systemd-analyze gives a unit, 0 to 10."""
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(folder / "dynamsoft-dls.service")]
    if not shutil.which(command[0]):
        pytest.skip("systemd-analyze is not on this machine")
    (folder / "dynamsoft-dls.service").write_text(unit)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this machine's systemd-analyze cannot rate a unit that is not loaded")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


def test_home_below_home_stays_visible_to_the_server() -> None:
    for home, expected in (("/opt/dls", "yes"), ("/home/dls", "read-only"), ("/root/dls", "read-only")):
        unit = render(UNIT, dls_server_launch="direct", dls_server_home=home)
        assert f"ProtectHome={expected}" in unit.splitlines()


def test_memory_is_limited_only_where_a_limit_is_set() -> None:
    assert "MemoryMax" not in render(UNIT)
    assert "MemoryMax=1024M" in render(UNIT, dls_server_memory_max_mb=1024).splitlines()


@pytest.mark.parametrize(
    ("mode", "servers"),
    [("main", ["self", "http://s.example/d'<&>/"]), ("standby", ["https://m.example/dls/", "self"])],
)
def test_dls_json_names_main_and_standby_as_the_vendor_documents(mode: str, servers: list[str]) -> None:
    urls = {"dls_server_main_url": "https://m.example/dls/", "dls_server_standby_url": "http://s.example/d'<&>/"}
    rendered = json.loads(render("dls.json.j2", dls_server_mode=mode, **urls))
    assert rendered == {"servers": servers}
    jsonschema.validate(rendered, DLS_JSON_SCHEMA)


def test_dlsctl_json_holds_every_setting_of_an_installation() -> None:
    settings = json.loads(render("dlsctl.json.j2"))
    assert vars(Installation(settings))["health_timeout"] == 120
    assert (settings["port"], settings["data_port"]) == (48080, None)
    assert json.loads(render("dlsctl.json.j2", dls_server_data_port=30301))["data_port"] == 30301


def test_templates_use_plain_jinja_and_no_facts() -> None:
    for path in (ROOT / "templates").iterdir():
        text = path.read_text()
        assert not re.search(r"ansible_|lookup|to_json|to_nice_json", text), path.name


@pytest.mark.parametrize("path", sorted((ROOT / "src/dlskit/vendor").glob("*.yml")), ids=lambda path: path.stem)
def test_vendor_data_of_every_line_has_the_same_keys(path: Path) -> None:
    line = yaml.safe_load(path.read_text())
    facts = ["since", "documented", "server_port", "data_port", "health_path", "client_paths", "license_file"]
    assert list(line) == [*facts, "linux", "windows", "portal"]
    assert path.stem == ".".join(map(str, line["since"]))
    assert list(line["linux"]) == ["packages", "mode", "user_prefix", "argv"]
    assert list(line["windows"]) == ["launcher", "arguments", "exit_hook", "unneeded", "programs"]
