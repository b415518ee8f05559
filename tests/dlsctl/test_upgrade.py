"""Upgrade and rollback: the new release whole and running, or the old one as it was."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dlsctl.host import wait_until
from dlsctl.installation import Installation
from dlsctl.journal import locked
from dlsctl.problems import EXIT_BLOCKED, EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EXIT_UNHEALTHY, Problem
from dlsctl.processes import is_running, server_age
from dlsctl.store import backups
from dlsctl.upgrade import FRESH, Order, record_upgrade, require_upgradable, roll_back, upgrade, upgrades
from tests.dlsctl import tiny
from tests.dlsctl.conftest import LINE, Site
from tests.dlsctl.program import program
from tests.dlsctl.replacing import replace
from tests.dlsctl.test_backup import tree


@pytest.fixture
def running(site: Site) -> Site:
    site.deploy()
    (site.release / "licence.dat").write_text("precious")
    return site


@pytest.fixture
def ready(no_server: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A server that is never started and counts as healthy: for what is refused before anything is done."""
    no_server.install()
    no_server.apply()
    (no_server.release / "licence.dat").write_text("precious")
    replace(monkeypatch, "portal_error", lambda *_: None)
    replace(monkeypatch, "is_running", lambda _: True)
    return no_server


def refusal(site: Site, **changes: Any) -> str:
    """What an upgrade is refused with; empty where it would be made."""
    wanted = order(site, changes.pop("version", "2.4.12"))._replace(**changes)
    try:
        require_upgradable(site.installation, "2.4.11", wanted)
    except Problem as problem:
        return str(problem)
    return ""


def words(site: Site, version: str = "2.4.12", *more: str, **archive: Any) -> list[str]:
    """The command line of an upgrade to an archive that is built for it."""
    path = tiny.build(site.root, version, **archive)
    facts = json.dumps(LINE)
    return [str(path), f"--sha256={tiny.sha256(path)}", f"--version={version}", f"--line={facts}", *more]


def order(site: Site, version: str = "2.4.12", **archive: Any) -> Order:
    path = tiny.build(site.root, version, **archive)
    return Order(str(path), tiny.sha256(path), version, LINE, acknowledged=True)


def versions(site: Site) -> list[str]:
    return sorted(path.name for path in (site.home / "releases").iterdir() if not path.name.startswith("."))


def as_before(site: Site) -> None:
    """The old release is in use, whole and running, with its state, and nothing is half done."""
    assert site.ask("status")["version"] == "2.4.11"
    assert site.ask("status")["healthy"]
    assert (site.release / "licence.dat").read_text() == "precious"
    assert versions(site) == ["2.4.11"]
    assert not (site.home / "kit/journal.json").exists()
    assert not (site.home / "releases/.next").exists()


def test_upgrade_carries_the_state_and_backs_it_up(running: Site) -> None:
    site = running
    answer = json.loads(site.call("upgrade", *words(site), "--acknowledge", "--json").stdout)
    new = site.home / "releases/2.4.12"
    assert site.ask("status")["version"] == "2.4.12"
    assert (new / "licence.dat").read_text() == "precious"
    assert (new / "data/store.log").read_text() == "started\nstarted\n"
    assert answer["outage"] < 5
    assert backups(site.installation)[-1].manifest["version"] == "2.4.11"
    assert upgrades(site.installation)[-1]["backup"] == backups(site.installation)[-1].name


def test_invariant_14_old_release_is_byte_identical_afterwards(running: Site) -> None:
    site = running
    site.call("stop")
    before = tree(site.release)
    site.call("start")
    site.call("upgrade", *words(site), "--acknowledge")
    after = tree(site.release)
    assert after.pop("data/store.log")[3] == before.pop("data/store.log")[3] + b"started\n"
    assert after == before


def test_invariant_18_same_version_is_nothing(running: Site) -> None:
    age = server_age(running.installation)
    done = running.call("upgrade", *words(running, "2.4.11"), "--acknowledge", "--json")
    assert json.loads(done.stdout)["changed"] is False
    assert server_age(running.installation) >= age  # type: ignore[operator]


def test_invariant_18_older_version_is_refused(ready: Site) -> None:
    told = refusal(ready, version="2.4.9")
    assert "must not be older than 2.4.11, got 2.4.9" in told
    assert "dlsctl rollback" in told


def test_versions_are_compared_as_numbers(ready: Site) -> None:
    assert refusal(ready, version="2.10.1") == ""


def test_invariant_18_too_little_disk_is_refused_first(ready: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "free_bytes", lambda _: 10 << 20)
    assert re.search(r"must have \d+ MiB free, got 10 MiB", refusal(ready))


def test_upgrade_must_be_acknowledged(running: Site) -> None:
    done = running.call("upgrade", *words(running), check=False)
    assert (done.returncode, "usually has to be issued anew" in done.stderr) == (EXIT_REFUSED, True)
    as_before(running)


