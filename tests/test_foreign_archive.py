"""An archive built by other code, from the documentation alone, installs without a change to the kit."""

import functools
import http.client
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import play
from tests.checkout.paths import ROOT

BUILDER = Path(__file__).parent / "foreign" / "build.sh"
ME = pwd.getpwuid(os.geteuid()).pw_name
IS_ROOT = os.geteuid() == 0
TOOLS = ("gcc", "tar", "gzip", "bash")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="builds and starts Linux programs"),
    *(pytest.mark.skipif(not shutil.which(tool), reason=f"{tool} is missing") for tool in TOOLS),
]


@functools.cache
def build(folder: Path, version: str = "2.4.11", *options: str) -> Path:
    """Build the archive; options are those of build.sh. Started by root, its launcher goes on as nobody."""
    place = folder / "-".join(["archive", version, *options]).replace("/", "_")
    command = [str(BUILDER), "-u", "nobody", *options, version, str(place)]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all archives of this run."""
    return tmp_path_factory.mktemp("foreign")


def dlskit(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dlskit", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass
class Site:
    """An installation below a folder of this machine, made and removed by the real playbooks."""

    folder: Path
    variables: dict[str, Any]

    def play(self, name: str, *options: str) -> play.Result:
        inventory = self.folder / "inventory.yml"
        inventory.write_text(yaml.safe_dump({"dls": {"hosts": {"localhost": self.variables}}}))
        said = {"ANSIBLE_DISPLAY_OK_HOSTS": "true"}
        return play.run(name, inventory, *options, quiet=True, environment=said)

    def dlsctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the installed dlsctl with this installation's configuration."""
        return subprocess.run(
            [
                sys.executable,
                Path(self.variables["dls_server_bin_dir"], "dlsctl"),
                *arguments,
                f"--config={self.variables['dls_server_config_dir']}/dlsctl.json",
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    def answer(self, path: str) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.variables["dls_server_port"], timeout=5)) as portal:
            portal.request("GET", path)
            response = portal.getresponse()
            return response.status, response.read().decode()

    def processes(self) -> list[str]:
        """Command lines of whatever runs the double's programs in this folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                inside = (process / "cwd").readlink().is_relative_to(self.folder)
            except OSError:
                continue
            if inside and b"/bin/dynamsoftdls" in words[0]:
                found.append(b" ".join(words).decode())
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site without systemd on free ports, direct launch as this user; whatever it left running is removed."""
    port, data_port = free_ports()
    places = {"home": "opt/dls", "config_dir": "etc/dls", "data_dir": "var/lib/dls", "backup_dir": "var/backups/dls"}
    made = Site(
        tmp_path,
        {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_remote_tmp": str(tmp_path / "tmp"),
            "ansible_python_interpreter": str(Path(sys.executable).resolve()),
            "dls_server_supervisor": "none",
            "dls_server_launch": "direct",
            "dls_server_user": ME,
            "dls_server_port": port,
            "dls_server_data_port": data_port,
            "dls_server_health_timeout": 30,
            "dls_server_min_memory_mb": 256,
            "dls_server_min_free_mb": 64,
            "dls_server_bin_dir": str(tmp_path / "sbin"),
            **{f"dls_server_{name}": str(tmp_path / place) for name, place in places.items()},
        },
    )
    yield made
    if made.processes():
        made.play("uninstall")


def free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def pin(site: Site, archive: Path) -> None:
    """Put the archive into the site's variables as an operator does: with what `archive pin` prints."""
    site.variables |= yaml.safe_load(dlskit("archive", "pin", archive).stdout)


@pytest.mark.parametrize("layout", ["folder", "dot", "bare", "files"])
@pytest.mark.parametrize("flavour", ["gnu", "pax", "ustar"])
def test_inspect_accepts_what_an_ordinary_build_machine_packs(built: Path, flavour: str, layout: str) -> None:
    archive = build(built, "2.4.11", "-f", flavour, "-l", layout)
    done = dlskit("archive", "inspect", "--json", "--manifest", archive)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["version"], report["platform"]) == ("2.4.11", "linux_x64")
    paths = {member["path"].removeprefix("dls-linux/") for member in report["members"]}
    assert {"startup.sh", "docs/许可证服务器 Übersicht.txt", "linux/jre/lib/client/libjvm.so"} <= paths


@pytest.mark.parametrize("version", ["2.3.5", "2.5.0"])
def test_inspect_reads_the_version_of_older_and_of_future_releases(built: Path, version: str) -> None:
    report = json.loads(dlskit("archive", "inspect", "--json", build(built, version)).stdout)
    assert report["version"] == version


