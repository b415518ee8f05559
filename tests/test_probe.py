"""``dlskit probe``: what it says of servers that answer well, badly, or not at all."""

import contextlib
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dlskit.cli import main
from dlskit.probe import http
from tests.dlsproxy.certificates import issue

CORS = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Headers", "LTS-Time, content-type")]
NOBODY = json.dumps({"errorCode": 101, "message": "Handshake code not found"}).encode()
STANDBY = json.dumps({"errorCode": 100, "message": "standby"}).encode()


class Answers:
    """What a server answers: status, body and headers of /auth/, of its OPTIONS, and the status of the portal."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 400, NOBODY, list(CORS)
        self.ahead, self.ahead_headers = 204, list(CORS)
        self.portal, self.pause = 403, 0.0


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answers: Answers = self.server.answers  # type: ignore[attr-defined]
        time.sleep(answers.pause)
        if self.path.startswith("/dls/auth/?ext="):
            self.answer(answers.status, answers.headers, answers.body)
        else:
            self.answer(answers.portal, [], b"")

    def do_OPTIONS(self) -> None:
        answers: Answers = self.server.answers  # type: ignore[attr-defined]
        self.answer(answers.ahead, answers.ahead_headers, b"")

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def answers() -> Answers:
    return Answers()


def serve(answers: Answers, context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers = answers  # type: ignore[attr-defined]
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def url(answers: Answers) -> Iterator[str]:
    server = serve(answers)
    yield f"http://127.0.0.1:{server.server_port}/dls/"
    server.shutdown()
    server.server_close()


def verdicts(url: str, role: str = "standalone", **settings: Any) -> dict[str, tuple[str, str]]:
    server = http.Server(url, http.Settings(**{"timeout": 2, **settings}))
    return {found.check: (found.verdict, found.text) for found in http.look(server, role)}


def test_server_behind_its_proxy_is_as_it_should_be(url: str) -> None:
    found = verdicts(url)
    assert found["answer"] == (http.OK, "a license server answers: error 101, as it must for a code that nobody has")
    assert found["cors"] == (http.OK, "pages of https://app.example may ask")
    assert found["portal"] == (http.OK, "not reached (403)")
    assert found["tls"][0] == http.WARNING


@pytest.mark.parametrize(
    ("role", "answer", "judged"),
    [
        ("main", (400, STANDBY), (http.FAILED, "answers as a standby")),
        ("standby", (400, STANDBY), (http.OK, "answers as a standby")),
        ("standby", (400, NOBODY), (http.WARNING, "is its main gone?")),
        ("main", (200, NOBODY), (http.FAILED, "status 200 and no license")),
        ("main", (400, b'{"errorCode": "101"}'), (http.FAILED, "status 400 without an error code")),
        ("main", (400, b"[" * 60000), (http.FAILED, "status 400 without an error code")),
        ("main", (400, b'{"errorCode": 250}'), (http.WARNING, "error 250, after which clients ask the standby")),
        ("main", (301, b""), (http.FAILED, "redirect (301): native clients follow none")),
        ("main", (502, b"bad gateway"), (http.FAILED, "status 502 without an error code: no license server answers")),
    ],
)
def test_answer_is_judged_as_clients_treat_it(
    answers: Answers, url: str, role: str, answer: tuple[int, bytes], judged: tuple[str, str]
) -> None:
    answers.status, answers.body = answer
    verdict, text = verdicts(url, role)["answer"]
    assert verdict == judged[0]
    assert judged[1] in text


@pytest.mark.parametrize(
    ("headers", "ahead", "text"),
    [
        ([], (204, CORS), "Access-Control-Allow-Origin is not there"),
        ([CORS[0], CORS[0]], (204, CORS), "comes 2 times, which browsers refuse"),
        (
            [("access-control-allow-origin", "https://other.example")],
            (204, CORS),
            "is https://other.example, a page of",
        ),
        (CORS, (405, CORS), "OPTIONS: status 405"),
        (CORS, (204, CORS[1:]), "OPTIONS: Access-Control-Allow-Origin is not there"),
        (CORS, (204, CORS[:1]), "OPTIONS: the header lts-time is not allowed"),
    ],
)
def test_pages_that_could_not_read_the_answer_are_told_of(
    answers: Answers, url: str, headers: list[Any], ahead: tuple[int, list[Any]], text: str
) -> None:
    answers.headers, (answers.ahead, answers.ahead_headers) = headers, ahead
    found = verdicts(url)["cors"]
    assert found[0] == http.FAILED
    assert text in found[1]


@pytest.mark.parametrize(
    "value", ["\x1b]0;x\x07\x1b[2J", "x\r\n ok       portal  https://dls.example/: not reached", "x" * 60_000]
)
def test_header_of_a_hostile_server_is_told_in_one_short_line(answers: Answers, url: str, value: str) -> None:
    answers.headers = [("Access-Control-Allow-Origin", value), CORS[1]]
    text = verdicts(url)["cors"][1]
    assert text.isprintable()
    assert len(text) < 400


def test_error_code_of_thousands_of_digits_is_none(answers: Answers, url: str) -> None:
    answers.body = b'{"errorCode": ' + b"9" * 4000 + b"}"
    assert len(verdicts(url)["answer"][1]) < 400


def test_origin_of_the_page_may_be_named_instead_of_any(answers: Answers, url: str) -> None:
    answers.headers = answers.ahead_headers = [("Access-Control-Allow-Origin", "https://shop.example"), CORS[1]]
    assert verdicts(url, origin="https://shop.example")["cors"][0] == http.OK


@pytest.mark.parametrize(
    ("status", "expected", "verdict"),
    [(200, False, "failed"), (200, True, "ok"), (403, True, "failed"), (302, False, "warning"), (302, True, "failed")],
)
def test_portal_is_reached_by_administrators_and_nobody_else(
    answers: Answers, url: str, status: int, expected: bool, verdict: str
) -> None:
    answers.portal = status
    assert verdicts(url, portal_expected=expected)["portal"][0] == verdict


def test_port_of_the_server_that_is_reached_past_the_proxy_is_told_of(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as data:
        port = data.getsockname()[1]
        assert verdicts(url, ports=(port,))["port"][0] == http.FAILED
    assert verdicts(url, ports=(port,))["port"][0] == http.OK


def test_slow_answer_of_a_second_address_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    full = socket.create_server(("127.0.0.1", 0), backlog=0)  # takes no more connections, and refuses none
    waiting = [socket.socket() for _ in range(3)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(full.getsockname())
    slow = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with contextlib.suppress(OSError), slow.accept()[0] as taken:
            for _ in range(100):
                taken.sendall(b"x")
                time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one.getsockname()) for one in (full, slow)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    started = time.monotonic()
    assert http.Server("http://dls.example/", http.Settings(timeout=0.5)).ask("/").reason == "timed out"
    assert time.monotonic() - started < 5
    for one in (full, slow, *waiting):
        one.close()


def test_server_that_is_slow_or_gone_is_no_traceback_and_says_nothing_good_of_the_portal(
    answers: Answers, url: str
) -> None:
    answers.pause = 1
    assert verdicts(url, timeout=0.2)["answer"] == (http.FAILED, "no answer: timed out")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    found = verdicts(f"http://127.0.0.1:{port}/dls/")
    assert found["answer"][0] == http.FAILED
    assert found["portal"][0] == http.WARNING


def test_port_of_a_name_that_leads_nowhere_is_not_called_closed() -> None:
    found = verdicts("http://nowhere.invalid/dls/", ports=(48080,))
    assert found["port"][0] == http.WARNING
    assert found["port"][1].startswith("not known: ")


@pytest.mark.parametrize(
    ("name", "ends", "trusted", "judged"),
    [
        ("127.0.0.1", 90, True, (http.OK, "certificate ends in 89 days")),
        ("127.0.0.1", 10, True, (http.WARNING, "certificate ends in 9 days")),
        ("127.0.0.1", 90, False, (http.FAILED, "browsers refuse it, native clients check nothing")),
        ("other.example", 90, True, (http.FAILED, "IP address mismatch")),
        ("127.0.0.1", -1, True, (http.FAILED, "certificate has expired")),
    ],
)
def test_certificate_is_judged_as_browsers_do_and_the_rest_is_looked_at_anyhow(
    tmp_path: Path, name: str, ends: int, trusted: bool, judged: tuple[str, str]
) -> None:
    authority = issue("An authority", authority=True)
    pair = issue(name, name, issuer=authority, ends=ends)
    (tmp_path / "pair.pem").write_text(pair.pem + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    server = serve(Answers(), context)
    try:
        cadata = authority.pem if trusted else None
        url = f"https://127.0.0.1:{server.server_port}/dls/"
        found = verdicts(url, trust=lambda: http.as_browsers(cadata=cadata))
    finally:
        server.shutdown()
        server.server_close()
    assert found["tls"][0] == judged[0]
    assert judged[1] in found["tls"][1]
    assert found["answer"][0] == http.OK


def test_command_tells_a_line_for_each_check_and_its_exit_code_whether_one_failed(answers: Answers, url: str) -> None:
    good = CliRunner().invoke(main, ["probe", url, "--port", "9"], standalone_mode=True)
    assert (good.exit_code, good.output.count("\n")) == (0, 5)
    answers.portal = 200
    bad = CliRunner().invoke(main, ["probe", url, "--json", "--port", "9"], standalone_mode=True)
    assert bad.exit_code == 4
    told = json.loads(bad.output)
    assert told["ok"] is False
    assert [item["check"] for item in told["findings"] if item["verdict"] == "failed"] == ["portal"]


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
def test_host_that_no_name_server_knows_ends_no_probe(host: str) -> None:
    done = CliRunner().invoke(main, ["probe", f"http://{host}/dls/", "--port", "1"])
    assert done.exit_code == 4
    assert done.output.count("\n") == 5


@pytest.mark.parametrize("kind", ["text", "pipe"])
def test_file_without_authorities_is_refused_before_a_server_is_blamed(kind: str, url: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("x\n") if kind == "text" else os.mkfifo(path)
    done = CliRunner().invoke(main, ["probe", url, "--ca-file", str(path)])
    assert done.exit_code == 6
    assert "--ca-file: must be a file with certificates in PEM, got " in done.output


def test_bytes_of_a_crashing_sdk_are_told(url: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\ncase $1 in -c) exit 0;; esac\nprintf '\\377\\033[2J' >&2\nexit 1\n")
    python.chmod(0o755)
    done = CliRunner().invoke(main, ["probe", url, "--port", "9", "--sdk", "--sdk-python", str(python)])
    assert done.exit_code == 4
    assert "the client ended with 1: " in done.output
    assert "\x1b" not in done.output


@pytest.mark.parametrize("url", ["dls.example", "ftp://dls.example/", "https://dls.example/dls/?a=b", "https://:443/"])
def test_url_that_no_client_takes_is_refused(url: str) -> None:
    run = CliRunner().invoke(main, ["probe", url])
    assert run.exit_code == 6
    assert "server URL: must be an http(s) URL without query, such as" in run.output


def test_sdk_that_is_not_there_is_told_before_anything_is_asked(url: str) -> None:
    run = CliRunner().invoke(main, ["probe", url, "--sdk", "--sdk-python", "/nonexistent/python"])
    assert run.exit_code == 1
    assert run.output.startswith("--sdk: needs the vendor's SDK dbr, got ")