def test_archive_of_another_content_is_refused(ready: Site) -> None:
    assert "must have SHA-256" in refusal(ready, sha256="0" * 64)


def test_server_that_is_not_healthy_is_refused(ready: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "is_running", lambda _: False)
    assert "before it is upgraded, got it is stopped" in refusal(ready)


def test_host_whose_identity_has_changed_is_refused(ready: Site) -> None:
    path = ready.home / "kit/identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"machine_id_sha256": "0" * 64}))
    assert refusal(ready).startswith("machine_id_sha256: must stay 0000")


@pytest.mark.parametrize(
    "before",
    [
        "raise SystemExit(1)",
        pytest.param("time.sleep(60)", marks=pytest.mark.slow),
        pytest.param("sys.exit(0)", marks=pytest.mark.slow),
    ],
)
def test_invariant_16_no_health_brings_the_old_release_back(running: Site, before: str) -> None:
    running.configure(health_timeout=2)
    done = running.call("upgrade", *words(running, before=before), "--acknowledge", check=False)
    assert done.returncode == EXIT_UNHEALTHY
    assert done.stderr.endswith("Release 2.4.11 is in use as before, with the state that it had.\n")
    as_before(running)
    assert (running.home / "releases/.failed-2.4.12/licence.dat").exists()


@pytest.mark.slow
def test_failed_upgrade_can_be_made_again(running: Site) -> None:
    running.configure(health_timeout=2)
    running.call("upgrade", *words(running, before="raise SystemExit(1)"), "--acknowledge", check=False)
    running.call("upgrade", *words(running), "--acknowledge")
    assert running.ask("status")["version"] == "2.4.12"


def test_backup_that_fails_brings_the_old_release_back(running: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "pack")

    replace(monkeypatch, "save_release", full)
    with locked(running.installation), pytest.raises(OSError, match="No space"):
        upgrade(running.installation, order(running))
    monkeypatch.undo()
    as_before(running)


def fail_after_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    def recorded(inst: Installation, facts: Any, *done: Any) -> None:
        record_upgrade(inst, facts, *done)
        if done:
            raise OSError(5, "Input/output error", "upgrades.json")

    replace(monkeypatch, "record_upgrade", recorded)


