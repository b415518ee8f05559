"""The role's values for each family of distributions."""

from pathlib import Path
from typing import Any

import yaml

import dlsctl

ROLES = Path(__file__).parents[1] / "roles"


def read(role: Path, family: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((role / "vars" / f"{family}.yml").read_text())
    return values


def test_every_family_of_dlsctl_has_its_values_with_the_same_keys() -> None:
    for role in sorted(ROLES.iterdir()):
        names = {family: list(read(role, family)) for family in dlsctl.FAMILIES}
        assert len(set(map(tuple, names.values()))) == 1, (role.name, names)
