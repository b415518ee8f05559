"""The rendered configuration in a real nginx: what reaches the server, what is refused, and what the logs hold."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dlsproxy.nginx import nginx_errors
from tests.dlsctl.conftest import free_port
from tests.dlsproxy import attacks
from tests.dlsproxy.certificates import issue
from tests.dlsproxy.conftest import DEFAULTS, LINE, SETTINGS
from tests.test_templates import render

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin") or shutil.which("nginx")
NAME = "dls.example.com"
pytestmark = pytest.mark.skipif(not NGINX, reason="nginx is not on this machine")


class Upstream(ThreadingHTTPServer):
    """A server that answers every request as DLS refuses one, and remembers it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.headers: list[Any] = []
        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(BaseHTTPRequestHandler):
    server: Upstream

    def answer(self) -> None:
        self.server.seen.append((self.command, self.path))
        self.server.headers.append(self.headers)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"errorCode": 101, "message": "no such handshake code"}'
        self.send_response(400)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "lts-time")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_OPTIONS = do_HEAD = do_PUT = do_DELETE = answer

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@dataclass
class Front:
    """A running nginx with the rendered configuration."""

    folder: Path
    upstream: Upstream
    http: int
    https: int
    process: subprocess.Popen[bytes] | None = None

    def configure(self, others: str = "", **changes: Any) -> str:
        """Render, with the logs in the folder; returns what nginx -t says, nothing where it finds nothing.

        others: what other files of this nginx have in its http context.
        """
        pair = issue("dls", NAME)
        (self.folder / "certificate.pem").write_text(pair.pem)
        (self.folder / "key.pem").write_text(pair.key)
        variables = {
            **DEFAULTS,
            "dls_proxy_protocols": ["http", "https"],
            "dls_proxy_http_port": self.http,
            "dls_proxy_https_port": self.https,
            "dls_proxy_tls_certificate_path": f"{self.folder}/certificate.pem",
            "dls_proxy_tls_key_path": f"{self.folder}/key.pem",
            "__dls_proxy_hosts": [NAME],
            "__dls_proxy_ipv6": False,
            "__dls_proxy_default_server": False,
            "__dls_proxy_portal_open": True,
            "__dls_proxy_networks": ["127.0.0.1/32", "::1/128"],
            "__dls_proxy_client_paths": LINE["client_paths"],
            "__dls_proxy_upstream": f"127.0.0.1:{self.upstream.server_port}",
        }
        text = render("dls-proxy.conf.j2", **variables | changes).replace("/var/log/nginx", str(self.folder))
        temporary = "".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi"))
        temporary += "".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in ("uwsgi", "scgi"))
        http = f"{temporary} {others} include {self.folder}/dls.conf;"
        main = f"daemon off; pid {self.folder}/pid; events {{}} http {{ {http} }}"
        (self.folder / "dls.conf").write_text(text)
        (self.folder / "nginx.conf").write_text(main)
        done = subprocess.run([*self.command, "-t", "-q"], capture_output=True, text=True, check=False)
        return done.stderr

    @property
    def command(self) -> list[str]:
        return [str(NGINX), "-p", str(self.folder), "-e", f"{self.folder}/error.log", "-c", f"{self.folder}/nginx.conf"]

    def start(self, **changes: Any) -> None:
        assert self.configure(**changes) == ""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.http)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((self.folder / "error.log").read_text())

    def ask(self, method: str, target: str, body: bytes = b"", **how: Any) -> tuple[int, str, bytes]:
        """Send a request exactly as written, as a stranger and over TLS unless `how` says other.

        source: the address it comes from. tls: whether over https. host: the Host header. more: further header lines.
        Returns status, head, body.
        """
        source, tls, host = how.get("source", "127.0.0.9"), how.get("tls", True), how.get("host", NAME)
        with socket.create_connection(("127.0.0.1", self.https if tls else self.http), 5, (source, 0)) as raw:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            stream = context.wrap_socket(raw, server_hostname=NAME) if tls else raw
            length = how.get("more", "") + (f"Content-Length: {len(body)}\r\n" if body else "")
            head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}lts-time: 7\r\n\r\n"
            stream.sendall(head.encode() + body)
            answer = b""
            while chunk := stream.recv(65536):
                answer += chunk
        head_text, _, rest = answer.partition(b"\r\n\r\n")
        return int(head_text.split()[1]), head_text.decode(), rest

    def log(self, name: str) -> str:
        time.sleep(0.1)
        return (self.folder / f"dls-{name}.log").read_text()


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    upstream = Upstream()
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(0o755)  # nginx's workers are another user where root runs the tests
    front = Front(tmp_path, upstream, free_port(), free_port())
    yield front
    if front.process:
        front.process.terminate()
        front.process.wait(10)
    upstream.shutdown()
    upstream.server_close()


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_nginx_finds_nothing_wrong(front: Front, changes: dict[str, Any]) -> None:
    assert front.configure(**changes) == ""


def test_nginx_would_see_a_mistake(front: Front) -> None:
    said = nginx_errors(front.configure(__dls_proxy_upstream="127.0.0.1:1/; nonsense"))
    assert re.match(r'unknown directive "nonsense/" in .*/dls\.conf:\d+', said)


