"""Backups on odd hosts: linked folders, files that go meanwhile, very many files, unusual umasks and words."""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from dlsctl.backup import back_up, copy_all
from dlsctl.drill import drill
from dlsctl.files import describe
from dlsctl.journal import locked
from dlsctl.problems import EXIT_REFUSED, Problem, Refused
from dlsctl.readiness import for_rollback
from dlsctl.restore import Wish, restore
from dlsctl.state import state
from dlsctl.store import backups
from dlsctl.trees import settle
from dlsctl.upgrade import Order, roll_back, upgrade
from tests.dlsctl import test_forged, tiny
from tests.dlsctl.conftest import LINE, Site
from tests.dlsctl.replacing import replace
from tests.dlsctl.test_forged import entry, forge, newest

stored = test_forged.stored  # the fixture


@pytest.fixture
def applied(no_server: Site) -> Site:
    no_server.install()
    no_server.apply()
    (no_server.release / "licence.dat").write_text("precious")
    return no_server


def paths(site: Site, section: str) -> set[str]:
    with locked(site.installation):
        backup = back_up(site.installation)
    return {entry["path"] for entry in backup.manifest["sections"][section]}


@pytest.mark.parametrize("folder", ["lib", "lib/licenses"])
def test_linked_folder_of_licence_files_is_backed_up_whole(applied: Site, folder: str) -> None:
    (applied.root / "lib/licenses/a.txt").write_text("LicenseId: 1")
    shutil.move(str(applied.root / folder), applied.root / "other disk")
    (applied.root / folder).symlink_to(applied.root / "other disk")
    assert paths(applied, "licenses") == {"a.txt"}


def test_linked_release_has_the_state_it_had(applied: Site) -> None:
    before = state(applied.installation)
    shutil.move(str(applied.release), applied.root / "other disk")
    applied.release.symlink_to(applied.root / "other disk")
    assert state(applied.installation) == before


