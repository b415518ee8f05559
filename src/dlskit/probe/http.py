"""What anybody on this network sees at a server URL: TLS, the answer to a client, CORS, and whether the portal is open.

How clients treat answers was observed of the vendor's SDKs; the vendor documents error 100 as that of a standby.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from dlsctl.host import deadline
from dlsctl.pair import STANDBY_REFUSES, error_code, handshake, url_parts
from dlsctl.problems import Refused, one_line, words_of

OK, WARNING, FAILED = "ok", "warning", "failed"
_DAY = 86400  # seconds
_BODY = 1 << 16  # bytes read of an answer
_FINAL = range(101, 200)  # error codes after which a client does not ask the standby


@dataclass(frozen=True)
class Finding:
    """One line of a probe's verdict.

    target: the server URL, or the address that was tried. check: tls, answer, cors, portal, port or sdk.
    verdict: OK, WARNING (works, but somebody should look at it) or FAILED.
    """

    target: str
    check: str
    verdict: str
    text: str


def as_browsers(**authorities: Any) -> ssl.SSLContext:
    """The TLS context that takes what browsers take; `authorities` as of ssl.create_default_context.

    Python 3.13 by itself also refuses what a standard recommends and authorities of companies often leave out, such as
    the identifier of their key.
    """
    context = ssl.create_default_context(**authorities)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


@dataclass(frozen=True)
class Settings:
    """How to look. Times in seconds, but warn_days.

    trust: makes the TLS context that checks certificates. origin: of the web page that a browser is on.
    portal_expected: whether this machine is in a network of administrators. ports: the server's own, which only the
    proxy may reach.
    """

    trust: Callable[[], ssl.SSLContext] = as_browsers
    timeout: float = 15
    warn_days: int = 30
    origin: str = "https://app.example"
    portal_expected: bool = False
    ports: tuple[int, ...] = ()
    health_path: str = "/page/index.html"


class Exchange(NamedTuple):
    """An answer of a server; status 0 where there was none, with the reason as `reason`."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    reason: str = ""

    @property
    def error(self) -> int | None:
        """The license server's error code in it."""
        return error_code(self.status, self.body)

    @property
    def message(self) -> str:
        """The license server's message in it, or nothing."""
        try:
            return one_line(str(json.loads(self.body)["message"])[:200]) if self.error is not None else ""
        except (ValueError, TypeError, KeyError, RecursionError):
            return ""

    def all(self, name: str) -> list[str]:
        """The values of every header of that name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Server:
    """A server URL, and how to ask below it. Raises Refused for a URL that a client would not take."""

    def __init__(self, url: str, settings: Settings) -> None:
        parts = url_parts(url)
        if parts is None:
            rule = "must be an http(s) URL without query, such as https://dls.example.com/dls/"
            raise Refused("server URL", rule, url, "write it as in the license key")
        self.url, self.settings = url, settings
        self.scheme, self.host, self.port, self.path = parts

    def ask(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> Exchange:
        """Send one request, with any certificate and without following redirects, as native clients do."""
        limit = self.settings.timeout
        try:
            with deadline(limit), self.connect(_trusting_anybody()) as raw:
                kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
                connection = kind(self.host, self.port, timeout=limit)  # which leaves ports out of Host as clients do
                connection.sock = raw
                connection.request(method, target, headers={"Accept": "*/*", **(headers or {})})
                answer = connection.getresponse()
                return Exchange(answer.status, answer.getheaders(), answer.read(_BODY))
        except (OSError, ValueError, http.client.HTTPException) as error:
            return Exchange(0, [], b"", words_of(error))

    def connect(self, context: ssl.SSLContext) -> socket.socket:
        """A connection to the server, with TLS where its URL is https. Raises OSError."""
        raw = socket.create_connection((self.host, self.port), self.settings.timeout)
        return context.wrap_socket(raw, server_hostname=self.host) if self.scheme == "https" else raw


def _trusting_anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def look(server: Server, role: str) -> Iterator[Finding]:
    """Everything about one server; `role` is what it should be: standalone, main or standby."""
    for check, found in (
        ("tls", check_tls(server)),
        ("answer", check_answer(server, role)),
        ("cors", check_cors(server)),
        ("portal", check_portal(server)),
    ):
        yield Finding(server.url, check, *found)
    for port in server.settings.ports:
        if port != server.port:
            yield Finding(f"{server.host}:{port}", "port", *check_port(server, port))


def check_tls(server: Server) -> tuple[str, str]:
    """Whether a browser takes the certificate, and until when."""
    if server.scheme == "http":
        return WARNING, "no TLS: browsers on other pages than localhost's, and iOS clients, refuse http"
    try:
        with deadline(server.settings.timeout), server.connect(server.settings.trust()) as raw:
            assert isinstance(raw, ssl.SSLSocket)  # noqa: S101 - the scheme says so
            version, certificate = raw.version(), raw.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return FAILED, f"{error.verify_message or words_of(error)}: browsers refuse it, native clients check nothing"
    except (OSError, ValueError) as error:
        return FAILED, words_of(error)
    ends = str(certificate["notAfter"])
    days = int((ssl.cert_time_to_seconds(ends) - time.time()) // _DAY)
    return WARNING if days < server.settings.warn_days else OK, f"{version}, certificate ends in {days} days"


def check_answer(server: Server, role: str) -> tuple[str, str]:
    """What a client gets: whether a license server answers, and as what."""
    got = server.ask(handshake(server.path))
    if got.error is not None:
        return _judge_error(got.error, role)
    if not got.status:
        return FAILED, f"no answer: {got.reason}"
    if got.status == 200:
        return FAILED, "status 200 and no license: clients fail, and do not ask the standby"
    if 300 <= got.status < 400:
        return FAILED, f"redirect ({got.status}): native clients follow none"
    return FAILED, f"status {got.status} without an error code: no license server answers"


def _judge_error(code: int, role: str) -> tuple[str, str]:
    if code == STANDBY_REFUSES:
        text = f"a license server answers as a standby whose main works: error {code}"
        return OK if role == "standby" else FAILED, text
    if code not in _FINAL:
        return WARNING, f"a license server answers with error {code}, after which clients ask the standby"
    if role == "standby":
        return WARNING, f"a license server answers with error {code}, so it serves clients: is its main gone?"
    return OK, f"a license server answers: error {code}, as it must for a code that nobody has"


def check_cors(server: Server) -> tuple[str, str]:
    """Whether a web page of another origin may read the answers, as the vendor's JavaScript SDK needs it."""
    origin = {"Origin": server.settings.origin}
    got = server.ask(handshake(server.path), headers=origin)
    if fault := _origin_fault(got, server.settings.origin):
        return FAILED, fault
    wanted = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "lts-time"}
    ahead = server.ask(f"{server.path}/auth/", "OPTIONS", origin | wanted)
    if fault := _origin_fault(ahead, server.settings.origin):
        return FAILED, f"OPTIONS: {fault}"
    if not 200 <= ahead.status < 300:
        return FAILED, f"OPTIONS: status {ahead.status}"
    allowed = {word.strip().lower() for value in ahead.all("Access-Control-Allow-Headers") for word in value.split(",")}
    if not allowed & {"*", "lts-time"}:
        return FAILED, "OPTIONS: the header lts-time is not allowed, which a page's second visit sends"
    return OK, f"pages of {server.settings.origin} may ask"


