"""Each value that breaks a rule is named, with the rule, the value and what to do."""

from typing import Any

import pytest

from dlsctl.problems import Problem
from dlsctl.values import PATH_RULE, variable_problems
from dlsproxy.preflight import look
from dlsproxy.values import value_problems
from tests.dlsproxy.certificates import issue

PREFIX_RULE = "must begin and end with a slash, with letters, digits, '.', '_', '~' and '-' in between"
VALUES = [
    ("server_names", [], "must name the host as clients do, got []"),
    ("server_names", None, "is required, got nothing"),
    ("server_names", "dls.example.com", "must be of type list, got 'dls.example.com'"),
    ("server_names", ["*.example.com"], "must be host names or addresses, got '*.example.com'"),
    ("server_names", ["a b"], "must be host names or addresses, got 'a b'"),
    ("server_names", ["a;}"], "must be host names or addresses, got 'a;}'"),
    ("server_names", ["10.0.0.256"], "must be host names or addresses, got '10.0.0.256'"),
    ("server_names", ["a.example\n"], "must be host names or addresses, got 'a.example\\n'"),
    ("server_names", ["::1%;\nreturn 200;"], "must be host names or addresses, got '::1%;\\nreturn 200;'"),
    ("server_names", ["\u017f.example"], "must be host names or addresses, got '\u017f.example'"),
    ("server_names", ["a.example", "A.example"], "must not hold one thing twice, got 'A.example'"),
    ("prefix", "dls", f"{PREFIX_RULE}, got 'dls'"),
    ("prefix", "/dls", f"{PREFIX_RULE}, got '/dls'"),
    ("prefix", "/../", f"{PREFIX_RULE}, got '/../'"),
    ("prefix", "/a//b/", f"{PREFIX_RULE}, got '/a//b/'"),
    ("prefix", "/dls/ { return 200; }/", f"{PREFIX_RULE}, got '/dls/ {{ return 200; }}/'"),
    ("prefix", "/dls/\n", f"{PREFIX_RULE}, got '/dls/\\n'"),
    ("protocols", ["https", "gopher"], "must be one of http, https, got ['https', 'gopher']"),
    ("protocols", [], "must be http, https or both, got []"),
    ("http_port", 0, "must be 1 to 65535, got 0"),
    ("https_port", "x", "must be of type int, got 'x'"),
    ("https_port", 48080, "must differ from dls_server_port, got 48080"),
    ("https_port", 30201, "must differ from dls_server_data_port, got 30201"),
    ("client_networks", [], "must name a network, 0.0.0.0/0 for all of IPv4, got an empty list"),
    (
        "client_networks",
        ["fe80::1%\nflush ruleset"],
        "must be networks such as 10.20.0.0/16, with no bits set behind the length, got 'fe80::1%\\nflush ruleset'",
    ),
    ("firewall", "iptables", "must be one of auto, ufw, firewalld, nftables, none, got 'iptables'"),
    ("upstream_host", "::1", "must be a host name or an address, got '::1'"),
    ("tls_certificate_path", "tls/a.pem", f"{PATH_RULE}, got 'tls/a.pem'"),
    ("tls_key_path", "/etc/a b", f"{PATH_RULE}, got '/etc/a b'"),
    ("tls_key_path", "/etc/a;}server{}", f"{PATH_RULE}, got '/etc/a;}}server{{}}'"),
    ("tls_warn_days", -1, "must be 0 to 3650 days, got -1"),
    ("hsts", -1, "must be 0 to 315360000 seconds, got -1"),
    ("rate_limit", -1, "must be 0 to 100000 requests per second, got -1"),
    ("max_body", 0, "must be 1 to 1024 MiB, got 0"),
    ("admin_networks", [], "must name a network, 127.0.0.1/32 at least, got []"),
    ("admin_networks", None, "must not be empty, got None"),
    ("admin_networks", ["office"], "must be networks such as 10.20.0.0/16, got 'office'"),
    ("admin_networks", ["::5%1 1; default"], "must be networks such as 10.20.0.0/16, got '::5%1 1; default'"),
    ("admin_networks", ["10.0.0.0/33"], "must be networks such as 10.20.0.0/16, got '10.0.0.0/33'"),
    ("admin_networks", ["0.0.0.0/0"], "must not be the whole internet, got '0.0.0.0/0'"),
    ("admin_networks", ["::/0"], "must not be the whole internet, got '::/0'"),
    (
        "admin_networks",
        ["0.0.0.0/1", "10.0.0.0/8", "128.0.0.0/1"],
        "must not be the whole internet, got 0.0.0.0/1, 10.0.0.0/8, 128.0.0.0/1",
    ),
    (
        "admin_networks",
        ["10.0.0.5/24"],
        "must have no bits set behind the length, as 10.0.0.0/24 has, got '10.0.0.5/24'",
    ),
    ("kind", "apache", "must be one of nginx, snippet, got 'apache'"),
]
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
CLIENT_PATHS: list[tuple[dict[str, Any], str]] = [
    ({"path": "usage/"}, "must have path and methods, and nothing else"),
    ({"path": "usage/", "methods": ["GET"], "x": 1}, "must have path and methods, and nothing else"),
    ({"path": "/usage/", "methods": ["GET"]}, "must have a path below the prefix, without a slash before it"),
    ({"path": "a/../page/", "methods": ["GET"]}, "must have a path below the prefix, without a slash before it"),
    ({"path": "a { }", "methods": ["GET"]}, "must have a path below the prefix, without a slash before it"),
    ({"path": "usage/", "methods": []}, "must have methods out of " + METHODS),
    ({"path": "usage/", "methods": ["GET|TRACE"]}, "must have methods out of " + METHODS),
    ({"path": "page/index.html", "methods": ["GET"]}, "must not open the portal to everybody"),
    ({"path": "auth/", "methods": ["POST"]}, "must be a further path: the documented ones are always there"),
]


