"""Copies to a host: the calls that a connection gets, by a connection that keeps them."""

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyinfra.api import Host
from pyinfra.connectors.util import CommandOutput, OutputLine

from deploys import copies

FOLDER = "/tmp/tmp.x1"  # what mktemp says
AS_ROOT: Any = {"_sudo": True, "_sudo_password": "p"}


class Connector:
    """Keeps what it is asked; its connection ends at a copy where `lost` is true."""

    def __init__(self, lost: bool) -> None:
        self.lost, self.done = lost, list[str]()

    def run_shell_command(self, command: Any, *shown: bool, **arguments: Any) -> tuple[bool, CommandOutput]:
        self.done.append(("root: " if "_sudo" in arguments else "") + str(command))
        return True, CommandOutput([OutputLine("stdout", FOLDER)])

    def put_file(self, source: Any, target: str, *others: Any, **arguments: Any) -> bool:
        assert not arguments
        self.done.append(f"put {target}")
        if self.lost:
            raise EOFError
        return True


def host_of(connector: Connector) -> Host:
    host = cast(Host, SimpleNamespace(connector=connector, connector_data={}))
    copies.guard(host)
    copies.guard(host)  # as before each command
    return host


def test_root_copies_from_a_folder_of_its_own_that_is_then_removed() -> None:
    connector = Connector(lost=False)
    assert host_of(connector).connector.put_file(io.StringIO(), "/etc/a b", **AS_ROOT)
    copied = f"root: cp -- {FOLDER}/copy '/etc/a b'"
    assert connector.done == ["mktemp -d", f"put {FOLDER}/copy", copied, f"rm -rf {FOLDER}"]


def test_who_is_root_already_copies_at_once() -> None:
    connector = Connector(lost=False)
    assert host_of(connector).connector.put_file(io.StringIO(), "/etc/a")
    assert connector.done == ["put /etc/a"]


def test_what_a_lost_copy_has_left_is_removed_once_the_host_answers() -> None:
    connector = Connector(lost=True)
    host = host_of(connector)
    with pytest.raises(OSError, match="the connection was lost"):
        host.connector.put_file(io.StringIO(), "/etc/a", **AS_ROOT)
    assert connector.done == ["mktemp -d", f"put {FOLDER}/copy"]
    for _ in range(2):
        copies.clean(host)
    assert connector.done[2:] == [f"rm -rf {FOLDER}"]
