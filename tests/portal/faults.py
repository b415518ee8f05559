"""What can be wrong between a browser and a portal: a proxy with faults in it, and an ssh that dies."""

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# Forwards as `ssh -N -L` does, writes its process id, and ends as a lost connection does before it passes on the word.
SSH = """#!{python} -I
import os, re, socket, sys, threading
WORD = {word!r}
listening, target = (int(port) for port in re.findall(r"127.0.0.1:(\\d+)", " ".join(sys.argv)))
with open({pid!r}, "w") as file:
    file.write(str(os.getpid()))
def carry(source, sink):
    try:
        while data := source.recv(65536):
            if WORD and WORD in data:
                sys.stderr.write("Connection to a-host closed by remote host.\\n")
                sys.stderr.flush()
                os._exit(255)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
server = socket.create_server(("127.0.0.1", listening))
while True:
    near = server.accept()[0]
    far = socket.create_connection(("127.0.0.1", target))
    for pair in ((near, far), (far, near)):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"""


class Proxy:
    """A way to a portal on which a test changes what it likes.

    `fault` gets path and body of each request; what it returns, status and body, is the answer instead of the portal's.
    `words` are replaced in the page's program.
    """

    def __init__(self, target: str, port: int) -> None:
        self.target, self.url = target.removeprefix("http://"), f"http://127.0.0.1:{port}"
        self.words: dict[str, str] = {}
        self.fault: Callable[[str, bytes], tuple[int, bytes] | None] = lambda path, body: None

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if told := self.fault(path, body):
            return told[0], {"Content-Type": "application/json"}, told[1]
        connection = http.client.HTTPConnection(self.target, timeout=10)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if path.endswith(".js"):
            for old, new in self.words.items():
                content = content.replace(old.encode(), new.encode())
        kept = {name: answer.headers[name] for name in ("Content-Type", "Set-Cookie") if answer.headers[name]}
        return answer.status, kept, content


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        cookie = {"Cookie": self.headers["Cookie"]} if self.headers["Cookie"] else {}
        status, headers, content = proxy.answer(self.command, self.path, body, cookie)
        with contextlib.suppress(OSError):  # the browser may have given up
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """Yield a proxy before the portal at `target`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    proxy = Proxy(target, server.server_port)
    server.proxy = proxy  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield proxy
    server.shutdown()
    server.server_close()


def write_ssh(folder: Path, python: str, word: bytes = b"") -> Path:
    """Write an `ssh` into the folder that ends when a request holds the word; return the file of its process id."""
    folder.mkdir()
    pid = folder / "pid"
    (folder / "ssh").write_text(SSH.format(python=python, word=word, pid=str(pid)), encoding="utf-8")
    (folder / "ssh").chmod(0o755)
    return pid
