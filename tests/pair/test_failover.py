"""A pair in the lab under a real client loop: who answers, when the main goes and when it comes back.

Runs in the Molecule scenario pair, on hosts that are installed: lab-main, lab-standby and lab-client.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.checkout import play
from tests.checkout.paths import ROOT
from tests.checkout.site import archive_variables
from tests.lab import engine, hosts

CLIENT = Path(__file__).with_name("client.py")
RATE = 20  # calls a second
# Seconds until the standby has noticed that the main is gone. The stand-in's asks every second and waits two for an
# answer; the vendor's is not documented. Until then it refuses clients: they were answered, but by no licence.
NOTICE = 8
SILENCE = 15  # seconds that a client waits for a connection whose packets are dropped
BOOT = 120  # seconds for a host to boot and its server to get healthy


class Call(NamedTuple):
    """A line of the client."""

    began: float
    took: float
    who: str
    main: str
    standby: str


class Pair:
    """The three hosts of the scenario."""

    def __init__(self) -> None:
        self.lab = hosts.Lab(os.environ.get("MOLECULE_SCENARIO_NAME", "pair"))
        self.hosts = {host.name: host for host in hosts.read_hosts(self.lab)}
        # The URLs that the servers themselves were given.
        self.main_url: str = json.loads(self.shell("lab-standby", "cat /etc/dls/dls.json"))["servers"][0]
        self.standby_url: str = json.loads(self.shell("lab-main", "cat /etc/dls/dls.json"))["servers"][1]
        subprocess.run(self.ssh("lab-client", "cat > /tmp/client.py"), input=CLIENT.read_bytes(), check=True)

    def shell(self, name: str, command: str) -> str:
        """Run a command as root on a host; returns its output."""
        done = subprocess.run(self.ssh(name, f"sudo {command}"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ssh(self, name: str, command: str) -> list[str]:
        return hosts.ssh_command(self.lab, self.hosts[name], command)

    def call(self, main: str, standby: str) -> Call:
        """One call of the client."""
        return read(self.shell("lab-client", f"python3 /tmp/client.py {main} {standby}"))

    def release(self, name: str) -> tuple[float, str]:
        """When a host was given the release that is in use, and its folder."""
        when, folder = self.shell(name, "sh -c 'stat -c %Y /opt/dls/current; readlink /opt/dls/current'").split()
        return float(when), folder

    def verify(self) -> play.Result:
        return play.run("verify", self.lab.inventory, quiet=True, environment={"ANSIBLE_NOCOLOR": "true"})


def read(line: str) -> Call:
    began, took, who, main, standby = line.split()
    return Call(float(began), float(took), who, main, standby)


class Loop:
    """The calls of a running client loop, as they are answered."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def wait(self, who: str, since: float, seconds: float) -> Call:
        """The first call, of those begun after a time, that got its answer from `who`; fails after so many seconds."""
        return until(
            lambda: next((call for call in self.calls if call.who == who and call.began > since), None), seconds
        )

    def count(self, who: str) -> int:
        return sum(call.who == who for call in self.calls)

    def __str__(self) -> str:
        seconds = max(call.began for call in self.calls) - min(call.began for call in self.calls)
        counts = ", ".join(f"{self.count(who)} {who}" for who in ("main", "standby", "refused", "nobody"))
        return f"{len(self.calls)} calls in {seconds:.1f} s: {counts}"


def until(find: Callable[[], Call | None], seconds: float) -> Call:
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, f"nothing within {seconds} s"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


@contextmanager
def loop(pair: Pair) -> Iterator[Loop]:
    """A client loop on lab-client, whose calls are all over at the end."""
    running = Loop()
    command = pair.ssh("lab-client", f"python3 /tmp/client.py {pair.main_url} {pair.standby_url} {RATE}")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stdin, lines = process.stdin, process.stdout
        assert stdin is not None
        assert lines is not None
        reader = threading.Thread(target=lambda: running.calls.extend(map(read, lines)))
        reader.start()
        try:
            yield running
        finally:
            stdin.close()
            reader.join()


def test_while_the_main_is_up_clients_get_their_answer_from_it(pair: Pair) -> None:
    call = pair.call(pair.main_url, pair.standby_url)
    assert (call.who, call.main, call.standby) == ("main", "error101", "-")


