"""The tasks of role dls_proxy for Windows, on a host that answers as told."""

import base64
import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout.paths import ROOT
from tests.windows import stub
from tests.windows.iis_host import FAMILY, NAME, PASSWORD, asked, finished
from tests.windows.seen import SILENT

pytestmark = pytest.mark.slow

LOOKS = ("setup", "win_feature_info", "win_stat", "slurp", "win_listen_ports_facts", "win_firewall", "win_uri")
INFOS = ("win_certificate_info", "website_info", "web_app_pool_info")


def answers(host: dict[str, Any]) -> dict[str, Any]:
    """What the modules return on a host that is seen as such."""
    environment = {"SystemRoot": r"C:\Windows", "ProgramW6432": r"C:\Program Files"}
    sections = {"proxy": "webServer/proxy", "rules": "globalRules", "rate": "dls/", "log": "/text:"}
    return {
        "ansible.windows.setup": {"ansible_facts": {**host["facts"], "ansible_env": environment}},
        "ansible.windows.win_feature_info": {"features": host["features"]},
        "ansible.windows.win_stat": [
            [word, {"stat": {"exists": host["files"][name]}}]
            for name, word in (
                ("rewrite", "rewrite.dll"),
                ("router", "Router"),
                ("appcmd", "appcmd"),
                ("web_config", "web."),
            )
        ],
        "ansible.windows.slurp": {"content": host["web_config"]},
        "ansible.windows.win_listen_ports_facts": {"ansible_facts": {"tcp_listen": host["ports"]}},
        "ansible.windows.win_firewall": {"enabled": True, "changed": False},
        "ansible.windows.win_certificate_info": [
            ['"My"', {"certificates": host["certificates"]}],
            ["Authority", {"certificates": host["issuers"]}],
        ],
        "microsoft.iis.website_info": {"site": host["sites"]},
        "microsoft.iis.web_app_pool_info": {"app_pools": host["pools"]},
        "ansible.windows.win_command": [[sections[name], answer] for name, answer in host["settings"].items()],
        "ansible.windows.win_tempfile": {"path": r"C:\Temp\x", "changed": True},
        "ansible.windows.win_feature": {"changed": True, "reboot_required": False},
        "ansible.windows.win_uri": {"status_code": 400},
        "community.windows.win_firewall_rule": {"changed": False},
    }


def variables(document: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in document["spec"]["values"].items() if value is not None}
    return {**given, "dls_server_version": "2.4.11", "dls_server_admin_password_set": True}


def done(host: stub.Host) -> list[str]:
    """What was called besides looking: the module, and what tells one call from another."""
    words = []
    for name, arguments in host.calls():
        if name in (*LOOKS, *INFOS) or (name == "win_command" and arguments["argv"][1] == "list"):
            continue
        told = next(
            (str(arguments[key]) for key in ("argv", "name", "path", "dest", "thumbprint") if key in arguments), ""
        )
        words.append(f"{name} {arguments.get('state', '')} {told}".replace("  ", " "))
    return words


@pytest.fixture
def host(tmp_path: Path) -> stub.Host:
    return stub.Host(tmp_path, {})


def test_blank_host_gets_its_rules_before_its_site_and_its_firewall_last(
    document: dict[str, Any], host: stub.Host
) -> None:
    host.answers = answers(document["host"])
    result = host.play("dls_proxy", "main", "-vvv", **variables(document))
    assert result.code == 0, result.output[-3000:]
    assert PASSWORD not in result.output
    words = [word.split(r"C:\Temp")[0].strip() for word in done(host)]
    assert [
        word for word in words if "Temp" not in word and not word.startswith(("win_tempfile", "win_file absent"))
    ] == [
        f"win_feature present {FAMILY['packages']}",
        "win_copy",
        "win_package present",
        "win_copy",
        "win_package present",
        "win_copy",
        "win_certificate_store present",
        "win_copy",
        "win_certificate_store present",
        r"win_file directory C:\inetpub\dls",
        r"win_copy C:\inetpub\dls\web.config",
        "web_app_pool started dls",
        "website absent Default Web Site",
        "website stopped dls",
        *[word for word in words if word.startswith("win_command")],
        "website started dls",
        "win_firewall_rule absent dls_proxy, blocked",
        "win_firewall_rule present dls_proxy, allowed",
    ]
    packages = [arguments for name, arguments in host.calls() if name == "win_package"]
    assert [package["checksum"] for package in packages] == [
        document["spec"]["values"][f"dls_proxy_{short}_checksum"].removeprefix("sha256:")
        for short in ("url_rewrite", "arr")
    ]
    commands = [" ".join(arguments["argv"][1:]) for name, arguments in host.calls() if name == "win_command"]
    assert "set config -section:system.webServer/proxy /enabled:true /commit:apphost" in commands
    assert any("UriStem" in command and "UriQuery" not in command for command in commands)
    (written,) = [arguments for name, arguments in host.calls() if arguments.get("dest", "").endswith("web.config")]
    assert written["content"] == asked(document)["look"]["web_config"], "the bytes that were judged"


