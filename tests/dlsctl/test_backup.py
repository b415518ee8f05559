"""Backups: what counts as one, what is in it, and what becomes of the server meanwhile."""

import calendar
import gzip
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dlsctl.backup import back_up, copy_all
from dlsctl.cli import main
from dlsctl.files import describe
from dlsctl.journal import locked
from dlsctl.lifecycle import write_metrics
from dlsctl.packs import read_pack, write_pack
from dlsctl.problems import EXIT_BUSY, EXIT_DIFFERS, EXIT_FAILED, EXIT_REFUSED, Problem
from dlsctl.processes import is_running, server_age
from dlsctl.store import Backup, backups, check, find, open_backup
from dlskit.fetched import read as read_fetched
from tests.dlsctl import tiny
from tests.dlsctl.conftest import Site
from tests.dlsctl.replacing import replace


def store(site: Site) -> list[Path]:
    return sorted((site.root / "backups").iterdir())


def tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything that belongs to a tree: kinds, contents, modes, owners and times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


@pytest.fixture
def saved(no_server: Site) -> Backup:
    """A backup of a server that was never started, with state of every kind."""
    site = no_server
    site.install()
    site.apply()
    for name, text in (("data/store.log", "one\n"), ("licence.dat", "precious")):
        (site.release / name).parent.mkdir(exist_ok=True)
        (site.release / name).write_text(text)
    (site.release / "data/link").symlink_to("store.log")
    (site.release / "dls.json.sample").unlink()
    (site.release / "linux/bin/dynamsoftdlsx").chmod(0o700)
    os.utime(site.release / "licence.dat", ns=(1, 1_600_000_000_123_456_789))
    licenses = site.root / "lib/licenses"
    licenses.mkdir(parents=True, exist_ok=True)
    (licenses / "file.txt").write_text("LicenseId: 1")
    with locked(site.installation):
        return back_up(site.installation)


def test_backup_holds_state_licences_configuration_and_what_the_kit_knows(saved: Backup) -> None:
    sections = {
        section: {entry["path"] for entry in entries} for section, entries in saved.manifest["sections"].items()
    }
    assert {"data", "data/store.log", "data/link", "licence.dat", "dls.json.sample"} <= sections["release"]
    assert "linux/jre/bin/dynamsoftdls" not in sections["release"]
    assert {"releases/2.4.11.json", "identity.json"} <= sections["kit"]
    assert sections["config"] == {"dlsctl.json"}
    assert sections["licenses"] == {"file.txt"}
    assert saved.manifest["archive_sha256"]


def test_invariant_6_backup_without_its_manifest_is_none(saved: Backup, no_server: Site) -> None:
    (Path(saved.folder) / "manifest.json").unlink()
    assert backups(no_server.installation) == []
    with pytest.raises(Problem, match=r"must be a complete backup, got no manifest.json"):
        find(no_server.installation, saved.name)


def test_invariant_6_interrupted_backup_is_never_listed_and_leaves_nothing(
    saved: Backup, no_server: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(store(no_server))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "manifest")

    replace(monkeypatch, "pack_facts", full)
    with locked(no_server.installation), pytest.raises(OSError, match="No space"):
        back_up(no_server.installation)
    assert len(store(no_server)) == before
    assert not list((no_server.home / "kit").glob("copy-*"))
    assert not (no_server.home / "kit/journal.json").exists()


@pytest.mark.parametrize("place", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("name", ["pack", "manifest"])
def test_invariant_7_one_flipped_bit_is_found_and_its_file_named(
    saved: Backup, no_server: Site, place: float, name: str
) -> None:
    path = Path(saved.pack) if name == "pack" else Path(saved.folder) / "manifest.json"
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)
    done = no_server.call("verify-backup", saved.name, check=False)
    assert done.returncode != 0
    assert str(path) in done.stderr


def test_content_that_differs_from_the_manifest_is_found_though_the_pack_is_whole(saved: Backup) -> None:
    entry = next(entry for entry in saved.manifest["sections"]["release"] if entry["path"] == "licence.dat")
    entry["sha256"] = "0" * 64
    with pytest.raises(Problem, match=r"another content of release/licence.dat"):
        check(saved)


