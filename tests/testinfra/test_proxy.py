"""An installed proxy: what it lets through to the server, and to whom, seen from the host and from outside."""

import json
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.dlsproxy import attacks
from tests.testinfra.conftest import values_of

CONFIGURATION = "/etc/nginx/conf.d/dls.conf"
Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def proxy(host: Host, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The variables of role dls_proxy for this host, without their prefix."""
    values = values_of(host, request, "dls_proxy")
    if "server_names" not in values:
        pytest.skip("this host has no proxy")
    return values


@pytest.fixture
def ask(proxy: dict[str, Any]) -> Ask:
    """Call: ask(method, target) sends a request from this machine, which is no administrator's; status, head, body."""

    def call(method: str, target: str, protocol: str = "https", body: str = "") -> tuple[int, str, str]:
        name = proxy["server_names"][0]
        with socket.create_connection((proxy["address"], proxy[f"{protocol}_port"]), 10) as raw:
            stream = client().wrap_socket(raw, server_hostname=name) if protocol == "https" else raw
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            head = f"{method} {target} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n{length}\r\n"
            stream.sendall((head + body).encode())
            answer = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
        head, _, content = answer.partition("\r\n\r\n")
        return int(head.split()[1]), head, content

    return call


def client(newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A client that trusts everybody and speaks every version of TLS up to `newest`."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = newest
    return context


def log(host: Host, name: str) -> list[str]:
    return str(host.check_output(f"cat /var/log/nginx/dls-{name}.log")).splitlines()


def test_nginx_runs_starts_at_boot_and_finds_nothing_wrong(host: Host, proxy: dict[str, Any]) -> None:
    assert host.service("nginx").is_running
    assert host.service("nginx").is_enabled
    run = host.run("nginx -t -q")
    assert (run.rc, run.stderr) == (0, "")


def test_files_have_their_owner_and_mode(host: Host, proxy: dict[str, Any]) -> None:
    wanted = {CONFIGURATION: 0o644}
    if "https" in proxy["protocols"]:
        wanted |= {proxy["tls_certificate_path"]: 0o644, proxy["tls_key_path"]: 0o600}
    for path, mode in wanted.items():
        file = host.file(path)
        assert (file.user, file.group, file.mode) == ("root", "root", mode), path


def test_clients_are_answered_by_the_server(ask: Ask, proxy: dict[str, Any]) -> None:
    for protocol in proxy["protocols"]:
        for method, target in attacks.CLIENTS:
            status, head, body = ask(method, target, protocol, body="{}" if method == "POST" else "")
            assert head.lower().count("\r\naccess-control-allow-origin:") == 1
            assert "access-control-allow-headers: lts-time" in head.lower()
            if method == "GET":
                assert (status, isinstance(json.loads(body)["errorCode"], int)) == (400, True)
            else:
                assert status == 200, (protocol, method, target)


def test_nothing_else_reaches_the_server_from_outside(host: Host, ask: Ask, proxy: dict[str, Any]) -> None:
    before = len(log(host, "access"))
    for protocol in proxy["protocols"]:
        for method, target in [*attacks.METHODS, *(("GET", target) for target in attacks.PORTAL)]:
            status, _, _ = ask(method, target, protocol)
            assert status in attacks.REFUSED, (protocol, method, target)
    lines = log(host, "access")[before:]
    assert len(lines) > len(attacks.PORTAL)
    passed = [line for line in lines if "upstream=-:-" not in line]
    for line in passed:  # some are only another spelling of a client's path
        assert re.search(r' "GET https?://\S+/dls/auth/" ', line), line


def test_portal_is_refused_below_the_prefix_and_unknown_outside(ask: Ask, proxy: dict[str, Any]) -> None:
    for protocol in proxy["protocols"]:
        assert ask("GET", proxy["prefix"], protocol)[0] == 403
        assert ask("GET", proxy["prefix"] + "page/index.html", protocol)[0] == 403
        assert ask("GET", "/page/index.html", protocol)[0] == 404


def test_portal_on_the_host_itself_waits_for_its_password(
    host: Host, proxy: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    url = f"https://127.0.0.1:{proxy['https_port']}{proxy['prefix']}page/index.html"
    command = f"curl --silent --insecure --header 'Host: {proxy['server_names'][0]}' --output /dev/null {url}"
    is_set = values_of(host, request, "dls_server").get("admin_password_set", False)
    assert host.check_output(command + " --write-out '%{http_code}'") == ("200" if is_set else "403")


def test_further_client_path_is_open_for_its_methods_only(ask: Ask, proxy: dict[str, Any]) -> None:
    for item in proxy["client_paths"]:
        for method in ("GET", "POST", "PUT"):
            status, _, body = ask(method, proxy["prefix"] + item["path"], body="{}" if method == "POST" else "")
            assert (status == 405) == (method not in item["methods"])
            assert ("nginx" in body) == (method not in item["methods"])


def test_logs_hold_no_query_and_show_what_was_refused(host: Host, ask: Ask, proxy: dict[str, Any]) -> None:
    ask("GET", proxy["prefix"] + "auth/?ext=canary-in-a-query")
    ask("GET", proxy["prefix"] + "usage/v8?sp=canary-in-a-query")
    assert host.run("grep -rs 'canary-in-a-quer[y]' /var/log").rc == 1
    assert host.run("journalctl --no-pager --boot --output=cat | grep 'canary-in-a-quer[y]'").stdout == ""
    assert any(f'{proxy["prefix"]}auth/" 400 ' in line for line in log(host, "access"))
    assert any(f'{proxy["prefix"]}usage/v8" 403 ' in line for line in log(host, "refused"))


def test_only_modern_tls_is_spoken(proxy: dict[str, Any]) -> None:
    def version(newest: ssl.TLSVersion) -> str | None:
        with (
            socket.create_connection((proxy["address"], proxy["https_port"]), 10) as raw,
            client(newest).wrap_socket(raw, server_hostname=proxy["server_names"][0]) as stream,
        ):
            return stream.version()

    assert version(ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert version(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        version(ssl.TLSVersion.TLSv1_1)


def test_hsts_is_sent_as_configured_and_over_https_only(ask: Ask, proxy: dict[str, Any]) -> None:
    sent = [line for line in ask("GET", proxy["prefix"])[1].lower().splitlines() if line.startswith("strict-transport")]
    assert sent == ([f"strict-transport-security: max-age={proxy['hsts']}"] if proxy["hsts"] else [])
    if "http" in proxy["protocols"]:
        assert "strict-transport" not in ask("GET", proxy["prefix"], "http")[1].lower()
