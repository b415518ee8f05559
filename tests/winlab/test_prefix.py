"""Wine's service manager, with the real NSSM and the Windows stand-in: what the lab stands on."""

import os
import signal
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.standin import build
from tests.standin.portal import Portal, license_text
from tests.standin.process import free_ports
from tests.winlab import prefix as windows_prefix
from tests.winlab.prefix import HELPER, Prefix, is_possible, windows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_possible(), reason="wine or the compiler for Windows is not installed"),
]
SERVICE = "dynamsoft-dls"
FOLDER = r"E:\dynamsoft_dls-win_x64-v2.4.11"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefix]:
    with windows(tmp_path_factory.mktemp("windows") / "prefix") as prefix:
        yield prefix


@pytest.fixture(scope="module")
def port(prefix: Prefix) -> int:
    """The port of the stand-in, installed as the vendor's pages have it."""
    with zipfile.ZipFile(build.cached("2.4.11", build.WINDOWS)) as archive:
        archive.extractall(prefix.path(FOLDER))
    port, data_port = free_ports(2)
    arguments = (
        r'".\win\jre\bin\dynamsoftdls.exe" -Duser.language=en -Duser.region=CA'
        r" -Djavax.net.ssl.trustStoreType=WINDOWS-ROOT --add-opens java.base/jdk.internal.loader=ALL-UNNAMED"
        rf' -jar ".\dls-2.4.11.jar" --server.port={port} --data.port={data_port}'
    )
    nssm(prefix, "install", SERVICE, FOLDER + r"\win\bin\dynamsoftdlsx.exe")
    nssm(prefix, "set", SERVICE, "AppDirectory", FOLDER)
    nssm(prefix, "set", SERVICE, "AppParameters", arguments)
    assert nssm(prefix, "get", SERVICE, "AppParameters").strip() == arguments
    return port


def nssm(prefix: Prefix, *words: str) -> str:
    code, said = prefix.wine(r"C:\nssm.exe", *words)
    assert code == 0, said
    return said


def log(prefix: Prefix) -> str:
    return prefix.path(FOLDER + r"\logs\dls.log").read_text()


def wait_for(what: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.3)
    return what()


def processes(port: int) -> list[int]:
    """The processes of the server with this port, without its launcher."""
    listing = subprocess.run(
        ["pgrep", "-f", rf"^\S*dynamsoftdls\.exe.*port={port}"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listing.stdout.split()]


def answers(port: int, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/page/index.html", timeout=5) as page:
                return bool(page.status == 200)
        except OSError:
            time.sleep(0.3)
    return False


def test_the_service_runs_the_documented_command_line_and_comes_back_after_a_reboot(prefix: Prefix, port: int) -> None:
    code, said = prefix.wine(HELPER, "start", SERVICE)
    assert '"state": "started"' in said, (code, said)
    assert answers(port)
    assert "WINDOWS-ROOT" in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    prefix.reboot()
    assert answers(port)
    _, said = prefix.wine(HELPER, "stop", SERVICE)
    assert '"state": "stopped"' in said
    assert not answers(port, 1)


def test_the_server_keeps_its_state_and_its_identity(prefix: Prefix, port: int) -> None:
    prefix.wine(HELPER, "start", SERVICE)
    assert answers(port)
    portal = Portal(f"http://127.0.0.1:{port}")
    portal.call("first-visit", password="correct horse")
    portal.call("import", text=license_text(), newProject="First")
    before = portal.state()
    prefix.wine(HELPER, "stop", SERVICE)
    assert not processes(port)
    assert (prefix.path(FOLDER) / "data/store.log").stat().st_size
    prefix.reboot()
    prefix.wine(HELPER, "start", SERVICE)
    assert answers(port)
    portal.call("login", user="admin", password="correct horse")
    after = portal.state()
    assert (before["uuid"], before["projects"]) == (after["uuid"], after["projects"])
    assert before["uuid"] and before["projects"]


def test_the_server_reads_dls_json_at_its_start(prefix: Prefix, port: int) -> None:
    prefix.wine(HELPER, "stop", SERVICE)
    file = prefix.path(FOLDER + r"\dls.json")
    file.write_text('{"role": ')
    prefix.wine(HELPER, "start", SERVICE)
    assert wait_for(lambda: "ERROR dls.json" in log(prefix))
    file.unlink()
    prefix.wine(HELPER, "stop", SERVICE)


def test_the_hook_of_an_exit_runs_beside_the_restart_and_does_not_end_it_when_that_waits(
    prefix: Prefix, port: int
) -> None:
    """shutdown.bat ends the server by its program's name: also the one that NSSM has started in the meantime."""
    hook = prefix.path(FOLDER + r"\hook.bat")
    hook.write_text("@echo off\r\necho ran >> hook.log\r\ncall shutdown.bat\r\n", newline="")
    nssm(prefix, "set", SERVICE, "AppEvents", "Exit/Post", FOLDER + r"\hook.bat")
    nssm(prefix, "set", SERVICE, "AppRestartDelay", "6000")
    prefix.wine(HELPER, "start", SERVICE)
    assert answers(port)
    starts = log(prefix).count("starts in")
    for pid in processes(port):
        os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: log(prefix).count("starts in") == starts + 1)
    assert answers(port)
    time.sleep(3)
    assert log(prefix).count("starts in") == starts + 1
    assert prefix.path(FOLDER + r"\hook.log").read_text().count("ran") == 1
    prefix.wine(HELPER, "stop", SERVICE)


def test_the_vendors_scripts_start_and_end_a_server(prefix: Prefix) -> None:
    (port,) = free_ports(1)
    script = prefix.path(FOLDER + r"\startup.bat")
    script.write_bytes(script.read_bytes().replace(b"=48080", b"=%d" % port))
    prefix.wine("cmd", "/c", FOLDER + r"\startup.bat")
    assert answers(port)
    prefix.wine("cmd", "/c", FOLDER + r"\shutdown.bat")
    assert wait_for(lambda: not processes(port), 20)


def test_nssm_is_the_pinned_build_and_is_not_downloaded_again(prefix: Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_prefix, "download_nssm", lambda: pytest.fail("went to the package index"))
    assert windows_prefix.nssm() == prefix.path(windows_prefix.NSSM).read_bytes()
    assert "2.24-101-g897c7ad 64-bit" in nssm(prefix, "version")


def test_a_command_is_run_in_its_folder_and_its_status_comes_back(prefix: Prefix, tmp_path: Path) -> None:
    (tmp_path / "line").write_bytes("cmd /c cd & exit 3".encode("utf-16-le"))
    code, said = prefix.wine(HELPER, "run", rf"Z:{tmp_path}\line", r"C:\windows", rf"Z:{tmp_path}\result")
    assert (code, said.strip(), (tmp_path / "result").read_text()) == (0, r"C:\windows", "R 3\n")