def test_truncated_backup_is_refused(saved: Backup, no_server: Site) -> None:
    os.truncate(saved.pack, 100)
    done = no_server.call("verify-backup", check=False)
    assert (done.returncode, "size 100 in place of" in done.stderr) == (EXIT_FAILED, True)


def test_damaged_backup_is_listed_as_such(saved: Backup, no_server: Site) -> None:
    (Path(saved.folder) / "manifest.json").write_text("{}")
    done = no_server.call("backups", check=False)
    assert done.returncode == EXIT_DIFFERS
    assert "must be readable to its end" in done.stdout


def test_backup_of_a_newer_kit_is_refused(saved: Backup) -> None:
    path = Path(saved.folder) / "manifest.json"
    path.write_text(json.dumps(saved.manifest | {"format": 2}))
    with pytest.raises(Problem, match=r"must be of format 1, got 2\nHINT: use the newer dlsctl"):
        open_backup(saved.folder)


def test_invariant_8_verify_changes_nothing_on_disk(saved: Backup, no_server: Site) -> None:
    before = tree(no_server.root)
    no_server.call("verify-backup", "--all")
    assert tree(no_server.root) == before


def test_invariant_8_server_that_cannot_be_stopped_fails_the_backup_and_runs_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()

    def hangs(_: Any) -> bool:
        raise Problem("dynamsoft-dls", "must end within 5 s of being killed")

    replace(monkeypatch, "stop", hangs)
    with locked(site.installation), pytest.raises(Problem, match="must end within"):
        back_up(site.installation)
    assert is_running(site.installation)
    assert store(site) == []


def test_server_runs_again_after_a_copy_that_failed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.deploy()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "copy")

    replace(monkeypatch, "copy_part", full)
    with locked(site.installation), pytest.raises(OSError, match="No space"):
        back_up(site.installation)
    assert is_running(site.installation)


def test_backup_stops_the_server_and_a_hot_one_does_not(site: Site) -> None:
    site.deploy()
    time.sleep(1.1)
    answer = site.ask("backup", "--hot")
    assert (answer["method"], answer["outage"]) == ("hot", 0)
    age = server_age(site.installation)
    assert age
    assert age > 1
    answer = site.ask("backup")
    assert answer["method"] == "stopped"
    assert 0 < answer["outage"] < 5
    age = server_age(site.installation)
    assert age is not None
    assert age < 5
    assert is_running(site.installation)


def test_server_that_was_stopped_stays_so(site: Site) -> None:
    site.deploy()
    site.call("stop")
    site.call("backup")
    assert not is_running(site.installation)


