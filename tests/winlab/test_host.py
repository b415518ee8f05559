"""The lab as a target of playbooks: what is done on it is real, nothing is done twice, what cannot be is refused."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.standin import build
from tests.standin.process import free_ports
from tests.winlab.host import NAME, Host, host, modules_from_elsewhere
from tests.winlab.prefix import HELPER, is_possible
from tests.winlab.test_prefix import answers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_possible(), reason="wine or the compiler for Windows is not installed"),
]
HERE = Path(__file__).parent
PLAY = HERE / "service.yml"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("winlab")) as target:
        yield target


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    port, data_port = free_ports(2)
    return {
        "archive": str(build.cached("2.4.11", build.WINDOWS)),
        "folder": r"E:\dls",
        "port": port,
        "arguments": r'".\win\jre\bin\dynamsoftdls.exe" -jar ".\dls-2.4.11.jar"'
        f" --server.port={port} --data.port={data_port}",
    }


def java(port: int) -> list[int]:
    """The processes of the server with this port."""
    listing = subprocess.run(
        ["pgrep", "-f", f"dynamsoftdls.exe.*port={port}"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listing.stdout.split()]


def test_a_play_installs_a_service_once_and_the_second_run_changes_nothing(
    target: Host, variables: dict[str, Any]
) -> None:
    checked = target.play(PLAY, variables, "--check")
    assert not target.prefix.path(r"E:\dls").exists(), checked.output
    first = target.play(PLAY, variables, "-vvv")
    assert first.code == 0, first.output[-6000:]
    assert modules_from_elsewhere(first.output, target.shadow) == []
    assert answers(variables["port"])
    assert target.prefix.path(r"E:\dls\note.txt").read_bytes() == b"Port %d\r\n" % variables["port"]
    second = target.play(PLAY, variables)
    assert (second.code, second.changed) == (0, 0), second.output
    assert target.play(PLAY, variables, "--check").changed == 0


def test_what_was_changed_by_hand_is_put_right(target: Host, variables: dict[str, Any]) -> None:
    target.prefix.wine(r"C:\nssm.exe", "set", "dynamsoft-dls", "AppRestartDelay", "1")
    target.prefix.path(r"E:\dls\note.txt").write_text("mine")
    done = target.play(PLAY, variables)
    assert (done.code, done.changed) == (0, 2), done.output
    assert "1000" in target.prefix.wine(r"C:\nssm.exe", "get", "dynamsoft-dls", "AppRestartDelay")[1]


def test_a_server_that_is_killed_comes_back_and_is_there_after_a_reboot(
    target: Host, variables: dict[str, Any]
) -> None:
    before = java(variables["port"])
    assert before
    for pid in before:
        subprocess.run(["kill", "-9", str(pid)], check=False)
    assert answers(variables["port"])
    assert not set(java(variables["port"])) & set(before)
    target.prefix.reboot()
    assert answers(variables["port"])
    assert target.play(PLAY, variables).changed == 0


def test_what_modules_see_is_what_is_there(target: Host, variables: dict[str, Any]) -> None:
    done = target.play(HERE / "looks.yml", variables)
    text = " ".join(done.output.split())
    assert (
        "SEEN Windows True dynamsoftdls.exe CE started 1000 AppEvents,AppExit E:\\dls\\dls-2.4.11.jar Port" in text
    ), done.output


def test_what_a_server_has_open_stays_until_its_service_has_gone(target: Host, variables: dict[str, Any]) -> None:
    done = target.play(HERE / "ends.yml", variables)
    assert "ENDED here A stand-in restart [True, False] False" in " ".join(done.output.split()), done.output
    assert not target.prefix.path(r"E:\dls").exists()


REFUSED = {
    "ansible.windows.win_shell: dir": "no PowerShell",
    "ansible.windows.win_command: netsh advfirewall show allprofiles": "netsh: is a mere stub",
    "ansible.windows.win_command: cmd /c icacls C:/": "icacls: is a mere stub",
    "ansible.windows.win_command: schtasks.exe /query": "schtasks: is a mere stub",
    r"ansible.windows.win_file: {path: 'Q:\x', state: directory}": "name 'Q' does not exist",
    r"ansible.windows.win_file: {path: 'C:\a?b', state: directory}": "Illegal characters",
    r"ansible.windows.win_stat: {path: 'C:\x', chksum: true}": "Unsupported parameters",
    "ansible.windows.win_service: {name: dls, username: me}": "the Windows lab has no username",
}


def test_what_the_lab_cannot_do_is_refused(target: Host, tmp_path: Path) -> None:
    playbook = tmp_path / "play.yml"
    tasks = "".join(f"    - {task}\n      ignore_errors: true\n" for task in REFUSED)
    playbook.write_text(f"- hosts: dls\n  gather_facts: false\n  tasks:\n{tasks}")
    done = target.play(playbook, {})
    assert done.recap[NAME]["ignored"] == len(REFUSED), done.output
    text = re.sub(r"\s+", " ", done.output)
    assert [said for said in REFUSED.values() if said not in text] == [], text


def test_a_module_that_the_lab_has_not_is_taken_from_nowhere(target: Host, tmp_path: Path) -> None:
    playbook = tmp_path / "play.yml"
    playbook.write_text("- hosts: dls\n  tasks:\n    - ansible.windows.win_get_url: {url: x, dest: y}\n")
    done = target.play(playbook, {})
    assert done.code != 0
    assert "couldn't resolve module/action" in done.output


def test_the_service_manager_is_asked_for_a_service_that_there_is_not(target: Host) -> None:
    assert target.prefix.wine(HELPER, "query", "nobody")[1] == '{"exists": false}\n'