def problems(spec: dict[str, Any]) -> list[Problem]:
    return [*variable_problems(spec), *value_problems(spec)]


def texts(spec: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in problems(spec)]


def test_defaults_with_a_name_have_no_problem(spec: dict[str, Any]) -> None:
    assert texts(spec) == []


@pytest.mark.parametrize(("name", "value", "message"), VALUES)
def test_value_that_breaks_a_rule_is_refused(spec: dict[str, Any], name: str, value: Any, message: str) -> None:
    spec["values"]["dls_proxy_" + name] = value
    assert [text.partition("\nHINT: ")[0] for text in texts(spec)] == [f"dls_proxy_{name}: {message}"]
    assert all(problem.hint for problem in problems(spec))


@pytest.mark.parametrize(("item", "message"), CLIENT_PATHS)
def test_client_path_that_breaks_a_rule_is_refused(spec: dict[str, Any], item: dict[str, Any], message: str) -> None:
    spec["values"]["dls_proxy_client_paths"] = [{"path": "more/v1", "methods": ["GET"]}, item]
    (text,) = texts(spec)
    assert text.startswith(f"dls_proxy_client_paths/1: {message}")


def test_http_and_https_need_two_ports(spec: dict[str, Any]) -> None:
    spec["values"] |= {"dls_proxy_protocols": ["http", "https"], "dls_proxy_https_port": 80}
    assert texts(spec)[0].startswith("dls_proxy_https_port: must differ from dls_proxy_http_port, got 80\nHINT: ")


def test_certificate_without_key_and_key_without_certificate_are_refused(spec: dict[str, Any]) -> None:
    pair = issue("dls", "dls.example.com")
    spec["values"]["dls_proxy_tls_certificate"] = pair.pem
    assert texts(spec)[0].startswith("dls_proxy_tls_key: must be given with dls_proxy_tls_certificate, got nothing")
    del spec["values"]["dls_proxy_tls_certificate"]
    spec["values"]["dls_proxy_tls_key"] = pair.key
    assert texts(spec)[0].startswith("dls_proxy_tls_certificate: must be given with dls_proxy_tls_key, got nothing")


def test_self_signed_and_a_certificate_are_not_asked_for_at_once(spec: dict[str, Any]) -> None:
    pair = issue("dls", "dls.example.com")
    spec["values"] |= {"dls_proxy_tls_certificate": pair.pem, "dls_proxy_tls_key": pair.key}
    assert texts(spec) == []
    spec["values"]["dls_proxy_tls_self_signed"] = True
    assert texts(spec)[0].startswith("dls_proxy_tls_self_signed: must be false where a certificate is given, got true")


def test_snippet_needs_a_folder(spec: dict[str, Any]) -> None:
    spec["values"]["dls_proxy_kind"] = "snippet"
    assert texts(spec)[0].startswith("dls_proxy_snippet_dest: must be an absolute path on the control node")


def test_key_of_the_wrong_type_is_not_shown(spec: dict[str, Any]) -> None:
    spec["values"]["dls_proxy_tls_key"] = ["-----BEGIN canary"]
    (text,) = texts(spec)
    assert text.startswith("dls_proxy_tls_key: must be of type str, got a secret of another form\nHINT: ")


@pytest.mark.parametrize("name", ["tls_key_path", "server_names", "firewall"])
def test_key_in_the_wrong_variable_is_not_shown(spec: dict[str, Any], name: str) -> None:
    key = issue("dls", "dls.example.com").key
    spec["values"]["dls_proxy_" + name] = [key] if name == "server_names" else key
    (text,) = texts(spec)
    assert ", got a private key\nHINT: " in text


def test_misspelt_variable_is_found_and_another_roles_is_not(spec: dict[str, Any]) -> None:
    spec["names"] += ["dls_proxy_prefx", "dls_server_port"]
    assert texts(spec) == ["dls_proxy_prefx: is not a variable of this role\nHINT: did you mean dls_proxy_prefix?"]


def test_families_have_the_same_keys(spec: dict[str, Any]) -> None:
    assert list(spec["families"]["debian"]) == list(spec["families"]["redhat"])


@pytest.mark.parametrize(
    ("url", "is_told"),
    [
        ("https://dls.example.com/dls/", False),
        ("https://DLS.example.com:443/dls", False),
        ("https://dls.example.com/licences/", True),
        ("http://dls.example.com/dls/", True),
        ("https://dls.example.com:8443/dls/", True),
        ("https://lb.example.com/dls/", True),
    ],
)
def test_a_server_url_that_the_proxy_does_not_serve_is_told(spec: dict[str, Any], url: str, is_told: bool) -> None:
    spec["values"] |= {"dls_server_mode": "main", "dls_server_main_url": url, "dls_server_standby_url": "https://b/"}
    notes = [note for note in look(spec, [])["notes"] if note.startswith("dls_server_")]
    assert (
        notes == []
        if not is_told
        else notes[0].startswith(f"dls_server_main_url: is none that this proxy serves, {url}:")
    )