def test_backup_is_for_root_alone(saved: Backup) -> None:
    assert stat.S_IMODE(Path(saved.folder).stat().st_mode) == 0o700
    for path in Path(saved.folder).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_missing_or_full_target_is_refused_before_the_server_is_stopped(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    age = server_age(site.installation)
    replace(monkeypatch, "free_bytes", lambda _: 1 << 20)
    with locked(site.installation), pytest.raises(Problem, match=r"must have 6\d MiB free for a backup, got 1 MiB"):
        back_up(site.installation)
    monkeypatch.undo()
    shutil.rmtree(site.root / "backups")
    (site.root / "backups").write_text("in the way")
    done = site.call("backup", check=False)
    assert done.returncode != 0
    assert server_age(site.installation) >= age  # type: ignore[operator]


def test_two_at_a_time_are_refused(no_server: Site) -> None:
    no_server.install()
    with locked(no_server.installation):
        done = no_server.call("backup", check=False)
    assert (done.returncode, "must not be changed by two at a time" in done.stderr) == (EXIT_BUSY, True)


def test_pipe_of_the_server_s_user_is_no_file_to_wait_for(no_server: Site) -> None:
    no_server.install()
    no_server.apply()
    os.mkfifo(no_server.release / "pipe")
    with locked(no_server.installation):
        backup = back_up(no_server.installation)
    entry = next(entry for entry in backup.manifest["sections"]["release"] if entry["path"] == "pipe")
    assert entry["kind"] == "special"


@pytest.fixture(params=["age", "gpg"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A recipient and the file with the private key."""
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not on this machine")
    private = tmp_path / "private.key"
    if request.param == "age":
        subprocess.run(["age-keygen", "-o", str(private)], check=True, capture_output=True)
        recipient = subprocess.run(["age-keygen", "-y", str(private)], check=True, capture_output=True, text=True)
        return recipient.stdout.strip(), private
    home = tmp_path / "gpg"
    home.mkdir(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "backup@example.com", "default", "default"], check=True)
    public = tmp_path / "public.asc"
    public.write_bytes(subprocess.run([*gpg, "--export"], check=True, capture_output=True).stdout)
    private.write_bytes(subprocess.run([*gpg, "--export-secret-keys"], check=True, capture_output=True).stdout)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
    return str(public), private


def test_encrypted_backup_is_read_with_its_key_alone(no_server: Site, keys: tuple[str, Path]) -> None:
    site = no_server
    recipient, private = keys
    site.configure(backup_recipient=recipient)
    site.install()
    site.apply()
    (site.release / "licence.dat").write_text("precious" * 100)
    with locked(site.installation):
        backup = back_up(site.installation)
    assert b"precious" not in Path(backup.pack).read_bytes()
    assert "its content is encrypted" in site.call("verify-backup").stdout
    assert "every byte" in site.call("verify-backup", "--key", str(private)).stdout
    other = site.root / "other.key"
    other.write_text("no key")
    done = site.call("verify-backup", "--key", str(other), check=False)
    assert done.returncode != 0


@pytest.mark.parametrize("recipient", ["age1tooshort", "relative/key.asc", "ssh-dss AAAA"])
def test_recipient_of_another_form_is_refused(no_server: Site, recipient: str) -> None:
    no_server.configure(backup_recipient=recipient)
    no_server.install()
    no_server.apply()
    done = no_server.call("backup", check=False)
    assert (done.returncode, "must be an age recipient" in done.stderr) == (EXIT_REFUSED, True)


def test_gzip_is_used_where_there_is_no_zstd(no_server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    no_server.install()
    no_server.apply()
    replace(monkeypatch, "best_compression", lambda: "gzip")
    with locked(no_server.installation):
        backup = back_up(no_server.installation)
    assert backup.pack.endswith("state.tar.gz")
    assert check(backup)


SLOW = """#!{python}
import subprocess, sys, time
data = subprocess.run(["{tool}", *sys.argv[1:]], stdin=sys.stdin, stdout=subprocess.PIPE, check=True).stdout
sys.stdout.buffer.write(data[:-1])
sys.stdout.buffer.flush()
time.sleep(0.3)
sys.stdout.buffer.write(data[-1:])
"""


def test_end_of_a_pack_is_awaited_though_nothing_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tar ends with two blocks of zeros, in records of 20 blocks. Here the second block begins another record."""
    file, pack = tmp_path / "file", tmp_path / "state.tar.gz"
    file.write_bytes(bytes(18 * 512))
    write_pack(str(pack), [("state/file", describe("file", str(file)), str(file))], "gzip", None, "")
    assert len(gzip.decompress(pack.read_bytes())) == 2 * 20 * 512
    slow = tmp_path / "path/gzip"
    slow.parent.mkdir()
    slow.write_text(SLOW.format(python=sys.executable, tool=shutil.which("gzip")))
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent), prepend=os.pathsep)
    assert [name for name, _ in read_pack(str(pack), "gzip")] == ["state/file"]


def test_pack_with_more_behind_its_end_is_damaged(tmp_path: Path) -> None:
    pack = tmp_path / "state.tar.gz"
    write_pack(str(pack), [], "gzip", None, "")
    with gzip.open(pack, "ab") as more:
        for _ in range(40):
            more.write(bytes(1 << 20))
    with pytest.raises(Problem, match="must be readable to its end, got more behind it"):
        list(read_pack(str(pack), "gzip"))


def test_entries_know_the_names_of_their_owners(saved: Backup) -> None:
    entry = saved.manifest["sections"]["release"][0]
    assert (entry["user"], entry["uid"]) == ("root", 0) if os.geteuid() == 0 else True


def test_copy_is_what_was_copied_though_the_file_grows_meanwhile(
    no_server: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = no_server
    site.install()
    site.apply()
    log = site.release / "growing.log"
    log.write_text("one\n")
    real = __import__("dlsctl.trees", fromlist=["copy_bytes"]).copy_bytes

    def grows(source: Any, copy: Any) -> Any:
        with log.open("a") as stream:
            stream.write("two\n")
        return real(source, copy)

    replace(monkeypatch, "copy_bytes", grows)
    (site.root / "backups").mkdir(exist_ok=True)
    copy = copy_all(site.installation, "x", "2.4.11", str(site.root / "copy"))
    entry = next(entry for entry in copy.sections["release"] if entry["path"] == "growing.log")
    assert entry["size"] == 8


def test_metrics_tell_the_newest_backup_and_whether_the_last_run_succeeded(site: Site) -> None:
    metrics = site.root / "dls.prom"
    site.configure(backup_metrics=str(metrics))
    site.deploy()
    site.call("backup", "--scheduled")
    lines = dict(line.split() for line in metrics.read_text().splitlines() if not line.startswith("#"))
    assert (lines["dls_last_run_success"], lines["dls_backups"]) == ("1", "1")
    assert abs(float(lines["dls_last_backup_timestamp_seconds"]) - time.time()) < 60
    (site.home / "kit/releases/2.4.11.json").unlink()
    assert site.call("backup", "--scheduled", check=False).returncode != 0
    assert "dls_last_run_success 0" in metrics.read_text()


def test_metrics_tell_no_time_that_is_yet_to_come(saved: Backup, no_server: Site, monkeypatch: Any) -> None:
    made = calendar.timegm(time.strptime(saved.manifest["created"], "%Y-%m-%dT%H:%M:%SZ"))
    monkeypatch.setattr(time, "time", lambda: made - 100.0)
    write_metrics(no_server.installation, str(no_server.root / "dls.prom"))
    assert "dls_last_backup_timestamp_seconds 0\n" in (no_server.root / "dls.prom").read_text()


def test_metrics_are_written_to_the_folder_where_they_are_asked_for(no_server: Site, monkeypatch: Any) -> None:
    monkeypatch.chdir(no_server.root)
    assert main(["backups", "--config", str(no_server.config), "--metrics", "dls.prom"]) == 0


def test_why_a_scheduled_backup_failed_is_told_though_there_are_no_metrics_either(site: Site) -> None:
    site.configure(backup_metrics=str(site.root / "none/dls.prom"))
    done = site.call("backup", "--scheduled", check=False)
    assert "must hold an installed release" in done.stderr
    site.deploy()
    done = site.call("backup", "--scheduled", check=False)
    assert done.returncode != 0
    assert f"{site.root}/none/dls.prom: must be accessible" in done.stderr


def test_a_backup_by_its_path_is_that_of_the_folder_where_it_is_asked_for(site: Site, monkeypatch: Any) -> None:
    site.deploy()
    name = site.ask("backup")["name"]
    copies = site.root / "copies"
    shutil.copytree(site.root / "backups", copies)
    pack = next((copies / name).glob("state.tar*"))
    pack.write_bytes(pack.read_bytes()[:-1])
    monkeypatch.chdir(copies)
    for words in (["verify-backup", f"./{name}"], ["drill", f"./{name}"], ["restore", f"./{name}", "--replace"]):
        done = site.call(*words, check=False)
        assert f"{pack}: must be readable to its end" in done.stderr, words
    assert "every byte is as it was written" in site.call("verify-backup", name).stdout


def test_a_pack_that_is_no_file_is_damaged_and_not_waited_for(saved: Backup, no_server: Site) -> None:
    Path(saved.pack).unlink()
    os.mkfifo(saved.pack)
    done = no_server.call("verify-backup", check=False)
    assert (done.returncode, "something that is no regular file" in done.stderr) == (EXIT_FAILED, True)
    with pytest.raises(Problem, match="must be readable to its end"):
        read_fetched(saved.folder)


def test_archive_of_the_release_is_named_by_its_hash(saved: Backup, no_server: Site) -> None:
    assert saved.manifest["archive_sha256"] == tiny.sha256(tiny.build(no_server.root))
