"""``verify.py`` and ``dlskit bundle verify``: whatever is not as it was signed is refused, by name."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlskit import minisign
from dlskit.bundle import verify
from dlskit.cli import main
from tests.bundle import samples

PROGRAM = Path(verify.__file__)
PYTHONS = [path for name in range(6, 20) if (path := shutil.which(f"python3.{name}"))]


def outcome(folder: Path, key: Path) -> tuple[int, str]:
    """What the two front ends say of a bundle, which must be the same."""
    program = subprocess.run(
        [sys.executable, PROGRAM, folder, "--key", key], capture_output=True, text=True, check=False
    )
    kit = CliRunner().invoke(main, ["bundle", "verify", str(folder), "--key", str(key)])
    assert (kit.exit_code, kit.stderr) == (program.returncode, program.stderr)
    return program.returncode, program.stderr


def test_a_bundle_as_it_was_signed_is_taken_and_left_as_it_is(bundle: Path, key: Path) -> None:
    (bundle / "empty" / "folder").mkdir(parents=True)
    before = sorted(bundle.rglob("*"))
    assert outcome(bundle, key) == (0, "")
    assert sorted(bundle.rglob("*")) == before


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def _same_size(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "must be as it was signed, got nothing"),
    "longer": (_append, "must be as it was signed, got 210001 bytes in place of 210000"),
    "other content": (_same_size, "must be as it was signed, got another content"),
    "added": (lambda path: path.with_name("more").touch(), "'archives/more': must not be there"),
    "added, hidden": (lambda path: path.with_name(".more").touch(), "'archives/.more': must not be there"),
    "added link": (lambda path: path.with_name("more").symlink_to("/"), "'archives/more': must not be there"),
    "added pipe": (lambda path: os.mkfifo(path.with_name("more")), "'archives/more': must not be there"),
    "added, odd name": (lambda path: path.with_name("m\x1bx").touch(), r"'archives/m\x1bx': must not be there"),
    "a second name": (lambda path: os.link(path, path.parent.parent.parent / "other"), "a file that has another name"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_not_as_it_was_signed_is_named(bundle: Path, key: Path, change: str) -> None:
    change_it, words = CHANGES[change]
    change_it(bundle / "archives/dls.tar.gz")
    code, said = outcome(bundle, key)
    assert (code, words in said) == (verify.EXIT_DIFFERS, True), said


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_something_in_place_of_a_file_is_not_followed(bundle: Path, key: Path, tmp_path: Path, kind: str) -> None:
    path = bundle / "archives/dls.tar.gz"
    path.rename(tmp_path / "elsewhere")
    make: dict[str, Callable[[], object]] = {
        "link": lambda: path.symlink_to(tmp_path / "elsewhere"),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
    }
    make[kind]()
    code, said = outcome(bundle, key)
    assert (code, "archives/dls.tar.gz: must be as it was signed" in said) == (verify.EXIT_DIFFERS, True), said


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_byte_flipped_anywhere_is_found(bundle: Path, key: Path, data: st.DataObject) -> None:
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.stat().st_size)
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    after = bytearray(before)
    after[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(after)
    try:
        refused = bool(verify.check(str(bundle), str(key))[1])
    except verify.Problem:
        refused = True
    path.write_bytes(before)
    harmless = path.name.endswith(verify.SIGNATURE_SUFFIX) and after[: before.index(b"\n")].startswith(b"untrusted")
    assert refused or (harmless and place < before.index(b"\n")), f"{path.name}, byte {place}"


def test_a_signature_must_be_there(bundle: Path, key: Path) -> None:
    (bundle / "manifest.json.minisig").unlink()
    assert outcome(bundle, key)[0] == verify.EXIT_REFUSED


def test_the_signature_of_another_key_is_refused(bundle: Path, tmp_path: Path) -> None:
    code, said = outcome(bundle, samples.public_file(tmp_path / "other.pub", samples.OTHER_KEY))
    assert (code, "must be a signature of the key" in said) == (verify.EXIT_REFUSED, True)


def test_another_key_with_the_same_id_is_refused(bundle: Path, tmp_path: Path) -> None:
    twin = minisign.SecretKey(samples.KEY.id, samples.OTHER_KEY.seed)
    code, said = outcome(bundle, samples.public_file(tmp_path / "twin.pub", twin))
    assert (code, "manifest.json: must be as it was signed" in said) == (verify.EXIT_REFUSED, True)


@pytest.mark.parametrize("place", ["key.pub", "wheels/key.pub", "link"])
def test_the_key_never_comes_from_the_bundle(bundle: Path, tmp_path: Path, place: str) -> None:
    path = samples.public_file(bundle / (place if place != "link" else "key.pub"))
    if place == "link":
        (tmp_path / "link.pub").symlink_to(path)
        path = tmp_path / "link.pub"
    code, said = outcome(bundle, path)
    assert (code, "must not be a key of the bundle" in said) == (verify.EXIT_REFUSED, True)


def test_an_edited_manifest_is_refused(bundle: Path, key: Path) -> None:
    path = bundle / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"sample"', b'"Sample"'))
    assert outcome(bundle, key)[0] == verify.EXIT_REFUSED


def test_a_trusted_comment_is_part_of_what_was_signed(bundle: Path, key: Path) -> None:
    path = bundle / "manifest.json.minisig"
    path.write_text(path.read_text().replace("bundle sample", "bundle simple"))
    code, said = outcome(bundle, key)
    assert (code, "must have the comment that was signed" in said) == (verify.EXIT_REFUSED, True)


HOSTILE = [
    ["../outside"],
    ["/etc/passwd"],
    ["a/../../b"],
    ["a//b"],
    ["./a"],
    ["a/"],
    [""],
    ["a\\b"],
    ["C:/a"],
    ["a\nb"],
    ["caf\u00e9"],
    ["con"],
    ["a/NUL.txt"],
    ["a."],
    ["a "],
    ["manifest.json"],
    ["Manifest.JSON.minisig"],
    ["same", "same"],
    ["Case", "case"],
    ["A/b", "a/c"],
    ["a", "a/b"],
    ["a/b", "a"],
    ["x" * 201],
    ["a/" * 130 + "b"],
    [5],
]


@pytest.mark.parametrize("paths", HOSTILE)
def test_a_signed_manifest_with_a_dangerous_name_is_refused(tmp_path: Path, key: Path, paths: list[str]) -> None:
    bundle = samples.make(tmp_path / "bundle", {})
    entries = [{"path": path, "size": 0, "sha256": "0" * 64, "origin": ""} for path in paths]
    manifest = json.loads((bundle / "manifest.json").read_text()) | {"files": entries}
    samples.sign(bundle, manifest)
    code, said = outcome(bundle, key)
    assert (code, said.startswith("manifest.json, ")) == (verify.EXIT_REFUSED, True), said


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "dlskit-parts"},
        {"schema": 2},
        {"schema": "1"},
        {"name": "../a"},
        {"files": {}},
        {"kit": None},
        {"kit": "9" * 5000},
        {"kit": "1.\u00b2"},
        {"kit_from": 1},
        {"files": [{"path": "a"}]},
        {"files": [{"path": "a", "size": -1, "sha256": "0" * 64, "origin": ""}]},
        {"files": [{"path": "a", "size": True, "sha256": "0" * 64, "origin": ""}]},
        {"files": [{"path": "a", "size": 0, "sha256": "A" * 64, "origin": ""}]},
    ],
)
def test_a_signed_manifest_of_another_form_is_refused(tmp_path: Path, key: Path, change: dict[str, object]) -> None:
    bundle = samples.make(tmp_path / "bundle", {})
    samples.sign(bundle, json.loads((bundle / "manifest.json").read_text()) | change)
    assert outcome(bundle, key)[0] == verify.EXIT_REFUSED


def of_its_version(python: str) -> dict[str, str]:
    """The environment in which a name such as python3.6 is that version to pyenv, where it is pyenv's."""
    version = Path(python).name.removeprefix("python")
    return {**os.environ, "PYENV_VERSION": version} if "." in version else dict(os.environ)


