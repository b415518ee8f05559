"""Options and files of the commands that sign, or check what was signed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from dlskit.commands import F

if TYPE_CHECKING:
    from dlskit.minisign import PublicKey, SecretKey

PASSWORD_LIMIT = 1024  # bytes of a file with a password


def sign_options(command: F) -> F:
    """Add --sign-key and --password-file, passed to the command by name."""
    command = click.option(
        "--password-file",
        type=click.Path(),
        help="File whose first line is the password of the secret key; without it you are asked.",
    )(command)
    return click.option(
        "--sign-key",
        type=click.Path(),
        envvar="DLSKIT_SIGN_KEY",
        show_envvar=True,
        help="Sign with this secret key of minisign.",
    )(command)


def secret_key(path: str, password_file: str | None) -> SecretKey:
    """Return the secret key in a file, after asking for its password where it has one."""
    from dlskit import minisign  # noqa: PLC0415
    from dlskit.files import printable, read_file  # noqa: PLC0415

    data = read_file(path, minisign.LARGEST, "give the path of a secret key; " + minisign.KEY_HINT)
    return minisign.parse_secret_key(data, printable(path), _password(path, password_file))


def public_key(path: str) -> PublicKey:
    """Return the public key in a file."""
    from dlskit import minisign  # noqa: PLC0415
    from dlskit.files import printable, read_file  # noqa: PLC0415

    data = read_file(path, minisign.LARGEST, "give the path of a public key; " + minisign.KEY_HINT)
    return minisign.parse_public_key(data, printable(path))


def _password(key: str, file: str | None) -> Callable[[], str]:
    from dlsctl.problems import Refused  # noqa: PLC0415
    from dlskit.files import printable, read_file  # noqa: PLC0415

    def ask() -> str:
        if file:
            hint = "give the path of a file whose first line is the password"
            lines = read_file(file, PASSWORD_LIMIT, hint).splitlines()
            try:
                return lines[0].decode() if lines else ""
            except UnicodeDecodeError:
                raise Refused(printable(file), "must be UTF-8 text", "other bytes", hint) from None
        if not sys.stdin.isatty():
            hint = "give the path of a file whose first line is the password"
            raise Refused("--password-file", "must be given where there is no terminal to ask on", None, hint)
        answer: str = click.prompt(f"Password of {printable(key)}", hide_input=True, err=True)
        return answer

    return ask
