"""Which portal, which way to it, and what it is to hold: read from options, an inventory, and a playbook's JSON."""

import base64
import json
import sys
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dlsctl.problems import Problem, Refused
from dlskit.cli import main
from dlskit.inventory import Host
from dlskit.lines import line_of
from dlskit.portal import checklist, evidence, settings, target, tunnel

SECRET = "s3cret-of-a-test"
TEXT = b"LicenseId: 1\nOrganizationID: 2\nLicenseStatus: Activated\nLicenseItems:\nx\n"
LICENSE = {"name": "a.lic", "content": base64.b64encode(TEXT).decode(), "project": "P"}
WHOLE: dict[str, Any] = {"name": "h", "connection": "local", "password": SECRET}
SSH: dict[str, Any] = {
    "host": "192.0.2.1", "port": 2222, "remote_user": "kit", "private_key_file": "/k/id", "host_key_checking": True,
    "ssh_args": "-o ControlMaster=auto -o ControlPersist=60s", "ssh_common_args": "-o 'ProxyJump=a b'",
}  # fmt: skip


def refused(document: object) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(Refused) as caught:
        settings.read(data)
    assert SECRET not in str(caught.value)
    assert "HINT: " in str(caught.value)
    return str(caught.value)


def test_settings_have_defaults_for_all_but_name_and_password() -> None:
    found = settings.read(json.dumps(WHOLE).encode())
    assert (found.target.url, found.timeout, found.dry_run) == ("http://127.0.0.1:48080", 15, False)
    assert (found.urls, found.alerts, found.licenses, found.keys_file, found.browser) == ({}, {}, (), None, None)
    assert SECRET not in repr(found)


def test_settings_say_all_that_a_portal_holds() -> None:
    more = {
        "connection": "ansible.builtin.ssh", "ssh": SSH, "port": 50000, "version": "2.2.0", "timeout": 40,
        "urls": {"main": "https://a/", "standby": ""}, "alerts": {"port": 25, "to": ["a@b", "c@d"]},
        "licenses": [LICENSE], "keys_file": "~/k.json", "dry_run": True, "browser": "chromium",
    }  # fmt: skip
    found = settings.read(json.dumps(WHOLE | more).encode())
    assert (found.target.port, found.target.url, found.target.variable("dls_server_version")) == (50000, "", "2.2.0")
    assert found.alerts == {"port": "25", "to": "a@b; c@d"}
    assert found.licenses == (settings.License("a.lic", TEXT, "P", True),)
    assert found.keys_file == Path.home() / "k.json"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "settings: must be a JSON object, got something else"),
        (b"{" + SECRET.encode(), "settings: must be a JSON object, got something else"),
        (b'{"a": "\xff"}', "settings: must be a JSON object, got something else"),
        (b"[" * 100_000, "settings: must be a JSON object, got something else"),
        ([SECRET], "settings: must be a JSON object, got list"),
        (WHOLE | {"pasword": SECRET}, "settings: must have no keys but name, connection, ssh"),
        (WHOLE | {"port": SECRET}, "settings, port: must be int, got str"),
        (WHOLE | {"port": True}, "settings, port: must be int, got bool"),
        (WHOLE | {"alerts": [SECRET]}, "settings, alerts: must be dict, got list"),
        (WHOLE | {"password": [SECRET]}, "settings, password: must be str, got list"),
        ({"name": "h"}, "settings, password: must be str, got nothing"),
        (WHOLE | {"password": ""}, "dls_server_admin_password: must be set to take the steps of the portal"),
        (WHOLE | {"licenses": [SECRET]}, "license 1: must be a JSON object, got str"),
        (WHOLE | {"licenses": [LICENSE, LICENSE | {"content": "!" + LICENSE["content"]}]},
         "license 2: must have its"),
        (WHOLE | {"licenses": [LICENSE | {"content": base64.b64encode(SECRET.encode()).decode()}]}, "a.lic: must "),
        (WHOLE | {"licenses": [LICENSE | {"file": SECRET}]}, "license 1: must have no keys but name, content, project"),
        (WHOLE | {"licenses": [{"name": "a", "content": ""}]}, "license 1, project: must be str, got nothing"),
        (WHOLE | {"alerts": {"pass": SECRET}}, "dls_server_alerts: must have the keys host, port"),
        (WHOLE | {"alerts": {"to": {"a": SECRET}}}, "dls_server_alerts: must have texts, numbers and lists of them"),
        (WHOLE | {"urls": {"main": 5}}, "settings, urls: must be texts for main and standby, got something else"),
        (WHOLE | {"urls": {"spare": SECRET}}, "settings, urls: must be texts for main and standby"),
        (WHOLE | {"timeout": 0}, "settings, timeout: must be 1 or more, got 0"),
        (WHOLE | {"port": 70000}, "settings, port: must be 0 to 65535, got 70000"),
        (WHOLE | {"version": "latest"}, "version: must be numbers with dots"),
        (WHOLE | {"connection": "winrm", "ssh": SSH}, "ansible_connection of h: must be ssh or local, got winrm"),
        (WHOLE | {"connection": "ssh"}, "settings, ssh: must have the host, got nothing"),
    ],
)  # fmt: skip
def test_settings_that_break_a_rule_are_refused_without_repeating_a_secret(document: object, message: str) -> None:
    assert refused(document).startswith(message)


