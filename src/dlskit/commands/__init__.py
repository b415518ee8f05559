"""The command groups of ``dlskit``, one module each, and what they share. Heavy imports wait until a command runs."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

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
