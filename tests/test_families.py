"""The role's values for each family of distributions."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlsctl.packages import FAMILIES, os_family
from tests.dlsctl.replacing import replace

ROLES = Path(__file__).parents[1] / "roles"


def read(role: Path, family: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((role / "vars" / f"{family}.yml").read_text())
    return values


def test_every_family_of_dlsctl_has_its_values_with_the_same_keys() -> None:
    for role in sorted(ROLES.iterdir()):
        names = {family: list(read(role, family)) for family in FAMILIES}
        assert len(set(map(tuple, names.values()))) == 1, (role.name, names)


@pytest.mark.parametrize(
    ("system", "family"),
    [
        ({"ID": "debian"}, "debian"),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "debian"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "redhat"),
        ({"ID": "rhel"}, "redhat"),
        ({"ID": "plan9"}, None),
    ],
)
def test_family_is_told_from_os_release(
    monkeypatch: pytest.MonkeyPatch, system: dict[str, str], family: str | None
) -> None:
    replace(monkeypatch, "os_release", lambda: system)
    assert os_family() == family


def test_no_task_file_of_a_platform_is_hidden_by_one_of_the_same_name() -> None:
    """Ansible looks for an included file in the role's tasks first, also from a file below tasks/linux."""
    for role in ROLES.iterdir():
        for path in (role / "tasks").glob("*/*.yml"):
            for name in re.findall(r"(?:include|import)_tasks: (\S+)", path.read_text()):
                assert not ((role / "tasks" / name).exists() and (path.parent / name).exists()), path