def test_while_the_main_is_up_the_standby_answers_error_100(pair: Pair) -> None:
    assert pair.call(pair.standby_url, pair.standby_url).standby == "error100"
    assert json.loads(pair.shell("lab-standby", "/usr/local/sbin/dlsctl status --json"))["refuses_clients"] is True
    assert json.loads(pair.shell("lab-main", "/usr/local/sbin/dlsctl status --json"))["refuses_clients"] is False


def test_the_verify_playbook_finds_nothing_wrong(pair: Pair) -> None:
    done = pair.verify()
    assert done.code == 0, done.output


def test_every_call_is_answered_while_the_main_is_stopped_and_started(pair: Pair) -> None:
    with loop(pair) as running:
        before = running.wait("main", 0, 10)
        time.sleep(2)
        stop = time.time()
        pair.shell("lab-main", "/usr/local/sbin/dlsctl stop")
        taken_over = running.wait("standby", stop, NOTICE)
        time.sleep(2)
        pair.shell("lab-main", "/usr/local/sbin/dlsctl start")
        back = running.wait("main", taken_over.began, 10)
        time.sleep(2)
        end = time.time()
        running.wait("main", end, 10)
    print(running)
    assert len(running.calls) / (end - before.began) > RATE / 2, "the loop must call often enough to prove something"
    assert [call for call in running.calls if call.who == "nobody"] == []
    # Tolerated: until the standby has noticed, and when the main comes up between a call's two questions.
    refused = [call.began for call in running.calls if call.who == "refused"]
    assert [t for t in refused if not (stop - 1 <= t <= taken_over.began + 1 or abs(t - back.began) <= 1)] == []
    served = {call.who for call in running.calls if taken_over.began + 1 < call.began < back.began - 1}
    assert served == {"standby"}
    assert {call.who for call in running.calls if call.began > back.began + 1} == {"main"}


def test_the_standby_answers_when_the_main_s_host_is_lost_no_later_than_a_client_waits(pair: Pair) -> None:
    container = engine.connect().containers.get(pair.hosts["lab-main"].container)
    with loop(pair) as running:
        running.wait("main", 0, 10)
        lost = time.time()
        try:
            container.kill()
            first = running.wait("standby", lost, SILENCE + NOTICE)
            print(f"first answer of the standby {first.began + first.took - lost:.1f} s after the loss")
            time.sleep(3)
        finally:
            container.start()
        back = running.wait("main", first.began, BOOT)
        time.sleep(3)
    print(running)
    assert running.count("nobody") == 0
    up = back.began + back.took
    assert {call.who for call in running.calls if call.began > up + 1} == {"main"}


def test_a_standby_that_does_not_reach_its_main_is_reported(pair: Pair) -> None:
    address = pair.hosts["lab-main"].address
    pair.shell("lab-standby", f"ip route add unreachable {address}")
    try:
        until(lambda: call if (call := pair.call(pair.standby_url, pair.standby_url)).who == "main" else None, NOTICE)
        text = " ".join(pair.verify().output.split())
    finally:
        pair.shell("lab-standby", f"ip route del unreachable {address}")
    assert "standby: must refuse clients with error 100 while the main works, got error 101 HINT: the standby" in text
    assert f"must reach {pair.main_url}: from this host it gives [Errno 113] No route to host; check dls" in text
    call = until(
        lambda: call if (call := pair.call(pair.standby_url, pair.standby_url)).who == "refused" else None, NOTICE
    )
    assert call.standby == "error100"


def test_a_pair_that_pyinfra_upgrades_and_rolls_back_answers_every_call(pair: Pair) -> None:
    with loop(pair) as running:
        first = running.wait("main", 0, 10)
        deploy(pair, "upgrade", {**archive_variables("2.4.12"), "dls_server_upgrade_acknowledged": True})
        upgraded = [pair.release(name) for name in ("lab-standby", "lab-main")]
        deploy(pair, "rollback", archive_variables())
        last = running.wait("main", time.time(), NOTICE)
    print(running)
    assert [release.rpartition("/")[2] for _, release in upgraded] == ["2.4.12", "2.4.12"]
    assert upgraded[0][0] < upgraded[1][0], "the standby goes first"
    assert len(running.calls) / (last.began - first.began) > RATE / 2
    assert running.count("nobody") == 0
    assert running.count("standby") > 0


def deploy(pair: Pair, name: str, variables: Mapping[str, object]) -> None:
    """Run a deploy by pyinfra on the pair."""
    inventory, extra = str(pair.lab.inventory), json.dumps(variables)
    command = [sys.executable, "-P", "-m", "dlskit", "deploy", name, "-i", inventory, "-e", extra]
    path = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
