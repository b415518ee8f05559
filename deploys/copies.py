"""Copies go to a host by way of a folder that nobody else can enter.

pyinfra's own way for root is a name in /tmp that can be foreseen: whoever made that file first could change what root
copies from it. It also wants access control lists for su, and is not prepared for the end of the connection.
"""

from __future__ import annotations

import contextlib
from typing import Any

from paramiko import SSHException
from pyinfra.api import Host, QuoteString, StringCommand
from pyinfra.api.arguments import auth_argument_meta

LEFT = "kit_copying_in"  # the folder on a host that a copy is made by way of, while it is


def guard(host: Host) -> None:
    """Have all copies to a host, pyinfra's own too, made by way of a folder of their own."""
    if LEFT in host.connector_data:
        return
    host.connector_data[LEFT] = None
    plain = host.connector.put_file

    def put_file(
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        shown = print_output, print_input
        own = {name: value for name, value in arguments.items() if name not in auth_argument_meta}
        if own == arguments:
            return lost_is_told(plain, filename_or_io, remote_filename, remote_temp_filename, *shown, **own)
        made, lines = host.connector.run_shell_command(StringCommand("mktemp", "-d"), *shown, **own)
        if not made:
            return False
        folder = host.connector_data[LEFT] = lines.stdout.strip()
        done = lost_is_told(plain, filename_or_io, f"{folder}/copy", None, *shown, **own)
        if done:
            copy = StringCommand("cp", "--", QuoteString(f"{folder}/copy"), QuoteString(remote_filename))
            done, _ = host.connector.run_shell_command(copy, *shown, **arguments)
        clean(host)
        return done

    host.connector.put_file = put_file  # type: ignore[method-assign]


def lost_is_told(copy: Any, *words: Any, **arguments: Any) -> bool:
    """Make a copy; a connection that ends meanwhile is an error as pyinfra expects one."""
    try:
        return bool(copy(*words, **arguments))
    except EOFError as error:
        raise ConnectionError("the connection was lost") from error


def clean(host: Host) -> None:
    """Remove what a copy has left on a host, if the host can be reached."""
    folder = host.connector_data.get(LEFT)
    if folder:
        with contextlib.suppress(OSError, EOFError, SSHException):
            host.connector.run_shell_command(StringCommand("rm", "-rf", QuoteString(folder)), False, False)
            host.connector_data[LEFT] = None
