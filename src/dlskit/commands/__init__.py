"""The command groups of ``dlskit``, and what they share. Heavy imports wait until a command runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from dlsctl.problems import Problem

F = TypeVar("F", bound=Callable[..., Any])  # a command
JSON_WANTED = "dlskit.json"  # in click's `meta`, so that errors are reported as JSON too


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    ctx.meta[JSON_WANTED] = value
    return value


def json_option(command: F) -> F:
    """Add --json, passed to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, callback=_remember, help="Print the answer as JSON.")(
        command
    )


def print_rows(rows: Mapping[str, str]) -> None:
    """Print labels and values for a person, in two columns; a value may have several lines."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    width = max(12, *(len(label) + 2 for label in rows))
    console = Console(highlight=False)
    for label, value in rows.items():
        indented = value.replace("\n", "\n" + " " * width)
        console.print(Text(f"{label:<{width}}", style="bold").append(Text(indented, style="default")), soft_wrap=True)


def stop_for(problems: Sequence[Problem]) -> NoReturn:
    """Print problems to standard error, and end the run with the highest of their exit codes."""
    for problem in problems:
        click.echo(str(problem), err=True)
    raise click.exceptions.Exit(max(problem.code for problem in problems))
