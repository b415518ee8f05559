"""One installation in a temporary folder for each test; whatever it started is ended afterwards."""

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dlsctl.cli import main
from dlsctl.installation import Installation
from dlsctl.processes import server_processes
from tests.dlsctl import tiny
from tests.dlsctl.program import program
from tests.dlsctl.replacing import replace

LINE = {
    "argv": [
        "./linux/bin/dynamsoftdlsx",
        "./linux/jre/bin/dynamsoftdls",
        "-jar",
        "./dls-{version}.jar",
        "--server.port={server_port}",
        "--data.port={data_port}",
    ],
    "mode": "0755",
    "server_port": 48080,
    "data_port": 30201,
    "health_path": "/page/index.html",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Site:
    """An installation and the ways to call dlsctl on it."""

    root: Path
    settings: dict[str, Any]
    python: str = sys.executable

    @property
    def config(self) -> Path:
        return self.root / "etc" / "dlsctl.json"

    @property
    def home(self) -> Path:
        return self.root / "opt"

    @property
    def release(self) -> Path:
        return self.home / "releases" / "2.4.11"

    @property
    def installation(self) -> Installation:
        return Installation(self.settings)

    def configure(self, **changes: Any) -> None:
        self.settings |= changes
        self.config.write_text(json.dumps(self.settings))

    def call(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run dlsctl as a person would."""
        command = [self.python, str(program()), words[0], "--config", str(self.config), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            raise AssertionError(f"dlsctl {words}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def ask(self, *words: str) -> Any:
        return json.loads(self.call(*words, "--json").stdout)

    def install(self, archive: Path | None = None, version: str = "2.4.11", check: bool = True, **line: Any) -> Any:
        archive = archive or tiny.build(self.root, version)
        facts = json.dumps(LINE | line)
        words = ["install", str(archive), f"--sha256={tiny.sha256(archive)}", f"--version={version}", f"--line={facts}"]
        return self.call(*words, check=check)

    def kill(self) -> None:
        """End whatever the installation has left running."""
        for pid in server_processes(self.installation):
            os.kill(pid, signal.SIGKILL)

    def apply(self) -> int:
        """Apply in this process, where a test can replace parts of dlsctl; returns the exit code."""
        code: int = main(["apply", "--config", str(self.config), "--version", "2.4.11"])
        return code

    def deploy(self, **archive: Any) -> None:
        self.install(tiny.build(self.root, **archive))
        self.call("apply", "--version", archive.get("version", "2.4.11"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, {})
    (tmp_path / "etc").mkdir()
    site.configure(
        home=str(tmp_path / "opt"),
        config_dir=str(tmp_path / "etc"),
        data_dir=str(tmp_path / "lib"),
        backup_dir=str(tmp_path / "backups"),
        launch="vendor",
        supervisor="none",
        service_name="dynamsoft-dls",
        user=pwd.getpwuid(os.geteuid()).pw_name,
        port=free_port(),
        data_port=30201,
        proxy=str(tmp_path / "dls.conf"),
        backup_recipient="",
        backup_metrics="",
        backup_keep=0,
        backup_keep_days=0,
        backup_min_age_hours=0,
        port_filter="nftables",
        allowed_networks=["localhost"],
        health_timeout=10,
        stop_timeout=5,
    )
    yield site
    site.kill()


@pytest.fixture
def no_server(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site, whose server is never started: for what happens to files only."""
    for name, value in (("start", True), ("stop", True), ("wait_healthy", 0.0), ("is_running", False)):
        replace(monkeypatch, name, lambda inst, value=value: value)
    return site
