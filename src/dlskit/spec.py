"""The variables of a role, from its ``meta/argument_specs.yml``: the one hand-written list of them.

Ansible only validates with that file and sets no default from it, so ``defaults/main.yml`` is rendered here, and so
are the table for the documentation and the role's README. Format: docs.ansible.com, "Role argument validation".
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dlsctl.problems import Problem

SPEC_PATH = "meta/argument_specs.yml"
DEFAULTS_PATH = "defaults/main.yml"
HEADER = "# Generated from {} by `./dls generate`: change it there.\n"
WIDTH = 120  # columns of a generated file
_NO_DEFAULT = object()
_MARKUP = re.compile(r"\b[COVIB]\(([^)]*)\)")  # Ansible's markup in descriptions: C(code), O(option=value) and so on


@dataclass(frozen=True)
class Variable:
    """One variable of a role. `description` holds its sentences, `entry_points` the task files that take it."""

    name: str
    type: str
    description: tuple[str, ...]
    entry_points: tuple[str, ...]
    required: bool = False
    default: Any = _NO_DEFAULT
    choices: tuple[Any, ...] = ()

    @property
    def has_default(self) -> bool:
        """Whether the role sets a value; a variable without one is required or optional."""
        return self.default is not _NO_DEFAULT


def variables(role: Path) -> list[Variable]:
    """Return the variables of the role in folder `role`, in the order of the file, those of ``main`` first.

    Raises Problem when the file is missing or malformed, or when two entry points describe one variable differently.
    """
    entry_points = _entry_points(role)
    order = sorted(entry_points, key=lambda name: name != "main")
    options: dict[str, Mapping[str, Any]] = {}
    for entry_point in order:
        for name, option in entry_points[entry_point].items():
            if options.setdefault(name, option) != option:
                hint = "share the options of entry points with a YAML anchor"
                raise Problem(name, "must be the same in every entry point", entry_point, hint)
    return [_variable(name, option, [e for e in order if name in entry_points[e]]) for name, option in options.items()]


def defaults(role: Path) -> dict[str, Any]:
    """Return the default of each variable of the role that has one."""
    return {variable.name: variable.default for variable in variables(role) if variable.has_default}


def entry_points(role: Path) -> tuple[str, ...]:
    """Return the names of the role's entry points, in the order of the file."""
    return tuple(_entry_points(role))


def render_defaults(role: Path) -> str:
    """Return the text of the role's ``defaults/main.yml``. Variables without a default are not in it."""
    blocks = [f"---\n{HEADER.format(SPEC_PATH)}"]
    for variable in variables(role):
        if variable.has_default:
            comment = _wrapped_comment(_plain(variable.description[0]))
            blocks.append(comment + _yaml({variable.name: variable.default}))
    return "\n".join(blocks)


def render_tables(roles: Iterable[Path]) -> str:
    """Return the Markdown page that documents the variables of `roles`."""
    sections = ["# Variables", "<!-- " + HEADER.format("roles/*/" + SPEC_PATH)[2:].strip() + " -->"]
    for role in roles:
        rows = [
            _row(variable, entry_points(role)) for variable in sorted(variables(role), key=lambda v: not v.required)
        ]
        head = ["| variable | type | default | description |", "| --- | --- | --- | --- |"]
        sections += [f"## {role.name}", "\n".join(head + rows)]
    return "\n\n".join(sections) + "\n"


def render_readme(role: Path, play: str) -> str:
    """Return the role's README.md: its purpose, what it cannot do without, `play` as an example, its entry points.

    Raises Problem as `variables`, and when an entry point has no short description.
    """
    specs = _specs(role)
    for name, entry_point in specs.items():
        if not entry_point.get("short_description"):
            raise Problem(name, "must have a short_description", None, f"describe it in {SPEC_PATH}")
    main = specs["main"]
    needed = [v for v in variables(role) if v.required and "main" in v.entry_points]
    rows = [f"| `{name}` | {_plain(entry_point['short_description'])} |" for name, entry_point in specs.items()]
    sections = [
        f"# {role.name}",
        "<!-- " + HEADER.format(SPEC_PATH)[2:].strip() + " -->",
        _plain(" ".join([main["short_description"] + ".", *_sentences(main)])),
        f"What it needs and what is tested: [README](../../README.md). All variables: "
        f"[docs/variables.md](../../docs/variables.md#{role.name}). There is no default for these:",
        "\n".join(f"- `{variable.name}`: {_plain(variable.description[0])}" for variable in needed),
        "A play with it:",
        f"```yaml\n{play.strip()}\n```",
        "## Entry points",
        "The playbooks of the collection call them in their order; `tasks_from` names one in a play of your own.",
        "\n".join(["| entry point | does |", "| --- | --- |", *rows]),
    ]
    return "\n\n".join(sections) + "\n"


def _sentences(described: Mapping[str, Any]) -> list[str]:
    text = described.get("description") or []
    return [text] if isinstance(text, str) else list(text)


def _entry_points(role: Path) -> dict[str, dict[str, Any]]:
    return {name: spec["options"] for name, spec in _specs(role).items()}


def _specs(role: Path) -> dict[str, dict[str, Any]]:
    path = role / SPEC_PATH
    try:
        specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        return {name: {**spec, "options": dict(spec.get("options") or {})} for name, spec in specs.items()}
    except OSError as error:
        raise Problem(str(path), "must be a readable file", error.strerror, "name the folder of a role") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        rule = "must be an argument specification, `argument_specs: <entry point>: options:`"
        raise Problem(str(path), rule, type(error).__name__, "see Ansible's role argument validation") from None


def _variable(name: str, option: Mapping[str, Any], entry_points: list[str]) -> Variable:
    if not option.get("description"):
        raise Problem(name, "must have a description", None, f"describe it in {SPEC_PATH}")
    kind = option.get("type", "str")
    return Variable(
        name=name,
        type=f"{kind} of {option['elements']}" if "elements" in option else kind,
        description=tuple(_sentences(option)),
        entry_points=tuple(entry_points),
        required=option.get("required", False),
        default=option.get("default", _NO_DEFAULT),
        choices=tuple(option.get("choices", ())),
    )


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, as yamllint wants them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _yaml(value: object) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def _plain(sentence: str) -> str:
    """Return a description without Ansible's markup: O(a=b) becomes `a: b`, C(x) becomes `x`."""
    return _MARKUP.sub(lambda match: "`" + match.group(1).replace("=", ": ", 1) + "`", sentence)


def _wrapped_comment(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"


def _row(variable: Variable, every: tuple[str, ...]) -> str:
    sentences = [_plain(sentence) for sentence in variable.description]
    if variable.choices:
        sentences.append("One of " + ", ".join(f"`{choice}`" for choice in variable.choices) + ".")
    others = [name for name in every if name not in variable.entry_points]
    if others and len(others) < len(variable.entry_points):
        sentences.append("Not for " + ", ".join(f"`{name}`" for name in others) + ".")
    elif others:
        sentences.append("For " + ", ".join(f"`{name}`" for name in variable.entry_points) + " only.")
    cells = [f"`{variable.name}`", variable.type, _default_cell(variable), " ".join(sentences)]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _default_cell(variable: Variable) -> str:
    if variable.required:
        return "**required**"
    if not variable.has_default:
        return "optional"
    return (
        "`"
        + yaml.safe_dump(variable.default, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
        + "`"
    )
