"""Main and standby as dlsctl sees them: who is who, and what a client gets."""

import base64
import http.server
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import dlsctl.cli
from dlsctl.pair import NOTICE_SECONDS, client_answer, look_at_pair
from dlsctl.releases import point_current
from tests.dlsctl.conftest import Site, free_port
from tests.dlsctl.replacing import replace

MAIN = ["self", "https://standby.example/dls/"]


class Server(http.server.ThreadingHTTPServer):
    """Answers a client path of its own with status and body, and keeps the paths it was asked for."""

    daemon_threads = True
    status = 400
    body = b'{"errorCode": 101, "message": "no such handshake code"}'

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/dls/"

    def say(self, code: int) -> None:
        self.body = json.dumps({"errorCode": code, "message": ""}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(port: int = 0) -> Iterator[Server]:
    with Server(port) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def test_a_client_is_asked_for_as_the_sdks_do() -> None:
    with serving() as server:
        assert client_answer(server.url.rstrip("/")) == {"error": 101, "status": 400, "text": "error 101"}
        (path,) = server.paths
    folder, _, query = path.partition("?ext=")
    assert folder == "/dls/auth/"
    assert set(query).isdisjoint("+/=")
    asked = json.loads(base64.b64decode(urllib.parse.unquote(query)))
    assert (asked["hs"], asked["og"]) == ("0-0", "0")


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (200, b'{"errorCode": 101}', "status 200 without an error code"),
        (302, b"", "status 302 without an error code"),
        (502, b"<html>Bad Gateway", "status 502 without an error code"),
        (400, b'{"errorCode": "101"}', "status 400 without an error code"),
        (400, b"[101]", "status 400 without an error code"),
        (400, b"\xff", "status 400 without an error code"),
        (400, b"[" * 60000, "status 400 without an error code"),
    ],
)
def test_an_answer_that_no_client_takes_for_an_error_is_none(status: int, body: bytes, text: str) -> None:
    with serving() as server:
        server.status, server.body = status, body
        assert client_answer(server.url) == {"error": None, "status": status, "text": text}


@pytest.mark.parametrize("start", [b"HTTP/1.1 400 No\r\n\r\n", b"HTTP/1.1 400 No\r\nX: "])
def test_a_server_that_never_ends_its_answer_is_left_in_time(start: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener, start), daemon=True).start()
        begun = time.monotonic()
        answer = client_answer(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=0.5)
    assert answer == {"error": None, "status": None, "text": "timed out"}
    assert time.monotonic() - begun < 2


def drip(listener: socket.socket, start: bytes) -> None:
    """Answer one client with `start`, then with a byte every now and then."""
    client, _ = listener.accept()
    with client, suppress(OSError):
        client.sendall(start)
        for _ in range(40):
            client.sendall(b"x")
            time.sleep(0.1)


def test_what_a_server_says_instead_of_an_answer_is_shown_short_and_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener, b"\x1b]0;" + b"A" * 9999 + b"\r\n"), daemon=True).start()
        text = client_answer(f"http://127.0.0.1:{listener.getsockname()[1]}/")["text"]
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:{port}/", "[Errno 111] Connection refused"),
        ("http://no-such-host.invalid/", "[Errno -"),
        ("ftp://127.0.0.1/", "no http(s) URL"),
    ],
)
def test_a_server_that_cannot_be_asked_gives_the_reason(url: str, text: str) -> None:
    answer = client_answer(url.format(port=free_port()))
    assert answer["error"] is None
    assert text in answer["text"]


def test_a_certificate_that_nobody_trusts_is_the_reason() -> None:
    with serving() as server:  # plain http is as wrong to TLS as a certificate
        answer = client_answer(server.url.replace("http:", "https:"))
    assert answer["error"] is None
    assert "SSL" in answer["text"]


@pytest.mark.parametrize(
    ("content", "role"),
    [
        (None, "standalone"),
        ("{broken", "standalone"),
        ('{"servers": ["a", "self"]}', "standalone"),
        (json.dumps({"servers": MAIN}), "main"),
        (json.dumps({"servers": ["https://main.example/dls/", "self"]}), "standby"),
    ],
)
def test_the_role_is_what_the_release_s_dls_json_says(site: Site, content: str | None, role: str) -> None:
    site.deploy()
    if content is not None:
        (site.release / "dls.json").write_text(content)
    status = site.ask("status")
    assert status["role"] == role
    assert status["refuses_clients"] is (None if role == "standalone" else False)


@contextmanager
def standby(site: Site, monkeypatch: pytest.MonkeyPatch, main_url: str) -> Iterator[Server]:
    """A running standby of the main at main_url, of which only the client path is there."""
    site.install()
    point_current(site.installation, "2.4.11")
    (site.release / "dls.json").write_text(json.dumps({"servers": [main_url, "self"]}))
    replace(monkeypatch, "is_running", lambda inst: True)
    with serving(site.settings["port"]) as own:
        yield own


def test_a_standby_that_refuses_clients_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as main, standby(site, monkeypatch, main.url) as own:
        own.say(100)
        dlsctl.cli.main(["status", "--config", str(site.config)])
        assert "; the standby of its pair, which refuses clients" in capsys.readouterr().out
        assert look_at_pair(site.installation) == {
            "servers": [main.url, "self"],
            "role": "standby",
            "clients": {"error": 100, "status": 400, "text": "error 100"},
            "other": {"error": 101, "status": 400, "text": "error 101"},
        }


def test_a_standby_is_given_time_to_notice_its_main(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as main, standby(site, monkeypatch, main.url) as own:
        threading.Timer(0.5, own.say, [100]).start()
        assert look_at_pair(site.installation)["clients"]["error"] == 100


def test_a_standby_that_never_notices_its_main_is_seen_serving(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "NOTICE_SECONDS", 0.3)
    with serving() as main, standby(site, monkeypatch, main.url):
        assert look_at_pair(site.installation)["clients"]["error"] == 101


def test_a_standby_whose_main_does_not_answer_serves_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with standby(site, monkeypatch, f"http://127.0.0.1:{free_port()}/"):
        begun = time.monotonic()
        seen = look_at_pair(site.installation)
        assert time.monotonic() - begun < NOTICE_SECONDS / 2
    assert seen["clients"]["error"] == 101
    assert "refused" in seen["other"]["text"]
