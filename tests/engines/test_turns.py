"""The turns of a pair's two hosts: whatever happens to one of them, the other one does not wait for ever."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult
from pyinfra.api import Config, Host, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state

from deploys import judge, remote, roll
from deploys.looks import Look, Wanted
from deploys.remote import Failed, Lost, Ran
from deploys.run import carry_out
from deploys.source import SERVER, Source
from deploys.steps import Steps
from tests.engines.test_deploys import AS_WANTED, CONFIG

MAIN, STANDBY = "dls1", "dls2"
PATIENCE = 5  # seconds
UPGRADE = roll.Roll("upgraded", "upgrade", roll.put_in_use, ["rollback"])
ROLLBACK = roll.Roll("rolled back", "rollback", roll.put_back, ["rollback", "--undo"])
Told = Callable[[str, str], Ran]  # what a host answers to a command


class Pair:
    """A main and its standby of release 2.4.10, which are to have 2.4.11; `done` is what each was told to do."""

    def __init__(self, archive: Path, answer: Told) -> None:
        self.answer, self.done = answer, list[str]()
        self.source = Source("none")
        fake = {"kit_source": self.source, "fake_delay": 0, "fake_delay_jitter": 0}
        hosts = [(f"@fake/{name}", {**fake, "kit_name": name}) for name in (MAIN, STANDBY)]
        self.state = State(Inventory((hosts, {})), Config())
        self.hosts = {host.data.kit_name: host for host in self.state.inventory}
        self.archive = str(archive)
        for name, mode, other in ((MAIN, "main", STANDBY), (STANDBY, "standby", MAIN)):
            for entry in ("upgrade", "rollback"):
                key = name, SERVER, entry
                self.source.looks[key] = AsyncResult()
                self.source.looks[key].set(self.look(mode, other))

    def look(self, mode: str, other: str) -> Look:
        values = {"dls_server_version": "2.4.11", "dls_server_mode": mode, "dls_server_upgrade_state": "copy"}
        wanted = {
            "look_request": {"values": values, "line": {}, "files": [], "folders": []},
            "is_paired": True,
            "pair_request": {"other": {"name": other}},
            "config_option": CONFIG,
            "command": "dlsctl",
            "archive": self.archive,
            "archive_path": "/opt/dls/archives/dls.tar.gz",
            "sha256": 64 * "0",
            "where": "",
            "dls_server_reconnect_timeout": 0,
        }
        return Look(Wanted(SERVER, wanted), {**AS_WANTED, "current": "2.4.10", "installed": ["2.4.10"]}, ())

    def looked(self, name: str) -> Look:
        found: Look = self.source.looks[name, SERVER, "upgrade"].get()
        return found

    def ask(self, host: Host, program: str, words: list[str], spec: Any = None) -> Ran:
        return self.run(host, words)

    def run(self, host: Host, words: list[str], stdin: str | None = None) -> Ran:
        verb = next(word for word in words if word != "dlsctl")
        self.done.append(f"{host.data.kit_name} {verb}")
        return self.answer(host.data.kit_name, verb)

    def upgrade(
        self, *, refused: str = "", first: Callable[[Steps], object] = lambda steps: None, kind: roll.Roll = UPGRADE
    ) -> set[str]:
        """Roll the pair; returns the hosts that failed. refused: a host that is not to be changed."""
        self.state.set_stage(StateStage.Connect)
        connect_all(self.state)
        with ctx_state.use(self.state):
            self.state.set_stage(StateStage.Prepare)
            for name, host in self.hosts.items():
                with ctx_host.use(host):
                    steps = Steps()
                    if name == STANDBY:
                        first(steps)
                    look = self.looked(name)
                    roll.roll(host, look, steps, name == STANDBY, kind)
            self.state.fail_hosts({host for name, host in self.hosts.items() if name == refused})
            self.state.set_stage(StateStage.Execute)
            with gevent.Timeout(PATIENCE):
                carry_out(self.state)
        return {host.data.kit_name for host in self.state.failed_hosts}


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Told], Pair]:
    def make(answer: Told) -> Pair:
        made = Pair(tmp_path / "dls.tar.gz", answer)
        monkeypatch.setattr(remote, "run", made.run)
        monkeypatch.setattr(remote, "ask", made.ask)
        return made

    return make


def well(name: str, verb: str) -> Ran:
    return Ran(0, '{"new": "2.4.11", "old": "2.4.10", "backup": "b", "outage": 1}', "")


def test_a_standby_goes_before_its_main(pair: Callable[[Told], Pair]) -> None:
    hosts = pair(well)
    assert hosts.upgrade() == set()
    assert [done for done in hosts.done if "upgrade" in done] == ["dls2 upgrade", "dls1 upgrade"]


def test_a_rollback_after_which_the_server_does_not_do_its_part_is_taken_back(
    pair: Callable[[Told], Pair], caplog: pytest.LogCaptureFixture
) -> None:
    hosts = pair(lambda name, verb: Ran(1, "", "ill") if verb == "health" else well(name, verb))
    assert hosts.upgrade(kind=ROLLBACK) == {MAIN, STANDBY}
    assert hosts.done[:3] == ["dls2 rollback", "dls2 health", "dls2 rollback"]
    assert "Release 2.4.10 is in use again" in caplog.text


def test_a_main_stays_as_it_is_where_its_standby_does_not_do_its_part(
    pair: Callable[[Told], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared(host: Host, look: Look, entry: str) -> dict[str, list[str]]:
        return {"parts": ["standby: must refuse clients"] if host.data.kit_name == STANDBY else []}

    monkeypatch.setattr(judge, "compared", compared)
    hosts = pair(well)
    hosts.state.set_stage(StateStage.Connect)
    connect_all(hosts.state)
    with ctx_state.use(hosts.state):
        main, standby = ([*roll.parts(hosts.hosts[name], hosts.looked(name))] for name in (MAIN, STANDBY))
    assert standby == ["standby: must refuse clients"]
    assert main[0].startswith("dls2: must be fit for this run, as the other host of dls1's pair, got a refusal")


def test_a_standby_with_more_to_do_is_waited_for(pair: Callable[[Told], Pair]) -> None:
    hosts = pair(well)
    assert hosts.upgrade(first=lambda steps: steps.do("Install packages", lambda host: None)) == set()
    assert [done for done in hosts.done if "upgrade" in done] == ["dls2 upgrade", "dls1 upgrade"]


def test_a_standby_that_fails_before_its_turn_keeps_the_main_from_its_own(pair: Callable[[Told], Pair]) -> None:
    def full(host: Host) -> None:
        raise Failed("disk: must have room, got none")

    hosts = pair(well)
    assert hosts.upgrade(first=lambda steps: steps.do("Copy the vendor archive", full)) == {MAIN, STANDBY}
    assert not any("upgrade" in done for done in hosts.done)


def test_a_standby_that_was_refused_keeps_the_main_from_its_turn(pair: Callable[[Told], Pair]) -> None:
    hosts = pair(well)
    assert hosts.upgrade(refused=STANDBY) == {MAIN, STANDBY}
    assert "dls1 upgrade" not in hosts.done


@pytest.mark.parametrize("error", [Lost("the end of the connection"), ValueError("no JSON")])
def test_a_standby_that_is_gone_in_its_turn_keeps_the_main_from_its_own(
    pair: Callable[[Told], Pair], error: Exception
) -> None:
    def answer(name: str, verb: str) -> Ran:
        if name == STANDBY:
            raise error
        return well(name, verb)

    hosts = pair(answer)
    assert hosts.upgrade() == {MAIN, STANDBY}
    assert "dls1 upgrade" not in hosts.done
