"""A bundle becomes the kit of a control node: whole, in order, or not at all."""

import json
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


def test_a_newer_bundle_follows_and_the_older_one_stays(tmp_path: Path, key: Path) -> None:
    install.install(bundle(tmp_path, "first"), str(key), str(tmp_path / "into"))
    install.install(bundle(tmp_path, "second", kit="1.1", kit_from="1.0"), str(key), str(tmp_path / "into"))
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
    assert f"then, in {kit}: ../venv/bin/ansible-playbook -i {here} playbooks/site.yml" in done.output
    assert f"../venv/bin/dlskit deploy site -i {here} --dry" in done.output
