"""The lab's modules answer as the real ones do, by their source, where a role could tell a difference. Without Wine."""

import contextlib
import io
import json
import runpy
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic

from tests.winlab import records, shadow
from tests.winlab.host import modules_from_elsewhere

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shadow") / "shadow"
    shadow.build(folder)
    return folder


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """The drives of a Windows that does not run."""
    for drive in ("c", "e"):
        (tmp_path / f"drive_{drive}/data").mkdir(parents=True)
        (tmp_path / "dosdevices").mkdir(exist_ok=True)
        (tmp_path / f"dosdevices/{drive}:").symlink_to(f"../drive_{drive}")
    return tmp_path


@pytest.fixture
def run(shadowed: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a module with options in this process, and returns its result; dry for check mode."""
    monkeypatch.setenv("WINEPREFIX", str(prefix))
    monkeypatch.setenv("LAB_OPTIONS", str(shadowed / shadow.OPTIONS))
    monkeypatch.syspath_prepend(shadowed)

    def run(full_name: str, /, *, dry: bool = False, **options: Any) -> dict[str, Any]:
        for name in [name for name in sys.modules if name.startswith("ansible_collections")]:
            monkeypatch.delitem(sys.modules, name)
        collection, module = full_name.rsplit(".", 1)
        path = shadowed / "ansible_collections" / collection.replace(".", "/") / "plugins/modules" / f"{module}.py"
        arguments = {"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": dry, "_ansible_remote_tmp": "/tmp"}}
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy")
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps(arguments).encode())
        output = io.StringIO()
        with contextlib.redirect_stdout(output), pytest.raises(SystemExit):
            runpy.run_path(str(path), run_name="__main__")
        return dict(json.loads(output.getvalue()))

    return run


def test_a_folder_that_is_not_there_is_found_empty(run: Run) -> None:
    found = run("ansible.windows.win_find", paths=[r"C:\nowhere"])
    assert (found.get("failed"), found["files"], found["matched"]) == (None, [], 0)


def test_what_is_found_has_the_keys_that_the_real_module_gives(run: Run, prefix: Path) -> None:
    (prefix / "drive_c/data/note.txt").write_text("x")
    (found,) = run("ansible.windows.win_find", paths=[r"C:\data"])["files"]
    assert (found["path"], found["extension"], found["size"]) == (r"C:\data\note.txt", ".txt", 1)
    (found,) = run("ansible.windows.win_find", paths=["C:\\"], file_type="directory")["files"]
    assert (found["path"], found["checksum"], found["size"]) == (r"C:\data", None, None)


def test_a_folder_has_the_size_of_its_files(run: Run, prefix: Path) -> None:
    (prefix / "drive_c/data/a").write_text("12345")
    assert run("ansible.windows.win_stat", path=r"c:\DATA")["stat"]["size"] == 5
    assert "size" not in run("ansible.windows.win_stat", path=r"C:\data", get_size=False)["stat"]


def test_a_command_in_check_mode_is_skipped_and_has_no_status(run: Run) -> None:
    done = run("ansible.windows.win_command", dry=True, _raw_params="cmd /c dir")
    assert (done["changed"], done["skipped"], "rc" in done) == (False, True, False)


def test_a_file_that_a_process_has_open_can_neither_be_removed_nor_replaced(run: Run, prefix: Path) -> None:
    program = prefix / "drive_c/data/server.jar"
    program.write_text("x")
    (prefix / "drive_c/other").write_text("y")
    with program.open() as opened, subprocess.Popen(["sleep", "60"], stdin=opened) as server:
        done = run("ansible.windows.win_file", path=r"C:\data", state="absent")
        assert done["failed"] and "used by another process" in done["msg"]
        done = run(
            "ansible.windows.win_copy",
            src=r"C:\other",
            dest=r"C:\data\server.jar",
            remote_src=True,
            _copy_mode="remote",
        )
        assert done["failed"] and "used by another process" in done["msg"]
        server.kill()
    assert program.read_text() == "x"
    assert run("ansible.windows.win_file", path=r"C:\data", state="absent")["changed"]


def test_a_wait_for_nothing_lasts_as_long_as_it_is_told(run: Run) -> None:
    begun = time.monotonic()
    assert not run("ansible.windows.win_wait_for", timeout=2)["changed"]
    assert time.monotonic() - begun >= 2


def test_who_may_use_a_folder_is_known_by_what_it_and_those_above_it_say(run: Run, prefix: Path) -> None:
    (prefix / "drive_c/data/sub").mkdir()
    assert records.USERS in records.access(prefix, r"C:\data\sub")
    options = {"path": r"C:\data", "user": records.SYSTEM, "rights": "FullControl", "type": "allow"}
    assert run("ansible.windows.win_acl", dry=True, **options).get("skipped"), "the real one knows no check mode"
    assert [run("ansible.windows.win_acl", **options)["changed"] for _ in range(2)] == [True, False]
    cut = {"path": r"C:\data", "state": "absent"}
    assert run("ansible.windows.win_acl_inheritance", dry=True, **cut)["changed"]
    assert [run("ansible.windows.win_acl_inheritance", **cut)["changed"] for _ in range(2)] == [True, False]
    assert records.access(prefix, r"C:\data\sub") == {records.SYSTEM: {"FullControl"}}


def test_rights_stay_with_a_folder_that_is_renamed_and_go_with_one_that_is_removed(run: Run, prefix: Path) -> None:
    options = {"user": records.SYSTEM, "rights": "FullControl", "type": "allow"}
    run("ansible.windows.win_acl", path=r"C:\data", **options)
    (prefix / "drive_c/data").rename(prefix / "drive_c/moved")
    assert not run("ansible.windows.win_acl", path=r"C:\moved", **options)["changed"]
    run("ansible.windows.win_file", path=r"C:\moved", state="absent")
    run("ansible.windows.win_file", path=r"C:\moved", state="directory")
    assert run("ansible.windows.win_acl", path=r"C:\moved", **options)["changed"]


def test_a_copy_has_the_rights_of_its_new_folder(run: Run, prefix: Path) -> None:
    (prefix / "drive_c/data/a").write_text("x")
    acl = {"path": r"C:\data\a", "user": records.ADMINISTRATORS, "rights": "Write", "type": "deny"}
    run("ansible.windows.win_acl", **acl)
    run("ansible.windows.win_copy", src=r"C:\data\a", dest=r"E:\data\a", remote_src=True, _copy_mode="remote")
    assert run("ansible.windows.win_acl", **{**acl, "path": r"E:\data\a"})["changed"]


def test_an_account_is_known_by_its_sid_alone(run: Run) -> None:
    """Its name is another one on a Windows of another language."""
    done = run("ansible.windows.win_acl", path=r"C:\data", user="Administrators", rights="Read", type="allow")
    assert "not a valid user or group" in done["msg"]
    assert "not a valid user or group" in run("ansible.windows.win_owner", path=r"C:\data", user="SYSTEM")["msg"]


def test_a_rule_of_the_firewall_changes_only_by_what_is_given(run: Run, prefix: Path) -> None:
    rule = {"name": "dls", "localport": "48080", "protocol": "tcp", "action": "block", "direction": "in"}
    name = "community.windows.win_firewall_rule"
    assert [run(name, **rule)["changed"] for _ in range(2)] == [True, False]
    assert not run(name, name="dls", localport="48080", protocol="tcp")["changed"]
    assert run(name, dry=True, name="dls", action="allow")["changed"]
    assert run(name, name="dls", remoteip="10.0.0.2,10.0.0.1")["changed"]
    assert not run(name, name="dls", remoteip="10.0.0.1,10.0.0.2")["changed"]
    assert records.rules(prefix)["dls"]["action"] == "block"
    assert "protocol" in run(name, name="other", localport="1")["msg"], "Windows has no ports without a protocol"
    assert run(name, name="dls", state="absent")["changed"]
    assert not run(name, name="dls", state="absent")["changed"]


def test_a_scheduled_task_changes_only_by_what_is_given(run: Run, prefix: Path) -> None:
    name = "community.windows.win_scheduled_task"
    task = {"name": "backup", "path": "\\DLS", "actions": [{"path": "cmd.exe"}], "username": "S-1-5-18"}
    assert [run(name, **task)["changed"] for _ in range(2)] == [True, False]
    assert not run(name, name="backup", path="\\DLS", username="S-1-5-18")["changed"]
    assert run(name, name="backup", path="\\DLS", enabled=False)["changed"]
    assert list(records.tasks(prefix)) == ["\\DLS\\backup"]
    assert run(name, name="backup", path="\\DLS", state="absent")["changed"]


def test_the_state_of_the_firewall_is_told_without_changing_it(run: Run, prefix: Path) -> None:
    records.write(prefix, "profiles", {"Public": "disabled"})
    done = run("ansible.windows.win_firewall", dry=True, state="enabled")
    assert (done["changed"], done["Public"]["enabled"], done["Domain"]["enabled"]) == (True, True, True)
    done = run("ansible.windows.win_firewall", dry=True, state="enabled", profiles=["Domain"])
    assert (done["changed"], done["Public"]["enabled"]) == (False, False)


def test_who_listens_is_told_by_the_name_of_its_program(run: Run) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1],"
         " flush=True); input()", r"C:\x"],
        executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout
        port = int(server.stdout.readline())
        listening = run("ansible.windows.win_listen_ports_facts")["ansible_facts"]["tcp_listen"]
        server.terminate()
    (found,) = [each for each in listening if each["port"] == port]
    assert (found["address"], found["name"]) == ("127.0.0.1", Path(sys.executable).name)


def test_facts_are_those_of_a_server_unless_a_test_tells_others(run: Run, prefix: Path) -> None:
    facts = run("ansible.windows.setup")["ansible_facts"]
    assert (facts["ansible_os_family"], facts["ansible_reboot_pending"]) == ("Windows", False)
    records.write(prefix, "facts", {"ansible_reboot_pending": True})
    assert run("ansible.windows.setup")["ansible_facts"]["ansible_reboot_pending"] is True


def test_facts_are_only_those_that_were_asked_for(run: Run) -> None:
    def gathered(*words: str) -> set[str]:
        facts = run("ansible.windows.setup", gather_subset=words)["ansible_facts"]
        return {name for name in facts if name.startswith("ansible_")}

    assert gathered("!all", "!min", "memory", "powershell_version") == {
        "ansible_memtotal_mb",
        "ansible_memfree_mb",
        "ansible_swaptotal_mb",
        "ansible_powershell_version",
    }
    assert "ansible_memtotal_mb" not in gathered("!all")
    assert "ansible_reboot_pending" in gathered("!all")
    assert gathered("memory") == gathered("all") == gathered()


def test_an_archive_must_be_named_as_one(run: Run, prefix: Path) -> None:
    """By any other name the real module wants a PowerShell module that nobody has."""
    with zipfile.ZipFile(prefix / "drive_c/archive", "w") as archive:
        archive.writestr("a/b", "x")
    name = "community.windows.win_unzip"
    assert "PSCX" in run(name, src=r"C:\archive", dest=r"C:\out")["msg"]
    (prefix / "drive_c/archive").rename(prefix / "drive_c/archive.ZIP")
    assert run(name, src=r"C:\archive.zip", dest=r"C:\out")["changed"]
    assert (prefix / "drive_c/out/a/b").read_text() == "x"


def test_a_script_is_refused_unless_a_test_has_declared_what_it_answers(run: Run, prefix: Path) -> None:
    script = "Get-Thing -Name x"
    for name, options in (("win_powershell", {"script": script}), ("win_shell", {"_raw_params": script})):
        assert "no PowerShell" in run(f"ansible.windows.{name}", **options)["msg"]
    records.write(prefix, "declared", {script: {"changed": False, "stdout": "x", "rc": 0}})
    assert run("ansible.windows.win_shell", _raw_params=f" {script}\n")["stdout"] == "x"
    assert run("ansible.windows.win_powershell", script=script)["changed"] is False
    assert "no PowerShell" in run("ansible.windows.win_shell", _raw_params=f"{script} -Force")["msg"]


def test_a_temporary_file_is_made_with_its_ends(run: Run, prefix: Path) -> None:
    (prefix / "drive_c/windows/temp").mkdir(parents=True)
    made = run("ansible.windows.win_tempfile", suffix=".zip")
    assert made["changed"] and made["path"].startswith(r"C:\windows\temp\ansible.") and made["path"].endswith(".zip")
    assert len(list((prefix / "drive_c/windows/temp").iterdir())) == 1
    assert run("ansible.windows.win_tempfile", dry=True, path=r"E:\data", state="directory")["changed"]
    assert not list((prefix / "drive_e/data").iterdir())


def test_a_package_and_a_feature_are_installed_once(run: Run, prefix: Path) -> None:
    (prefix / "drive_c/data/arr.msi").write_text("x")
    package = {"path": r"C:\data\arr.msi", "product_id": "{1}", "state": "present"}
    assert [run("ansible.windows.win_package", **package)["changed"] for _ in range(2)] == [True, False]
    assert run("ansible.windows.win_package", product_id="{1}", state="absent")["changed"]
    assert "cannot be reached" in run("ansible.windows.win_package", path=r"C:\no.msi", product_id="{2}")["msg"]
    feature = {"name": ["Web-Server", "Web-Mgmt-Console"], "state": "present"}
    assert [run("ansible.windows.win_feature", **feature)["changed"] for _ in range(2)] == [True, False]
    assert sorted(records.read(prefix, "features")) == ["Web-Mgmt-Console", "Web-Server"]


def test_a_site_of_iis_changes_only_by_what_is_given(run: Run, prefix: Path) -> None:
    site = {"name": "dls", "state": "started", "physical_path": r"C:\data", "application_pool": "dls"}
    assert [run("microsoft.iis.website", **site)["changed"] for _ in range(2)] == [True, False]
    assert not run("microsoft.iis.website", name="dls", physical_path=r"c:\data")["changed"]
    assert run("microsoft.iis.website", name="dls", physical_path=r"E:\data")["changed"]
    assert run("microsoft.iis.website", name="dls", state="absent")["changed"]
    assert [run("microsoft.iis.web_app_pool", name="dls")["changed"] for _ in range(2)] == [True, False]
    assert list(records.read(prefix, "iis_pools")) == ["dls"]


def test_every_module_of_the_lab_has_the_options_of_the_real_one(shadowed: Path) -> None:
    options = json.loads((shadowed / shadow.OPTIONS).read_text())
    lab = {".".join((*path.parts[-3:-1], path.stem)) for path in shadow.MODULES.glob("*/*/*.py")}
    assert set(options) == lab
    assert options["ansible.windows.win_stat"]["path"]["required"]
    assert options["ansible.windows.win_uri"]["url_password"]["no_log"]


def test_a_module_of_windows_that_is_not_the_labs_is_told(shadowed: Path) -> None:
    mine = f"{shadowed}/ansible_collections/ansible/windows/plugins/modules/win_stat.py"
    others = [
        "/usr/share/ansible/collections/ansible_collections/ansible/windows/plugins/modules/setup.py",
        "/usr/share/ansible/collections/ansible_collections/microsoft/iis/plugins/modules/website.ps1",
        "/usr/share/ansible/plugins/modules/win_stat.py",
    ]
    lines = [f"Using module file {path}" for path in [mine, *others, "/usr/lib/ansible/modules/command.py"]]
    assert modules_from_elsewhere("\n".join(lines), shadowed) == others