def test_file_that_goes_while_it_is_copied_is_none(applied: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = applied.release / "data-gone.tmp"
    gone.write_text("x")

    def goes(path: str, full: str, *rest: Any) -> Any:
        found = describe(path, full, *rest)
        if path == gone.name:
            gone.unlink()
        return found

    replace(monkeypatch, "describe", goes)
    copy = copy_all(applied.installation, "x", "2.4.11", str(applied.root / "copy"))
    assert gone.name not in {entry["path"] for entry in copy.sections["release"]}


def test_state_of_very_many_files_can_be_restored(applied: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "LARGEST_FILE", 1 << 16)
    for number in range(300):
        (applied.release / f"file {number}").write_text("x")
    with locked(applied.installation):
        backup = back_up(applied.installation)
    assert Path(backup.folder, "manifest.json").stat().st_size > 1 << 16
    assert [found.name for found in backups(applied.installation)] == [backup.name]


def test_backup_that_could_not_be_read_again_is_none(applied: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "LARGEST_MANIFEST", 1 << 10)
    with locked(applied.installation), pytest.raises(Problem, match="must have at most 1024 bytes"):
        back_up(applied.installation)
    assert list((applied.root / "backups").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("owner", "mode"), [(0, "6755"), (1234, "6755")])
def test_file_of_another_is_restored_without_its_set_id_bits(tmp_path: Path, owner: int, mode: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.chown(tree, 1000, 1000)
    (tree / "a").write_text("")
    settle([entry("a", mode=mode, uid=owner, gid=1000)], str(tree))
    assert stat.S_IMODE((tree / "a").stat().st_mode) == 0o755
    settle([entry("a", mode=mode, uid=1000, gid=1000)], str(tree))
    assert stat.S_IMODE((tree / "a").stat().st_mode) == int(mode, 8)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_that_this_host_does_not_know_becomes_the_server_s_user(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("")
    os.chown(tree / "a", 1000, 1000)
    settle([entry("a", uid=777, gid=777, user="no such user", group="no such group")], str(tree))
    assert ((tree / "a").stat().st_uid, (tree / "a").stat().st_gid) == (1000, 1000)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_folders_have_their_modes_whatever_the_umask(stored: Site, umask: int) -> None:
    shutil.rmtree(stored.root / "backups")
    shutil.rmtree(stored.home)
    before = os.umask(umask)
    try:
        stored.install()
        stored.call("backup", check=False)
    finally:
        os.umask(before)
    open_to_all = {"opt", "opt/releases", "opt/kit", "opt/archives", "opt/kit/releases"}
    for name in open_to_all:
        assert stat.S_IMODE((stored.root / name).stat().st_mode) == 0o755, name


def test_what_was_restored_beside_the_release_is_root_s_alone(stored: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def look(*_: Any) -> None:
        modes.append(stat.S_IMODE((stored.home / "kit/copy-restored").stat().st_mode))

    replace(monkeypatch, "add_missing", look)
    with locked(stored.installation):
        restore(stored.installation, Wish(replace=True))
    assert set(modes) == {0o700}


@pytest.mark.parametrize(
    "words",
    [
        ["prune", "--keep=-1"],
        ["prune", "--keep-days=-1", "--keep=0"],
        ["prune", "--min-age-hours=-5", "--check"],
        ["prune", "--keep=100001"],
        ["prune-releases", "--keep=-1"],
    ],
)
def test_number_that_is_none_removes_nothing(applied: Site, words: list[str]) -> None:
    done = applied.call(*words, check=False)
    assert (done.returncode, "must be 0 to 100000" in done.stderr) == (EXIT_REFUSED, True), done.stderr


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"argv": "x"}', "null", "[" * 100000])
def test_line_of_another_form_is_refused(applied: Site, line: str) -> None:
    common = ["/none", "--sha256=0", "--version=2.4.12", f"--line={line}"]
    for words in (["install", *common], ["upgrade", *common, "--acknowledge"]):
        done = applied.call(*words, check=False)
        assert (done.returncode, done.stderr.startswith("--line: must")) == (EXIT_REFUSED, True), done.stderr


def test_version_of_another_form_is_refused(applied: Site) -> None:
    line = json.dumps(applied.installation.release()["line"])
    done = applied.call(
        "upgrade", "/none", "--sha256=0", "--version=two", f"--line={line}", "--acknowledge", check=False
    )
    assert (done.returncode, "--version: must be a version" in done.stderr) == (EXIT_REFUSED, True), done.stderr


def test_recipient_that_cannot_be_used_is_found_before_the_server_is_stopped(
    applied: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied.configure(backup_recipient="age1" + "q" * 58)
    replace(monkeypatch, "is_running", lambda _: True)
    replace(monkeypatch, "wait_healthy", lambda *_, **__: 0.0)
    stops: list[Any] = []
    replace(monkeypatch, "stop", stops.append)
    with locked(applied.installation), pytest.raises(Problem, match="age"):
        back_up(applied.installation)
    assert stops == []


def test_tree_deeper_than_can_be_walked_is_named(applied: Site) -> None:
    place = os.open(applied.release, os.O_RDONLY)
    for _ in range(250):
        os.mkdir("deep", dir_fd=place)
        inner = os.open("deep", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(place)
    done = applied.call("state", check=False)
    assert (done.returncode, "deep/deep" in done.stderr) == (EXIT_REFUSED, True), done.stderr


# --- Passwords and rollbacks ---


@pytest.fixture
def upgradable(applied: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A server that is never started and counts as running and healthy."""
    replace(monkeypatch, "wait_healthy", lambda *_, **__: 0.0)
    replace(monkeypatch, "portal_error", lambda *_: None)
    replace(monkeypatch, "is_running", lambda _: True)
    return applied


def to_new(site: Site, policy: str = "carry") -> None:
    archive = tiny.build(site.root, "2.4.12")
    with locked(site.installation):
        upgrade(site.installation, Order(str(archive), tiny.sha256(archive), "2.4.12", LINE, policy, acknowledged=True))


def test_second_rollback_does_not_go_forward_again(upgradable: Site) -> None:
    to_new(upgradable)
    with locked(upgradable.installation):
        roll_back(upgradable.installation)
        assert roll_back(upgradable.installation)["changed"] is False
    assert upgradable.installation.current_version() == "2.4.11"


def test_server_without_its_state_is_not_taken_for_one_with_a_password(upgradable: Site) -> None:
    confirmation = upgradable.home / "kit/admin-password-set"
    confirmation.write_text("yes")
    to_new(upgradable, "fresh")
    assert not confirmation.exists()


@pytest.mark.parametrize("had_password", [True, False])
def test_rollback_to_a_state_without_password_is_refused_while_others_reach_the_server(
    upgradable: Site, had_password: bool
) -> None:
    confirmation = upgradable.home / "kit/admin-password-set"
    if had_password:
        confirmation.write_text("yes")
    to_new(upgradable)
    confirmation.write_text("yes")
    upgradable.configure(allowed_networks=["10.0.0.0/8", "localhost"])
    with locked(upgradable.installation):
        if had_password:
            roll_back(upgradable.installation)
            return
        with pytest.raises(Refused, match="must be closed to all but this host"):
            for_rollback({"prefix": "", "values": {"version": "2.4.11"}}, upgradable.installation, {})
        with pytest.raises(Refused, match="must be closed to all but this host"):
            roll_back(upgradable.installation)
        upgradable.configure(allowed_networks=["localhost"])
        roll_back(upgradable.installation)
    assert not confirmation.exists()


def test_server_that_its_proxy_opens_is_left_with_a_password(upgradable: Site) -> None:
    Path(upgradable.settings["proxy"]).write_text("map $dls_admin $dls_portal {}")
    upgradable.call("backup")
    upgradable.call("restore", "--replace")
    to_new(upgradable)
    with locked(upgradable.installation):
        roll_back(upgradable.installation)


def test_drill_is_refused_where_it_would_fill_the_disk(stored: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "free_bytes", lambda _: 1 << 20)
    with locked(stored.installation), pytest.raises(Refused, match=r"must have \d+ MiB free, got 1 MiB"):
        drill(stored.installation)


def test_nothing_but_what_the_kit_knows_of_the_server_comes_into_its_folder(stored: Site) -> None:
    forge(newest(stored), "kit", (entry("outcome.json"), entry("upgrades.json"), entry("lock2")))
    with locked(stored.installation):
        restore(stored.installation, Wish(replace=True))
    assert not (stored.home / "kit/lock2").exists()
    assert (stored.home / "kit/upgrades.json").exists()


# --- Folders in each other ---


@pytest.mark.parametrize("folder", ["opt/kit/backups", "opt/releases", "linked"])
@pytest.mark.parametrize("name", ["backup_dir", "data_dir"])
def test_uninstall_does_not_remove_the_backups_or_licence_files(applied: Site, folder: str, name: str) -> None:
    (applied.root / "linked").symlink_to(applied.home / "archives")
    applied.configure(**{name: str(applied.root / folder)})
    done = applied.call("uninstall", check=False)
    assert (done.returncode, f"must not be inside {applied.home}" in done.stderr) == (EXIT_REFUSED, True), done.stderr
    assert (applied.release / "licence.dat").exists()


# --- Locales ---

UTF8 = {"LC_ALL": "C.UTF-8"}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # what Python 3.6 makes of LC_ALL=C


@pytest.mark.parametrize(("writing", "reading"), [(ASCII, UTF8), (UTF8, ASCII)])
def test_backup_is_read_in_another_locale(
    applied: Site, monkeypatch: pytest.MonkeyPatch, writing: dict[str, str], reading: dict[str, str]
) -> None:
    (applied.release / "许可证 é").write_text("x")
    for name in ASCII:
        monkeypatch.delenv(name, raising=False)
    for variables, verb in ((writing, "backup"), (reading, "verify-backup"), (reading, "state")):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            applied.call(verb)
