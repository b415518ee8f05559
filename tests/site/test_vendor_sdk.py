"""A client of the vendor's SDK reaches the pair through TLS, main first, as client-side observations say it does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlskit.cli import main
from dlskit.probe import sdk
from tests.checkout.paths import CACHE
from tests.site.conftest import MAIN, STANDBY, Site

pytestmark = pytest.mark.slow

SDK = "dbr==9.6.60.1"
LOG = "/var/log/nginx/dls-access.log"


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


def answered(site: Site, name: str) -> list[str]:
    """Method, path and status of what a host's proxy has passed on, as its log has it."""
    lines = site.shell(name, f"cat {LOG}; : >{LOG}").splitlines()
    return [line for line in lines if "/dls/auth/" in line and site.hosts[STANDBY].address + " [" not in line]


def test_sdk_gets_the_main_s_answer_and_the_standby_s_when_the_main_is_gone(pair: Site, python: Path) -> None:
    urls = [pair.url(MAIN), pair.url(STANDBY).rstrip("/")]
    for name in (MAIN, STANDBY):
        pair.shell(name, f": >{LOG}")

    code, message = sdk.start(str(python), sdk.key(urls))
    assert code == -20003
    assert "handshake" in message.lower()
    (line,) = answered(pair, MAIN)
    assert ' "GET https://' in line
    assert '/dls/auth/" 400 ' in line
    assert answered(pair, STANDBY) == []

    assert "standby server refuses" in sdk.start(str(python), sdk.key([pair.url(STANDBY)])).message
    assert len(answered(pair, STANDBY)) == 1

    pair.shell(MAIN, "dlsctl stop")
    try:
        pair.shell(STANDBY, "until dlsctl status --json | grep -q '\"refuses_clients\": false'; do sleep 0.2; done")
        assert "handshake" in sdk.start(str(python), sdk.key(urls)).message.lower()
        assert '/dls/auth/" 502 ' in answered(pair, MAIN)[0]
        assert '/dls/auth/" 400 ' in answered(pair, STANDBY)[0]
    finally:
        pair.shell(MAIN, "dlsctl start")


def test_probe_finds_the_pair_as_clients_do_and_what_is_wrong_with_it(pair: Site, python: Path) -> None:
    command = ["probe", pair.url(MAIN), pair.url(STANDBY), "--json", "--sdk", "--sdk-python", str(python)]
    ca = pair.folder / "authority.pem"
    ca.write_text(pair.authority)
    run = CliRunner().invoke(main, [*command, "--admin", "--ca-file", str(ca)])  # as the control node is one
    told = json.loads(run.output)
    assert [item for item in told["findings"] if item["verdict"] != "ok"] == []
    assert run.exit_code == 0
    assert [item["check"] for item in told["findings"]].count("sdk") == 4

    run = CliRunner().invoke(main, command[:4])
    failed = {
        (item["check"], item["target"]) for item in json.loads(run.output)["findings"] if item["verdict"] == "failed"
    }
    assert failed == {(check, url) for check in ("tls", "portal") for url in command[1:3]}
    assert run.exit_code == 4


def test_no_log_holds_the_query_that_carries_the_session_password(pair: Site, python: Path) -> None:
    password = "session-canary-93c7"
    sdk.start(str(python), sdk.key([pair.url(MAIN), pair.url(STANDBY)], sessionPassword=password))
    for name in (MAIN, STANDBY):
        logs = pair.shell(name, "cat /var/log/nginx/*; journalctl --no-pager -u nginx")
        assert "ext=" not in logs
        assert password not in logs
