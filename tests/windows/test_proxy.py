"""IIS as a proxy: what keeps a Windows host from it, and what is due there."""

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from dlskit.windows.proxy import pfx
from tests.dlsproxy.certificates import issue
from tests.dlsproxy.webconfig import faults
from tests.windows.iis_host import FAMILY, GOOD, NAME, PASSWORD, asked, finished, texts, write_pfx


def test_everything_is_due_on_a_blank_host(document: dict[str, Any]) -> None:
    answer = asked(document)
    assert texts(answer) == ""
    seen = answer["look"]
    assert seen["due"] == [
        *("features", "url_rewrite", "arr", "certificate", "web_config", "pool", "site", "log", "rate", "proxy"),
    ]
    assert seen["missing_features"] == FAMILY["packages"]
    assert seen["missing_modules"] == ["url_rewrite", "arr"]
    assert seen["bindings"] == [
        {
            "ip": "*",
            "port": 443,
            "hostname": NAME,
            "protocol": "https",
            "use_sni": True,
            "certificate_hash": seen["thumbprint"],
        }
    ]
    assert seen["rules"] == {"ports": "443", "allowed": "any", "blocked": ""}
    assert faults(seen["web_config"]) == []


def test_nothing_is_due_where_it_is_done(document: dict[str, Any]) -> None:
    for changes in (
        {},
        {"rate_limit": 0},
        {"protocols": ["http", "https"]},
    ):
        done = finished(document, **changes)
        assert (texts(asked(done)), asked(done)["look"]["steps"]) == ("", [])
        done["spec"]["entry"] = "verify"
        assert asked(done)["look"]["findings"] == []


# What a hand changes on a finished host, and the step that puts it right.
DRIFT: dict[str, tuple[str, Any]] = {
    "features": ("features", [{"name": "Web-WebServer", "installed": True}]),
    "certificate": ("certificates", []),
    "pool": ("pools", [{"name": "dls", "attributes": {"managedRuntimeVersion": "v4.0"}}]),
    "log": ("settings", {"log": {**GOOD, "stdout": "Date, UriStem, UriQuery"}}),
    "proxy": ("settings", {"proxy": {**GOOD, "stdout": '<proxy enabled="false" />'}}),
    "rate": ("settings", {"rate": {**GOOD, "stdout": '<denyByRequestRate enabled="true" maxRequests="5" />'}}),
}


@pytest.mark.parametrize("step", DRIFT)
def test_what_has_drifted_is_due_and_reported(document: dict[str, Any], step: str) -> None:
    done = finished(document)
    key, value = DRIFT[step]
    done["host"][key] = {**done["host"][key], **value} if isinstance(value, dict) else value
    assert asked(done)["look"]["due"] == [step]
    done["spec"]["entry"] = "verify"
    (finding,) = asked(done)["look"]["findings"]
    assert "must need no change" in finding


def test_site_is_due_when_it_is_stopped_or_answers_elsewhere(document: dict[str, Any]) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"state": "Stopped"},
        {"bindings": []},
        {"application_pool": "DefaultAppPool"},
        {
            "bindings": [
                {"protocol": "https", "port": 443, "hostname": NAME, "use_sni": True, "certificate_hash": "0" * 40}
            ]
        },
    )
    for change in changes:
        done = finished(document)
        done["host"]["sites"][1].update(change)
        assert asked(done)["look"]["due"] == ["site"], change


def test_rules_that_were_changed_by_hand_are_written_again_and_shown(document: dict[str, Any]) -> None:
    done = finished(document)
    text = base64.b64decode(done["host"]["web_config"]).decode().replace('statusCode="403"', 'statusCode="200"')
    done["host"]["web_config"] = base64.b64encode(text.encode()).decode()
    seen = asked(done)["look"]
    assert (seen["due"], seen["web_config_before"]) == (["web_config"], text)
    assert any(line.startswith("-") and 'statusCode="200"' in line for line in seen["difference"])


def test_certificate_is_renewed_and_the_old_one_removed_only_if_the_role_had_put_it_there(
    document: dict[str, Any], tmp_path: Path
) -> None:
    done = finished(document)
    old = done["host"]["certificates"][0]["thumbprint"]
    new = str(write_pfx(tmp_path / "new.pfx", issue("dls", NAME)))
    seen = asked(done, tls_pfx=new)["look"]
    assert seen["replaced"] == old
    assert seen["due"] == ["certificate", "web_config", "site"]
    there = copy.deepcopy(document)
    there["host"]["certificates"] = [{"thumbprint": old}]  # before the role came
    assert asked(finished(there), tls_pfx=new)["look"]["replaced"] == ""


def test_only_issuers_that_are_no_root_are_imported(document: dict[str, Any]) -> None:
    (issuer,) = asked(document)["look"]["issuers"]
    assert issuer["pem"].startswith("-----BEGIN CERTIFICATE-----")


def test_clients_networks_close_the_ports_for_others(document: dict[str, Any]) -> None:
    rules = asked(document, client_networks=["10.0.0.0/8"], protocols=["http", "https"])["look"]["rules"]
    assert rules["ports"] == "80,443"
    assert rules["allowed"] == "10.0.0.0-10.255.255.255"
    assert rules["blocked"].startswith("1.0.0.0-9.255.255.255,11.0.0.0-")
    assert asked(document, firewall="none")["look"]["rules"] is None


