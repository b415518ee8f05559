"""Start, stop, health and what is said of them."""

import http.server
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dlsctl.identity import identity_drift, record_identity, recorded_identity
from dlsctl.launch import launch_digest
from dlsctl.problems import EXIT_DIFFERS, EXIT_FAILED, EXIT_REFUSED, EXIT_STOPPED, EXIT_UNHEALTHY
from dlsctl.processes import server_processes
from dlsctl.service import portal_error
from dlsctl.store import check, open_backup
from tests.dlsctl import tiny
from tests.dlsctl.conftest import Site

pytestmark = pytest.mark.slow  # each start is watched for a while


@pytest.mark.parametrize("launch", ["vendor", "direct"])
def test_server_starts_answers_and_stops(site: Site, launch: str) -> None:
    site.configure(launch=launch)
    site.deploy()
    status = site.ask("status")
    assert (status["version"], status["running"], status["healthy"]) == ("2.4.11", True, True)
    assert len(status["processes"]) >= 2
    assert site.call("health").returncode == 0
    assert site.ask("start") == {"changed": False, "seconds": pytest.approx(1, abs=2)}
    assert site.ask("stop") == {"changed": True}
    assert site.ask("stop") == {"changed": False}
    assert site.call("status", check=False).returncode == EXIT_STOPPED
    assert server_processes(site.installation) == []


def test_apply_of_what_is_applied_does_nothing(site: Site) -> None:
    site.deploy()
    processes = site.ask("status")["processes"]
    assert site.ask("apply") == {"changed": False, "steps": []}
    assert site.ask("status")["processes"] == processes


def test_apply_check_only_says_what_would_be_done(site: Site) -> None:
    site.install()
    steps = site.ask("apply", "--version", "2.4.11", "--check")["steps"]
    assert [step["step"] for step in steps] == ["write", "create", "create", "create", "use", "start"]
    assert not (site.home / "current").exists()


def test_apply_restarts_for_what_the_server_reads_only(site: Site) -> None:
    site.deploy()
    site.configure(health_timeout=20)
    assert site.ask("apply")["steps"] == []
    site.configure(data_port=30999)
    assert [step["step"] for step in site.ask("apply")["steps"]] == ["write", "restart"]


def test_apply_restarts_a_server_that_was_started_with_other_files_in_between(site: Site) -> None:
    (site.root / "etc/dls.json").write_text('{"servers": ["self", "http://standby/"]}')
    site.deploy()
    file = site.release / "dls.json"
    right = file.read_bytes()
    site.call("stop")
    file.write_bytes(right + b"\n")
    site.call("start", "--no-wait")
    time.sleep(1.2)
    file.write_bytes(right)
    (site.home / "kit/started.json").write_text(
        json.dumps({"digest": launch_digest(site.installation, site.installation.release())})
    )
    assert [step["step"] for step in site.ask("apply")["steps"]] == ["restart"]


def test_apply_refuses_to_change_the_version(site: Site) -> None:
    site.deploy()
    site.install(version="2.4.12")
    done = site.call("apply", "--version", "2.4.12", check=False)
    assert done.returncode == EXIT_REFUSED
    assert "must stay 2.4.11 until it is upgraded, got 2.4.12" in done.stderr


def test_server_that_never_answers_fails_with_the_last_lines_of_its_log(site: Site) -> None:
    site.configure(health_timeout=2)
    site.install(tiny.build(site.root, status=500))
    done = site.call("apply", "--version", "2.4.11", check=False)
    assert done.returncode == EXIT_UNHEALTHY
    assert "health: must answer http://127.0.0.1:" in done.stderr
    assert "got status 500" in done.stderr
    assert "the server says hello" in done.stderr


def test_server_that_dies_is_reported_before_the_deadline(site: Site) -> None:
    site.configure(health_timeout=60)
    site.install(tiny.build(site.root, before="raise SystemExit('no licence for you')"))
    begun = time.monotonic()
    done = site.call("apply", "--version", "2.4.11", check=False)
    assert done.returncode == EXIT_UNHEALTHY
    assert "got a server that ended" in done.stderr
    assert "no licence for you" in done.stderr
    assert time.monotonic() - begun < 20


def test_server_that_dies_after_its_first_answer_was_never_healthy(site: Site) -> None:
    site.install(tiny.build(site.root, before="import os, threading; threading.Timer(1, os._exit, [1]).start()"))
    assert site.call("apply", "--version", "2.4.11", check=False).returncode == EXIT_UNHEALTHY