@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_of_this_machine_runs_it(bundle: Path, key: Path, python: str) -> None:
    environment = of_its_version(python)
    if subprocess.run([python, "-c", ""], env=environment, capture_output=True, check=False).returncode:
        pytest.skip("only a name of a version manager")
    shutil.copy(PROGRAM, bundle.parent / "verify.py")
    command: list[str | Path] = [python, bundle.parent / "verify.py", bundle, "--key", key]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    _same_size(bundle / "archives/dls.tar.gz")
    again = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert again.returncode == verify.EXIT_DIFFERS


def test_a_python_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 5, 2))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(PROGRAM), run_name="__main__")
    assert stopped.value.code == verify.EXIT_REFUSED
    assert "must run on Python 3.6 or newer, got 3.5" in capsys.readouterr().err


def test_python_2_shows_the_line_that_tells(tmp_path: Path) -> None:
    python = shutil.which("python2.7")
    environment = of_its_version(python or "")
    if not python or subprocess.run([python, "-c", ""], env=environment, capture_output=True, check=False).returncode:
        pytest.skip("no Python 2.7")
    done = subprocess.run([python, PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "verify.py needs Python 3.6 or newer" in done.stderr) == (1, True)


def test_nothing_depends_on_the_clock(bundle: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in bundle.rglob("*"):
        os.utime(path, (0, 0))
    os.utime(bundle / "manifest.json", (2**33, 2**33))
    monkeypatch.setattr("time.time", lambda: -1e9)
    assert outcome(bundle, key) == (0, "")


MADE_FOR = {"pythons": ["3.11"], "platforms": ["manylinux_2_28_x86_64"]}


@pytest.mark.parametrize(
    ("python", "machine", "glibc", "words"),
    [
        ((3, 11), "x86_64", (2, 28), ""),
        ((3, 11), "x86_64", (2, 41), ""),
        ((3, 9), "x86_64", (2, 36), "python: must be one of ['3.11'], got 3.9"),
        (
            (3, 11),
            "aarch64",
            (2, 36),
            "platform: must be one of ['manylinux_2_28_x86_64'], got aarch64 with glibc 2.36",
        ),
        ((3, 11), "x86_64", (2, 17), "got x86_64 with glibc 2.17"),
        ((3, 11), "x86_64", (), "got x86_64 with glibc of no version"),
    ],
)
def test_a_bundle_for_other_machines_is_refused(
    python: tuple[int, int], machine: str, glibc: tuple[int, ...], words: str
) -> None:
    try:
        verify.check_machine(MADE_FOR, python, machine, glibc)
        said = ""
    except verify.Problem as error:
        said = str(error)
        assert error.code == verify.EXIT_REFUSED
    assert (words in said) and bool(words) == bool(said)


def test_here_looks_at_this_machine(tmp_path: Path, key: Path) -> None:
    bundle = samples.make(tmp_path / "bundle", pythons=["3.99"], platforms=["manylinux_2_28_x86_64"])
    assert verify.main([str(bundle), "--key", str(key)]) == 0
    assert verify.main([str(bundle), "--key", str(key), "--here"]) == verify.EXIT_REFUSED


@pytest.mark.skipif(not shutil.which("minisign"), reason="minisign is not installed")
def test_minisign_itself_signs_and_checks(bundle: Path, tmp_path: Path) -> None:
    def minisign_program(*words: str | Path) -> None:
        subprocess.run(["minisign", *words], check=True, capture_output=True)

    key = tmp_path / "real.pub"
    minisign_program("-G", "-W", "-p", key, "-s", tmp_path / "real.key")
    minisign_program("-S", "-s", tmp_path / "real.key", "-m", bundle / "manifest.json")
    assert outcome(bundle, key) == (0, "")
    ours = samples.make(tmp_path / "ours")
    minisign_program("-V", "-p", samples.public_file(key), "-m", ours / "manifest.json")


def test_a_module_that_was_added_to_the_bundle_is_not_run(bundle: Path, key: Path, tmp_path: Path) -> None:
    shutil.copy(PROGRAM, bundle)
    for name in ("hashlib", "argparse", "json"):
        (bundle / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    command: list[str | Path] = [sys.executable, bundle / "verify.py", "--key", key]
    assert subprocess.run(command, capture_output=True, check=False).returncode == verify.EXIT_DIFFERS
    assert not (tmp_path / "run").exists()


def test_the_twin_in_powershell_says_what_it_does_not_check() -> None:
    text = PROGRAM.with_name("verify.ps1").read_text()
    assert "does NOT check the signature" in text
    assert "signature was NOT checked" in text


def test_a_key_may_be_a_link_but_not_to_one_in_the_bundle(bundle: Path, key: Path, tmp_path: Path) -> None:
    (tmp_path / "link.pub").symlink_to(key)
    assert verify.check(str(bundle), str(tmp_path / "link.pub"))[1] == []
    key.rename(bundle / "key.pub")
    (tmp_path / "other.pub").symlink_to(bundle / "key.pub")
    with pytest.raises(verify.Problem, match="must not be a key of the bundle"):
        verify.check(str(bundle), str(tmp_path / "other.pub"))
