"""A vendor archive for Windows is read on the control node, and only the pinned one is taken."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlsctl.archives import DEFAULT_LIMITS
from dlsctl.problems import Refused
from dlskit.windows import zips
from tests.archives import cases
from tests.archives import rawtar as tar
from tests.archives import rawzip as zp
from tests.checkout.paths import ROOT

HOME = r"C:\dls"


def written(folder: Path, content: bytes, name: str = cases.WINDOWS_NAME) -> tuple[str, str]:
    path = folder / name
    path.write_bytes(content)
    return str(path), hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("top", ["", "dynamsoft_dls-win_x64-v2.4.11"])
def test_the_record_names_what_lies_in_the_release_with_and_without_a_top_folder(top: str, tmp_path: Path) -> None:
    path, sha256 = written(tmp_path, zp.packed(zp.windows_release(top.encode())))
    record = zips.read(path, sha256, "2.4.11", HOME)
    assert (record["version"], record["archive_sha256"], record["top"]) == ("2.4.11", sha256, top)
    members = {member[0]: member for member in record["members"]}
    assert members["win"][1] == members["win/jre/bin"][1] == "dir", "folders that the archive only implies count too"
    assert members["startup.bat"][1:5:2] == ["file", 9]
    assert members["startup.bat"][4] == hashlib.sha256(b"content\r\n").hexdigest()
    assert record["size"] == Path(path).stat().st_size + 7 * 9


ZIPS = {
    name: case
    for name, case in cases.CASES.items()
    if case.content[:4] == b"PK\3\4" and case.limits == DEFAULT_LIMITS  # the command has no other limits
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_hostile_archive_is_refused_whatever_was_pinned(name: str, tmp_path: Path) -> None:
    path, sha256 = written(tmp_path, ZIPS[name].content, ZIPS[name].name or cases.WINDOWS_NAME)
    with pytest.raises(Refused):
        zips.read(path, sha256, "2.4.11", HOME)


def test_an_archive_for_linux_is_refused(tmp_path: Path) -> None:
    path, sha256 = written(tmp_path, tar.packed(tar.linux_release()), cases.LINUX_NAME)
    with pytest.raises(Refused, match="must have platform win_x64, got linux_x64\nHINT: check the archive"):
        zips.read(path, sha256, "2.4.11", HOME)


@pytest.mark.parametrize(
    ("sha256", "version", "said"),
    [
        ("0" * 64, "2.4.11", "must have SHA-256 0000"),
        ("", "2.4.11", r"must have SHA-256 \(none given\), got "),
        (None, "2.4.1", "must have version 2.4.1, got 2.4.11"),
    ],
)
def test_another_archive_than_the_pinned_one_is_refused(
    sha256: str | None, version: str, said: str, tmp_path: Path
) -> None:
    path, own = written(tmp_path, zp.packed(zp.windows_release()))
    with pytest.raises(Refused, match=said):
        zips.read(path, own if sha256 is None else sha256, version, HOME)


def test_paths_that_windows_would_not_take_are_refused_for_the_home_that_makes_them_long(tmp_path: Path) -> None:
    deep = b"win/" + b"d" * 80 + b"/" + b"f" * 80
    path, sha256 = written(tmp_path, zp.packed([*zp.windows_release(), zp.Entry(deep)]))
    fits = "C:\\" + "h" * (259 - len("C:\\\\releases\\.staged-2.4.11\\") - len(deep))
    zips.read(path, sha256, "2.4.11", fits)
    with pytest.raises(Refused, match=r"dls_server_home: must be so short .* has 260\nHINT: choose a shorter folder"):
        zips.read(path, sha256, "2.4.11", fits + "h")


def test_a_folder_has_fewer_characters_than_a_file(tmp_path: Path) -> None:
    deep = b"win/" + b"d" * 80 + b"/" + b"d" * 80
    path, sha256 = written(tmp_path, zp.packed([*zp.windows_release(), zp.Entry(deep + b"/f")]))
    fits = "C:\\" + "h" * (247 - len("C:\\\\releases\\.staged-2.4.11\\") - len(deep))
    zips.read(path, sha256, "2.4.11", fits)
    with pytest.raises(Refused, match="no folder 247"):
        zips.read(path, sha256, "2.4.11", fits + "h")


def test_the_command_prints_the_record_or_says_why_there_is_none(tmp_path: Path) -> None:
    path, sha256 = written(tmp_path, zp.packed(zp.windows_release()))

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "dlskit.windows.zips", *options, "--version=2.4.11", f"--home={HOME}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    done = run(path, f"--sha256={sha256}")
    assert json.loads(done.stdout)["version"] == "2.4.11"
    done = run(path, "--sha256=1")
    assert (done.returncode, done.stdout) == (6, "")
    assert "Traceback" not in done.stderr
    done = run(str(tmp_path / "gone.zip"), "--sha256=1")
    assert (done.returncode, done.stderr.splitlines()[-1][:5]) == (6, "HINT:")
