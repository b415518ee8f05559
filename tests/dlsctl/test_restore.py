"""Restore and drill: the state of a backup, byte for byte, and what is never done for it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from dlsctl.backup import back_up
from dlsctl.journal import locked
from dlsctl.problems import EXIT_REFUSED, EXIT_UNHEALTHY, Problem, Refused
from dlsctl.processes import is_running, server_age, server_processes
from dlsctl.restore import Wish, require_restorable, restore
from dlsctl.state import state
from dlsctl.store import MANIFEST, Backup, digest_of, find, open_backup
from tests.dlsctl.conftest import Site
from tests.dlsctl.replacing import replace
from tests.dlsctl.test_backup import store, tree


@pytest.fixture
def backed_up(site: Site) -> Site:
    """A running server with state, backed up, and changed since."""
    site.deploy()
    (site.release / "licence.dat").write_text("precious")
    (site.release / "data/deep").mkdir()
    (site.release / "data/deep/link").symlink_to("../store.log")
    (site.release / "dls.json.sample").unlink()
    os.utime(site.release / "licence.dat", ns=(1, 1_600_000_000_123_456_789))
    (site.release / "data/deep").chmod(0o2750)
    site.call("stop")
    site.call("backup")
    site.call("start")
    return site


@pytest.fixture
def stored(no_server: Site) -> Site:
    """A server that is never started, and its backup: for what is refused before anything is done."""
    no_server.install()
    no_server.apply()
    (no_server.release / "licence.dat").write_text("precious")
    with locked(no_server.installation):
        back_up(no_server.installation)
    return no_server


def back_up_a_server_that_dies(site: Site) -> None:
    """Make a backup whose server's program is another one; the running server's is put back."""
    site.configure(health_timeout=2)
    jar = site.release / "dls-2.4.11.jar"
    text = jar.read_text()
    jar.write_text("raise SystemExit(1)\n")
    site.call("backup", check=False)
    jar.write_text(text)
    site.call("start", check=False)


def refusal(site: Site, **wish: Any) -> str:
    """What a restore of the newest backup is refused with; empty where it would be done."""
    try:
        require_restorable(site.installation, find(site.installation, None), Wish(**wish))
    except Refused as problem:
        return str(problem)
    return ""


def forge(backup: Backup, **changes: Any) -> None:
    """Give a manifest other facts, and a digest that fits."""
    manifest = backup.manifest | changes
    manifest["digest"] = digest_of(manifest)
    (Path(backup.folder) / MANIFEST).write_text(json.dumps(manifest))


def test_invariant_13_restored_tree_equals_the_original(site: Site) -> None:
    site.deploy()
    (site.release / "licence.dat").write_text("precious")
    (site.release / "data/deep").mkdir()
    (site.release / "data/deep/link").symlink_to("../store.log")
    (site.release / "data/deep").chmod(0o2750)
    (site.release / "dls.json.sample").unlink()
    (site.release / os.fsdecode(b"bad\xff name")).write_text("x")
    os.utime(site.release / "licence.dat", ns=(1, 1_600_000_000_123_456_789))
    site.call("stop")
    before, entries = tree(site.release), state(site.installation)
    site.call("backup")
    (site.release / "licence.dat").write_text("spoilt")
    (site.release / "new").mkdir()
    with locked(site.installation):
        replaced = restore(site.installation, Wish(replace=True))
    assert replaced["kept"]
    site.call("stop")
    after = tree(site.release)
    own = {path: facts for path, facts in after.items() if path in {entry["path"] for entry in entries}}
    logged = own.pop("data/store.log")
    assert logged[3] == before.pop("data/store.log")[3] + b"started\n"  # by the server, which is started by a restore
    assert own == {path: facts for path, facts in before.items() if path in own}
    assert {path: facts[3] for path, facts in after.items() if path in before} == {
        path: facts[3] for path, facts in before.items()
    }
    assert "new" not in after


def test_invariant_10_state_is_not_overwritten_untold(stored: Site) -> None:
    before = tree(stored.home)
    done = stored.call("restore", check=False)
    assert (done.returncode, "must hold no server to be restored into" in done.stderr) == (EXIT_REFUSED, True)
    after = tree(stored.home)
    for path in ("kit/outcome.json", "kit/lock", "kit", "kit/hashes", "kit/hashes/2.4.11.json"):
        before.pop(path, None)
        after.pop(path, None)
    assert after == before


def test_invariant_10_what_is_replaced_is_kept_and_the_store_only_read(backed_up: Site) -> None:
    site = backed_up
    (site.release / "licence.dat").write_text("newer")
    before = tree(site.root / "backups")
    site.call("restore", "--replace")
    assert (site.release / "licence.dat").read_text() == "precious"
    assert tree(site.root / "backups") == before
    kept = next((site.home / "releases").glob(".replaced-*"))
    assert (kept / "licence.dat").read_text() == "newer"
    assert is_running(site.installation)


@pytest.mark.parametrize(
    "identity", [{"machine_id_sha256": "0" * 64}, {"processor": "another"}, {"mac": {"eth0": "02:00:00:00:00:09"}}]
)
def test_invariant_9_backup_of_another_machine_needs_rehost(stored: Site, identity: dict[str, Any]) -> None:
    backup = open_backup(str(store(stored)[0]))
    forge(backup, identity=backup.manifest["identity"] | identity)
    told = refusal(stored, replace=True)
    assert "must be of this host" in told
    assert "--rehost" in told
    assert refusal(stored, replace=True, rehost=True) == ""


@pytest.mark.slow
def test_invariant_9_rehost_says_that_the_licence_must_be_activated_anew(backed_up: Site) -> None:
    backup = open_backup(str(store(backed_up)[0]))
    forge(backup, identity=backup.manifest["identity"] | {"machine_id_sha256": "0" * 64})
    done = backed_up.call("restore", "--replace", "--rehost")
    assert "activate the licence anew for the UUID that its portal shows" in done.stdout


def test_invariant_9_another_uuid_needs_rehost(stored: Site) -> None:
    backup = open_backup(str(store(stored)[0]))
    forge(backup, identity=backup.manifest["identity"] | {"uuid": "A" * 8})
    stored.call("identity", "--uuid", "12345678-1234-1234-1234-123456789ABC")
    assert "must be of this host" in refusal(stored, replace=True)


def test_backup_of_another_version_is_refused_untold(stored: Site) -> None:
    forge(open_backup(str(store(stored)[0])), version="2.4.10")
    assert refusal(stored, replace=True).endswith(
        "must be of the installed version, got 2.4.10, 2.4.11 is installed\nHINT: say so with --other-version"
    )


@pytest.mark.slow
def test_restore_onto_a_new_disk_needs_the_archive_and_says_which(backed_up: Site) -> None:
    site = backed_up
    site.call("stop")
    archive = next((site.home / "archives").iterdir())
    elsewhere = site.root / archive.name
    shutil.copyfile(archive, elsewhere)
    shutil.rmtree(site.home)
    done = site.call("restore", check=False)
    assert (done.returncode, "must be the vendor's archive with SHA-256" in done.stderr) == (EXIT_REFUSED, True)
    site.call("restore", f"--archive={elsewhere}")
    assert (site.release / "licence.dat").read_text() == "precious"
    assert is_running(site.installation)
    assert site.ask("status")["healthy"]


@pytest.mark.slow
def test_restore_that_gets_no_health_leaves_everything_as_it_was(
    backed_up: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = backed_up
    (site.release / "licence.dat").write_text("newer")
    back_up_a_server_that_dies(site)
    done = site.call("restore", "--replace", check=False)
    assert done.returncode == EXIT_UNHEALTHY
    assert (site.release / "licence.dat").read_text() == "newer"
    assert is_running(site.installation)
    assert not (site.home / "kit/journal.json").exists()


@pytest.mark.parametrize("path", ["../escape", "/etc/passwd", "data/../../x"])
def test_backup_that_would_write_elsewhere_is_refused(stored: Site, path: str) -> None:
    backup = open_backup(str(store(stored)[0]))
    sections = backup.manifest["sections"]
    sections["release"].append(dict(sections["release"][0], path=path))
    forge(backup, sections=sections)
    assert "do not use it" in refusal(stored, replace=True)


def test_state_that_may_have_no_password_is_not_restored_to_an_open_server(stored: Site) -> None:
    stored.configure(allowed_networks=["10.0.0.0/8", "localhost"])
    assert "must be closed to all but this host" in refusal(stored, replace=True)


def test_password_is_known_from_the_record_of_the_first_visit(no_server: Site) -> None:
    site = no_server
    site.install()
    site.apply()
    (site.home / "kit/admin-password-set").write_text("yes")
    (site.release / "store.log").write_text("a password\n")
    with locked(site.installation):
        backup = back_up(site.installation)
    site.configure(allowed_networks=["10.0.0.0/8", "localhost"])
    require_restorable(site.installation, backup, Wish(replace=True))


def test_too_little_disk_is_refused(no_server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site = no_server
    site.install()
    site.apply()
    with locked(site.installation):
        backup = back_up(site.installation)
    replace(monkeypatch, "free_bytes", lambda _: 0)
    with pytest.raises(Problem, match=r"must have \d+ MiB free, got 0 MiB"):
        require_restorable(site.installation, backup, Wish(replace=True))


@pytest.mark.slow
def test_licence_files_that_are_missing_come_back_and_others_stay(backed_up: Site) -> None:
    site = backed_up
    licenses = site.root / "lib/licenses"
    (licenses / "old.txt").write_text("old")
    (licenses / "kept.txt").write_text("as it was")
    site.call("backup")
    (licenses / "old.txt").unlink()
    (licenses / "kept.txt").write_text("as it is")
    site.call("restore", "--replace")
    assert (licenses / "old.txt").read_text() == "old"
    assert (licenses / "kept.txt").read_text() == "as it is"


# --- Drill ---


def test_invariant_12_drill_proves_a_backup_and_touches_nothing(backed_up: Site) -> None:
    site = backed_up
    processes = server_processes(site.installation)
    before = tree(site.root / "backups"), tree(site.release)
    report = site.ask("drill")
    assert (report["version"], report["clients"], report["live"]) == ("2.4.11", "error 101", "error 101")
    assert (tree(site.root / "backups"), tree(site.release)) == before
    assert server_processes(site.installation) == processes
    assert not (site.home / "kit/drill").exists()


@pytest.mark.slow
def test_drill_of_a_backup_that_cannot_start_fails_and_leaves_nothing(backed_up: Site) -> None:
    site = backed_up
    back_up_a_server_that_dies(site)
    age = server_age(site.installation)
    assert site.call("drill", check=False).returncode == EXIT_UNHEALTHY
    assert not (site.home / "kit/drill").exists()
    now = server_age(site.installation)
    assert age is not None
    assert now is not None
    assert now > age