def test_client_requests_arrive_byte_for_byte_and_answers_are_untouched(front: Front) -> None:
    front.start()
    for (method, target), arrived in attacks.CLIENTS.items():
        status, head, body = front.ask(method, target, body=b'{"a": 1}' if method == "POST" else b"")
        assert front.upstream.seen[-1] == (method, arrived)
        assert status == 400
        assert json.loads(body)["errorCode"] == 101
        assert head.lower().count("access-control-allow-origin: *") == 1
        assert "access-control-allow-headers: lts-time" in head.lower()
    assert {headers["lts-time"] for headers in front.upstream.headers} == {"7"}
    assert {headers["Host"] for headers in front.upstream.headers} == {f"127.0.0.1:{front.upstream.server_port}"}


@pytest.mark.parametrize("tls", [True, False])
def test_nothing_but_client_paths_reaches_the_server_from_outside(front: Front, tls: bool) -> None:
    front.start()
    for method, target in [*attacks.METHODS, *(("GET", target) for target in attacks.PORTAL)]:
        status, _, _ = front.ask(method, target, tls=tls)
        assert status in attacks.REFUSED, (method, target, status)
    # Some are only another spelling of a client's path.
    assert set(front.upstream.seen) <= {("GET", "/auth/"), ("POST", "/verify/v2")}


def test_portal_answers_administrators_over_https_only(front: Front) -> None:
    front.start()
    assert front.ask("GET", "/dls/page/index.html", source="127.0.0.1")[0] == 400
    assert front.upstream.seen == [("GET", "/page/index.html")]
    assert front.ask("GET", "/dls/page/index.html", source="127.0.0.1", tls=False)[0] == 403
    assert len(front.upstream.seen) == 1


def test_nobody_becomes_an_administrator_by_a_header_that_another_site_has_nginx_believe(front: Front) -> None:
    front.start(others="set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For;")
    claim = "X-Forwarded-For: {}\r\n"
    assert front.ask("GET", "/dls/page/index.html", more=claim.format("127.0.0.1"))[0] == 403
    assert front.ask("GET", "/dls/page/index.html", source="127.0.0.1", more=claim.format("192.0.2.1"))[0] == 403
    assert front.upstream.seen == []
    assert front.ask("GET", "/dls/page/index.html", source="127.0.0.1")[0] == 400


def test_portal_is_closed_to_all_until_its_password_is_set(front: Front) -> None:
    front.start(__dls_proxy_portal_open=False)
    for target in ("/dls/", "/dls/page/index.html"):
        assert front.ask("GET", target, source="127.0.0.1")[0] == 403
    assert front.ask("GET", "/dls/auth/")[0] == 400


def test_other_names_get_nothing_unless_it_is_the_default(front: Front) -> None:
    front.start()
    assert front.ask("GET", "/dls/auth/", host="other.example")[0] == 404
    assert front.ask("GET", "/dls/auth/", host="DLS.example.com")[0] == 400
    assert front.ask("GET", "/dls/auth/", host="dlsxexample.com")[0] == 404


def test_logs_hold_no_query_and_refused_requests_have_a_log_of_their_own(front: Front) -> None:
    front.start()
    front.ask("GET", "/dls/auth/?ext=canary")
    front.ask("GET", "/dls/usage/v9?sp=canary")
    front.ask("PUT", "/dls/auth/?ext=canary")
    front.upstream.shutdown()
    front.upstream.server_close()
    assert front.ask("GET", "/dls/auth/?ext=canary")[0] == 502
    everything = "".join(path.read_text() for path in front.folder.glob("*.log"))
    assert "canary" not in everything
    lines = front.log("refused").splitlines()
    assert [line.split("] ")[1].split(" bytes")[0].rsplit(" ", 3)[0] for line in lines] == [
        '"GET https://dls.example.com/dls/usage/v9" 403',
        '"PUT https://dls.example.com/dls/auth/" 405',
    ]
    assert re.search(
        r'"GET https://dls\.example\.com/dls/auth/" 502 .* upstream=127\.0\.0\.1:\d+:502 time=', front.log("access")
    )


def test_path_cannot_look_like_the_rest_of_a_line_of_the_log(front: Front) -> None:
    front.start()
    front.ask("GET", "/dls/usage/v9%22%20429%200%20%0a10.0.0.1")
    (line,) = front.log("refused").splitlines()
    assert '" 403 ' in line
    assert '" 429 ' not in line


def test_size_and_rate_limits_answer_as_such(front: Front) -> None:
    front.start(dls_proxy_rate_limit=1)
    assert front.ask("POST", "/dls/verify/v2", body=b"x" * (2 << 20))[0] == 413
    answers = [front.ask("GET", "/dls/auth/")[0] for _ in range(15)]
    assert answers[:10] == [400] * 10
    assert 429 in answers
    assert " 413 " in front.log("refused")
    assert " 429 " in front.log("refused")


def test_default_limits_let_a_fleet_behind_one_address_pass(front: Front) -> None:
    front.start()
    assert {front.ask("GET", "/dls/auth/", tls=False)[0] for _ in range(200)} == {400}


def test_hsts_is_sent_over_https_only_and_only_when_asked(front: Front) -> None:
    front.start(dls_proxy_hsts=600)
    assert "strict-transport-security: max-age=600" in front.ask("GET", "/dls/auth/")[1].lower()
    assert "strict-transport-security" not in front.ask("GET", "/dls/auth/", tls=False)[1].lower()
