"""What the server's user, a full disk or a careless hand has left does not mislead dlsctl, which may be root."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dlsctl.files
import dlsctl.state
from dlsctl.backup import save_release
from dlsctl.cli import main
from dlsctl.files import hashed, write_atomic
from dlsctl.launch import vendor_command
from dlsctl.problems import EXIT_BLOCKED, EXIT_FAILED, EXIT_REFUSED
from dlsctl.processes import is_running
from dlsctl.releases import point_current
from dlsctl.service import log_tail, wait_healthy
from dlsctl.store import contents
from tests.dlsctl import tiny
from tests.dlsctl.conftest import Site
from tests.dlsctl.program import program
from tests.dlsctl.replacing import replace

NOBODY = 65534
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be misled into another user's files")


def link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def folder(path: Path) -> None:
    path.mkdir()


def huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


@pytest.mark.parametrize("make", [link, folder, os.mkfifo, huge], ids=["link", "folder", "pipe", "huge"])
@pytest.mark.parametrize("name", ["dls.json", "startup.sh"])
def test_what_is_no_file_of_sane_size_is_refused_at_once(site: Site, name: str, make: Callable[[Path], None]) -> None:
    site.install()
    (site.release / name).unlink(missing_ok=True)
    make(site.release / name)
    (site.root / "etc/dls.json").write_text('{"servers": ["self", "https://standby.example/dls/"]}')
    done = site.call("apply", "--version=2.4.11", check=False)
    assert done.returncode == EXIT_REFUSED
    assert f"{site.release / name}: must " in done.stderr
    assert "HINT: " in done.stderr


BROKEN = ["", "{", "[]", "5", "null", '"x"', "{}", "[" * 100000, "\xff"]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize(
    "name",
    [
        "kit/journal.json",
        "kit/edits.json",
        "kit/started.json",
        "kit/identity.json",
        "kit/releases/2.4.11.json",
        "../etc/dlsctl.json",
    ],
)
def test_damaged_record_never_gives_a_traceback(
    no_server: Site, name: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site = no_server
    site.install()
    point_current(site.installation, "2.4.11")
    (site.home / name).write_text(content, "latin-1")
    for verb in ("status", "state", "verify", "version", "identity", "start", "stop", "apply", "uninstall"):
        code = main([verb, "--config", str(site.config)])
        told = capsys.readouterr()
        assert "must know what it meets" not in told.err, told.err
        assert code == 0 or told.out or "HINT: " in told.err


def test_journal_that_cannot_be_read_blocks_and_says_so(site: Site) -> None:
    site.install()
    (site.home / "kit/journal.json").write_text('{"verb": ')
    done = site.call("stop", check=False)
    assert done.returncode == EXIT_BLOCKED
    assert "must say what an earlier run has begun" in done.stderr


def test_names_of_files_cannot_steer_a_terminal_or_stop_the_list(site: Site) -> None:
    site.install()
    (site.release / os.fsdecode(b"bad\xff\x1b[31m\nmodified  startup.sh")).write_text("x")
    (site.release / "\u00fc").write_text("x")
    command = [sys.executable, str(program()), "state", "--config", str(site.config)]
    point_current(site.installation, "2.4.11")
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert len(done.stdout.splitlines()) == 2
    assert b"\x1b" not in done.stdout
    assert b"\xff" not in done.stdout


def test_reader_that_stops_reading_is_no_error(site: Site) -> None:
    site.install()
    point_current(site.installation, "2.4.11")
    command = f"{sys.executable} {program()} identity --config {site.config}"
    done = subprocess.run(
        ["sh", "-c", f"{{ sleep 1; {command}; echo $? >&2; }} | true"], capture_output=True, check=False
    )
    assert done.stderr == b"0\n"


@pytest.mark.parametrize("words", ["identity", "identity --json", "start", "start --json"])
def test_full_disk_behind_standard_output_gives_no_traceback(site: Site, words: str) -> None:
    command = f"{sys.executable} {program()} {words} --config {site.config} >/dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (EXIT_FAILED, False)
    assert "must " in done.stderr


def test_huge_log_is_read_from_its_end(site: Site) -> None:
    site.install()
    point_current(site.installation, "2.4.11")
    with (site.release / "server.log").open("wb") as stream:
        stream.seek(1 << 40)
        stream.write(b"\nthe end\n")
    assert log_tail(site.installation, 1) == ["the end"]


def test_log_of_an_earlier_run_is_not_taken_for_that_of_this_one(site: Site) -> None:
    site.install()
    point_current(site.installation, "2.4.11")
    (site.release / "server.log").write_text("of the release before\n")
    os.utime(site.release / "server.log", (0, 1700000000))
    (site.home / "kit/started.json").write_text('{"at": "2026-01-01T00:00:00Z"}')
    assert log_tail(site.installation, 5) == []
    (site.release / "server.log").write_text("of this one\n")
    assert log_tail(site.installation, 5) == ["of this one"]


def test_pipe_with_the_name_of_a_log_is_passed_over(site: Site) -> None:
    site.install()
    point_current(site.installation, "2.4.11")
    os.mkfifo(site.release / "server.log")
    assert log_tail(site.installation, 5) == []


def swap(site: Site, monkeypatch: pytest.MonkeyPatch, function: str) -> Path:
    """Put a link to a folder of secrets in place of the server's folder right before `function` looks into it."""
    secrets = site.root / "secrets"
    secrets.mkdir()
    (secrets / "x").write_text("secret")
    (site.release / "data").mkdir()
    (site.release / "data/x").write_text("mine")
    real = getattr(dlsctl.files, function)

    def late(*words: str) -> object:
        if str(words[-1]).endswith("/x") and not (site.release / "data").is_symlink():
            (site.release / "data").rename(site.release / "moved")
            (site.release / "data").symlink_to(secrets)
        return real(*words)

    replace(monkeypatch, function, late)
    return secrets


