"""The password of sudo or su goes to its standard input: pyinfra has it in command lines, which everybody sees."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from pyinfra.api import Host, QuoteString, StringCommand
from pyinfra.connectors.util import make_unix_command

SHELL = ("_env", "_chdir", "_shell_executable")  # what belongs to the command, and not to who becomes root
KNOWN = "kit_asks_for_password"  # whether a host does


def guard(host: Host) -> None:
    """Have all commands of a host, pyinfra's own too, become root without a password in a command line."""
    if KNOWN in host.connector_data:
        return
    host.connector_data[KNOWN] = None
    plain = host.connector.run_shell_command

    def run_shell_command(command: StringCommand, *shown: Any, **arguments: Any) -> Any:
        password = arguments.pop("_sudo_password", None) or arguments.pop("_su_password", None)
        if not password or not (arguments.get("_sudo") or arguments.get("_su_user")):
            return plain(command, *shown, **arguments)
        if host.connector_data[KNOWN] is None:
            host.connector_data[KNOWN] = asks(plain, arguments)
        if not host.connector_data[KNOWN]:
            return plain(command, *shown, **arguments)
        stdin = arguments.pop("_stdin", None)
        stdin = [password, *([stdin] if isinstance(stdin, str) else stdin or [])]
        inner = make_unix_command(command, **{name: arguments.pop(name) for name in SHELL if name in arguments})
        outer = as_root(inner, arguments.pop("_sudo", False), arguments.pop("_sudo_user", ""), arguments)
        return plain(outer, *shown, _stdin=stdin, **{**arguments, "_shell_executable": None})

    host.connector.run_shell_command = run_shell_command  # type: ignore[method-assign]


def as_root(command: StringCommand, sudo: bool, user: str, arguments: dict[str, Any]) -> StringCommand:
    """The command as another user, whose password is the first line of standard input."""
    if sudo:
        return StringCommand(*sudo_words("-S", "-p", "''", user=user), command)
    return StringCommand("su", QuoteString(arguments.pop("_su_user")), "-c", QuoteString(command))


def sudo_words(*options: str, user: str) -> Sequence[str]:
    """The words of sudo, which forgets what it was told before."""
    return ["sudo", "-H", "-k", *options, *(["-u", shlex.quote(user)] if user else [])]


def asks(plain: Any, arguments: dict[str, Any]) -> bool:
    """Whether the host wants a password: where it does not, that would be read by the command."""
    if arguments.get("_sudo"):
        answers, _ = plain(StringCommand(*sudo_words("-n", user=arguments.get("_sudo_user") or ""), "sh", "-c", "true"))
        return not answers
    _, lines = plain(StringCommand("id", "-u"))
    return bool(lines.stdout.strip() != "0")
