"""Everything that is wrong with a Windows host is said at once, in one form, before any change."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlskit.windows import backups
from dlskit.windows.preflight import preflight
from dlskit.windows.rules import PATH_RULE
from tests.checkout.paths import ROOT
from tests.windows import seen

Document = dict[str, Any]


@pytest.fixture
def asked(tmp_path: Path) -> Document:
    nssm = tmp_path / "nssm.exe"
    nssm.touch()
    return seen.document(nssm)


def texts(asked: Document) -> list[str]:
    return [problem["text"] for problem in preflight(json.loads(json.dumps(asked)))["problems"]]


def test_a_host_on_which_everything_is_right_has_no_problems(asked: Document) -> None:
    assert texts(asked) == []
    assert texts(seen.installed(asked)) == []


PATHS = [
    ("home", r"dls", PATH_RULE),
    ("home", "C:\\", PATH_RULE),
    ("home", "C:dls", PATH_RULE),
    ("home", r"\dls", PATH_RULE),
    ("home", r"\\server\share\dls", PATH_RULE),
    ("home", "C:/dls", PATH_RULE),
    ("home", "C:\\dls\\", PATH_RULE),
    ("home", r"C:\Program Files\dls", PATH_RULE),
    ("home", r"C:\%TEMP%\dls", PATH_RULE),
    ("data_dir", "C:\\d'ls", PATH_RULE),
    ("backup_dir", "C:\\" + "d" * 178, "must have at most 180 characters"),
    ("config_dir", r"C:\a\..\b", "must not have '..' in its path"),
    ("home", r"C:\dls\con", "must not have the name of a Windows device"),
    ("home", r"C:\aux.d\dls", "must not have the name of a Windows device"),
    ("home", r"C:\dls.", "must not end in a dot or space, which Windows drops"),
    ("home", r"C:\d?ls", 'must not use < > : " | ? *, which Windows forbids'),
    ("home", r"C:\dd:ls", 'must not use < > : " | ? *, which Windows forbids'),
]


@pytest.mark.parametrize(("short", "path", "rule"), PATHS)
def test_a_folder_that_windows_would_not_take_is_refused(asked: Document, short: str, path: str, rule: str) -> None:
    asked["paths"][short] = path
    answer = preflight(asked)
    assert [problem["text"].split("\n")[0] for problem in answer["problems"]] == [
        f"dls_server_{short}: {rule}, got {path!r}"
    ]
    assert answer["look"] is None, "of a host whose folders are unknown nothing can be said"


def test_folders_of_linux_are_refused_and_its_defaults_are_not(asked: Document) -> None:
    asked["spec"]["values"]["dls_server_home"] = "/srv/dls"
    (text,) = texts(asked)
    assert text.startswith(f"dls_server_home: {PATH_RULE}, got '/srv/dls'\nHINT: set dls_server_home")


def test_a_folder_in_the_home_is_refused_whatever_its_case(asked: Document) -> None:
    asked["paths"]["backup_dir"] = r"c:\DLS\backups"
    (text,) = texts(asked)
    assert text.startswith("dls_server_backup_dir: must not be inside dls_server_home, whose folders an uninstall")


def with_values(**values: Any) -> Callable[[Document], None]:
    def change(asked: Document) -> None:
        asked["spec"]["values"] |= {"dls_server_" + name: value for name, value in values.items()}

    return change


def with_facts(**facts: Any) -> Callable[[Document], None]:
    return lambda asked: asked["host"]["facts"].update({"ansible_" + name: value for name, value in facts.items()})


def with_host(**parts: Any) -> Callable[[Document], None]:
    return lambda asked: asked["host"].update(parts)


def on_drive(asked: Document) -> None:
    asked["paths"]["home"] = r"E:\dls"


def with_file(name: str, content: str) -> Callable[[Document], None]:
    return lambda asked: seen.add_file(asked["host"], f"C:\\dls\\{name}", content)


def full(asked: Document) -> None:
    asked["host"]["disks"][0]["partitions"][0]["volumes"][0]["size_remaining"] = 100 << 20


BAD: dict[str, tuple[Callable[[Document], None], str]] = {
    "a drive that there is not": (
        on_drive,
        r"dls_server_home: must be on a drive of the host, got E:\dls; the host has C:, D:",
    ),
    "a full drive": (full, r"C:\dls: must have dls_server_min_free_mb = 2048 MiB free, got 100 MiB"),
    "another program's service": (
        with_host(services=[{"path": r'"C:\other\x.exe" -k', "state": "started"}]),
        "dls_server_service_name: must not be the name of another program's service, got dynamsoft-dls (C:\\other",
    ),
    "a port in use": (
        with_host(listening=[{"port": 48080, "name": "httpd", "pid": 7}, {"port": 48080, "name": "httpd", "pid": 7}]),
        "dls_server_port: must be a free TCP port, got 48080, which httpd (7) listens on",
    ),
    "the internal port in use, by a server that is not the service": (
        with_host(listening=[{"port": 30201, "name": "dynamsoftdls", "pid": 8}]),
        "dls_server_data_port: must be a free TCP port, got 30201, which dynamsoftdls (8) listens on",
    ),
    "NSSM that is not there": (
        with_values(nssm="/nowhere/nssm.exe"),
        "dls_server_nssm: must be a file on the control node",
    ),
    "no NSSM": (with_values(nssm=None), "dls_server_nssm: is required on Windows, got nothing"),
    "NSSM that is not pinned": (
        with_values(nssm_checksum=None),
        "dls_server_nssm_checksum: is required with dls_server_nssm",
    ),
    "NSSM of another build": (
        with_values(nssm_checksum="sha256:" + "1" * 64),
        "dls_server_nssm_checksum: must be that of the file, got sha256:e3b0c442",
    ),
    "a checksum in another form": (
        with_values(nssm_checksum="e3b0"),
        "dls_server_nssm_checksum: must be sha256: and 64 lower-case hexadecimal digits, got 'e3b0'",
    ),
    "a reboot that is pending": (with_facts(reboot_pending=True), "host: must not wait for a reboot"),
    "an old PowerShell": (
        with_facts(powershell_version=4),
        "PowerShell: must be 5.1, which Ansible's modules need, got 4",
    ),
    "an old Windows": (
        with_facts(distribution_version="6.3.9600.0"),
        "operating system: must be Windows Server 2016 or later, got Microsoft Windows Server",
    ),
    "a Windows for desks": (with_facts(os_installation_type="Client"), "operating system: must be Windows Server"),
    "another processor": (with_facts(architecture2="arm64"), "processor: must be x86_64, as the vendor's archive is"),
    "little memory": (
        with_facts(memtotal_mb=1024),
        "memory: must be dls_server_min_memory_mb = 1800 MiB or more, got 1024",
    ),
    "a clock that is wrong": (
        with_facts(date_time={"iso8601": "2027-01-15T08:02:03Z"}),
        "clock: must be within 60 s of the control node's, got +123 s",
    ),
    "a firewall that is off": (
        with_host(firewall={"Domain": {"enabled": True}, "Private": {"enabled": False}, "Public": {"enabled": False}}),
        "Windows firewall: must be on, since it keeps the server's ports closed, got off for Private, Public",
    ),
    "a damaged journal": (
        with_file("kit\\journal.json", "{"),
        r"C:\dls\kit\journal.json: must tell what a run that has died was doing",
    ),
    "a home with files of others": (
        with_file("notes.txt", ""),
        r"dls_server_home: must be empty or made by the kit, got C:\dls with notes.txt",
    ),
    "a password that cannot be set yet": (
        with_values(admin_password_set=True),
        "dls_server_admin_password_set: must be false for a server that is not installed yet",
    ),
    "backups that would not be encrypted": (
        with_values(backup_recipient="age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"),
        "dls_server_backup_recipient: must not be set for a Windows host, got a value",
    ),
    "backups that nothing on the host can make": (
        with_values(backup_schedule="03:30"),
        "dls_server_backup_schedule: must not be set for a Windows host, got a value\n"
        "HINT: leave it out for this host, and have the control node run playbooks/backup.yml: docs/windows.md",
    ),
    "a value that is wrong everywhere": (with_values(port=99999), "dls_server_port: must be 1 to 65535, got 99999"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_what_to_do(asked: Document, name: str) -> None:
    change, said = BAD[name]
    change(asked)
    (text,) = texts(asked)
    assert text.startswith(said)
    assert "\nHINT: " in text


OTHERS: dict[str, tuple[Callable[[Document], None], str]] = {
    "another version": (
        with_values(version="2.4.12"),
        "dls_server_version: must stay 2.4.11 on this host until it is upgraded, got 2.4.12\n"
        "HINT: upgrade it with playbooks/upgrade.yml, or set dls_server_version to 2.4.11",
    ),
    "another archive of the same version": (
        with_values(archive_checksum="sha256:" + "2" * 64),
        "dls_server_archive_checksum: must be that of the archive release 2.4.11 was installed from",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_installed_release_stays_what_it_is(asked: Document, name: str) -> None:
    change, said = OTHERS[name]
    change(seen.installed(asked))
    (text,) = texts(asked)
    assert text.startswith(said)


def test_the_servers_own_processes_may_listen_on_its_ports(asked: Document) -> None:
    seen.installed(asked)["host"]["listening"] = [{"port": 48080, "name": "dynamsoftdls", "pid": 9}]
    assert texts(asked) == []
    asked["host"]["services"][0]["state"] = "stopped"
    assert texts(asked)[0].startswith("dls_server_port: must be a free TCP port, got 48080, which dynamsoftdls (9)")


def test_all_problems_are_told_at_once(asked: Document) -> None:
    for change, _ in (BAD["a reboot that is pending"], BAD["a port in use"], BAD["no NSSM"]):
        change(asked)
    assert len(texts(asked)) == 3


def test_the_look_tells_what_is_there(asked: Document) -> None:
    look = preflight(asked)["look"]
    assert (look["current"], look["installed"], look["healthy"], look["error"]) == (None, [], False, "not installed")
    assert look["firewall"] == {"allowed": "", "blocked": "any"}
    assert look["missing_folders"] == [*seen.PATHS.values(), r"C:\dls\kit"]
    look = preflight(seen.installed(asked))["look"]
    assert (look["current"], look["installed"], look["healthy"], look["running"]) == ("2.4.11", ["2.4.11"], True, True)
    assert look["ports"] == {"port": [48080], "internal": [30201]}
    assert (look["differs"], look["missing_folders"], look["clock_skew"]) == ([], [], 3.0)


def test_a_release_in_use_whose_record_is_missing_is_not_touched(asked: Document) -> None:
    seen.installed(asked)["host"]["contents"].clear()
    answer = preflight(asked)
    assert (answer["look"]["current"], answer["look"]["installed"]) == (None, [])
    (problem,) = answer["problems"]
    assert problem["text"].startswith(
        r"C:\dls\releases\2.4.11: must have its record, which tells the server's state from"
    )


def test_a_purge_spares_folders_with_files_of_others(tmp_path: Path) -> None:
    asked = seen.installed(seen.document(tmp_path / "nssm.exe", "uninstall"))
    asked["spec"]["values"]["dls_server_nssm"] = None
    seen.add_file(asked["host"], r"D:\backups\holiday.jpg", "")
    seen.add_file(asked["host"], r"D:\backups\20270115T080000Z-2.4.11", "")
    assert texts(asked) == []
    asked["spec"]["values"]["dls_server_uninstall_purge"] = True
    (text,) = texts(asked)
    assert text.startswith(
        r"dls_server_backup_dir: must hold only the kit's files to be purged, got D:\backups with holiday"
    )


def test_a_value_of_the_registry_that_was_changed_is_found(asked: Document) -> None:
    keys = seen.installed(asked)["host"]["keys"]
    hook = "HKLM:\\SYSTEM\\CurrentControlSet\\Services\\dynamsoft-dls\\Parameters\\AppEvents\\Exit"
    del keys[hook]
    keys["HKLM:\\SYSTEM\\CurrentControlSet\\Services\\dynamsoft-dls\\Parameters"]["AppRestartDelay"]["raw_value"] = 0
    differs = preflight(asked)["look"]["differs"]
    assert [path.rpartition("\\")[2] for path in differs] == ["AppRestartDelay", "Post"]


def test_nobody_is_let_in_before_the_portal_has_a_password(asked: Document) -> None:
    asked["spec"]["values"]["dls_server_allowed_networks"] = ["localhost", "10.0.0.0/8"]
    assert preflight(asked)["look"]["firewall"] == {"allowed": "", "blocked": "any"}
    seen.installed(asked)["spec"]["values"]["dls_server_admin_password_set"] = True
    assert preflight(asked)["look"]["firewall"]["allowed"] == "10.0.0.0-10.255.255.255"


@pytest.mark.parametrize("entry", ["licenses", "backup", "upgrade", "rollback", "drill"])
def test_steps_of_a_servers_life_need_a_server(tmp_path: Path, entry: str) -> None:
    nssm = tmp_path / "nssm.exe"
    nssm.touch()
    asked = seen.document(nssm, entry)
    assert any(text.startswith(r"C:\dls: must hold an installed release, got nothing") for text in texts(asked))
    assert not any("must hold" in text for text in texts(seen.installed(asked)))


FOUND: dict[str, tuple[Callable[[Document], None], str]] = {
    "a server that was stopped": (
        lambda asked: asked["host"]["services"][0].update(state="stopped"),
        "dynamsoft-dls: must be running, got stopped\nHINT: start it with: sc start dynamsoft-dls",
    ),
    "a server that does not answer": (
        with_host(health={"status_code": 503}),
        "dynamsoft-dls: must answer http://127.0.0.1:48080/page/index.html, got status 503",
    ),
    "a service that does not start at boot": (
        lambda asked: asked["host"]["services"][0].update(start_mode="manual"),
        "dynamsoft-dls: must be started at boot, got manual",
    ),
    "a firewall that is off": (BAD["a firewall that is off"][0], "Windows firewall: must be on"),
    "an unfinished change": (BAD["a damaged journal"][0], r"C:\dls\kit\journal.json: must not tell"),
    "a setting that was changed": (with_values(port=48081), "HKLM:"),
    "no server": (with_host(services=[], keys={}), r"C:\dls: must hold an installed release, got nothing"),
}


@pytest.mark.parametrize("name", FOUND)
def test_verify_finds_what_is_not_as_it_should_be(tmp_path: Path, name: str) -> None:
    nssm = tmp_path / "nssm.exe"
    nssm.touch()
    asked = seen.installed(seen.document(nssm, "verify"))
    assert preflight(asked)["look"]["findings"] == []
    change, said = FOUND[name]
    change(asked)
    answer = preflight(asked)
    assert answer["problems"] == []
    assert any(text.startswith(said) for text in answer["look"]["findings"])


def test_the_command_answers_as_dlsctl_does(asked: Document) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "dlskit.windows.preflight"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        text = json.dumps(asked)
        return subprocess.run(command, check=False, input=text, capture_output=True, text=True, env=environment)

    assert (run().returncode, json.loads(run().stdout)["problems"]) == (0, [])
    asked["host"]["facts"]["ansible_reboot_pending"] = True
    assert (run().returncode, len(json.loads(run().stdout)["problems"])) == (6, 1)


def step(tmp_path: Path, entry: str, **values: Any) -> Document:
    nssm = tmp_path / "nssm.exe"
    nssm.touch()
    asked = seen.installed(seen.document(nssm, entry))
    with_values(**values)(asked)
    return asked


@pytest.mark.parametrize("entry", ["main", "backup", "restore", "upgrade", "rollback"])
def test_a_change_that_has_died_is_taken_back_before_the_server_is_judged(tmp_path: Path, entry: str) -> None:
    asked = step(tmp_path, entry, version="2.4.12")
    asked["host"]["services"][0]["state"] = "stopped"
    assert texts(asked) != [] or entry == "backup"
    with_file("kit\\journal.json", '{"what": "upgrade", "told": []}')(asked)
    answer = preflight(asked)
    assert (answer["problems"], answer["look"]["journal"]["what"]) == ([], "upgrade")


UPGRADES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "without acknowledgement": (
        {"version": "2.4.12"},
        {},
        "dls_server_upgrade_acknowledged: must be true, for the vendor",
    ),
    "to an older release": (
        {"version": "2.4.1", "upgrade_acknowledged": True},
        {},
        "dls_server_version: must not be older than 2.4.11, got 2.4.1",
    ),
    "of a server that does not answer": (
        {"version": "2.4.12", "upgrade_acknowledged": True},
        {"health": {"status_code": 503}},
        "dynamsoft-dls: must answer before it is upgraded, got status 503",
    ),
    "without state, of a portal that is open": (
        {"version": "2.4.12", "upgrade_acknowledged": True, "upgrade_state": "fresh", "admin_password_set": True},
        {},
        "dls_server_admin_password_set: must be false, for a server without its state has no password",
    ),
}


@pytest.mark.parametrize("name", UPGRADES)
def test_an_upgrade_is_refused(tmp_path: Path, name: str) -> None:
    values, host, said = UPGRADES[name]
    asked = step(tmp_path, "upgrade", **values)
    asked["host"] |= host
    (text,) = texts(asked)
    assert text.startswith(said)
    assert "\nHINT: " in text


def test_an_upgrade_that_is_acknowledged_is_taken(tmp_path: Path) -> None:
    assert texts(step(tmp_path, "upgrade", version="2.4.12", upgrade_acknowledged=True)) == []
    assert texts(step(tmp_path, "upgrade", version="2.4.11")) == [], "there is nothing to do"


def test_a_rollback_goes_to_the_release_that_was_in_use_before(tmp_path: Path) -> None:
    asked = step(tmp_path, "rollback", version="2.4.1")
    (text,) = texts(asked)
    assert text.startswith("rollback: must have the release before the last upgrade, got none")
    done = {"old": "2.4.1", "new": "2.4.11", "at": "", "backup": ""}
    seen.add_file(asked["host"], r"C:\dls\kit\upgrades.json", json.dumps({"upgrades": [done]}))
    assert len(texts(asked)) == 1, "it is not kept any more"
    seen.add_folder(asked["host"], r"C:\dls\releases\2.4.1")
    record = {"version": "2.4.1", "archive_sha256": "1" * 64, "members": []}
    seen.add_file(asked["host"], r"C:\dls\kit\releases\2.4.1.json", json.dumps(record))
    assert texts(asked) == []
    with_values(version="2.4.2")(asked)
    (text,) = texts(asked)
    assert text.startswith(
        "dls_server_version: must name the release to go back to, which was in use before 2.4.11: 2.4.1"
    )


BACKUP = r"D:\backups\20270115T080000Z-2.4.11"


def restoring(tmp_path: Path, told: dict[str, Any] | None = None, **values: Any) -> Document:
    facts = {"version": "2.4.11", "archive_sha256": seen.CHECKSUM, "identity": {"machine_id": "S-1"}}
    manifest = backups.manifest(BACKUP, [], [], facts) | (told or {})
    asked = step(tmp_path, "restore", **values)
    asked["host"] |= {"backup": BACKUP, "manifest": base64.b64encode(json.dumps(manifest).encode()).decode()}
    asked["host"]["facts"]["ansible_machine_id"] = "S-1"
    return asked


def test_a_restore_is_taken_where_it_is_told_to_replace(tmp_path: Path) -> None:
    answer = preflight(restoring(tmp_path, restore_replace=True))
    assert answer["problems"] == []
    assert (answer["look"]["backup"]["name"], answer["look"]["backup"]["folder"]) == (BACKUP[11:], BACKUP)


RESTORES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "unasked": ({"restore_replace": False}, {}, "dls_server_restore_replace: must be true, for 2.4.11 is there, whose"),
    "of another machine": (
        {},
        {"facts": {"ansible_machine_id": "S-2"}},
        "dls_server_restore_rehost: must be true, for the backup is of another machine",
    ),
    "of another version than is asked for": (
        {"version": "2.4.12"},
        {},
        "dls_server_version: must be the version that the backup holds, 2.4.11, got 2.4.12",
    ),
    "with another archive": (
        {"archive_checksum": "sha256:" + "2" * 64},
        {},
        f"dls_server_archive_checksum: must be that of the archive which the backup needs, sha256:{seen.CHECKSUM}, got",
    ),
    "of a backup that there is not": (
        {"restore_backup": "x"},
        {"backup": "", "manifest": ""},
        r"D:\backups: must hold the backup, got none with the name x",
    ),
    "of a damaged one": (
        {},
        {"manifest": "e30="},
        BACKUP + ": must be a backup as it was written, got a damaged manifest",
    ),
}


@pytest.mark.parametrize("name", RESTORES)
def test_a_restore_is_refused(tmp_path: Path, name: str) -> None:
    values, host, said = RESTORES[name]
    asked = restoring(tmp_path, **{"restore_replace": True, **values})
    facts = asked["host"]["facts"] | host.get("facts", {})
    asked["host"] |= host | {"facts": facts}
    (text,) = texts(asked)
    assert text.startswith(said)


def test_a_manifest_that_was_edited_is_not_believed(tmp_path: Path) -> None:
    (text,) = texts(restoring(tmp_path, {"version": "2.4.12"}, restore_replace=True))
    assert "got a damaged manifest" in text