def _origin_fault(got: Exchange, origin: str) -> str:
    values = got.all("Access-Control-Allow-Origin")
    if not got.status:
        return f"no answer: {got.reason}"
    if len(values) > 1:
        return f"Access-Control-Allow-Origin comes {len(values)} times, which browsers refuse: does the proxy add one?"
    if values not in (["*"], [origin]):
        said = one_line(", ".join(values)[:200]) or "not there"
        return f"Access-Control-Allow-Origin is {said}, a page of {origin} may not read it"
    return ""


def check_portal(server: Server) -> tuple[str, str]:
    """Whether this machine reaches the admin portal, which only administrators should."""
    got = server.ask(server.path + server.settings.health_path)
    if not got.status:
        return WARNING, f"not known: no answer ({got.reason})"
    if 300 <= got.status < 400 and not server.settings.portal_expected:
        return WARNING, f"not known: a redirect ({got.status}), which is not followed"
    is_open = 200 <= got.status < 300
    if is_open == server.settings.portal_expected:
        return OK, "reached, as expected" if is_open else f"not reached ({got.status})"
    return FAILED, "reached from this machine" if is_open else f"not reached ({got.status})"


def check_port(server: Server, port: int) -> tuple[str, str]:
    """Whether this machine reaches a port of the server itself, past its proxy."""
    try:
        with socket.create_connection((server.host, port), min(server.settings.timeout, 5)):
            return FAILED, "reached from this machine, past the proxy"
    except socket.gaierror as error:
        return WARNING, f"not known: {words_of(error)}"
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be
        return OK, f"not reached ({words_of(error)})"