def test_answer_of_another_process_is_not_taken_for_the_server(site: Site) -> None:
    site.deploy()
    site.call("stop")
    with http.server.ThreadingHTTPServer(("127.0.0.1", site.settings["port"]), AlwaysFine) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        error = portal_error(site.installation, site.installation.release())
        other.shutdown()
    assert error == f"an answer from process {os.getpid()}, which is not this server"


SELF = """
import socket, sys
from dlsctl.host import can_listen
from dlsctl.service import page_error
assert page_error(48080, "/") == "Connection refused"
assert can_listen(48080)
with socket.socket() as own:
    own.connect(("127.0.0.1", 48080))  # what page_error must not come to: to itself
assert not can_listen(48080), "the test proves nothing"
"""


def test_question_for_health_never_takes_the_port_of_a_server_that_does_not_listen_yet() -> None:
    """48080 is one of the ports that Linux gives to whoever connects: here it is the only one."""
    prepare = "ip link set lo up && echo 48080 48080 > /proc/sys/net/ipv4/ip_local_port_range"
    enter = ["unshare", "--net", "sh", "-c"]
    if subprocess.run([*enter, prepare], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a network namespace")
    done = subprocess.run(
        [*enter, f'{prepare} && exec "$0" -c "$1"', sys.executable, SELF], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_start_waits_for_a_port_that_an_ended_connection_still_has(site: Site) -> None:
    site.install()
    with socket.socket() as blocker:
        blocker.bind(("127.0.0.1", site.installation.server_port))  # without SO_REUSEADDR, and nobody listens
        threading.Timer(3, blocker.close).start()
        site.call("apply", "--version", "2.4.11")
    assert site.call("health").returncode == 0


class AlwaysFine(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def test_verify_names_what_is_missing_or_changed(site: Site) -> None:
    site.deploy()
    jar = site.release / "dls-2.4.11.jar"
    jar.write_bytes(jar.read_bytes() + b" ")
    (site.release / "dls.json.sample").unlink()
    done = site.call("verify", check=False)
    assert done.returncode == EXIT_DIFFERS
    assert (
        "must be as the vendor's archive has it, got \n  modified  dls-2.4.11.jar\n  removed   dls.json.sample\n"
        in done.stdout
    )
    assert "HINT: " in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_verify_leaves_the_server_its_own_folders_but_no_file_of_the_vendor(site: Site) -> None:
    site.deploy()
    nobody = pwd.getpwnam("nobody")
    os.chown(site.release / "linux", nobody.pw_uid, nobody.pw_gid)  # as a launcher does that drops its rights
    assert site.call("verify").returncode == 0
    assert "linux" in [entry["path"] for entry in site.ask("state")["state"]]
    os.chown(site.release / "dls-2.4.11.jar", nobody.pw_uid, nobody.pw_gid)
    done = site.call("verify", check=False)
    assert done.returncode == EXIT_DIFFERS
    assert "got \n  modified  dls-2.4.11.jar\n" in done.stdout


def test_health_of_a_stopped_server_says_that_it_is_stopped(site: Site) -> None:
    site.deploy()
    site.call("stop")
    done = site.call("health", check=False)
    assert done.returncode == EXIT_STOPPED
    assert "HINT: start it with: dlsctl start" in done.stderr


def test_stop_runs_the_vendor_s_own_script_where_there_is_one(site: Site) -> None:
    site.deploy()
    script = site.release / "shutdown.sh"
    script.write_text("#!/bin/sh\ntouch was-asked\n")
    script.chmod(0o755)
    site.call("stop")
    assert (site.release / "was-asked").exists()


def test_stop_kills_what_does_not_end(site: Site) -> None:
    site.configure(stop_timeout=1)
    site.deploy(before="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    site.call("stop")
    assert server_processes(site.installation) == []


def test_shell_that_stands_in_a_release_folder_is_left_alone(site: Site) -> None:
    site.deploy()
    shell = os.fork()
    if shell == 0:
        os.chdir(site.release)
        os.execv("/bin/sh", ["sh", "-c", "sleep 60; true"])  # noqa: S606
    try:
        time.sleep(0.2)
        assert shell not in server_processes(site.installation)
    finally:
        os.kill(shell, signal.SIGKILL)
        os.waitpid(shell, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start the server as another user")
def test_direct_launch_by_root_runs_as_the_configured_user(site: Site) -> None:
    site.configure(launch="direct", user="nobody")
    for folder in [site.root, *site.root.parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o055)
    site.deploy()
    nobody = pwd.getpwnam("nobody").pw_uid
    processes = server_processes(site.installation)
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in processes} == {nobody}
    assert (site.release / "data/store.log").stat().st_uid == nobody


def test_uninstall_saves_the_server_s_state_and_leaves_nothing_else(site: Site) -> None:
    site.deploy()
    saved = site.ask("uninstall")["saved"]
    backup = open_backup(saved)
    assert [entry["path"] for entry in backup.manifest["sections"]["release"]] == ["data", "data/store.log"]
    assert (backup.manifest["reason"], Path(saved).stat().st_mode & 0o777) == ("uninstall", 0o700)
    assert check(backup)
    assert not site.home.exists()


def test_uninstall_with_purge_saves_nothing(site: Site) -> None:
    site.deploy()
    assert site.ask("uninstall", "--purge")["saved"] is None
    assert list((site.root / "backups").iterdir()) == []


def test_identity_tells_when_a_recorded_label_has_changed(site: Site) -> None:
    site.deploy()
    assert site.ask("identity")["drift"] == []
    path = site.home / "kit/identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor": "another one"}))
    done = site.call("identity", check=False)
    assert done.returncode == EXIT_DIFFERS
    assert "processor: must stay another one, to which the vendor binds the licence, got " in done.stdout
    assert [change["label"] for change in site.ask("identity", "--accept")["drift"]] == []
    assert site.ask("identity")["drift"] == []


def test_identity_keeps_the_uuid_that_it_was_told_first(site: Site) -> None:
    site.deploy()
    uuid = "7FC3ECF0-FD30-27FB-8875-5EBDAA5498FF"
    site.ask("identity", "--uuid", uuid.lower())
    assert f"uuid: {uuid}" in site.call("identity").stdout
    other = uuid.replace("7", "8")
    done = site.call("identity", "--uuid", other, check=False)
    assert done.returncode == EXIT_DIFFERS
    assert f"uuid: must stay {uuid}, to which the vendor binds the licence, got {other}" in done.stdout
    answer = json.loads(site.call("identity", "--uuid", other, "--json", check=False).stdout)
    assert answer["changed"] is False
    assert answer["problems"][0].startswith(f"uuid: must stay {uuid}")
    assert site.ask("identity")["recorded"]["uuid"] == uuid
    assert site.call("identity", "--uuid", "1234", check=False).returncode == EXIT_REFUSED


def test_machine_id_that_is_gone_counts_as_changed_and_labels_that_are_not_seen_do_not(site: Site) -> None:
    site.home.joinpath("kit").mkdir(parents=True)
    known = {"machine_id_sha256": "a", "board_serial_sha256": "b", "processor": "c", "uuid": "d", "mac": {"eth0": "e"}}
    record_identity(site.installation, known)
    drift = identity_drift(site.installation, dict.fromkeys(known))
    assert drift == [{"label": "machine_id_sha256", "was": "a", "now": "none"}]
    for label in known:
        (change,) = identity_drift(site.installation, known | {label: {"eth0": "x"} if label == "mac" else "x"})
        assert change["label"] == label


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ({"eth0": "02:00:00:00:00:01"}, {"eth0": "02:00:00:00:00:01", "eth1": "02:00:00:00:00:02"}, []),
        ({"eth0": "02:00:00:00:00:01"}, {"eth0": "02:00:00:00:00:02"}, ["eth0 02:00:00:00:00:02"]),
        ({"eth0": "1", "eth1": "2"}, {"eth1": "2"}, ["eth0 none"]),
        ({"eth0": "1"}, {}, []),
    ],
    ids=["a further card", "another card", "a card that is gone", "nothing to be seen"],
)
def test_network_card_counts_as_changed_where_a_recorded_one_is_no_more(
    site: Site, was: dict[str, str], now: dict[str, str], said: list[str]
) -> None:
    site.home.joinpath("kit").mkdir(parents=True)
    record_identity(site.installation, {"mac": was})
    drift = identity_drift(site.installation, {"mac": now})
    assert [change["now"] for change in drift] == said


def test_label_that_was_not_known_at_first_is_recorded_when_it_is(site: Site) -> None:
    site.home.joinpath("kit").mkdir(parents=True)
    record_identity(site.installation, {"processor": "one", "board_serial_sha256": None})
    record_identity(site.installation, {"processor": "two", "board_serial_sha256": "ab"})
    assert recorded_identity(site.installation) == {"processor": "one", "board_serial_sha256": "ab"}


def test_every_verb_says_what_to_do_where_nothing_is_installed(site: Site) -> None:
    site.config.unlink()
    done = site.call("status", check=False)
    assert done.returncode == EXIT_FAILED
    assert "HINT: install the server first" in done.stderr
