"""Getting pip where Python has no ensurepip: from the configured index, by hash."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.checkout import bootstrap

WHEEL = b"a wheel"
PAGE = f'<a href="../../files/{bootstrap.PIP_WHEEL}#sha256=0">pip</a>'
AUTHORIZATION = "Basic " + base64.b64encode(b"me:p@ss").decode()


class Index(BaseHTTPRequestHandler):
    """An index in the simple format that wants a password."""

    def do_GET(self) -> None:
        answers = {"/simple/pip/": PAGE.encode(), f"/files/{bootstrap.PIP_WHEEL}": WHEEL}
        allowed = self.headers.get("Authorization") == AUTHORIZATION or self.path.startswith("/files/")
        body = answers.get(self.path)
        self.send_response(401 if not allowed else 200 if body else 404)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def index() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:p%40ss@127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


def test_pip_comes_from_the_configured_index_with_its_password(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)
    monkeypatch.setattr(bootstrap, "PIP_SHA256", hashlib.sha256(WHEEL).hexdigest())
    assert bootstrap._download_pip() == WHEEL


def test_a_pip_with_another_hash_is_refused(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)
    with pytest.raises(bootstrap.Failed, match=r"must have SHA-256 .*, got [0-9a-f]{64}\nHINT: check PIP_INDEX_URL"):
        bootstrap._download_pip()


def test_an_index_that_does_not_answer_is_named_as_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    with pytest.raises(bootstrap.Failed, match=r"^pip: must be downloadable, .*refused.*\nHINT: check the network"):
        bootstrap._download_pip()
