"""A password of sudo or su goes to it on standard input, and is in no command line of either machine."""

from typing import Any

import pytest
from pyinfra.api import Config, Host, Inventory, State, StringCommand
from pyinfra.api.connect import connect_all
from pyinfra.api.state import StateStage
from pyinfra.connectors import local
from pyinfra.connectors.util import CommandOutput, OutputLine

from deploys import remote

CANARY = "open-sesame-5c1d"
SUDO = {"_sudo": True, "_sudo_password": CANARY}
SU = {"_su_user": "root", "_su_password": CANARY}


class Shell:
    """A shell that runs nothing; `ran` is each command with its standard input."""

    def __init__(self, *, asks: bool) -> None:
        self.asks, self.ran = asks, list[tuple[str, Any]]()

    def run(self, command: str, stdin: Any = None, **options: Any) -> tuple[int, CommandOutput]:
        self.ran.append((command, stdin))
        said = "1000" if command == "sh -c 'id -u'" and self.asks else "0"
        return int(self.asks and " -n " in command), CommandOutput([OutputLine("stdout", line) for line in ("", said)])


def reach(shell: Shell, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(local, "run_local_process", shell.run)
    state = State(Inventory(([("@local", data)], {})), Config())
    state.set_stage(StateStage.Connect)
    connect_all(state)
    (host,) = state.inventory
    return host


@pytest.mark.parametrize("data", [SUDO, SU], ids=["sudo", "su"])
def test_the_password_is_the_first_line_that_is_read(data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell(asks=True)
    host = reach(shell, data, monkeypatch)
    remote.run(host, ["cat"], "document")
    host.run_shell_command(StringCommand("true"), **data)  # as an operation of pyinfra's does
    assert [command for command, _ in shell.ran if CANARY in command] == []
    assert [stdin for _, stdin in shell.ran[-2:]] == [[CANARY, "document"], [CANARY]]


@pytest.mark.parametrize("data", [SUDO, SU], ids=["sudo", "su"])
def test_a_command_that_asks_for_none_does_not_read_it(data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell(asks=False)
    remote.run(reach(shell, data, monkeypatch), ["cat"], "document")
    assert shell.ran[-1][1] == "document"
    assert [command for command, _ in shell.ran if CANARY in command] == []
