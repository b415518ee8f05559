"""A bundle becomes the kit of a control node: whole, in order, or not at all."""

import ensurepip
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from dlskit import site
from dlskit.bundle import install, verify
from dlskit.cli import main
from tests.bundle import samples
from tests.checkout.paths import ROOT

MAKE_ENVIRONMENT = install.make_environment
KIT = {
    "kit/ansible.cfg": b"",
    "kit/playbooks/site.yml": b"---\n",
    "collections/ansible_collections/a/b/MANIFEST.json": b"{}",
}


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments take a minute: the slow test of test_build.py makes one. Samples are for any machine."""
    monkeypatch.setattr(install, "make_environment", lambda folder: Path(folder, "venv").mkdir())
    monkeypatch.setattr(verify, "check_this_machine", lambda manifest: None)


def bundle(tmp_path: Path, name: str, kit: str = "1.0", **more: object) -> str:
    return str(samples.make(tmp_path / f"made-{name}", KIT, name, kit=kit, **more))


def test_the_kit_is_there_and_in_use(tmp_path: Path, key: Path) -> None:
    folder = install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    assert folder == str(tmp_path / "into/first")
    assert (tmp_path / "into/current").resolve() == tmp_path / "into/first"
    assert (tmp_path / "into/current/kit/playbooks/collections/ansible_collections/a/b/MANIFEST.json").is_file()
    assert verify.check(folder + "/bundle", str(key))[1] == []


def test_a_second_run_changes_nothing(tmp_path: Path, key: Path) -> None:
    made = bundle(tmp_path, "first")
    install.install(made, str(key), str(tmp_path / "into"))
    own = tmp_path / "into/first/kit/mine"
    own.touch()
    install.install(made, str(key), str(tmp_path / "into"))
    assert own.exists()


def test_a_run_that_was_cut_off_is_done_anew(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bundle(tmp_path, "first")

    def interrupted(folder: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(install, "make_kit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            install.install(made, str(key), str(tmp_path / "into"))
    rest = tmp_path / "into/first/rest"
    rest.touch()
    install.install(made, str(key), str(tmp_path / "into"))
    assert not rest.exists()
    assert (tmp_path / "into/current").resolve() == tmp_path / "into/first"


def test_a_folder_of_that_name_that_is_no_bundles_is_refused_and_left_alone(tmp_path: Path, key: Path) -> None:
    licence = tmp_path / "into/first/licence"
    licence.parent.mkdir(parents=True)
    licence.touch()
    with pytest.raises(verify.Problem, match="must not be there yet"):
        install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    assert licence.exists()


def test_a_run_that_was_cut_off_before_its_folder_was_marked_is_done_anew(tmp_path: Path, key: Path) -> None:
    (tmp_path / "into/first").mkdir(parents=True)
    install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    assert (tmp_path / "into/current").resolve() == tmp_path / "into/first"


def test_what_a_link_of_the_name_leads_to_is_left_alone(tmp_path: Path, key: Path) -> None:
    other = tmp_path / "other/first"
    other.mkdir(parents=True)
    (other / install.UNFINISHED).touch()
    (tmp_path / "into").mkdir()
    (tmp_path / "into/first").symlink_to(other)
    with pytest.raises(verify.Problem, match="must not be there yet"):
        install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    assert (other / install.UNFINISHED).exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_in_the_place_of_the_link_is_refused_and_left_alone(tmp_path: Path, key: Path, kind: str) -> None:
    current = tmp_path / "into/current"
    current.parent.mkdir()
    current.touch() if kind == "file" else current.mkdir()
    with pytest.raises(verify.Problem, match="current: must be a link"):
        install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    assert list(current.parent.iterdir()) == [current]


@pytest.mark.parametrize("name", ["current", "current.new"])
def test_a_bundle_with_the_name_of_the_link_is_refused(tmp_path: Path, key: Path, name: str) -> None:
    with pytest.raises(verify.Problem, match="must not be named"):
        install.install(bundle(tmp_path, name), str(key), str(tmp_path / "into"))
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("below", ["", "below"])
def test_a_bundle_is_not_installed_into_itself(tmp_path: Path, key: Path, below: str) -> None:
    made = bundle(tmp_path, "first")
    (tmp_path / "link").symlink_to(made)
    with pytest.raises(verify.Problem, match="must not be in the bundle"):
        install.install(made, str(key), str(tmp_path / "link" / below))
    assert verify.check(made, str(key))[1] == []


def test_a_folder_that_no_program_can_be_run_from_is_refused(tmp_path: Path, key: Path) -> None:
    with pytest.raises(verify.Problem, match="must be one line"):
        install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "in\nto"))
    assert not (tmp_path / "in\nto").exists()


@pytest.mark.parametrize("gone", ["python", "dlskit"])
def test_a_second_run_makes_an_environment_anew_whose_python_is_gone(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """As after an upgrade of the distribution; or the run before was cut off meanwhile."""
    made, into, runs = bundle(tmp_path, "first"), str(tmp_path / "into"), []

    def environment(folder: str) -> None:
        runs.append(folder)
        programs = Path(folder, "venv/bin")
        programs.mkdir(parents=True)
        (programs / "python").symlink_to(sys.executable)
        (programs / "dlskit").write_text(f"#!{programs}/python\n")
        (programs / "dlskit").chmod(0o755)

    monkeypatch.setattr(install, "make_environment", environment)
    for _ in range(2):
        install.install(made, str(key), into)
    own = tmp_path / "into/first/kit/mine"
    own.touch()
    assert len(runs) == 1
    (tmp_path / "into/first/venv/bin" / gone).unlink()
    install.install(made, str(key), into)
    assert len(runs) == 2
    assert own.exists()


def test_of_two_runs_at_once_one_is_refused(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, into = bundle(tmp_path, "first"), str(tmp_path / "into")

    def second(folder: str) -> None:
        with pytest.raises(verify.Problem, match="must be used by one run at a time"):
            install.install(made, str(key), into)
        Path(folder, "kit").mkdir()

    monkeypatch.setattr(install, "make_kit", second)
    install.install(made, str(key), into)
    assert (tmp_path / "into/current").resolve() == tmp_path / "into/first"


def test_nobody_else_may_write_what_is_installed(tmp_path: Path, key: Path) -> None:
    before = os.umask(0)
    try:
        install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    finally:
        os.umask(before)
    paths = [path for path in (tmp_path / "into").rglob("*") if not path.is_symlink()]
    assert paths
    assert [path for path in paths if path.stat().st_mode & 0o022] == []


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_told(
    tmp_path: Path, key: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["--bundle", bundle(tmp_path, "first"), "--key", str(key), "--into", str(tmp_path / place)]
    assert install.main(words) == verify.EXIT_FAILED
    assert re.fullmatch(r"/.*: must be accessible, got .*\nHINT: .*\n", capsys.readouterr().err)


def test_programs_are_run_from_a_folder_with_a_space_and_from_beside_files_like_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A medium's folder may have a venv.py that nobody signed."""
    folder = tmp_path / "a kit/first"
    wheels = folder / "bundle/wheels"
    wheels.mkdir(parents=True)
    shutil.copy(next(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")), wheels)
    package = folder / "kit/src/dlskit"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text("print('it runs')\n")
    (folder / "kit/requirements.lock").touch()
    (tmp_path / "medium").mkdir()
    (tmp_path / "medium/venv.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path / "medium")
    MAKE_ENVIRONMENT(str(folder))
    done = subprocess.run([folder / "venv/bin/dlskit"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("it runs\n", "")


def test_a_newer_bundle_follows_and_the_older_one_stays(
    tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    newer = bundle(tmp_path, "second", kit="1.1", kit_from="1.0")
    words = ["--bundle", newer, "--key", str(key), "--into", str(tmp_path / "into")]
    assert (install.main(words), install.main(words)) == (0, 0)
    assert capsys.readouterr().out.count("In use is second now, and was first before\n") == 1
    assert (tmp_path / "into/current").resolve().name == "second"
    assert (tmp_path / "into/first/bundle/manifest.json").is_file()


@pytest.mark.parametrize(
    ("kit", "least", "words"),
    [
        ("0.9.9", "0.1", "kit: must not be older than 1.0, which is in use, got 0.9.9"),
        ("1.3", "1.2", "kit: must be 1.2 or newer before 1.3 follows it, got 1.0"),
    ],
    ids=["downgrade", "skipped step"],
)
def test_an_order_that_is_wrong_is_refused(tmp_path: Path, key: Path, kit: str, least: str, words: str) -> None:
    install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    before = sorted(tmp_path.joinpath("into").rglob("*"))
    with pytest.raises(verify.Problem, match=words):
        install.install(bundle(tmp_path, "second", kit, kit_from=least), str(key), str(tmp_path / "into"))
    assert sorted(tmp_path.joinpath("into").rglob("*")) == before


def test_an_installed_kit_that_was_damaged_is_told(tmp_path: Path, key: Path) -> None:
    made = bundle(tmp_path, "first")
    folder = Path(install.install(made, str(key), str(tmp_path / "into")))
    damaged = next(path for path in sorted((folder / "kit").rglob("*")) if path.is_file())
    damaged.write_text("damaged")
    with pytest.raises(verify.Problem, match=rf"{damaged.name}: must be as it was signed(.|\n)*move {folder} away"):
        install.install(made, str(key), str(tmp_path / "into"))
    assert damaged.read_text() == "damaged"


def test_another_bundle_of_the_same_name_is_refused(tmp_path: Path, key: Path) -> None:
    install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    other = str(samples.make(tmp_path / "other", {**KIT, "kit/more": b"more"}, "first"))
    with pytest.raises(verify.Problem, match="first: must be the name of one bundle"):
        install.install(other, str(key), str(tmp_path / "into"))


def test_nothing_is_written_of_a_bundle_that_is_not_as_it_was_signed(tmp_path: Path, key: Path) -> None:
    made = bundle(tmp_path, "first")
    Path(made, "kit/ansible.cfg").write_text("[defaults]\n")
    with pytest.raises(verify.Problem, match="must be as it was signed"):
        install.install(made, str(key), str(tmp_path / "into"))
    assert not (tmp_path / "into").exists()


def test_a_disk_without_room_is_told(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "ROOM", 1 << 60)
    with pytest.raises(verify.Problem, match=r"must have \d+ MiB free"):
        install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    assert not list(tmp_path.glob("into/*"))


def test_a_file_that_changes_while_it_is_copied_is_found(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle(tmp_path, "first")
    monkeypatch.setattr(install, "check_room", lambda *_: Path(made, "kit/ansible.cfg").write_text("[defaults]\n"))
    with pytest.raises(verify.Problem, match="must be as it was signed"):
        install.install(made, str(key), str(tmp_path / "into"))
    assert not (tmp_path / "into/current").exists()


def test_a_python_that_is_too_old_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert install.main(["--key", "k", "--into", "i"]) == verify.EXIT_REFUSED
    assert "python: must be 3.11 or newer, got 3.9" in capsys.readouterr().err


def test_it_runs_from_the_bundle_by_itself(tmp_path: Path, key: Path) -> None:
    files = {name: (ROOT / "src/dlskit/bundle" / name).read_bytes() for name in ("install.py", "verify.py")}
    made = samples.make(tmp_path / "bundle", {**KIT, **files}, pythons=["2.7"])
    (made / "argparse.py").write_text("raise SystemExit(9)")
    command = [sys.executable, str(made / "install.py"), "--key", str(key), "--into", str(tmp_path / "into")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "argparse.py" in done.stderr) == (verify.EXIT_DIFFERS, True)
    (made / "argparse.py").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "python: must be one of ['2.7']" in done.stderr) == (verify.EXIT_REFUSED, True)
    assert not (made / "__pycache__").exists()


@pytest.mark.parametrize("kind", ["single", "pair", "windows"])
def test_a_site_begins_as_a_copy_of_an_example(tmp_path: Path, kind: str) -> None:
    done = CliRunner().invoke(main, ["init", str(tmp_path / "site"), "--kind", kind])
    assert done.exit_code == 0, done.output
    assert ("deploy site" in done.output) == (kind != "windows")
    assert ("certificate and key of each host into files/" in done.output) == (kind == "pair")
    example = ROOT / "inventories" / kind
    assert {path.relative_to(tmp_path / "site") for path in (tmp_path / "site").rglob("*")} == {
        path.relative_to(example) for path in example.rglob("*")
    }


def test_a_site_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    done = CliRunner().invoke(main, ["init", str(tmp_path / "site")])
    assert (done.exit_code, "must not be there yet" in done.output) == (verify.EXIT_REFUSED, True)


def test_a_site_that_could_not_be_made_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(site, "brought", lambda *_: {"dls_server_version": "1"})
    monkeypatch.setattr(site, "pin_into", full)
    with pytest.raises(OSError, match="No space left"):
        site.make(tmp_path / "site", "single", tmp_path)
    assert not (tmp_path / "site").exists()


def test_a_site_of_an_installed_bundle_names_its_archive_and_its_packages(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = {f"archives/dynamsoft_dls-linux_x64-v{number}.tar.gz": number.encode() for number in ("2.4.9", "2.4.11")}
    packages = {"repositories/debian12/Packages": b""}
    made = samples.make(tmp_path / "made", {**KIT, **archives, **packages}, "first", vendor=["2.4.11", "2.4.9"])
    folder = Path(install.install(str(made), str(key), str(tmp_path / "into")))
    site.make(tmp_path / "site", "single", folder / "bundle")
    found = yaml.safe_load((tmp_path / "site/group_vars/dls.yml").read_text())
    current = tmp_path / "into/first/bundle"
    assert found["dls_server_version"] == "2.4.11"
    assert found["dls_server_archive"] == str(current / "archives/dynamsoft_dls-linux_x64-v2.4.11.tar.gz")
    assert found["dls_server_archive_checksum"].startswith("sha256:")
    assert found["dls_server_package_repositories"] == str(tmp_path / "into/current/bundle/repositories")
    assert json.loads((current / "manifest.json").read_text())["name"] == "first"


def test_the_next_steps_are_those_of_the_bundle_that_the_kit_comes_from(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(install.install(str(samples.make(tmp_path / "made", KIT, "first")), str(key), str(tmp_path / "into")))
    monkeypatch.setattr(site, "bundle_of_this_kit", lambda: folder / "bundle")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["init", "here"])
    assert done.exit_code == 0, done.output
    here = tmp_path / "here"
    kit = tmp_path / "into/current/kit"
    assert "The bundle has no archive for single: name yours in group_vars/dls.yml" in done.output
    assert f"then, in {kit}: ../venv/bin/ansible-playbook -i {here} playbooks/site.yml" in done.output
    assert f"../venv/bin/dlskit deploy site -i {here} --dry" in done.output