def test_upgrade_that_fails_after_it_was_recorded_is_recorded_no_more(
    running: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_after_recording(monkeypatch)
    with locked(running.installation), pytest.raises(OSError, match="Input/output"):
        upgrade(running.installation, order(running))
    monkeypatch.undo()
    as_before(running)
    assert upgrades(running.installation) == []


def test_rollback_that_fails_after_it_was_recorded_can_be_made_again(
    running: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.call("upgrade", *words(running), "--acknowledge")
    fail_after_recording(monkeypatch)
    with locked(running.installation), pytest.raises(OSError, match="Input/output"):
        roll_back(running.installation)
    monkeypatch.undo()
    assert running.ask("version")["version"] == "2.4.12"
    running.call("rollback")
    assert running.ask("status")["version"] == "2.4.11"
    assert [done["new"] for done in upgrades(running.installation)] == ["2.4.12", "2.4.11"]


@pytest.mark.slow
def test_invariant_17_failed_rollback_blocks_and_says_what_to_do(
    running: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = running
    site.configure(health_timeout=2)
    port = site.settings["port"]
    # The new release leaves something behind that keeps the old one from its port.
    hog = (
        "import os, socket\n"
        "if os.fork() == 0:\n"
        "    os.setsid(); os.chdir('/')\n"
        f"    os.execvp('python3', ['python3', '-m', 'http.server', '{port}', '--bind', '0.0.0.0'])\n"
        "raise SystemExit(1)"
    )
    done = site.call("upgrade", *words(site, before=hog), "--acknowledge", check=False)
    assert done.returncode == EXIT_BLOCKED, done.stderr
    assert "must be gone before anything else is begun" in done.stderr
    assert "the upgrade had failed" in done.stderr
    assert site.call("backup", check=False).returncode == EXIT_BLOCKED
    assert (
        "must be gone: it is left by an interrupted run, got upgrade, begun" in site.call("status", check=False).stdout
    )
    subprocess.run(["fuser", "-k", f"{port}/tcp"], check=False, capture_output=True)
    time.sleep(0.3)
    site.call("start")
    as_before(site)


def test_fresh_policy_leaves_the_state_behind(running: Site) -> None:
    running.call("upgrade", *words(running), "--acknowledge", "--state=fresh")
    new = running.home / "releases/2.4.12"
    assert not (new / "licence.dat").exists()
    assert (running.release / "licence.dat").exists()


def test_fresh_policy_is_refused_while_others_reach_the_server(ready: Site) -> None:
    assert refusal(ready, policy=FRESH) == ""
    ready.configure(allowed_networks=["any", "localhost"])
    assert "must be closed to all but this host" in refusal(ready, policy=FRESH)
    ready.configure(allowed_networks=["localhost"])
    Path(ready.settings["proxy"]).write_text("geo $dls_portal {}")
    assert "lets administrators to the portal" in refusal(ready, policy=FRESH)


def test_vendor_file_that_was_changed_and_differs_in_the_new_release_is_a_conflict(ready: Site) -> None:
    with (ready.release / "startup.sh").open("a") as stream:
        stream.write("# by hand\n")
    assert refusal(ready).startswith("startup.sh: must be as the old archive has it")


def test_vendor_file_that_was_changed_and_is_alike_in_both_releases_is_carried(running: Site) -> None:
    (running.release / "dls.json.sample").write_text("{}")
    (running.release / "linux/bin/dynamsoftdlsx").chmod(0o700)
    running.call("upgrade", *words(running), "--acknowledge")
    new = running.home / "releases/2.4.12"
    assert (new / "dls.json.sample").read_text() == "{}"
    assert (new / "linux/bin/dynamsoftdlsx").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_vendor_file_that_was_removed_stays_removed(running: Site) -> None:
    (running.release / "dls.json.sample").unlink()
    running.call("upgrade", *words(running), "--acknowledge")
    assert not (running.home / "releases/2.4.12/dls.json.sample").exists()


def test_rollback_brings_back_the_release_with_the_state_it_had(running: Site) -> None:
    running.call("upgrade", *words(running), "--acknowledge")
    new = running.home / "releases/2.4.12"
    (new / "since.dat").write_text("written since")
    done = running.call("rollback")
    assert running.ask("status")["version"] == "2.4.11"
    assert (running.release / "licence.dat").read_text() == "precious"
    newest = backups(running.installation)[-1]
    assert newest.name in done.stdout
    assert "since.dat" in {entry["path"] for entry in newest.manifest["sections"]["release"]}
    assert (new / "since.dat").exists()


@pytest.mark.slow
def test_upgrade_after_a_rollback_keeps_the_tree_that_was_there(running: Site) -> None:
    running.call("upgrade", *words(running), "--acknowledge")
    (running.home / "releases/2.4.12/since.dat").write_text("written since")
    running.call("rollback")
    running.call("upgrade", *words(running), "--acknowledge")
    assert not (running.home / "releases/2.4.12/since.dat").exists()
    kept = next((running.home / "releases").glob(".replaced-*-2.4.12"))
    assert (kept / "since.dat").read_text() == "written since"


@pytest.mark.slow
def test_rollback_does_not_go_to_a_release_that_was_left_by_one(running: Site) -> None:
    running.call("upgrade", *words(running), "--acknowledge")
    running.call("upgrade", *words(running, "2.4.13"), "--acknowledge")
    running.call("rollback")
    assert running.ask("version")["version"] == "2.4.12"
    running.call("rollback", "--undo")
    assert running.ask("version")["version"] == "2.4.13"
    running.call("rollback")
    running.call("rollback", "--to=2.4.11")
    assert running.ask("version")["version"] == "2.4.11"
    done = running.call("rollback", "--to=2.4.10", check=False)
    assert "must have the release before the last upgrade" in done.stderr
    running.call("rollback", "--undo")
    assert "must come right after a rollback" in running.call("rollback", "--undo", check=False).stderr


@pytest.mark.slow
def test_rollback_goes_to_the_version_that_is_named_and_is_made_once(running: Site) -> None:
    for version in ("2.4.12", "2.4.13"):
        running.call("upgrade", *words(running, version), "--acknowledge")
    for to, version in ((), "2.4.12"), ((), "2.4.12"), (("--to=2.4.11",), "2.4.11"), (("--to=2.4.11",), "2.4.11"):
        running.call("rollback", *to)
        assert running.ask("status")["version"] == version
    assert running.ask("rollback")["changed"] is False


def test_rollback_to_a_version_that_was_not_in_use_before_is_refused(running: Site) -> None:
    running.call("upgrade", *words(running), "--acknowledge")
    done = running.call("rollback", "--to=2.4.10", check=False)
    assert (done.returncode, "must go to 2.4.11, which was in use before, got 2.4.10" in done.stderr) == (
        EXIT_REFUSED,
        True,
    )


def test_rollback_without_an_upgrade_before_is_refused(running: Site) -> None:
    done = running.call("rollback", check=False)
    assert (done.returncode, "restore a backup instead" in done.stderr) == (EXIT_REFUSED, True)


@pytest.mark.slow
def test_rollback_to_a_release_that_does_not_start_any_more_goes_forward_again(running: Site) -> None:
    running.configure(health_timeout=2)
    running.call("upgrade", *words(running), "--acknowledge")
    (running.release / "dls-2.4.11.jar").write_text("raise SystemExit(1)")
    assert running.call("rollback", check=False).returncode == EXIT_UNHEALTHY
    assert running.ask("status")["version"] == "2.4.12"
    assert running.ask("status")["healthy"]


@pytest.mark.slow
def test_releases_and_archives_that_nothing_needs_are_removed(running: Site) -> None:
    running.call("upgrade", *words(running), "--acknowledge")
    running.call("upgrade", *words(running, "2.4.13"), "--acknowledge")
    running.call("prune-releases")
    assert versions(running) == ["2.4.12", "2.4.13"]
    assert len(list((running.home / "archives").iterdir())) == 3  # the backups need them
    shutil.rmtree(running.root / "backups")
    running.call("prune-releases", "--keep=0")
    assert versions(running) == ["2.4.13"]
    assert len(list((running.home / "archives").iterdir())) == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_work_goes_on_when_whoever_asked_for_it_is_gone(running: Site, number: signal.Signals) -> None:
    command = [sys.executable, str(program()), "upgrade", "--config", str(running.config), *words(running)]
    asking = subprocess.Popen([*command, "--acknowledge"], start_new_session=True, stdout=subprocess.PIPE)
    journal = running.home / "kit/journal.json"
    assert wait_until(journal.exists, 20)
    asking.send_signal(number)
    asking.wait(10)
    done = running.call("outcome", "--wait=20")
    assert "2.4.11 became 2.4.12" in done.stdout
    assert running.ask("status")["version"] == "2.4.12"


def test_outcome_of_a_failure_is_that_failure(running: Site) -> None:
    running.call("upgrade", *words(running), check=False)
    done = running.call("outcome", check=False)
    assert (done.returncode, "must be acknowledged" in done.stderr) == (EXIT_REFUSED, True)


@pytest.mark.slow
def test_data_port_is_that_of_the_release_in_use_unless_one_is_chosen(running: Site) -> None:
    running.configure(data_port=None)
    assert running.ask("status")["data_port"] == 30201
    path = tiny.build(running.root, "2.4.12")
    facts = json.dumps(LINE | {"data_port": 40201})
    command = [str(path), f"--sha256={tiny.sha256(path)}", "--version=2.4.12", f"--line={facts}", "--acknowledge"]
    running.call("upgrade", *command)
    assert running.ask("status")["data_port"] == 40201
    running.call("rollback")
    assert running.ask("status")["data_port"] == 30201
    assert is_running(running.installation)


@pytest.mark.parametrize(
    ("call", "code", "version"), [("unpack_release", EXIT_FAILED, "2.4.11"), ("come_up", EXIT_OK, "2.4.12")]
)
def test_outcome_of_a_run_that_the_power_ended_is_told_by_whoever_recovers_it(
    running: Site, call: str, code: int, version: str
) -> None:
    lose_power(running, call, "first")
    assert running.call("outcome", "--run=first", check=False).returncode == EXIT_REFUSED
    assert "what an interrupted upgrade had left" in running.call("recover").stdout
    running.call("backup", "--run=second")
    done = running.call("outcome", "--run=first", "--json", check=False)
    assert done.returncode == code, done.stderr
    assert running.ask("status")["version"] == version
    if code:
        assert "upgrade: must run to its end, got killed" in done.stderr
        assert "what it had begun is undone; run the same again" in done.stderr
    else:
        answer = json.loads(done.stdout)
        assert (answer["old"], answer["new"], answer["changed"]) == ("2.4.11", "2.4.12", True)
        assert answer["backup"] in [path.name for path in (running.root / "backups").iterdir()]
    assert running.call("outcome", "--run=second").returncode == EXIT_OK


def test_outcome_of_a_run_that_could_not_be_finished_says_why(running: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_power(running, "come_up", "first")

    def fails(_: object) -> None:
        raise Problem("health", "must answer", "nothing")

    inst = running.installation
    with monkeypatch.context() as patch:
        replace(patch, "confirm_sight", fails)
        with locked(inst):
            pass
    assert inst.current_version() == "2.4.11"
    done = running.call("outcome", "--run=first", check=False)
    assert (
        "upgrade: must run to its end, got killed, and could not be finished: health: must answer, got nothing"
        in done.stderr
    )


def lose_power(site: Site, call: str, name: str) -> None:
    """Upgrade in a run of this name, which ends with all processes of the server where it calls that function."""
    child = os.fork()
    if child == 0:
        replace(pytest.MonkeyPatch(), call, lambda *_: os._exit(9))
        inst = site.installation
        inst.run_name = name
        with locked(inst):
            upgrade(inst, order(site, "2.4.12"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    site.kill()