@pytest.mark.parametrize("name", ["-", "settings.json"])
def test_settings_that_are_too_long_are_refused_before_they_are_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LARGEST", 1000)
    data = json.dumps(WHOLE | {"version": SECRET * 1000})
    (tmp_path / "settings.json").write_text(data)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["portal", "apply", "--settings", name], input=data)
    assert done.exit_code == 6
    assert f"{name}: must have at most 1000 bytes, got more\nHINT: " in done.output
    assert SECRET not in done.output


# --- The way to a portal ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((None, None, None), "portal: must be named by --inventory or by --url, got neither"),
        (("inv", None, "http://a"), "portal: must be named by --inventory or by --url, got both"),
        ((None, None, "ftp://a"), "--url: must be an http(s) URL, got ftp://a"),
        ((None, "h", "http://a"), "--host: must be a host of an inventory, got --url http://a"),
        (("/nonexistent", "h", None), "--inventory: must be an inventory's folder or file"),
    ],
)
def test_options_must_name_one_portal(options: tuple[str | None, ...], message: str) -> None:
    with pytest.raises(Refused, match="HINT: ") as caught:
        target.find(options[0], options[1], options[2], None, False)
    assert str(caught.value).startswith(message)


def test_portal_of_an_url_is_on_this_machine() -> None:
    found = target.find(None, None, "http://127.0.0.1:48081/", None, False)
    assert (found.url, found.port) == ("http://127.0.0.1:48081", 48081)


