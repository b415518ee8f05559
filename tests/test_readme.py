"""What the README tells a newcomer to type works as it stands there."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout.site import archive_variables
from tests.lab import engine, hosts

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def block(heading: str) -> str:
    """The first shell block below a heading."""
    found = re.search(rf"^## {re.escape(heading)}$.*?^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found.group(1)


def test_every_file_and_playbook_that_the_documents_name_is_there() -> None:
    for document in [ROOT / "README.md", *ROOT.glob("roles/*/README.md"), *(ROOT / "docs").rglob("*.md")]:
        text = document.read_text()
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
        for playbook in re.findall(r"\bplaybooks/[\w-]+\.yml", text):
            assert (ROOT / playbook).is_file(), f"{document.name}: {playbook}"


def test_the_manual_of_dlsctl_names_every_exit_code_as_the_program_does() -> None:
    shell = (ROOT / "src/dlsctl/__init__.py").read_text()
    codes = re.findall(r"^    (\d)  ", shell.split('"""')[1], re.MULTILINE)
    assert codes == re.findall(r"^\| (\d) \|", (ROOT / "docs/dlsctl.md").read_text(), re.MULTILINE)


@pytest.fixture
def host() -> Iterator[hosts.Lab]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    lab = hosts.Lab("readme")
    client = engine.connect()
    hosts.up(client, lab, {"lab-readme": "debian12"})
    yield lab
    hosts.down(client, lab)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is in the repository, without anything that was made from it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            target = tmp_path / "checkout" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return tmp_path / "checkout"


@pytest.mark.slow
def test_the_real_thing_installs_a_server_as_the_readme_says(host: hosts.Lab, checkout: Path, tmp_path: Path) -> None:
    downloads = tmp_path / "home" / "Downloads"
    downloads.mkdir(parents=True)
    shutil.copy(archive_variables()["dls_server_archive"], downloads)
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\ncp "{host.inventory}/lab.yml" "$1"\n')
    editor.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        ["bash", "-eu", "-c", block("The real thing")],
        cwd=checkout,
        env=clean | {"HOME": str(tmp_path / "home"), "EDITOR": str(editor), "ANSIBLE_NOCOLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.count("failed=0") == 3
