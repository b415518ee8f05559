"""A vendor archive of a few kilobytes whose "Java" is this machine's Python: it starts in a tenth of a second."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

STARTUP = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
./linux/bin/dynamsoftdlsx ./linux/jre/bin/dynamsoftdls -jar ./dls-{version}.jar --server.port=48080 &
"""
LAUNCHER = """#!/bin/sh
"$@" &
child=$!
trap 'kill $child' TERM
wait $child
"""
JAVA = """#!/bin/sh
while [ "$1" != -jar ]; do shift; done
exec python3 "$2" "$@"
"""
SERVER = """
import http.server, pathlib, sys, time
options = dict(word[2:].split("=") for word in sys.argv if word.startswith("--") and "=" in word)
pathlib.Path("data").mkdir(exist_ok=True)
with open("data/store.log", "a") as store:
    store.write("started\\n")
print("the server says hello", flush=True)
error = 101
{before}
class Portal(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        clients = self.path.startswith("/auth/")
        self.send_response(400 if clients else {status} if self.path == "/page/index.html" else 404)
        self.end_headers()
        if clients:
            self.wfile.write(b'{"errorCode": %d, "message": ""}' % error)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("", int(options["server.port"])), Portal).serve_forever()
"""
SAMPLE = '{"serverMode": "main_standby", "servers": ["self", "https://standby.example/dls/"], "bDynamHost": false}\n'


def build(folder: Path, version: str = "2.4.11", before: str = "", status: int = 200, top: str = "dls-linux/") -> Path:
    """Write an archive; `before` is Python that runs before the server listens, `status` what its portal answers.

    Clients get `error`, which `before` may set.
    """
    files = {
        "startup.sh": STARTUP.format(version=version),
        f"dls-{version}.jar": SERVER.replace("{before}", before).replace("{status}", str(status)),
        "dls.json.sample": SAMPLE,
        "linux/bin/dynamsoftdlsx": LAUNCHER,
        "linux/jre/bin/dynamsoftdls": JAVA,
    }
    path = folder / f"dynamsoft_dls-linux_x64-v{version}.tar.gz"
    with gzip.GzipFile(path, "wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(text.encode())
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