def test_host_of_an_inventory_brings_its_port_its_way_and_its_variables(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("""
dls:
  hosts:
    near: {ansible_connection: local, dls_server_port: 50000}
    far: {ansible_host: 192.0.2.1, ansible_user: kit, dls_server_version: 2.4.11, dls_server_mode: main}
    windows: {ansible_connection: winrm}
""")
    inventory = str(tmp_path / "hosts.yml")
    assert target.find(inventory, "near", None, None, False).url == "http://127.0.0.1:50000"
    far = target.find(inventory, "far", None, None, False)
    assert (far.url, far.port, far.ssh["host"], far.ssh["remote_user"]) == ("", 48080, "192.0.2.1", "kit")
    assert far.variable("dls_server_mode") == "main"
    for name, message in (
        ("windows", "ansible_connection of windows: must be ssh or local, got winrm"),
        ("fra", "--host: must be a host of the inventory, got fra"),
        (None, "--host: must be named where the group dls has not exactly one host, got 3 hosts"),
    ):
        with pytest.raises(Refused) as caught:
            target.find(inventory, name, None, None, False)
        assert str(caught.value).startswith(message)


def test_variable_that_ansible_cannot_make_out_is_told_only_where_it_is_needed() -> None:
    host = Host("h", "ssh", SSH, {}, {target.PASSWORD: "no vault secret"})
    found = target.of_host(host)
    assert found.variable(target.ALERTS) is None
    with pytest.raises(Problem, match=f"{target.PASSWORD}: must be resolvable, got no vault secret"):
        found.variable(target.PASSWORD)


@pytest.mark.parametrize(("text", "got"), [("", "nothing"), ("a\nb\n", "2 lines"), ("\n", "1 lines")])
def test_password_is_one_line(text: str, got: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(text))
    with pytest.raises(Refused, match=f"standard input: must hold one line, the password, got {got}"):
        target.read_secret("-")


def test_forward_takes_ansibles_options_and_never_a_shared_connection() -> None:
    words = tunnel.command(SSH, 40000, 48080, ask=False)
    assert words[:4] == ["ssh", "-N", "-L", "127.0.0.1:40000:127.0.0.1:48080"]
    assert words[-2:] == ["--", "192.0.2.1"]
    options = [word for before, word in pairwise(words) if before == "-o"]
    assert options.index("ControlMaster=no") < options.index("ControlMaster=auto")
    assert {"ControlPath=none", "ExitOnForwardFailure=yes", "BatchMode=yes", "Port=2222", "User=kit"} <= set(options)
    assert {"IdentityFile=/k/id", "ProxyJump=a b"} <= set(options)
    assert not any(option.startswith("StrictHostKeyChecking") for option in options)


def test_forward_may_ask_and_trusts_any_host_only_where_ansible_does() -> None:
    words = tunnel.command({"host": "-h", "host_key_checking": False, "ssh_executable": "/x/ssh"}, 1, 2, ask=True)
    assert (words[0], words[-2:]) == ("/x/ssh", ["--", "-h"])
    assert {"BatchMode=no", "StrictHostKeyChecking=no"} <= set(words)


# --- For a person ---


def test_checklist_has_the_words_of_the_release_and_the_values_but_no_secret(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(f"""
dls:
  hosts:
    a-host:
      ansible_host: 192.0.2.1
      ansible_user: kit
      dls_server_version: 2.2.0
      dls_server_url: https://main.example/dls/
      dls_server_admin_password: {SECRET}
      dls_server_alerts: {{host: smtp.example, port: 465, password: {SECRET}, to: [a@b.c, d@e.f]}}
""")
    done = CliRunner().invoke(
        main, ["portal", "checklist", "-i", str(tmp_path / "hosts.yml"), "--file", "a.lic", "--project", "Scanners"]
    )
    assert (done.exit_code, SECRET in done.output) == (0, False)
    for text in (
        "run ssh -L 48080:127.0.0.1:48080 kit@192.0.2.1 and leave it open",
        "open http://127.0.0.1:48080/page/index.html#/",
        "type the value of dls_server_admin_password into 'Password'",
        "(page 'License Items')\n       - 'Select File': a.lic",
        "in 'Chose a project to insert': the project Scanners, then 'Import'",
        "type https://main.example/dls/ into 'Main Server URL', then the 'Save' beside it",
        "type 465 into 'Mail Smtp Port'",
        "type a@b.c; d@e.f into 'To Address'",
        "(page 'Handshake Codes')",
    ):
        assert text in done.stdout, text


def test_checklist_of_a_portal_without_values_has_only_the_steps_that_it_can_name() -> None:
    steps = checklist.steps(
        target.Target("x", "http://127.0.0.1:48080", 48080),
        release="2.4.11",
        file=None,
        project=None,
        urls={},
        alerts={},
    )
    assert [step.page for step in steps] == ["", "", "Home Page", "Items", "Projects"]
    words = line_of("2.4.11").facts["portal"]
    assert words["items"]["select_file"] in checklist.in_words(steps)


def test_text_is_kept_without_secrets_and_license_keys() -> None:
    key = "DLS2" + base64.b64encode(b'{"handshakeCode":"1"}').decode()
    assert (
        evidence.masked(f"{SECRET}-long {SECRET} {key}.", [SECRET, f"{SECRET}-long"]) == "******** ******** ********."
    )
