"""A client of the vendor's SDK reaches the pair through TLS, main first, as client-side observations say it does."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout.paths import CACHE
from tests.site.conftest import MAIN, STANDBY, Site

pytestmark = pytest.mark.slow

SDK = "dbr==9.6.60.1"
LOG = "/var/log/nginx/dls-access.log"
# A handshake code that nobody has: a server's answer to it takes no device's place.
KEY = {"handshakeCode": "100000-100000001", "organizationID": "100000"}


@pytest.fixture(scope="module")
def python(pair: Site) -> Path:
    """The Python of an environment that holds the vendor's SDK, and nothing else of this project."""
    folder = CACHE / "sdk" / SDK.replace("==", "-")
    path = folder / "bin" / "python"
    if not (folder / "ready").exists():
        uv = [sys.executable, "-m", "uv", "--quiet"]
        subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(folder)], check=True)
        got = subprocess.run(
            [*uv, "pip", "install", "--python", str(path), SDK], capture_output=True, text=True, check=False
        )
        if got.returncode:
            pytest.skip(f"{SDK} cannot be installed here: {got.stderr.strip().splitlines()[-1]}")
        (folder / "ready").touch()
    return path


def ask(python: Path, home: Path, urls: dict[str, str]) -> str:
    """Let the SDK ask for a license; returns the error code and the message it ends with."""
    key = "DLS2" + base64.b64encode(json.dumps(KEY | urls, separators=(",", ":")).encode()).decode()
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    script = Path(__file__).with_name("sdk.py")
    done = subprocess.run(
        [str(python), str(script)],
        input=key,
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=70,
        check=True,
    )
    return done.stdout.strip()


def answered(site: Site, name: str) -> list[str]:
    """Method, path and status of what a host's proxy has passed on, as its log has it."""
    lines = site.shell(name, f"cat {LOG}; : >{LOG}").splitlines()
    return [line for line in lines if "/dls/auth/" in line and site.hosts[STANDBY].address + " [" not in line]


def test_sdk_gets_the_main_s_answer_and_the_standby_s_when_the_main_is_gone(
    pair: Site, python: Path, tmp_path: Path
) -> None:
    urls = {"mainServerURL": pair.url(MAIN), "standbyServerURL": pair.url(STANDBY).rstrip("/")}
    for name in (MAIN, STANDBY):
        pair.shell(name, f": >{LOG}")

    said = ask(python, tmp_path / "up", urls)
    assert said.startswith("-20003 ")
    assert "handshake" in said.lower()
    (line,) = answered(pair, MAIN)
    assert ' "GET https://' in line
    assert '/dls/auth/" 400 ' in line
    assert answered(pair, STANDBY) == []

    assert "standby server refuses" in ask(python, tmp_path / "standby", {"mainServerURL": pair.url(STANDBY)})
    assert len(answered(pair, STANDBY)) == 1

    pair.shell(MAIN, "dlsctl stop")
    try:
        pair.shell(STANDBY, "until dlsctl status --json | grep -q '\"refuses_clients\": false'; do sleep 0.2; done")
        said = ask(python, tmp_path / "down", urls)
        assert "handshake" in said.lower()
        assert '/dls/auth/" 502 ' in answered(pair, MAIN)[0]
        assert '/dls/auth/" 400 ' in answered(pair, STANDBY)[0]
    finally:
        pair.shell(MAIN, "dlsctl start")


def test_no_log_holds_the_query_that_carries_the_session_password(pair: Site, python: Path, tmp_path: Path) -> None:
    urls = {"mainServerURL": pair.url(MAIN), "standbyServerURL": pair.url(STANDBY)}
    password = "session-canary-93c7"
    ask(python, tmp_path / "home", {**urls, "sessionPassword": password})
    for name in (MAIN, STANDBY):
        logs = pair.shell(name, "cat /var/log/nginx/*; journalctl --no-pager -u nginx")
        assert "ext=" not in logs
        assert password not in logs