def check_whole_life(site: Site) -> None:
    """Install, find nothing to change, look at what runs, stop and start, uninstall."""
    first = site.play("install")
    assert first.code == 0, first.output
    second = site.play("install")
    assert second.code == 0, second.output
    assert second.changed == 0, second.output

    launcher, java = sorted(site.processes(), key=lambda line: not line.startswith("./linux/bin/dynamsoftdlsx "))
    assert f"--server.port={site.variables['dls_server_port']}" in launcher
    assert launcher.endswith(java)
    status, page = site.answer("/page/index.html")
    assert (status, "Test double, not a licence server" in page) == (200, True)
    assert site.answer("/other")[0] == 404

    check_commands(site)
    check_uninstall(site)


# What the double writes while it runs.
WRITTEN = ("data/starts.txt", "data/in use.lock", "logs/dls.log")


def check_commands(site: Site) -> None:
    status = site.dlsctl("status", "--json")
    assert status.returncode == 0, status.stderr
    verified = site.dlsctl("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    state = {entry["path"]: entry["change"] for entry in json.loads(site.dlsctl("state", "--json").stdout)["state"]}
    assert {path: "added" for path in WRITTEN}.items() <= state.items()
    assert all(path.startswith(("data", "logs")) for path in state), state
    assert site.play("verify").code == 0

    assert site.dlsctl("stop").returncode == 0
    assert site.processes() == []
    assert site.dlsctl("status").returncode == 3
    assert site.dlsctl("start").returncode == 0
    assert len(site.processes()) == 2


def check_uninstall(site: Site) -> None:
    removed = site.play("uninstall")
    assert removed.code == 0, removed.output
    assert site.processes() == []
    assert not Path(site.variables["dls_server_home"], "current").exists()


def check_install(site: Site) -> str:
    """Install, return the portal's page, uninstall."""
    done = site.play("install")
    assert done.code == 0, done.output
    assert len(site.processes()) == 2
    status, page = site.answer("/page/index.html")
    assert status == 200
    check_uninstall(site)
    return done.output + page


def test_direct_launch_lives_its_whole_life(built: Path, site: Site) -> None:
    pin(site, build(built))
    check_whole_life(site)


@pytest.mark.parametrize(("style", "launcher"), [("written", "foreground"), ("both", "daemon")])
def test_vendor_launch_lives_its_whole_life(built: Path, site: Site, style: str, launcher: str) -> None:
    site.variables["dls_server_launch"] = "vendor"
    pin(site, build(built, "2.4.11", "-s", style, "-L", launcher))
    check_whole_life(site)


@pytest.mark.parametrize(("flavour", "layout"), [("pax", "dot"), ("ustar", "bare"), ("gnu", "files")])
def test_every_way_to_pack_it_installs(built: Path, site: Site, flavour: str, layout: str) -> None:
    pin(site, build(built, "2.4.11", "-f", flavour, "-l", layout))
    check_install(site)


def test_the_ports_of_a_start_script_without_a_literal_one_are_refused(built: Path, site: Site) -> None:
    site.variables["dls_server_launch"] = "vendor"
    pin(site, build(built, "2.4.11", "-s", "variable"))
    refused = site.play("install")
    assert refused.code != 0
    assert "startup.sh: must hold --server.port=<number> for its ports to be set" in refused.output
    assert "The host was put back as it was." in refused.output
    assert site.processes() == []
    assert not Path(site.variables["dls_server_home"], "current").exists()


def test_the_default_ports_are_accepted_from_any_start_script(built: Path, site: Site) -> None:
    ports = {"dls_server_port": 48080, "dls_server_data_port": 30201}
    if busy := [port for port in ports.values() if not is_free(port)]:
        pytest.skip(f"port {busy[0]} is in use on this machine")
    site.variables |= {"dls_server_launch": "vendor", **ports}
    pin(site, build(built, "2.4.11", "-s", "variable"))
    check_install(site)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("version", ["2.3.5", "2.5.0"])
def test_other_releases_install_as_well(built: Path, site: Site, version: str) -> None:
    pin(site, build(built, version, "-f", "pax"))
    said = check_install(site)
    assert ("The vendor documents no release 2.5.0" in said) == (version == "2.5.0")
    assert f"Version {version}." in said


def test_a_launcher_that_leaves_its_starter_serves_a_direct_launch_too(built: Path, site: Site) -> None:
    pin(site, build(built, "2.4.11", "-L", "daemon"))
    check_install(site)
