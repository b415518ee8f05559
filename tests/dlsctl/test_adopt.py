"""Adoption: a server by hand becomes the kit's with all that it has, or runs on as it did."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import dlsctl.adopt
import dlsctl.byhand
import dlsctl.mounts
from dlsctl.adopt import COPY, RENAME, Takeover, rehearse_adoption
from dlsctl.byhand import names_folder, starting_lines
from dlsctl.cli import main
from dlsctl.host import wait_until
from dlsctl.journal import Journal, locked
from dlsctl.problems import EXIT_BLOCKED, EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EXIT_UNHEALTHY, Problem
from dlsctl.processes import processes_below, server_processes
from dlsctl.service import page_error
from dlsctl.state import state
from tests.dlsctl import tiny
from tests.dlsctl.conftest import LINE, Site, free_port
from tests.dlsctl.replacing import replace
from tests.dlsctl.test_backup import tree
from tests.dlsctl.test_killed import FATAL_CALLS, dies_in_child

STEPS = ("stage", "stop", "place", "switch", "start", "save")


@dataclass
class Hand:
    """A server that was unpacked by hand, as the vendor documents it, with state of every kind."""

    site: Site
    archive: Path
    folder: Path

    @property
    def port(self) -> int:
        port: int = self.site.settings["port"]
        return port

    def start(self) -> None:
        command = ["./startup.sh"]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert wait_until(self.answers, 10)

    def answers(self) -> bool:
        return page_error(self.port, "/page/index.html") is None

    def words(self, **changes: str) -> list[str]:
        said = {"archive": str(self.archive), "sha256": tiny.sha256(self.archive), "version": "2.4.11"} | changes
        return [str(self.folder), *(f"--{name}={value}" for name, value in said.items()), f"--line={json.dumps(LINE)}"]

    def adopt(self, *words: str, **changes: str) -> int:
        """Adopt in this process; returns the exit code."""
        code: int = main(["adopt", *self.words(**changes), "--config", str(self.site.config), *words])
        return code

    def order(self) -> Takeover:
        folder = str(self.folder)
        return Takeover(folder, folder, str(self.archive), tiny.sha256(self.archive), "2.4.11", LINE)

    def refusal(self) -> str:
        try:
            rehearse_adoption(self.site.installation, self.order())
        except Problem as problem:
            return str(problem)
        return ""


@pytest.fixture
def hand(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hand]:
    monkeypatch.setattr(dlsctl.mounts, "IN_MEMORY", ())  # where tests write may be one
    monkeypatch.setattr(dlsctl.byhand, "STARTERS", (f"{site.root}/rc.local",))
    hand = Hand(site, tiny.build(site.root), site.root / "hand/dls-linux")
    unpack(hand)
    yield hand
    for pid in processes_below(str(hand.folder.parent)):
        os.kill(pid, signal.SIGKILL)


def unpack(hand: Hand) -> None:
    """Unpack as the vendor documents it: tar, chmod, and the ports edited in startup.sh."""
    shutil.rmtree(hand.folder, ignore_errors=True)
    with tarfile.open(hand.archive) as tar:
        tar.extractall(hand.folder.parent, filter="data")
    subprocess.run(["chmod", "-R", "755", str(hand.folder)], check=True)
    script = hand.folder / "startup.sh"
    script.write_text(script.read_text().replace("48080", str(hand.port)))
    for name, text in (("data/store.log", "one\n"), ("licence.dat", "precious"), ("dls.json", '{"mine": 1}')):
        (hand.folder / name).parent.mkdir(exist_ok=True)
        (hand.folder / name).write_text(text)
    (hand.folder / "data/link").symlink_to("store.log")
    (hand.folder / "dls.json.sample").unlink()
    (hand.folder / "licence.dat").chmod(0o600)
    os.utime(hand.folder / "licence.dat", ns=(1, 1_600_000_000_123_456_789))


@pytest.fixture
def running(hand: Hand) -> Hand:
    hand.start()
    return hand


def by_method(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    replace(monkeypatch, "is_renamable", lambda *_: method == RENAME)


STATE = {"data", "data/link", "data/store.log", "dls.json", "dls.json.sample", "licence.dat"}


def is_adopted(hand: Hand) -> None:
    site = hand.site
    assert site.ask("status")["healthy"]
    assert not hand.folder.exists()
    assert processes_below(str(hand.folder.parent)) == []
    assert {entry["path"] for entry in state(site.installation)} == STATE
    assert (site.release / "licence.dat").read_text() == "precious"
    assert (site.release / "licence.dat").stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert (site.release / "licence.dat").stat().st_mode & 0o777 == 0o600
    assert (site.release / "data/link").readlink() == Path("store.log")
    assert not (site.home / "kit/journal.json").exists()


def is_as_before(hand: Hand, before: dict[str, Any]) -> None:
    """The folder is where it was, and what nobody has written since is as it was."""
    grown = ("data/store.log", "data")
    now = {path: facts for path, facts in tree(hand.folder).items() if path not in grown}
    assert now == {path: facts for path, facts in before.items() if path not in grown}
    assert (hand.folder / "data/store.log").read_text().startswith("one\n")
    assert hand.site.installation.current_version() is None
    assert not (hand.site.home / "kit/journal.json").exists()
    assert server_processes(hand.site.installation) == []
    assert [path.name for path in (hand.site.home / "releases").iterdir() if path.name[0] != "."] == []


@pytest.mark.parametrize("method", [RENAME, COPY])
def test_server_by_hand_becomes_the_kits_with_all_that_it_has(
    running: Hand, method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hand = running
    by_method(monkeypatch, method)
    kept = tree(hand.folder)
    assert hand.adopt("--json") == EXIT_OK
    done = json.loads(capsys.readouterr().out)
    is_adopted(hand)
    assert (done["method"], done["changed"], done["state"]) == (method, True, 6)
    assert 0 < done["outage"] < 5
    assert (hand.site.release / "data/store.log").read_text() == "one\nstarted\nstarted\n"
    now = tree(hand.site.release)
    assert now.pop("data/store.log") != kept.pop("data/store.log")
    assert now == kept
    identity = json.loads((hand.site.home / "kit/identity.json").read_text())
    assert identity["machine_id_sha256"]
    if method == COPY:
        original = Path(done["kept"])
        assert re.fullmatch(r"dls-linux\.adopted-\d{8}T\d{6}Z", original.name)
        assert (original / "licence.dat").read_text() == "precious"
    assert hand.adopt("--json") == EXIT_OK
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert hand.site.ask("apply")["changed"] is False


def test_stopped_server_is_started(hand: Hand) -> None:
    assert hand.adopt() == EXIT_OK
    is_adopted(hand)


def test_check_changes_nothing(running: Hand, capsys: pytest.CaptureFixture[str]) -> None:
    processes, before = processes_below(str(running.folder)), tree(running.folder)
    assert running.adopt("--check") == EXIT_OK
    assert "would be taken over" in capsys.readouterr().out
    assert (processes_below(str(running.folder)), tree(running.folder)) == (processes, before)
    assert not running.site.home.exists()


def test_modes_become_those_that_the_vendor_documents_but_not_those_of_state(hand: Hand) -> None:
    (hand.folder / "linux/bin/dynamsoftdlsx").chmod(0o700)
    hand.folder.chmod(0o700)
    assert hand.adopt() == EXIT_OK
    is_adopted(hand)
    assert hand.site.release.stat().st_mode & 0o777 == 0o755


def test_what_starts_the_old_copy_is_named_and_not_shown(running: Hand, capsys: pytest.CaptureFixture[str]) -> None:
    path = running.site.root / "rc.local"
    path.write_text(f"#!/bin/sh\nPASSWORD=geheim {running.folder}/startup.sh\n# {running.folder}\n")
    running.adopt()
    told = capsys.readouterr().out
    assert f"{path}:2 starts it, too: remove that line" in told
    assert "geheim" not in told


def test_keys_of_dls_json_are_kept(running: Hand) -> None:
    servers = ["self", "http://standby/"]
    (running.site.root / "etc/dls.json").write_text(json.dumps({"servers": servers}))
    assert running.adopt() == EXIT_OK
    assert json.loads((running.site.release / "dls.json").read_text()) == {"mine": 1, "servers": servers}
    assert "dls.json" in {entry["path"] for entry in state(running.site.installation)}  # for backups and upgrades
    assert running.site.ask("apply")["changed"] is False


Spoil = Callable[[Hand], Any]
REFUSALS: list[tuple[str, Spoil, str]] = [
    ("no jar", lambda hand: (hand.folder / "dls-2.4.11.jar").unlink(), "must have dls-<version>.jar at its top"),
    (
        "two jars",
        lambda hand: (hand.folder / "dls-2.2.19.jar").write_text(""),
        "must hold one release, got dls-2.2.19.jar, dls-2.4.11.jar",
    ),
    (
        "another jar",
        lambda hand: (hand.folder / "dls-2.4.11.jar").rename(hand.folder / "dls-2.4.1.jar"),
        "must hold release 2.4.11, got dls-2.4.1.jar\nHINT: set dls_server_version to 2.4.1",
    ),
    ("jar", lambda hand: (hand.folder / "dls-2.4.11.jar").write_text("pass"), "others at dls-2.4.11.jar"),
    (
        "program",
        lambda hand: (hand.folder / "linux/jre/bin/dynamsoftdls").write_text("#!"),
        "others at linux/jre/bin/dynamsoftdls",
    ),
    ("program gone", lambda hand: (hand.folder / "linux/bin/dynamsoftdlsx").unlink(), "others at linux/bin/dyn"),
    ("script", lambda hand: (hand.folder / "startup.sh").open("a").write("ulimit\n"), "must be the vendor's but for"),
    (
        "pipe",
        lambda hand: os.mkfifo(hand.folder / "data/pipe"),
        "must hold only files, folders and links, got data/pipe",
    ),
    (
        "another server",
        lambda hand: shutil.copytree(hand.folder / "linux", hand.folder / "old/linux"),
        "must hold no other server's files, got old/linux/bin/dynamsoftdlsx",
    ),
    (
        "link to elsewhere",
        lambda hand: (hand.folder / "logs").symlink_to("/var/log"),
        "must hold all of the server: no links to elsewhere, got logs",
    ),
    (
        "link up",
        lambda hand: (hand.folder / "data/up").symlink_to("../../x"),
        "no links to elsewhere, got data/up",
    ),
    (
        "ports",
        lambda hand: hand.site.configure(port=free_port(), data_port=40201),
        "dls_server_data_port: must be 30201, as the server in",
    ),
    (
        "in use",
        lambda hand: hand.site.deploy(),
        "must hold no other installation, got 2.4.11",
    ),
    ("a file", lambda hand: shutil.rmtree(hand.folder), "must be a folder of this host"),
    (
        "the kit's",
        lambda hand: hand.site.configure(home=f"{hand.folder}/kit"),
        "must be apart from the kit's own folders",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), [refusal[1:] for refusal in REFUSALS], ids=[r[0] for r in REFUSALS])
def test_what_is_not_that_release_by_itself_is_refused_and_why(hand: Hand, spoil: Spoil, message: str) -> None:
    spoil(hand)
    assert message in hand.refusal()
    before = tree(hand.folder)
    assert hand.adopt() == EXIT_REFUSED
    assert tree(hand.folder) == before


def test_folder_above_is_told_which_was_meant(hand: Hand) -> None:
    hand.folder = hand.folder.parent
    assert f"did you mean {hand.folder}/dls-linux?" in hand.refusal()


def test_every_reason_is_told_at_once(hand: Hand) -> None:
    os.mkfifo(hand.folder / "pipe")
    (hand.folder / "dls-2.4.11.jar").write_text("pass")
    port = hand.port
    hand.site.configure(port=1)
    told = hand.refusal()
    for reason in ("others at dls-2.4.11.jar", "got pipe", f"set dls_server_port: {port}"):
        assert reason in told


def test_folder_in_memory_is_refused(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlsctl.mounts, "IN_MEMORY", ("tmpfs",))
    replace(monkeypatch, "mounts", lambda: [("/", "ext4"), (str(hand.folder.parent), "tmpfs")])
    assert "must be on a disk, got tmpfs" in hand.refusal()


def test_mount_inside_the_folder_is_refused(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "mounts", lambda: [("/", "ext4"), (f"{hand.folder}/data", "ext4")])
    assert f"must be one file system, got another one at {hand.folder}/data" in hand.refusal()


def test_folder_that_is_a_mount_is_copied(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "mounts", lambda: [("/", "ext4"), (str(hand.folder), "ext4")])
    assert rehearse_adoption(hand.site.installation, hand.order())["method"] == COPY


def test_server_that_does_not_answer_is_refused(running: Hand) -> None:
    for pid in processes_below(str(running.folder)):
        os.kill(pid, signal.SIGSTOP)
    try:
        assert "before it is taken over" in running.refusal()
    finally:
        for pid in processes_below(str(running.folder)):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("method", [RENAME, pytest.param(COPY, marks=pytest.mark.slow)])
def test_failure_gives_everything_back(running: Hand, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = running
    by_method(monkeypatch, method)
    (hand.site.root / "etc/dls.json").write_text('{"servers": ["self", "http://standby/"]}')
    (hand.folder / "linux/bin/dynamsoftdlsx").chmod(0o700)
    hand.folder.chmod(0o711)
    before = tree(hand.folder)

    def fails(*_: Any) -> None:
        assert json.loads((hand.site.release / "dls.json").read_text()).keys() == {"mine", "servers"}
        raise Problem("health", "must be good", "bad", "mend it")

    replace(monkeypatch, "confirm_sight", fails)
    assert hand.adopt() != EXIT_OK
    is_as_before(hand, before)
    assert hand.folder.stat().st_mode & 0o777 == 0o711
    assert hand.answers()
    monkeypatch.undo()
    monkeypatch.setattr(dlsctl.mounts, "IN_MEMORY", ())
    assert hand.adopt() == EXIT_OK
    assert hand.answers()


@pytest.mark.parametrize("step", ["place", "switch", "start"])
def test_full_disk_gives_everything_back(running: Hand, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = running
    (hand.site.root / "etc/dls.json").write_text('{"servers": ["self", "http://standby/"]}')
    before, original = tree(hand.folder), Journal.note

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def note(journal: Journal, **facts: Any) -> None:
        original(journal, **facts)
        if facts.get("step") == step:
            replace(monkeypatch, "write_new", full)

    monkeypatch.setattr(Journal, "note", note)
    assert hand.adopt() == EXIT_FAILED
    is_as_before(hand, before)
    assert hand.answers()


def test_server_that_gets_no_health_under_the_kit_runs_on_by_hand(
    running: Hand, capsys: pytest.CaptureFixture[str]
) -> None:
    hand = running
    hand.site.configure(launch="direct", health_timeout=3)
    before = tree(hand.folder)
    line = LINE | {"argv": ["/bin/false"]}
    words = [word if not word.startswith("--line") else f"--line={json.dumps(line)}" for word in hand.words()]
    assert main(["adopt", *words, "--config", str(hand.site.config)]) == EXIT_UNHEALTHY
    assert "must answer" in capsys.readouterr().err
    is_as_before(hand, before)
    assert hand.answers()


def test_server_that_somebody_starts_again_meanwhile_is_left_to_him(
    running: Hand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = dlsctl.adopt.place_folder

    def place(*words: Any) -> None:
        running.start()
        original(*words)

    replace(monkeypatch, "place_folder", place)
    assert running.adopt() != EXIT_OK
    assert "must stay stopped while it is taken over, got process" in capsys.readouterr().err
    assert running.answers()
    assert running.folder.is_dir()


def test_blocked_way_back_is_told_and_gone_on_with(
    running: Hand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hand = running

    def fails(*_: Any) -> None:
        hand.folder.mkdir()
        raise Problem("health", "must be good", "bad", "mend it")

    replace(monkeypatch, "confirm_sight", fails)
    assert hand.adopt() == EXIT_BLOCKED
    assert "since the server goes back to it" in capsys.readouterr().err
    hand.folder.rmdir()
    assert hand.site.call("stop").returncode == EXIT_OK
    assert hand.answers()
    assert (hand.folder / "licence.dat").read_text() == "precious"


QUICK = {("place", RENAME), ("start", RENAME)}
KILLED = [(step, method) for step in STEPS for method in (RENAME, COPY)]


@pytest.mark.parametrize(
    ("step", "method"), [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in KILLED]
)
def test_invariant_15_killed_at_any_step_the_server_runs_here_or_there_at_once(
    running: Hand, step: str, method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hand = running
    by_method(monkeypatch, method)
    before = tree(hand.folder)
    original, asking = Journal.note, os.getpid()

    def note(journal: Journal, **facts: Any) -> None:
        original(journal, **facts)
        if journal.facts["step"] == step and os.getpid() != asking:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(Journal, "note", note)
    if step in ("start", "save"):
        assert hand.adopt() == EXIT_OK
        assert "adopt was killed, and is finished by now" in capsys.readouterr().out
        is_adopted(hand)
    else:
        assert hand.adopt() == EXIT_FAILED
        assert "adopt: must run to its end, got killed\nHINT: what it had begun is undone" in capsys.readouterr().err
        is_as_before(hand, before)
    assert hand.answers()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", hand.port)) == 0
    monkeypatch.setattr(Journal, "note", original)
    assert hand.adopt() == EXIT_OK
    is_adopted(hand)


@pytest.fixture
def no_start(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> Hand:
    """The folder of a server that is never started: for what happens to files only."""
    for name, value in (("start", True), ("stop", True), ("wait_healthy", 0.0), ("is_running", False)):
        replace(monkeypatch, name, lambda *_, value=value, **__: value)
    (hand.site.root / "etc/dls.json").write_text('{"servers": ["self", "http://standby/"]}')
    return hand


@pytest.mark.slow
@pytest.mark.parametrize("method", [RENAME, COPY])
@pytest.mark.parametrize("call", FATAL_CALLS)
def test_killed_before_any_system_call_nothing_is_lost(
    no_start: Hand, call: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, inst = no_start, no_start.site.installation
    by_method(monkeypatch, method)

    def adopt() -> None:
        with locked(inst):
            dlsctl.adopt.adopt(inst, hand.order())

    number = 1
    while True:
        before = tree(hand.folder)
        died = dies_in_child(adopt, call, number)
        with locked(inst):
            pass
        at_home = hand.folder.is_dir()
        assert at_home != (inst.current_version() == "2.4.11"), f"call {number}"
        folder = hand.folder if at_home else hand.site.release
        if at_home:
            is_as_before(hand, before)
        now = tree(folder)
        for path in ("data/store.log", "licence.dat", "data/link"):
            assert now[path] == before[path], f"{path} at call {number}"
        assert json.loads((folder / "dls.json").read_text())["mine"] == 1
        if not died:
            break
        number += 1
        assert number < 500
        shutil.rmtree(hand.site.home)
        for copy in hand.folder.parent.glob("*.adopted-*"):
            shutil.rmtree(copy)
        unpack(hand)
    assert not hand.folder.is_dir()


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("cd /root/dls && ./startup.sh", True),
        ("ExecStart=/root/dls/startup.sh", True),
        ("'/root/dls'", True),
        ("/root/dls-2/startup.sh", False),
        ("/root/dls2", False),
        ("/mnt/root/dls", False),
    ],
)
def test_folder_is_named_by_its_whole_name(text: str, is_named: bool) -> None:
    assert names_folder(text, "/root/dls") is is_named


def test_lines_that_start_a_server_are_found_in_every_kind_of_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dlsctl.byhand, "STARTERS", (f"{tmp_path}/*",))
    (tmp_path / "crontab").write_text("# /opt/x\n\n@reboot root /opt/x/startup.sh\n")
    (tmp_path / "dls.service").write_text("WorkingDirectory=/opt/x\nExecStart=/opt/x/startup.sh\n")
    (tmp_path / "binary").write_bytes(b"\xff\x00/opt/y")
    (tmp_path / "link").symlink_to("crontab")
    assert starting_lines(("/opt/x", "/opt/x")) == [
        f"{tmp_path}/crontab:3",
        f"{tmp_path}/dls.service:1",
        f"{tmp_path}/dls.service:2",
    ]
