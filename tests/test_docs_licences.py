"""What docs/licences.md shows runs as it stands there, and says what the role does."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/licences.md").read_text()
LICENSE = "LicenseId: {}\nOrganizationID: 216998\nLicenseStatus: Activated\nLicenseItems:\nx\n"
KEY = {
    "handshakeCode": "216998-1",
    "organizationID": "216998",
    "mainServerURL": "https://dls1.example.com/dls",
    "standbyServerURL": "https://dls2.example.com/dls",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the files that the page names, and `./dls` of this checkout's code."""
    (tmp_path / "dls").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT}/src exec {sys.executable} -m dlskit "$@"\n')
    (tmp_path / "dls").chmod(0o755)
    (tmp_path / "inventories").symlink_to(ROOT / "inventories")
    for number in (1, 2):
        (tmp_path / f"dls{number}.lic").write_text(LICENSE.format(number))
    (tmp_path / "scanner.key").write_text("DLS2" + base64.b64encode(json.dumps(KEY).encode()).decode())
    return tmp_path


@pytest.mark.parametrize("number", range(len(blocks("sh"))))
def test_commands_succeed(number: int, checkout: Path) -> None:
    script = blocks("sh")[number]
    if "minisign" in script and not shutil.which("minisign"):
        pytest.skip("minisign is not installed")
    done = subprocess.run(
        ["bash", "-eu", "-c", script], cwd=checkout, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_of_the_page_was_among_them() -> None:
    assert set(re.findall(r"\./dls (\w+ [\w-]+)", "".join(blocks("sh")))) == {
        "license request",
        "license verify-request",
        "license inspect",
        "license check",
        "key inspect",
        "key check",
        "key diff",
    }


def test_example_is_what_the_role_takes() -> None:
    (example,) = blocks("yaml")
    specs = yaml.safe_load((ROOT / "roles/dls_server/meta/argument_specs.yml").read_text())["argument_specs"]
    option = specs["licenses"]["options"]["dls_server_licenses"]
    (entry,) = yaml.safe_load(example)["dls_server_licenses"]
    assert set(entry) <= set(option["options"])
