"""The container engine: found, or installed and started when told to.

Only the distribution's packages are used, and only what was started here is stopped again.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import docker
from docker.errors import DockerException

from dlsctl.problems import Problem, Refused
from tests.lab.paths import CACHE

# Debian's packages with a program of each: the engine, what makes images, servers that configurations are tried in, the
# browser that `dlskit portal` drives, what signatures are exchanged with, and what indexes RPMs for bundles.
PACKAGES = {
    "docker.io": "dockerd",
    "mmdebstrap": "mmdebstrap",
    "openssh-client": "ssh",
    "openssh-sftp-server": "/usr/lib/openssh/sftp-server",
    "nginx": "nginx",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "chromium": "chromium",
    "minisign": "minisign",
    "age": "age",
    "createrepo-c": "createrepo_c",
    "gcc-mingw-w64-x86-64": "x86_64-w64-mingw32-gcc",
    "wine": "wine",
    "wine64": "wineserver",
}
START_DEADLINE = 60  # seconds

_PID_FILE = CACHE / "dockerd.pid"
_LOG_FILE = CACHE / "dockerd.log"


def connect() -> docker.DockerClient:
    """Return a client of the engine that answers. Raise Problem if none does."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except (DockerException, OSError) as error:
        raise Problem(
            "container engine",
            "must answer",
            str(error).splitlines()[0][:200],
            "start Docker, or let `./dls test --bootstrap` install and start it (root on Debian)",
        ) from error
    return client


def answers() -> bool:
    """Return whether an engine answers now."""
    try:
        connect().close()
    except Problem:
        return False
    return True


def bootstrap() -> None:
    """Make an engine answer: install Debian's packages that are missing, start dockerd if none answers.

    Raise Refused unless this is root on a Debian family system.
    """
    ready = answers()
    missing = [name for name, program in PACKAGES.items() if not shutil.which(program)]
    if ready:
        missing = [name for name in missing if name != "docker.io"]
        if not missing:
            return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Refused(
            "--bootstrap", "needs root on a Debian family system", f"uid {os.geteuid()}", "start Docker by other means"
        )
    if missing:
        _apt_install(missing)
    if not ready:
        _start()


def stop() -> bool:
    """Stop the dockerd that bootstrap() started. Return whether there was one."""
    if not _PID_FILE.exists():
        return False
    pid = int(_PID_FILE.read_text())
    _PID_FILE.unlink()
    if not _is_dockerd(pid):
        return False
    os.kill(pid, 15)
    deadline = time.monotonic() + START_DEADLINE
    while _is_dockerd(pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    return True


def _apt_install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # The packages' own services are not started: dockerd is started here, so that it can be stopped here.
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        run = subprocess.run(
            ["apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=120", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        # A broken third source fails `update` while the distribution's own lists are fine.
        if run.returncode != 0 and arguments[0] == "install":
            last = (run.stdout + run.stderr).strip().splitlines()[-5:]
            raise Problem(
                "apt-get install", f"must install {' '.join(packages)}", "\n  ".join([f"exit {run.returncode}", *last])
            )


def _start() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with _LOG_FILE.open("ab") as log:
        process = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    _PID_FILE.write_text(f"{process.pid}\n")
    deadline = time.monotonic() + START_DEADLINE
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            last = _LOG_FILE.read_text(errors="replace").strip().splitlines()[-1:]
            raise Problem(
                "dockerd", f"must answer within {START_DEADLINE} s", " ".join(last) or "nothing", f"read {_LOG_FILE}"
            )
        time.sleep(0.3)


def _is_dockerd(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    name, state = status[status.index("(") + 1 : status.rindex(")")], status[status.rindex(")") + 2]
    return name == "dockerd" and state != "Z"
