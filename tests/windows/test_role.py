"""The role's parts for Windows are those for Linux, in other modules."""

from pathlib import Path

import yaml

from tests.checkout.paths import ROOT

ROLE = ROOT / "roles/dls_server"


def keys(path: Path) -> list[str]:
    return list(yaml.safe_load(path.read_text()))


def test_both_platforms_have_values_of_the_same_names_in_the_same_order() -> None:
    assert keys(ROLE / "vars/windows.yml") == keys(ROLE / "vars/linux.yml")


# What package managers do, verbs of dlsctl that work on when their caller is gone, and parts of steps that are refused.
LINUX_ONLY = {
    *("install_packages.yml", "remove_packages.yml", "work.yml", "reconnect.yml", "fetch.yml", "key.yml"),
    *("send_packages.yml", "take_over.yml", "undo_adoption.yml"),
}


def test_every_task_file_of_linux_has_one_for_windows() -> None:
    linux, windows = ({path.name for path in (ROLE / "tasks" / name).iterdir()} for name in ("linux", "windows"))
    assert linux - windows == LINUX_ONLY
