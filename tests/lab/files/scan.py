"""Try to reach a server from another host, over and over, until ended: scan.py ADDRESS REPORT

The report, JSON, is written anew every second: for each probe how often it was tried, how often it was answered, and
what the first answer was. A page counts as answered with any status below 400.
"""

import http.client
import json
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

ADDRESS, REPORT = sys.argv[1:3]
PAGES = ("/page/index.html", "/dls/page/index.html", "/dls/", "/dls/api/state", "/dls/auth/../page/index.html")
TIMEOUT = 0.3  # seconds; the network has no delay, and a dropped connection is one that nobody answers

report: dict[str, dict[str, object]] = {}


def connect(port: int) -> str:
    """Whether anything takes a connection."""
    socket.create_connection((ADDRESS, port), TIMEOUT).close()
    return "connected"


def page(port: int, path: str) -> str:
    """The first line of a portal page's answer; nothing where the page is refused."""
    plain = port not in (443, 8443)
    context = ssl._create_unverified_context()  # noqa: S323 - what is looked for is a page, whoever shows it
    connection = (
        http.client.HTTPConnection(ADDRESS, port, timeout=TIMEOUT)
        if plain
        else http.client.HTTPSConnection(ADDRESS, port, timeout=TIMEOUT, context=context)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return "" if answer.status >= 400 else f"{answer.status} {answer.read(60)!r}"
    finally:
        connection.close()


def client(port: int) -> str:
    """The answer to a client's request, which is public: that it comes shows that the scan sees what there is."""
    connection = http.client.HTTPSConnection(
        ADDRESS,
        port,
        timeout=TIMEOUT,
        context=ssl._create_unverified_context(),  # noqa: S323
    )
    try:
        connection.request("GET", "/dls/auth/?ext=e30%3D")
        return str(json.loads(connection.getresponse().read())["errorCode"])
    finally:
        connection.close()


def probe(name: str, look: object, *arguments: object) -> None:
    """Look again and again and count."""
    counts = report.setdefault(name, {"tried": 0, "answered": 0, "first": ""})
    while True:
        try:
            answer = look(*arguments)  # type: ignore[operator]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            answer = ""
        counts["tried"] = int(str(counts["tried"])) + 1
        if answer:
            counts["answered"] = int(str(counts["answered"])) + 1
            counts["first"] = counts["first"] or f"{time.strftime('%H:%M:%S')} {answer}"
        time.sleep(0.05)


def main() -> None:
    probes = [(f"port {port}", connect, port) for port in (22, 48080, 30201)]
    pages = [(f"page {port} {path}", page, port, path) for port in (80, 443, 48080) for path in PAGES]
    for name, *look in [*probes, *pages, ("client 443", client, 443)]:
        threading.Thread(target=probe, args=(name, *look), daemon=True).start()
    while True:
        time.sleep(1)
        scratch = Path(REPORT + ".new")
        scratch.write_text(json.dumps(report, indent=1))
        scratch.replace(REPORT)


if __name__ == "__main__":
    main()
