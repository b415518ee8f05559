"""A visit to the portal: the options that its commands share, and what they do with them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from dlskit.commands import F, json_option

if TYPE_CHECKING:
    from dlskit.portal.pages import Portal
    from dlskit.portal.target import Target
    from dlskit.portal.verbs import Answer


@dataclass(frozen=True)
class Options:
    """The options that all commands of the group share, by their names."""

    inventory: str | None
    host: str | None
    url: str | None
    vault_password_file: str | None
    ask_vault_pass: bool
    release: str | None
    password_file: str | None = None
    browser: str | None = None
    timeout: float = 15
    evidence: str | None = None

    def target(self) -> Target:
        """Return the portal that they name."""
        from dlskit.portal.target import find  # noqa: PLC0415

        return find(self.inventory, self.host, self.url, self.vault_password_file, self.ask_vault_pass)


TARGET = (
    click.option("-i", "--inventory", metavar="PATH", help="Ansible inventory of the host."),
    click.option(
        "--host", metavar="NAME", help="Host of the inventory; may be left out if its group dls has one host."
    ),
    click.option("--url", metavar="URL", help="Portal on this machine, such as http://127.0.0.1:48080."),
    click.option("--vault-password-file", metavar="PATH", help="As Ansible's option; its configuration counts too."),
    click.option("-J", "--ask-vault-pass", is_flag=True, help="Ask for the vault's password."),
    click.option("--release", metavar="VERSION", help="Look for the words of this release, whatever the page says."),
)
VISIT = (
    click.option(
        "--password-file",
        metavar="PATH",
        help="File with admin's password, - for standard input; else dls_server_admin_password, else asked.",
    ),
    click.option("--browser", metavar="PROGRAM", help="Chromium or Edge to use; else the first usual one on PATH."),
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0.1),
        default=15,
        show_default=True,
        help="Wait so long for each element and each answer.",
    ),
    click.option("--evidence", metavar="FOLDER", help="Where a failure leaves its folder; else the temporary folder."),
)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only look, and say what would be done.")


def options(*wanted: Callable[[F], F]) -> Callable[[F], F]:
    """Add options in this order; those of TARGET and VISIT reach the command as `common`."""

    def add(command: F) -> F:
        def collected(**values: Any) -> Any:
            common = {name: values.pop(name) for name in list(values) if name in Options.__dataclass_fields__}
            return command(common=Options(**common), **values)

        collected.__doc__ = command.__doc__
        decorated: Any = json_option(collected)
        for option in reversed(wanted):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return add


@contextmanager
def visiting(common: Options, target: Target, secrets: list[str]) -> Iterator[Portal]:
    """Yield the portal of the target, not opened yet. `secrets`: what a failure must not show."""
    from dlskit.portal.session import visited  # noqa: PLC0415

    with visited(
        target,
        program=common.browser,
        timeout=common.timeout,
        release=common.release,
        keep=common.evidence,
        secrets=secrets,
    ) as found:
        yield found


@contextmanager
def signed_in(common: Options, target: Target, *secrets: str) -> Iterator[Portal]:
    """Yield the portal of the target with admin logged in. `secrets`: those beside admin's password."""
    from dlskit.portal import verbs  # noqa: PLC0415

    password = admin_password(common, target)
    with visiting(common, target, [password, *filter(None, secrets)]) as found:
        verbs.sign_in(found, password)
        yield found


def admin_password(common: Options, target: Target, confirm: bool = False) -> str:
    """Return admin's password: from the file, the host's variable, or a person at the terminal."""
    from dlsctl.problems import Refused  # noqa: PLC0415
    from dlskit.portal.target import PASSWORD, read_secret  # noqa: PLC0415

    if common.password_file is not None:
        return read_secret(common.password_file)
    if value := target.variable(PASSWORD):
        return str(value)
    if not sys.stdin.isatty():
        hint = f"give --password-file PATH, or {PASSWORD} in the host's vaulted variables"
        raise Refused("password of admin", "must be given where nobody can be asked", "none", hint)
    return str(click.prompt("Password of admin", hide_input=True, confirmation_prompt=confirm, err=True))


def show(answer: Answer, as_json: bool, dry_run: bool = False) -> None:
    """Print an answer."""
    from dlskit.portal.evidence import printable  # noqa: PLC0415

    if as_json:
        click.echo(json.dumps({"changed": answer.changed, "dry_run": dry_run, **answer.facts}))
    else:
        click.echo(printable(answer.text))