def test_link_put_in_place_of_a_folder_does_not_lead_state_elsewhere(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install()
    swap(site, monkeypatch, "sha256_file")
    entries = {entry["path"]: entry for entry in dlsctl.state.state(site.installation, "2.4.11")}
    assert entries["data/x"]["sha256"] == hashed("mine")


def test_link_put_in_place_of_a_folder_does_not_get_secrets_into_the_saved_state(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install()
    swap(site, monkeypatch, "open_regular")
    (site.root / "backups").mkdir(0o700)
    backup = save_release(site.installation, "2.4.11", "test")
    copies = {entry["path"]: b"".join(reader.pieces()) for _, entry, reader in contents(backup)}
    assert copies["data/x"] == b"mine"


@ROOT_ONLY
def test_vendor_s_stop_script_runs_as_the_owner_of_the_release(site: Site) -> None:
    site.root.chmod(0o755)
    site.deploy()
    script = site.release / "shutdown.sh"
    script.write_text("#!/bin/sh\nid -u >who\n")
    script.chmod(0o755)
    os.chown(site.release, NOBODY, NOBODY)
    for parent in site.root.parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    site.call("stop")
    assert (site.release / "who").read_text() == f"{NOBODY}\n"


def test_uninstall_saves_the_state_though_nothing_is_in_use(site: Site) -> None:
    site.deploy()
    (site.home / "current").unlink()
    assert site.ask("uninstall")["saved"].endswith("Z-2.4.11")


def test_uninstall_refuses_a_release_whose_record_is_gone(site: Site) -> None:
    site.deploy()
    (site.home / "kit/releases/2.4.11.json").unlink()
    done = site.call("uninstall", check=False)
    assert (done.returncode, (site.release / "data/store.log").exists()) == (EXIT_REFUSED, True)
    assert "must have its record" in done.stderr
    site.call("uninstall", "--purge")


def test_server_runs_again_when_the_new_configuration_cannot_be_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    site.configure(port=site.settings["port"] + 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "dls.json")

    replace(monkeypatch, "write_release_file", full)
    assert site.apply() == EXIT_FAILED
    assert is_running(site.installation)


def test_state_that_cannot_be_read_in_full_is_not_told_in_part(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    site.install()
    point_current(site.installation, "2.4.11")
    hidden = site.release / "data"
    hidden.mkdir()
    hidden.chmod(0)
    for folder in [site.root, *site.root.parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o055)
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setuid(65534)
        code = main(["state", "--config", str(site.config)])
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    hidden.chmod(0o755)
    said = capfd.readouterr().err
    assert code == EXIT_FAILED
    assert "must be accessible, got Permission denied" in said
    assert "HINT: run it as root" in said


def test_interrupt_is_told_in_words(site: Site) -> None:
    site.configure(launch="direct")
    site.install(tiny.build(site.root, status=503))
    point_current(site.installation, "2.4.11")
    site.call("start", "--no-wait")
    process = subprocess.Popen(
        [sys.executable, str(program()), "health", "--timeout=20", "--config", str(site.config)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a run in the background ignores it
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert "an interrupt" in process.communicate(timeout=60)[1]


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    """The site's home on a file system of its own."""
    site.home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", site.home], check=False).returncode:
        pytest.skip("needs the right to mount")
    yield site.home
    site.kill()  # behind a detached file system nobody would find it
    subprocess.run(["umount", "--lazy", site.home], check=True)


@ROOT_ONLY
def test_full_disk_names_the_file_leaves_no_half_and_does_not_keep_the_server_from_its_removal(
    site: Site, small_disk: Path
) -> None:
    site.deploy()
    (site.root / "etc/dls.json").write_text('{"servers": ["self", "https://standby.example/dls/"]}')
    with (small_disk / "fill").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))
    done = site.call("apply", check=False)
    assert f"{small_disk}/kit/edits.json: must be accessible, got No space left on device" in done.stderr
    assert list(small_disk.rglob("*.dlsctl-new")) == []
    assert is_running(site.installation)
    assert site.ask("uninstall")["saved"]
    assert [path.name for path in small_disk.iterdir()] == ["fill"]


@ROOT_ONLY
def test_server_runs_on_when_its_state_cannot_be_saved(site: Site, small_disk: Path) -> None:
    site.configure(backup_dir=str(small_disk / "backups"))
    site.deploy()
    (site.release / "data/licence").write_bytes(os.urandom(900_000))
    with (small_disk / "fill").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))
    done = site.call("uninstall", check=False)
    assert done.returncode == EXIT_FAILED
    assert "must be accessible, got No space left on device" in done.stderr
    assert list((small_disk / "backups").iterdir()) == []
    assert (site.release / "data/licence").exists()
    assert is_running(site.installation)


@ROOT_ONLY
@pytest.mark.parametrize("verb", ["restart", "apply", "start"])
def test_root_does_not_run_a_start_script_that_the_server_s_user_has_changed(site: Site, verb: str) -> None:
    site.deploy()
    script = site.release / "startup.sh"
    script.write_text(script.read_text().replace("cd ", "touch pwned; cd "))
    site.configure(port=site.settings["port"] + 1)
    if verb == "start":
        site.call("stop")
    done = site.call(verb, check=False)
    assert done.returncode == EXIT_REFUSED
    assert "because root runs it, got another content\nHINT: " in done.stderr
    assert not (site.release / "pwned").exists()
    assert is_running(site.installation) is (verb != "start")


@ROOT_ONLY
def test_start_script_that_is_replaced_after_the_check_is_not_run(site: Site) -> None:
    site.deploy()
    command = vendor_command(site.installation, site.installation.release())
    (site.release / "startup.sh").write_text("#!/bin/sh\ntouch pwned\n")
    site.call("stop")
    subprocess.run(command, cwd=site.release, check=True, stdout=subprocess.DEVNULL)
    wait_healthy(site.installation)
    assert not (site.release / "pwned").exists()


@ROOT_ONLY
def test_start_script_can_still_be_edited_after_an_edit_was_killed_half_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()

    real = write_atomic

    def dying(path: str, *words: Any) -> None:
        if path.endswith("startup.sh"):
            raise KeyboardInterrupt
        real(path, *words)

    for port in (1, 2):
        site.configure(port=site.settings["port"] + port)
        with monkeypatch.context() as patch:
            replace(patch, "write_atomic", dying)
            site.apply()
    site.call("apply")
    assert f"--server.port={site.settings['port']}" in (site.release / "startup.sh").read_text()