def test_addresses_and_the_default_server_are_reached_by_any_name(document: dict[str, Any], tmp_path: Path) -> None:
    path = str(write_pfx(tmp_path / "ip.pfx", issue("dls", NAME, "10.0.0.5")))
    for changes in ({"server_names": [NAME, "10.0.0.5"], "tls_pfx": path}, {"default_server": True}):
        (binding,) = asked(document, **changes)["look"]["bindings"]
        assert (binding["hostname"], binding["use_sni"]) == ("", False)


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no certificate": ({"tls_pfx": None}, "dls_proxy_tls_pfx: is required for https on a Windows host"),
    "no such file": ({"tls_pfx": "/nowhere.pfx"}, "dls_proxy_tls_pfx: must be a file on the control node"),
    "wrong password": ({"tls_pfx_password": "other"}, "dls_proxy_tls_pfx: must open with dls_proxy_tls_pfx_password"),
    "another name": ({"server_names": ["x.example"]}, "dls_proxy_tls_pfx: must cover every name"),
    "certificate as text": ({"tls_certificate": "x"}, "dls_proxy_tls_certificate: must not be set for a Windows host"),
    "self-signed": ({"tls_self_signed": True}, "dls_proxy_tls_self_signed: must not be set for a Windows host"),
    "firewall of Linux": ({"firewall": "ufw"}, "dls_proxy_firewall: must be auto or none for a Windows host, got ufw"),
    "no module": ({"arr": None}, "Application Request Routing: must be installed, or its installer given, got neither"),
    "no such installer": ({"arr": "/nowhere.msi"}, "dls_proxy_arr: must be a file on the control node"),
    "installer not pinned": ({"arr_checksum": None}, "dls_proxy_arr_checksum: is required with dls_proxy_arr"),
    "short checksum": ({"arr_checksum": "sha256:0"}, "dls_proxy_arr_checksum: must be sha256: and 64 lower-case"),
    "another installer": ({"arr_checksum": "sha256:" + "0" * 64}, "dls_proxy_arr_checksum: must be that of the file"),
    "folder of Linux": ({"iis_folder": "/srv/dls"}, "dls_proxy_iis_folder: must be a folder on a drive"),
    "name of a site": ({"iis_site": "a/b"}, "dls_proxy_iis_site: must have letters, digits"),
    "whole internet": ({"admin_networks": ["0.0.0.0/0"]}, "dls_proxy_admin_networks: must not be the whole internet"),
    "misspelt": ({"iis_sit": "x"}, "dls_proxy_iis_sit: is not a variable of this role"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_wrong_variable_is_refused_with_a_hint(document: dict[str, Any], name: str) -> None:
    changes, said = REFUSALS[name]
    answer = asked(document, **changes)
    assert said in texts(answer)
    assert "HINT: " in texts(answer)
    assert answer["look"]["steps"] == []
    assert PASSWORD not in json.dumps(answer)


RIGHT_SITE = {"name": "Other", "bindings": [{"protocol": "https", "port": 443, "hostname": NAME}]}
HOSTS: dict[str, tuple[dict[str, Any], str]] = {
    "a workstation": (
        {"facts": {"ansible_os_installation_type": "Client"}},
        "operating system: must be Windows Server",
    ),
    "an old server": (
        {"facts": {"ansible_distribution_version": "6.3.9600.0"}},
        "operating system: must be Windows Server",
    ),
    "an old PowerShell": ({"facts": {"ansible_powershell_version": 4}}, "PowerShell: must be 5.1"),
    "a pending reboot": ({"facts": {"ansible_reboot_pending": True}}, "host: must not wait for a reboot"),
    "a port in use": (
        {"ports": [{"port": 443, "pid": 7, "name": "httpd"}]},
        "dls_proxy_https_port: must be a free TCP port",
    ),
    "a place in use": (
        {"sites": [RIGHT_SITE]},
        "dls_proxy_server_names: must be reached at a place that no other site",
    ),
    "another's file": ({"web_config": base64.b64encode(b"<x/>").decode()}, "web.config: must be a file that this role"),
    "another's site": (
        {"sites": [{"name": "DLS", "physical_path": "D:\\x"}]},
        "dls_proxy_iis_site: must be a site that",
    ),
    "a rule of the whole server": (
        {
            "settings": {
                "rules": {
                    **GOOD,
                    "stdout": '<rule name="DLS-rewrite-rule"><action url="http://localhost:48080/{R:1}" /></rule>',
                }
            }
        },
        "URL Rewrite: must have no rule of the whole server that leads to port 48080, got DLS-rewrite-rule",
    ),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_that_cannot_serve_is_refused_with_a_hint(document: dict[str, Any], name: str) -> None:
    changes, said = HOSTS[name]
    for key, value in changes.items():
        document["host"][key] = {**document["host"][key], **value} if isinstance(value, dict) else value
    answer = asked(document)
    assert said in texts(answer)
    assert "HINT: " in texts(answer)


def test_removal_takes_only_what_the_role_has_made(document: dict[str, Any]) -> None:
    done = finished(document)
    done["spec"]["entry"] = "uninstall"
    del done["spec"]["values"]["dls_proxy_server_names"]
    done["spec"]["values"]["dls_proxy_tls_pfx"] = "/gone.pfx"
    answer = asked(done)
    assert texts(answer) == ""
    assert answer["look"]["due"] == ["site", "pool", "certificate", "web_config"]
    assert answer["look"]["replaced"] == done["host"]["certificates"][0]["thumbprint"]
    done["host"]["web_config"] = base64.b64encode(b"<configuration />").decode()
    assert asked(done)["look"]["steps"] == []


def test_certificates_of_a_file_come_in_the_order_in_which_they_are_shown(tmp_path: Path) -> None:
    root = issue("root", authority=True)
    one = issue("one", issuer=root, authority=True)
    two = issue("two", issuer=one, authority=True)
    own = issue("dls", NAME, issuer=two)
    found = pfx.read(str(write_pfx(tmp_path / "x.pfx", own, root, one, two)), PASSWORD, "x")
    assert found.chain.decode() == own.pem + two.pem + one.pem
    assert found.key.decode() == own.key
