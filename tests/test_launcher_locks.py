"""The lock files: complete, hashed, and no different from what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PROJECT["project"]["dependencies"]
# The tests have what the extra `portal` brings; the vendor's SDK is only there where a test asks for it.
DEVELOPMENT = [*PROJECT["dependency-groups"]["dev"], *PROJECT["project"]["optional-dependencies"]["portal"]]
# What an execution environment holds.
EXTRAS = PROJECT["project"]["optional-dependencies"]
ENVIRONMENT = [*PROJECT["dependency-groups"]["ee"], *EXTRAS["portal"], *EXTRAS["windows"]]
WANTED = {
    "requirements.lock": RUNTIME,
    "requirements-dev.lock": [*RUNTIME, *DEVELOPMENT],
    "requirements-ee.lock": [*RUNTIME, *ENVIRONMENT],
}


def read_lock(name: str) -> dict[str, set[Version]]:
    """The versions a lock names for each package; more than one where they depend on the Python version."""
    versions: dict[str, set[Version]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if pin := re.match(r"([A-Za-z0-9._-]+)==(\S+)", line):
            versions.setdefault(canonicalize_name(pin.group(1)), set()).add(Version(pin.group(2)))
    return versions


@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_satisfies_every_requirement_of_the_project(lock: str) -> None:
    versions = read_lock(lock)
    for text in WANTED[lock]:
        requirement = Requirement(text)
        pins = versions.get(canonicalize_name(requirement.name))
        assert pins, f"{requirement.name} is not in {lock}"
        assert all(requirement.specifier.contains(pin) for pin in pins), f"{text}: {lock} has {pins}"


def test_a_lock_names_nothing_that_no_requirement_asks_for() -> None:
    for lock, wanted in WANTED.items():
        entries = re.split(r"(?m)^(?=[A-Za-z0-9])", (ROOT / lock).read_text())[1:]
        direct = {
            canonicalize_name(re.match(r"[A-Za-z0-9._-]+", entry).group())  # type: ignore[union-attr]
            for entry in entries
            if re.search(r"#.*(dlskit \(pyproject|pyproject\.toml:(dev|ee)|dlskit:(dev|ee))", entry)
        }
        assert direct == {canonicalize_name(Requirement(text).name) for text in wanted}


@pytest.mark.parametrize("lock", ["requirements-dev.lock", "requirements-ee.lock"])
def test_the_other_locks_hold_the_runtime_lock_unchanged(lock: str) -> None:
    other = read_lock(lock)
    assert {name: other.get(name) for name in read_lock("requirements.lock")} == read_lock("requirements.lock")


@pytest.mark.parametrize("lock", [*WANTED, "tests/galaxy/tools.lock"])
def test_every_pinned_package_has_a_hash_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text
    assert "index-url" not in text
