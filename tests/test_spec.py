"""Defaults and documentation come from the argument specs, and the checkout's files are those that they give."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from dlsctl.problems import EXIT_DIFFERS, Problem
from dlskit import spec
from tests.checkout import generate
from tests.checkout.generate import ROOT, generated_files, stale_files

ROLES = sorted(path.parents[1] for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
SPEC = """
argument_specs:
  verify:
    short_description: Check a demo
    options: &common
      demo_port:
        description:
          - TCP port, see C(--server.port).
          - With O(demo_launch=direct) only.
        type: int
        default: 48080
      demo_networks:
        description: Networks.
        type: list
        elements: str
        default: [localhost]
      demo_user:
        description: User | owner.
        type: str
  main:
    short_description: Install a demo
    description:
      - Looks at C(/etc/demo) first.
      - Then it acts.
    options:
      <<: *common
      demo_url:
        description: Where it answers.
        type: str
        default: "http://{{ ansible_host }}:{{ demo_port }}/"
      demo_launch:
        description: How it starts.
        required: true
        choices: [vendor, direct]
"""
DEFAULTS = """---
# Generated from meta/argument_specs.yml by `./dls generate`: change it there.

# TCP port, see `--server.port`.
demo_port: 48080

# Networks.
demo_networks:
  - localhost

# Where it answers.
demo_url: http://{{ ansible_host }}:{{ demo_port }}/
"""
PROJECT = """
[project]
dependencies = ["pyinfra>=3", "click>=8"]
optional-dependencies = {portal = ["playwright>=1"], windows = ["pypsrp"]}
"""
PLAY = "- name: Demonstrate\n  hosts: all\n"
README = """# demo

<!-- Generated from meta/argument_specs.yml by `./dls generate`: change it there. -->

Install a demo. Looks at `/etc/demo` first. Then it acts.

What it needs and what is tested: [README](../../README.md). All variables: \
[docs/variables.md](../../docs/variables.md#demo). There is no default for these:

- `demo_launch`: How it starts.

A play with it:

```yaml
- name: Demonstrate
  hosts: all
```

## Entry points

The playbooks of the collection call them in their order; `tasks_from` names one in a play of your own.

| entry point | does |
| --- | --- |
| `verify` | Check a demo |
| `main` | Install a demo |
"""
ROWS = r"""
| `demo_launch` | str | **required** | How it starts. One of `vendor`, `direct`. For `main` only. |
| `demo_port` | int | `48080` | TCP port, see `--server.port`. With `demo_launch: direct` only. |
| `demo_networks` | list of str | `[localhost]` | Networks. |
| `demo_user` | str | optional | User \| owner. |
| `demo_url` | str | `http://{{ ansible_host }}:{{ demo_port }}/` | Where it answers. For `main` only. |
"""


def role_with(text: str, root: Path) -> Path:
    path = root / "roles/demo/meta/argument_specs.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    play = root / "docs/examples/demo.yml"
    play.parent.mkdir(parents=True)
    play.write_text(PLAY)
    (root / "pyproject.toml").write_text(PROJECT)
    return path.parents[1]


@pytest.fixture
def role(tmp_path: Path) -> Path:
    return role_with(SPEC, tmp_path)


def test_defaults_are_those_of_all_entry_points(role: Path) -> None:
    url = "http://{{ ansible_host }}:{{ demo_port }}/"
    assert spec.defaults(role) == {"demo_port": 48080, "demo_networks": ["localhost"], "demo_url": url}


def test_variables_know_their_entry_points(role: Path) -> None:
    found = {variable.name: variable.entry_points for variable in spec.variables(role)}
    assert found["demo_port"] == ("main", "verify")
    assert found["demo_url"] == ("main",)
    assert spec.entry_points(role) == ("verify", "main")


def test_defaults_file_says_that_it_is_generated_and_comments_each_variable(role: Path) -> None:
    assert spec.render_defaults(role) == DEFAULTS


def test_table_has_required_variables_first_and_no_broken_cells(role: Path) -> None:
    page = spec.render_tables([role])
    assert "## demo\n" in page
    assert page.endswith(ROWS)


def test_readme_tells_purpose_needs_example_and_entry_points(role: Path) -> None:
    assert spec.render_readme(role, PLAY) == README


def test_refuses_an_entry_point_that_says_nothing_of_itself(tmp_path: Path) -> None:
    role = role_with("argument_specs: {main: {short_description: Do it}, verify: {options: {}}}", tmp_path)
    with pytest.raises(Problem, match="verify: must have a short_description"):
        spec.render_readme(role, PLAY)


@pytest.mark.parametrize(
    ("text", "what", "rule", "got"),
    [
        ("argument_specs: [", "argument_specs.yml", "must be an argument specification", "ParserError"),
        ("other: 1", "argument_specs.yml", "must be an argument specification", "KeyError"),
        ("argument_specs: {main: {options: {x: {type: str}}}}", "x", "must have a description", None),
        (
            "argument_specs: {main: {options: {x: {description: a}}}, verify: {options: {x: {description: b}}}}",
            "x",
            "must be the same in every entry point",
            "verify",
        ),
    ],
)
def test_refuses_a_malformed_spec(text: str, what: str, rule: str, got: str | None, tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        spec.variables(role_with(text, tmp_path))
    problem = caught.value
    assert problem.what.endswith(what)
    assert problem.rule.startswith(rule)
    assert problem.got == got
    assert problem.hint


def test_refuses_a_folder_that_is_no_role(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="must be a readable file, got No such file or directory"):
        spec.variables(tmp_path)


def test_the_packages_of_the_control_node_are_those_that_playbooks_import(role: Path, tmp_path: Path) -> None:
    lines = generated_files(tmp_path)[tmp_path / "requirements.txt"].splitlines()
    assert lines[0] == "# Generated from pyproject.toml by `./dls generate`: change it there."
    assert lines[1:] == ["click>=8", "playwright>=1", "pypsrp"]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_of_the_roles_have_the_values_of_their_specs(role: Path) -> None:
    assert yaml.safe_load((role / spec.DEFAULTS_PATH).read_text()) == spec.defaults(role)


def test_generated_files_of_the_checkout_are_up_to_date() -> None:
    assert ROLES
    stale = [str(path.relative_to(ROOT)) for path in stale_files(ROOT)]
    assert stale == [], "run ./dls generate"


def test_generate_writes_what_is_out_of_date_and_check_only_tells(
    role: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    command, runner = generate.generate, CliRunner()
    listed = "roles/demo/defaults/main.yml\n{0}: roles/demo/README.md\n{0}: requirements.txt\n{0}: docs/variables.md\n"
    told = runner.invoke(command, ["--check"])
    assert (told.exit_code, told.output) == (EXIT_DIFFERS, "out of date: " + listed.format("out of date"))
    assert not (role / spec.DEFAULTS_PATH).exists()
    assert runner.invoke(command).output == "written: " + listed.format("written")
    assert {path: path.read_text() for path in generated_files(tmp_path)} == generated_files(tmp_path)
    assert runner.invoke(command, ["--check"]).output == "every generated file is up to date\n"
