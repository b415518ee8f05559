"""docs/ci: the templates keep to the published schemas, call what exists, and put no secret on a command line."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import tests.checkout.__main__  # noqa: F401 - adds the commands that only a checkout has
from dlskit.cli import main
from tests.checkout import suite
from tests.checkout.paths import ROOT
from tests.galaxy import tools

CI = ROOT / "docs/ci"
SCHEMAS = {"github.yml": "github-workflows", "github-windows.yml": "github-workflows", "gitlab.yml": "gitlab-ci"}
TEMPLATES = ("github.yml", "gitlab.yml")
SECRET = r"\$\{?(VAULT_|REGISTRY_|BUNDLE_SIGN_)PASSWORD|\$\{?BUNDLE_SIGN_KEY"
PATHS = {"gitlab.yml": r"BUNDLE_SIGN_(KEY|PASSWORD)"}  # variables that the CI system fills with a path


def scripts(name: str) -> Iterator[str]:
    """The shell scripts of a template."""
    document: dict[str, Any] = yaml.safe_load((CI / name).read_text())
    for job in document.get("jobs", document).values():
        if isinstance(job, dict):
            yield from (step["run"] for step in job.get("steps", []) if "run" in step)
            yield from ["\n".join(job["script"])] if "script" in job else []


def commands(name: str) -> list[list[str]]:
    """Each `./dls ...` of a template, in words."""
    lines = "\n".join(scripts(name)).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("./dls ")]


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.slow
def test_it_keeps_to_the_published_schema(name: str) -> None:
    tools.run("check-jsonschema", "--builtin-schema", f"vendor.{SCHEMAS[name]}", str(CI / name), cwd=ROOT)


def test_every_template_is_checked() -> None:
    assert {path.name for path in CI.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_says_that_it_was_never_run(name: str) -> None:
    assert "NEVER RUN" in (CI / name).read_text().partition("---")[0]


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_script_is_one_of_sh(name: str) -> None:
    for script in scripts(name):
        subprocess.run(["sh", "-n"], input=re.sub(r"\$\{\{.*?\}\}", "x", script), text=True, check=True)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_command_and_its_options_exist(name: str) -> None:
    found = commands(name)
    assert {"bundle", "test"} <= {words[0] for words in found}
    for words in sorted(found, key=lambda words: words[0] == "bundle"):
        if words[0] == "bundle" and "bundle" not in main.commands:
            pytest.skip("this checkout has no `bundle` yet")
        command: click.Command = main
        rest = words
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            command, rest = command.commands[rest[0]], rest[1:]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known | {"--version"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_step_of_the_tests_and_every_image_exists(name: str) -> None:
    for words in commands(name):
        if words[0] == "test":
            only = words[words.index("--only") + 1]
            assert suite.chosen(suite.Choice(False, False, "", [only], (), 1))
    text = (CI / name).read_text()
    platforms = re.findall(r"latform: \[(.*)\]|PLATFORM: \[(.*)\]", text)
    wanted = [image for found in platforms for image in "".join(found).split(", ")]
    assert suite.images_named(wanted) == wanted
    assert {f"DLS_LAB_IMAGE_{image.upper()}" for image in wanted} == set(re.findall(r"DLS_LAB_IMAGE_\w+", text))


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_secret_is_on_a_command_line(name: str) -> None:
    for script in scripts(name):
        assert "secrets." not in script
        for line in re.sub(rf'"\${PATHS[name]}"' if name in PATHS else "^$", "a path", script).splitlines():
            if re.search(SECRET, line):
                assert line.startswith("printf "), line  # of the shell itself: no process has it among its words


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_site_of_the_kit_passes(name: str, tmp_path: Path) -> None:
    (script,) = [text for text in scripts(name) if "ansible-inventory" in text]
    for part in ("ansible.cfg", "inventories", "playbooks", "roles", "templates", "src"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    ready = re.sub(r"^(\./dls --version|\. \.venv/bin/activate)$", "", script, flags=re.MULTILINE)
    env = os.environ | {"SITE": "pair", "RUNNER_TEMP": str(tmp_path), "VAULT_PASSWORD": ""}
    subprocess.run(["sh", "-euc", ready], cwd=tmp_path, env=env, check=True)
