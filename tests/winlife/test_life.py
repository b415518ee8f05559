"""A year of the server's life; each test leaves it healthy to the next."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from tests.checkout import play
from tests.faults.cases import FULL
from tests.winlab.host import Host, modules_from_elsewhere
from tests.winlab.prefix import NSSM
from tests.winlab.test_prefix import SERVICE, answers, processes, wait_for
from tests.winlife.test_installed import HOME, setting

pytestmark = pytest.mark.slow
OLD, NEW, BAD = "2.4.11", "2.4.12", "2.4.13"
ACKNOWLEDGED = ("-e", "dls_server_upgrade_acknowledged=true")


def succeed(host: Host, playbook: str, *options: str) -> play.Result:
    done = host.run(playbook, "-vvv", *options)
    assert done.code == 0, done.output[-6000:]
    assert modules_from_elsewhere(done.output, host.shadow) == []
    return done


def release(host: Host, version: str) -> Path:
    """The folder of a release that has the server in it."""
    (script,) = host.prefix.path(rf"{HOME}\releases\{version}").rglob("startup.bat")
    return script.parent


def store(host: Host, version: str) -> str:
    """What the server has written."""
    return (release(host, version) / "data/store.log").read_text()


def running(program: str) -> list[int]:
    """The processes that were started as a program."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if program in (process / "cmdline").read_text().partition("\0")[0]:
                found.append(int(process.name))
    return found


def test_what_was_changed_by_hand_is_put_right(host: Host) -> None:
    host.prefix.wine(NSSM, "set", SERVICE, "AppRestartDelay", "1")
    succeed(host, "install")
    assert int(setting(host, "AppRestartDelay")) >= 6000
    assert succeed(host, "install").changed == 0


def test_a_file_of_the_release_that_was_changed_by_hand_is_told(host: Host) -> None:
    script = release(host, OLD) / "startup.bat"
    before = script.read_bytes()
    script.write_bytes(before + b"rem mine\r\n")
    done = host.run("verify")
    assert done.code != 0
    assert "startup.bat" in done.output
    script.write_bytes(before)


def test_a_server_that_is_killed_comes_back_once_and_stays(host: Host, port: int) -> None:
    log = release(host, OLD) / "logs/dls.log"
    starts = log.read_text().count("starts in")
    before = processes(port)
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: log.read_text().count("starts in") == starts + 1)
    assert answers(port)
    time.sleep(8)  # the hook runs beside the restart, and ends whatever has the server's name
    assert log.read_text().count("starts in") == starts + 1
    assert not set(processes(port)) & set(before)


def test_a_reboot_starts_the_server_and_leaves_nothing_to_do(host: Host, port: int) -> None:
    host.prefix.reboot()
    assert answers(port)
    assert succeed(host, "install").changed == 0


@pytest.mark.skipif(not FULL, reason="takes three minutes: ./dls test --full")
def test_an_nssm_that_does_not_stop_is_told(host: Host, port: int) -> None:
    for pid in running("nssm.exe"):
        os.kill(pid, signal.SIGSTOP)
    failed = host.run("backup", "-e", '{"dls_server_stop_timeout": 1, "__dls_server_nssm_s": 2}')
    assert failed.code != 0
    assert "dynamsoft-dls: must stop within 3 s" in failed.output
    host.prefix.reboot()
    succeed(host, "install")
    assert answers(port)
    assert succeed(host, "install").changed == 0


def test_a_backup_is_restored(host: Host, port: int) -> None:
    succeed(host, "backup")
    saved = store(host, OLD)
    with (release(host, OLD) / "data/store.log").open("a") as file:
        file.write("lost\n")
    refused = host.run("restore")
    assert refused.code != 0
    assert "dls_server_restore_replace" in refused.output
    succeed(host, "restore", "-e", "dls_server_restore_replace=true")
    assert answers(port)
    assert store(host, OLD).startswith(saved)
    assert "lost" not in store(host, OLD)


def test_an_upgrade_carries_the_state_and_is_rolled_back(host: Host, port: int) -> None:
    saved = store(host, OLD)
    host.offer(NEW)
    refused = host.run("upgrade")
    assert refused.code != 0
    assert "dls_server_upgrade_acknowledged: must be true" in " ".join(refused.output.split())
    succeed(host, "upgrade", *ACKNOWLEDGED)
    assert answers(port)
    assert store(host, NEW).startswith(saved)
    assert succeed(host, "upgrade", *ACKNOWLEDGED).changed == 0
    host.offer(OLD)
    succeed(host, "rollback")
    assert answers(port)
    assert store(host, OLD).startswith(saved)


def test_a_release_that_does_not_start_is_taken_back(host: Host, port: int) -> None:
    host.offer(BAD, {"health.status": "503"})
    failed = host.run("upgrade", *ACKNOWLEDGED, "-e", "dls_server_health_timeout=20")
    assert failed.code != 0
    assert answers(port)
    host.offer(OLD)
    assert succeed(host, "install").changed == 0
    succeed(host, "verify")
