"""The collection's tarball holds what its user needs and nothing else, and Galaxy's own importer takes it."""

import json
import re
import tarfile
from pathlib import Path, PurePosixPath

import pytest
import yaml

from tests.checkout import collection
from tests.checkout.paths import ROOT
from tests.galaxy import tools

# What the roles, playbooks and deploys run from, what is read of the documentation, and what Galaxy, AWX and
# ansible-builder read.
PARTS = {
    "FILES.json",
    "LICENSE",
    "MANIFEST.json",
    "README.md",
    "bindep.txt",
    "changelogs",
    "deploys",
    "docs",
    "meta",
    "playbooks",
    "requirements.txt",
    "requirements.yml",
    "roles",
    "src",
    "templates",
}


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collection.build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def names(tarball: Path) -> set[str]:
    with tarfile.open(tarball) as opened:
        return {member.name for member in opened.getmembers()}


def test_it_holds_the_parts_of_a_collection_and_nothing_else(names: set[str]) -> None:
    assert {PurePosixPath(name).parts[0] for name in names} == PARTS
    assert {name for name in names if name.startswith("changelogs/")} == {"changelogs/changelog.yaml"}
    outside = [name for name in names if not name.startswith("src/dlskit/bundle/")]  # its locks are for `bundle build`
    assert [name for name in outside if re.search(r"(^|/)[._]|\.(pyc|lock|gz)$", name) and "/__" not in name] == []
    assert [name for name in names if "__pycache__" in name] == []


def test_what_git_ignores_is_not_in_it_either() -> None:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    ignored = {line.strip("/").split("/")[0] for line in lines if not line.startswith("#")}
    assert ignored <= set(yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"])


def test_each_role_has_a_readme_and_every_playbook_is_there(names: set[str]) -> None:
    roles = {str(path.relative_to(ROOT)) for path in ROOT.glob("roles/*")}
    assert {f"{role}/README.md" for role in roles} <= names
    assert {str(path.relative_to(ROOT)) for path in ROOT.glob("playbooks/*.yml")} <= names


def test_no_link_of_its_documents_leads_out_of_it(names: set[str]) -> None:
    for name in sorted(name for name in names if name.endswith(".md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text()):
            path = (ROOT / name).parent.joinpath(target).resolve().relative_to(ROOT)
            assert str(path) in names, f"{name}: {target}"


def test_its_manifest_says_what_galaxy_shows(tarball: Path) -> None:
    with tarfile.open(tarball) as opened:
        manifest = opened.extractfile("MANIFEST.json")
        assert manifest
        told = json.load(manifest)["collection_info"]
    assert {"linux", "windows"} <= set(told["tags"])
    assert all(told[name].startswith(told["repository"]) for name in ("documentation", "homepage", "issues"))
    assert told["dependencies"] == {}
    assert yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["requires_ansible"]


def test_the_collections_that_it_requires_are_those_that_its_tasks_use() -> None:
    tasks = "".join(path.read_text() for path in ROOT.glob("roles/**/*.yml"))
    used = set(re.findall(r"^ +(\w+\.\w+)\.\w+:", tasks, re.MULTILINE)) - {"ansible.builtin"}
    required = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    assert {entry["name"] for entry in required} == used


@pytest.mark.slow
def test_galaxy_s_importer_takes_it_without_a_warning(tarball: Path, tmp_path: Path) -> None:
    output = tools.run("python", "-m", "galaxy_importer.main", str(tarball), cwd=tmp_path)
    assert "Importer processing completed successfully" in output
    steps = r"Import(ing|er) |Getting doc |Finding content |Loading |Linting |\.\.\.ansible-lint |Collection loading "
    assert [line for line in output.splitlines() if line and not re.match(steps, line)] == []
