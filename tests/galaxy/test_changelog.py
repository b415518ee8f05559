"""The changelog is one that antsibull-changelog takes, and a release gives the page that Galaxy looks for."""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.checkout.paths import ROOT


def changelog(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "antsibull_changelog", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_fragment_is_one() -> None:
    assert changelog(ROOT, "lint") == ""


def test_a_release_writes_the_page_from_all_fragments(tmp_path: Path) -> None:
    copy = tmp_path / "dls"
    copy.mkdir()
    shutil.copy(ROOT / "galaxy.yml", copy)
    shutil.copytree(ROOT / "changelogs", copy / "changelogs")
    fragments = list((copy / "changelogs/fragments").glob("*.yml"))
    said = sum(len(section) for path in fragments for section in yaml.safe_load(path.read_text()).values())
    subprocess.run(["git", "init", "--quiet", str(copy)], check=True)  # it asks git which files are the collection's
    changelog(copy, "release")
    page = (copy / "CHANGELOG.md").read_text()
    assert r"v0\.1\.0" in page
    assert page.count("\n* ") == said
    changelog(copy, "lint-changelog-yaml", "changelogs/changelog.yaml")
