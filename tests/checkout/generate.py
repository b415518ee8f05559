"""``./dls generate``: write the files that are made from the roles' argument specifications and pyproject.toml."""

import tomllib
from pathlib import Path

import click

from dlsctl.problems import EXIT_DIFFERS
from dlskit import spec

ROOT = Path(__file__).resolve().parents[2]
NOT_IMPORTED = ("ansible-core", "pyinfra")  # what runs the playbooks, and what they do without


def generated_files(root: Path) -> dict[Path, str]:
    """Return the text that each generated file of the checkout at `root` must have."""
    roles = sorted(path.parents[1] for path in root.glob("roles/*/" + spec.SPEC_PATH))
    files = {role / spec.DEFAULTS_PATH: spec.render_defaults(role) for role in roles}
    files |= {role / "README.md": spec.render_readme(role, _example(root, role.name)) for role in roles}
    files |= {root / "requirements.txt": _control_node(root)}
    return files | {root / "docs/variables.md": spec.render_tables(roles)}


def _control_node(root: Path) -> str:
    """What playbooks import on the control node, as ansible-builder takes it of a collection."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["portal"], *extras["windows"]]
    lines = sorted(line for line in needed if not line.startswith(NOT_IMPORTED))
    return spec.HEADER.format("pyproject.toml") + "".join(f"{line}\n" for line in lines)


def _example(root: Path, role: str) -> str:
    """The play that shows how a role is used."""
    return (root / "docs/examples" / f"{role}.yml").read_text(encoding="utf-8")


def stale_files(root: Path) -> dict[Path, str]:
    """Return the generated files that are missing or have another text than they must."""
    return {
        path: text
        for path, text in generated_files(root).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit with 5 when a file is out of date.")
def generate(check: bool) -> None:
    """Write defaults/main.yml and README.md of each role, docs/variables.md and requirements.txt."""
    stale = stale_files(ROOT)
    for path, text in stale.items():
        click.echo(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if not stale:
        click.echo("every generated file is up to date")
    if stale and check:
        raise SystemExit(EXIT_DIFFERS)
