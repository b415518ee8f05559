"""The ``dlskit`` command: its groups, and how every one of them reports errors.

Exit codes are dlsctl's: 0 done, 1 failed, 2 wrong usage, 6 refused; what else a command has, its help says. Errors go
to standard error as `what: rule, got value` and `HINT: next action`; with --json, also to standard output as
{"error": {...}}.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from dlskit import __version__
from dlskit.commands import JSON_WANTED
from dlskit.commands.archive import archive
from dlskit.commands.bundle import bundle
from dlskit.commands.completion import completion
from dlskit.commands.deploy import deploy_command
from dlskit.commands.init import init_command
from dlskit.commands.key import key_group
from dlskit.commands.license import license_group
from dlskit.commands.portal.group import portal
from dlskit.commands.probe import probe

LICENSE_KEY = re.compile(r"DLS2[A-Za-z0-9+/=.]{32,}")  # where shown() has shortened it, too


class Kit(click.Group):
    """A group that reports every error in the project's form."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and exit with the code of its outcome. Click's own use is kept for other callers."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # for letters that its encoding does not have
        extra["standalone_mode"] = False
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, **extra)
        try:
            code = super().main(args, prog_name, complete_var, **extra)
        except click.ClickException as error:
            report(error)
            sys.exit(getattr(error, "code", error.exit_code))
        except click.Abort:
            click.echo("interrupted", err=True)
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command, and turn what it raises into one message without a traceback, unless --debug."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            raise told(error, ctx.command_path, as_json=bool(ctx.meta.get(JSON_WANTED))) from None


class Told(click.ClickException):
    """An error in the project's form, with its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def told(error: Exception, command: str, as_json: bool) -> Told:
    """Return what to tell a person about an error; `as_json` also prints it to standard output for a script."""
    from dlsctl.problems import EXIT_FAILED, Problem  # noqa: PLC0415 - only a failing run pays for the import

    if isinstance(error, Problem):
        problem = error
    elif isinstance(error, OSError):
        where = str(error.filename or command)
        rule, hint = "must be accessible", "check the path and its rights"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            rule, hint = "must have room for what it writes", "make room there, then run the same again"
        problem = Problem(where, rule, error.strerror or error, hint)
    else:
        hint = f"run {command} --debug ... and report what it prints"
        problem = Problem(command, "must not fail", f"{type(error).__name__}: {error}", hint)
    if as_json:
        with contextlib.suppress(OSError):  # what failed may be standard output itself
            click.echo(without_keys(json.dumps({"error": problem.as_dict()})))
    return Told(str(problem), getattr(problem, "code", EXIT_FAILED))


def without_keys(message: str) -> str:
    """Return a message without the license keys that somebody gave in place of something else: a key is a secret."""
    return LICENSE_KEY.sub("DLS2...", message)


def report(error: click.ClickException) -> None:
    """Print an error to standard error."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "dlskit"
        message = without_keys(error.format_message()).rstrip(".")
        click.echo(f"{command}: {message[:1].lower()}{message[1:]}\nHINT: see {command} --help", err=True)
    else:
        click.echo(without_keys(error.format_message()), err=True)


@click.group(cls=Kit, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="dlskit")
def main(debug: bool) -> None:
    """Deploy and look after the self-hosted Dynamsoft License Server: the control node's side."""


main.add_command(archive)
main.add_command(bundle)
main.add_command(completion)
main.add_command(deploy_command)
main.add_command(init_command)
main.add_command(key_group)
main.add_command(license_group)
main.add_command(portal)
main.add_command(probe)
