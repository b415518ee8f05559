"""execution-environment.yml: ansible-builder makes a build's context from it. No test builds the image."""

import shutil
from pathlib import Path

import pytest

from tests.checkout.paths import ROOT
from tests.galaxy import tools

FILES = ("execution-environment.yml", "bindep.txt", "requirements.yml", "requirements-ee.lock")
LOCK = (ROOT / "requirements-ee.lock").read_text()


def create(folder: Path, definition: str) -> str:
    """Return the recipe of the image that ansible-builder makes from a definition."""
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    (folder / FILES[0]).write_text(definition)
    tools.run("ansible-builder", "create", "--context=made", "--output-filename=Containerfile", cwd=folder)
    assert (folder / "made/_build/kit/requirements-ee.lock").read_text() == LOCK
    return (folder / "made/Containerfile").read_text()


def test_it_says_that_no_image_was_built() -> None:
    assert "NO TEST HAS BUILT THE IMAGE" in (ROOT / FILES[0]).read_text().partition("---")[0]


@pytest.mark.slow
def test_all_python_packages_of_the_image_are_installed_by_hash(tmp_path: Path) -> None:
    recipe = create(tmp_path, (ROOT / FILES[0]).read_text())
    base, _, later = recipe.partition(" AS galaxy")
    builder, _, final = later.partition(" AS final")
    assert [line for line in base.splitlines() if "pip install" in line and "--require-hashes" not in line] == []
    assert "--require-hashes -r /tmp/requirements-ee.lock" in base
    assert "--exclude-collection-reqs=exclude-collections.txt" in builder
    assert "pip install" not in final


@pytest.mark.slow
def test_the_lines_for_a_browser_are_taken_too(tmp_path: Path) -> None:
    definition = (ROOT / FILES[0]).read_text()
    with_browser = definition.replace("# append_final", "append_final").replace("#   - RUN", "  - RUN")
    assert with_browser != definition
    assert "install -y chromium" in create(tmp_path, with_browser).partition(" AS final")[2]


@pytest.mark.slow
def test_an_environment_that_holds_the_collection_gets_what_it_needs(tmp_path: Path) -> None:
    place = tmp_path / "ansible_collections/dlskit/dls"
    place.mkdir(parents=True)
    for name in ("galaxy.yml", "requirements.txt", "bindep.txt"):
        shutil.copy(ROOT / name, place)
    told = tools.run("ansible-builder", "introspect", str(tmp_path), cwd=tmp_path)
    assert "cryptography" in told
    assert "openssh-clients [platform:rpm]" in told
    assert "pyinfra" not in told


@pytest.mark.slow
def test_the_system_packages_are_read(tmp_path: Path) -> None:
    assert "platform:" in tools.run("bindep", "--file", str(ROOT / "bindep.txt"), "--profiles", cwd=tmp_path)
