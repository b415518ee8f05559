"""Tasks for Windows, compared with the documentation of the modules that they call."""

from pathlib import Path

import pytest

from tests.checkout.paths import ROOT
from tests.windows import contract

GOOD = """
- name: Start it
  block:
    - name: Start it
      ansible.windows.win_service: {name: "{{ name }}", state: started, start_mode: auto}
- name: Open a port
  community.windows.win_firewall_rule:
    name: dls
    localport: "{{ port }}"
    action: allow
    direction: in
    protocol: tcp
- name: Ask
  ansible.windows.win_command: whoami
  args: {chdir: C:/}
"""
BAD = {
    "a misspelt option": ("ansible.windows.win_service: {name: x, start_mod: auto}", "start_mod. Supported parameters"),
    "a choice that there is not": ("ansible.windows.win_service: {name: x, state: running}", "must be one of"),
    "a value of another type": ("ansible.windows.win_stat: {path: x, get_checksum: perhaps}", "unable to convert"),
    "an option that is missing": ("ansible.windows.win_stat: {get_checksum: true}", "missing required arguments: path"),
    "a module that there is not": ("ansible.windows.win_services: {name: x}", "no such module"),
    "a module by its short name": ("win_stat: {path: x}", "named in full: ansible.windows.win_stat"),
    "a module that has moved": (
        "community.windows.win_firewall: {state: enabled}",
        "it is ansible.windows.win_firewall now",
    ),
    "a deprecated module": ("community.windows.win_iis_website: {name: x}", "deprecated: "),
    "a misspelt option in a list of options": (
        "ansible.windows.win_service: {name: x, failure_actions: [{type: restart, wait: 5}]}",
        "wait. Supported parameters",
    ),
    "a misspelt option beside a template": (
        'ansible.windows.win_service: {name: "{{ x }}", stat: started}',
        "stat. Supported parameters",
    ),
}


def written(folder: Path, text: str) -> list[contract.Call]:
    (folder / "tasks").mkdir()
    (folder / "tasks/main.yml").write_text(text)
    return contract.calls(folder)


def test_calls_as_documented_are_accepted(tmp_path: Path) -> None:
    found = written(tmp_path, GOOD)
    assert [call.module.rsplit(".", 1)[1] for call in found] == ["win_service", "win_firewall_rule", "win_command"]
    assert contract.faults(found) == []


def test_the_calls_of_plays_are_found_too(tmp_path: Path) -> None:
    kinds = ("pre_tasks", "tasks", "post_tasks", "handlers")
    play = "".join(f"  {kind}:\n    - ansible.windows.win_stat: {{path: x, {kind}: y}}\n" for kind in kinds)
    (tmp_path / "converge.yml").write_text(f"- hosts: all\n{play}")
    faults = contract.faults(contract.calls(tmp_path))
    assert [kind for kind, fault in zip(kinds, faults, strict=True) if f"{kind}. Supported" in fault] == list(kinds)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The faults of all bad calls: asking for the documentation takes longer than all else."""
    folder = tmp_path_factory.mktemp("bad")
    faults = contract.faults(written(folder, "".join(f"- {call}\n" for call, _ in BAD.values())))
    assert len(faults) == len(BAD), faults
    return dict(zip(BAD, faults, strict=True))


@pytest.mark.parametrize("name", BAD)
def test_a_call_that_is_not_as_documented_is_found(found: dict[str, str], name: str) -> None:
    where = f"tasks/main.yml:{list(BAD).index(name) + 1}: "
    assert where in found[name], "a person must find it"
    assert BAD[name][1] in found[name]


def test_the_project_calls_modules_of_windows_as_these_are_documented() -> None:
    found = [call for folder in ("molecule", "playbooks", "roles", "tests") for call in contract.calls(ROOT / folder)]
    assert ROOT / "tests/winlab/service.yml" in {call.file for call in found}
    assert contract.faults(found) == []