def test_second_run_changes_nothing(document: dict[str, Any], host: stub.Host) -> None:
    host.answers = answers(finished(document)["host"])
    result = host.play("dls_proxy", "main", **variables(document))
    assert (result.code, result.changed) == (0, 0), result.output[-3000:]
    assert {word.split()[0] for word in done(host)} == {"win_firewall_rule"}
    result = host.play("dls_proxy", "verify", **variables(document))
    assert (result.code, result.changed) == (0, 0), result.output[-3000:]
    assert done(host) == []


def test_check_mode_only_tells(document: dict[str, Any], host: stub.Host) -> None:
    host.answers = answers(document["host"])
    result = host.play("dls_proxy", "main", "--check", "--diff", **variables(document))
    assert result.code == 0, result.output[-3000:]
    assert done(host) == []
    assert {name for name, _ in host.calls(check=True)} - set(LOOKS) - set(INFOS) == {
        "win_feature",
        "win_firewall_rule",
    }
    assert "DLS-rewrite-rule" in result.output


def test_bad_input_ends_the_run_before_any_change(document: dict[str, Any], host: stub.Host) -> None:
    host.answers = answers(document["host"])
    result = host.play("dls_proxy", "main", **{**variables(document), "dls_proxy_tls_pfx_password": "other"})
    assert result.code != 0
    assert "dls_proxy_tls_pfx: must open with dls_proxy_tls_pfx_password" in result.output
    assert done(host) == []


def test_rules_that_iis_does_not_take_are_put_back(document: dict[str, Any], host: stub.Host) -> None:
    seen = finished(document)["host"]
    before = base64.b64decode(seen["web_config"]).decode().replace("<clear />", "<clear /><!-- old -->", 1)
    seen["web_config"] = base64.b64encode(before.encode()).decode()
    host.answers = answers(seen)
    refused = {"rc": 50, "stdout": "ERROR ( message:Configuration error )", "stderr": ""}
    host.answers["ansible.windows.win_command"].insert(0, ["rewrite/rules", refused])
    result = host.play("dls_proxy", "main", **variables(document))
    assert result.code != 0
    assert "must be taken by IIS, got ERROR ( message:Configuration error )" in result.output
    copies = [arguments["content"] for name, arguments in host.calls() if name == "win_copy"]
    assert copies == [before.replace("<!-- old -->", ""), before]
    assert not [word for word in done(host) if word.startswith("website")], "neither started nor taken away"


def test_uninstall_takes_site_key_and_rules_away_and_leaves_iis(document: dict[str, Any], host: stub.Host) -> None:
    seen = finished(document)["host"]
    host.answers = answers(seen)
    gone = {**variables(document), "dls_proxy_tls_pfx": "/gone.pfx"}
    del gone["dls_proxy_server_names"]
    result = host.play("dls_proxy", "uninstall", **gone)
    assert result.code == 0, result.output[-3000:]
    assert done(host) == [
        "website absent dls",
        "web_app_pool absent dls",
        f"win_certificate_store absent {seen['certificates'][0]['thumbprint']}",
        r"win_file absent C:\inetpub\dls\web.config",
        r"win_command ['cmd.exe', '/c', 'rd', 'C:\\inetpub\\dls']",
        "win_firewall_rule absent dls_proxy, allowed",
        "win_firewall_rule absent dls_proxy, blocked",
    ]


def test_verify_reports_drift_and_an_answer_that_is_not_the_server_s(document: dict[str, Any], host: stub.Host) -> None:
    seen = finished(document)["host"]
    host.answers = answers(seen) | {
        "ansible.windows.win_uri": {"status_code": 502},
        "community.windows.win_firewall_rule": {"changed": True},
    }
    result = host.play("dls_proxy", "verify", **variables(document))
    assert result.code != 0
    assert f"https://{NAME}/dls/auth/: must be answered by the license server, got status 502" in result.output
    assert "Windows firewall: must have the rules of the proxy" in result.output
    host.answers["ansible.windows.win_uri"] = SILENT
    result = host.play("dls_proxy", "verify", **variables(document))
    assert "must be answered by the license server, got status none" in result.output
    drifted = copy.deepcopy(seen)
    drifted["sites"][1]["state"] = "Stopped"
    host.answers = answers(drifted)
    result = host.play("dls_proxy", "verify", **variables(document))
    assert "proxy: must need no change, got due: start site dls" in result.output


# Beside linux/: what gathers, what installs, and parts of apply.yml.
WINDOWS_ONLY = {"see", "install", "module", "certificate", "site", "firewall", "close", "remove"}


def test_both_platforms_have_the_same_task_files_and_names() -> None:
    folder = ROOT / "roles/dls_proxy/tasks"
    linux, windows = ({path.stem: path for path in (folder / name).iterdir()} for name in ("linux", "windows"))
    assert set(windows) - set(linux) == WINDOWS_ONLY
    assert set(linux) <= set(windows)
    for name, path in linux.items():
        both = [[task["name"] for task in yaml.safe_load(each.read_text())] for each in (path, windows[name])]
        found = iter(both[1])
        assert all(task in found for task in both[0] if task not in LINUX_ONLY), name


LINUX_ONLY = {
    "Give up where the web server did not take it",  # which site.yml does on Windows
    "Remove the packages that were installed",  # features and modules stay
}
