"""Make .venv from a lock file: once, whole or not at all, and by one process at a time.

Run by ./dls with any Python 3.11+, so: standard library only, and nothing of the checkout is imported.

.venv counts only while its marker equals what ./dls expects: the checkout's path (scripts in a virtual environment
carry it) and the text of requirements.lock. The marker is written last. Downloads stay in pip's cache, so a second try
after a broken connection goes on where the first one stopped.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

MARKERS = {"requirements.lock": ".complete", "requirements-dev.lock": ".complete-dev"}
# For a Python without ensurepip (Debian without python3-venv). From the package index, by this hash.
PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
DEFAULT_INDEX = "https://pypi.org/simple"


class Failed(Exception):
    """A message of the project's form: `what: rule, got X`, then `HINT: next action`."""


def main() -> int:
    """Make .venv of the checkout that this file is in. Return the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        install(Path(__file__).resolve().parents[2], "requirements.lock")
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: .venv was not finished and has been removed; the downloads are kept", file=sys.stderr)
        return 130
    return 0


def install(root: Path, lock: str) -> None:
    """Make the virtual environment of root hold what lock names.

    lock: requirements.lock makes .venv anew; requirements-dev.lock, a superset of it, adds to it. Nothing happens when
    that is done already. Raise Failed when a package cannot be installed.
    """
    with _one_at_a_time(root):
        if is_complete(root, lock):
            return
        if lock == "requirements.lock":
            _make(root)
        else:
            _say(f"Adding the packages of {lock} to .venv (first use, a minute or two) ...")
            _pip_install(root, lock)
        _write_marker(root, lock)


def is_complete(root: Path, lock: str) -> bool:
    """Return whether .venv holds what lock names now. ./dls asks the same question with cmp."""
    try:
        return (root / ".venv" / MARKERS[lock]).read_text() == _marker(root, lock)
    except OSError:
        return False


def _make(root: Path) -> None:
    shutil.rmtree(root / ".venv", ignore_errors=True)
    _say(f"Making .venv with Python {sys.version.split()[0]} (first use, about a minute) ...")
    try:
        _make_venv(root / ".venv")
        _pip_install(root, "requirements.lock")
    except BaseException:
        shutil.rmtree(root / ".venv", ignore_errors=True)
        raise


def _make_venv(folder: Path) -> None:
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin" / "python"
    if importlib.util.find_spec("ensurepip"):
        _run([str(python), "-m", "ensurepip", "--default-pip"])
        return
    with tempfile.TemporaryDirectory() as scratch:
        wheel = Path(scratch) / PIP_WHEEL
        wheel.write_bytes(_download_pip())
        _run([str(python), f"{wheel}/pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)])


def _download_pip() -> bytes:
    """Fetch the pinned pip from the index of PIP_INDEX_URL, by its page in the simple format (PEP 503)."""
    page = os.environ.get("PIP_INDEX_URL", DEFAULT_INDEX).rstrip("/") + "/pip/"
    try:
        link = re.search(rf'href="([^"]*/{re.escape(PIP_WHEEL)})[#"]', _get(page).decode())
        data = _get(urllib.parse.urljoin(page, link.group(1))) if link else b""
    except (OSError, urllib.error.URLError) as error:
        raise Failed(
            f"pip: must be downloadable, this Python has none, got {error}\n"
            "HINT: check the network and PIP_INDEX_URL, or install the package python3-venv"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != PIP_SHA256:
        raise Failed(
            f"{PIP_WHEEL}: must have SHA-256 {PIP_SHA256}, got {digest if data else 'no such file on the index'}\n"
            "HINT: check PIP_INDEX_URL, or install the package python3-venv"
        )
    return data


def _get(url: str) -> bytes:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise OSError(f"not an http(s) address: {url}")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    request = urllib.request.Request(urllib.parse.urlunsplit(bare), headers={"Accept": "text/html"})  # noqa: S310
    if parts.username:
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        user, password = urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
        passwords.add_password(None, request.full_url, user, password, is_authenticated=True)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
    else:
        opener = urllib.request.build_opener()
    with opener.open(request, timeout=60) as answer:
        data: bytes = answer.read()
    return data


def _pip_install(root: Path, lock: str) -> None:
    """Install lock with pip, showing one line per package. Raise Failed with pip's last lines."""
    text = (root / lock).read_text()
    total, done, lines = len(re.findall(r"(?m)^[a-z0-9]", text)), 0, [""]
    python = root / ".venv" / "bin" / "python"
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--require-hashes"]
    # The lock is held by pip too: if this process is killed, no other one starts while pip still writes.
    with subprocess.Popen(
        [*command, "-r", str(root / lock)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=_held,
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            lines.append(line.rstrip())
            if line.startswith("Ignoring "):
                total -= 1
            elif found := re.match(r"(?:Collecting|Processing|Requirement already satisfied:) ([^\s;]+)", line):
                done += 1
                _say(f"  [{done:2}/{total}] {_name_and_version(found.group(1))}")
            elif line.startswith("Installing collected"):
                _say("  installing")
    if pip.returncode != 0:
        last = "\n  ".join(line for line in lines if line)[-1500:]
        raise Failed(
            f"{lock}: every package must install, got exit {pip.returncode} from pip\n  {last}\n"
            "HINT: check the network and PIP_INDEX_URL, then run the same command again: finished downloads are kept"
        )


def _name_and_version(source: str) -> str:
    """`rich 15.0.0`, from pip's words for a requirement (rich==15.0.0) or a file (.../rich-15.0.0-py3-none-any.whl)."""
    return re.sub(r"(==|-)(\d[^-]*)(-.*)?$", r" \2", source.rpartition("/")[2], count=1)


def _run(command: list[str]) -> None:
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, pass_fds=_held)
    if run.returncode != 0:
        raise Failed(
            f"{' '.join(command[1:3])}: must succeed, got exit {run.returncode}\n  {run.stderr.strip()[-800:]}\n"
            "HINT: try another Python with DLS_PYTHON=/path/to/python3"
        )


def _marker(root: Path, lock: str) -> str:
    return f"{root}\n{(root / lock).read_text()}"


def _write_marker(root: Path, lock: str) -> None:
    marker = root / ".venv" / MARKERS[lock]
    scratch = marker.with_suffix(".tmp")
    scratch.write_text(_marker(root, lock))
    scratch.replace(marker)


_held: list[int] = []


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Hold the checkout's lock. The kernel drops it when the holders end, however they end."""
    path = root / ".cache" / "venv.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Another ./dls is making .venv: waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        _held.append(file.fileno())
        try:
            yield
        finally:
            _held.clear()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
