"""A site from bundles alone: control node and a TLS pair on hosts that have no way out, by Ansible and by pyinfra.

Runs in the Molecule scenario airgap. Each test takes a site further, as docs/bundle.md tells an operator; what leaves
the hosts' network is counted (watch.py).
"""

import io
import re
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.bundle import samples
from tests.checkout.paths import ROOT
from tests.checkout.site import archive_variables
from tests.dlsproxy.certificates import issue
from tests.lab import engine, hosts, images

pytestmark = pytest.mark.slow

CONTROL, MAIN, STANDBY = "lab-control", "lab-main", "lab-standby"
IMAGES = {CONTROL: "debian13", MAIN: "debian12", STANDBY: "rocky9"}
OLD, NEW = "2.4.11", "2.4.12"
PACKAGES = ["net-tools", "nftables", "nginx", "openssl", "zstd"]
WATCH = (Path(__file__).parent / "watch.py").read_text()
LOG = "/var/log/left-the-network"
DLSCTL = "/usr/local/sbin/dlsctl"
KIT, SITE = "/opt/dls-kit", "/etc/dls-site"
PROGRAMS = f"{KIT}/current/venv/bin"
PART = 40_000_000  # bytes, of media
NO_WAY_OUT = """
sed -i 's,file:/*srv/lab-packages,http://packages.example.com,' /etc/apt/sources.list /etc/yum.repos.d/*.repo || true
rm -rf /srv/lab-packages /var/lib/apt/lists/* /var/cache/dnf/*
"""


@dataclass(frozen=True)
class Bundles:
    """Two bundles and their media, by the vendor's version that they bring; and the public key."""

    folders: dict[str, Path]
    media: dict[str, Path]
    key: Path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    folder = tmp_path_factory.mktemp("bundles")
    secret = samples.secret_file(folder / "bundle.key")
    built = Bundles({}, {}, samples.public_file(folder / "bundle.pub"))
    take_rpms(folder / "rpms")
    for version in (OLD, NEW):
        pinned = archive_variables(version)
        archive = {"path": pinned["dls_server_archive"], "version": version}
        spec = {
            "name": f"dls-{version}",
            "pythons": ["3.13"],
            "collections": [],
            "archives": [{**archive, "sha256": pinned["dls_server_archive_checksum"]}],
            "targets": {"debian12": {"packages": PACKAGES}, "rhel9": {"folder": "rpms"}},
        }
        (folder / "spec.yml").write_text(yaml.safe_dump(spec))
        built.folders[version], built.media[version] = folder / version, folder / f"media-{version}"
        for words in (
            ["build", folder / "spec.yml", "--out", folder / version],
            ["split", folder / version, "--size", str(PART), "--out", built.media[version]],
        ):
            run([sys.executable, "-m", "dlskit", "bundle", *map(str, words), "--sign-key", str(secret)])
    return built


def take_rpms(folder: Path) -> None:
    """Fill a folder with the packages that the lab's image of the RHEL family has for roles."""
    client = engine.connect()
    image = images.find(IMAGES[STANDBY])
    container = client.containers.create(images.ensure(client, image), "true", labels={"dls-lab": "airgap"})
    try:
        chunks, _ = container.get_archive("/srv/lab-packages")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            archive.extractall(folder, filter="data")
    finally:
        container.remove()
    for path in folder.rglob("*.rpm"):
        path.rename(folder / path.name)


class Site:
    """Three fresh hosts without a way out, and what an operator does on the first of them."""

    def __init__(self, by: str, bundles: Bundles) -> None:
        self.by, self.bundles, self.lab = by, bundles, hosts.Lab("airgap")
        self.hosts = {host.name: host for host in hosts.up(engine.connect(), self.lab, IMAGES)}
        for name in self.hosts:
            self.on(name, NO_WAY_OUT)
            self.on(name, f"cat >/root/watch.py; systemd-run --quiet --unit=watch python3 /root/watch.py {LOG}", WATCH)
            self.on(name, f"until grep -qs watches {LOG}; do sleep 0.1; done")
        self.give_keys()

    def on(self, host: str, command: str, stdin: str | bytes = b"") -> str:
        """Run a command as root of a host; returns what it prints."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        return run(hosts.ssh_command(self.lab, self.hosts[host], f"sudo bash -euc {shlex.quote(command)}"), data)

    def operator(self, command: str, stdin: str | bytes = b"") -> str:
        """Run a command on the control node, where docs/bundle.md has the operator stand."""
        place = f"{KIT}/current/kit"
        return self.on(CONTROL, f"if [ -d {place} ]; then cd {place}; fi; {command}", stdin)

    def give_keys(self) -> None:
        """Let the control node reach the servers by ssh, whose host keys it knows."""
        lines = self.lab.known_hosts.read_text().splitlines()
        names = {host.address: host.name for host in self.hosts.values()}
        known = "".join(f"{names[line.split()[0]]} {line.partition(' ')[2]}\n" for line in lines)
        self.on(CONTROL, "umask 077; mkdir -p /root/.ssh; cat >/root/.ssh/id_ed25519", self.lab.key.read_text())
        self.on(CONTROL, "cat >/root/.ssh/known_hosts", known)

    def bring(self, source: Path, place: str) -> None:
        """Copy a folder to the control node, as somebody does who carries it there."""
        with io.BytesIO() as buffer:
            with tarfile.open(fileobj=buffer, mode="w") as archive:
                archive.add(source, ".")
            self.on(CONTROL, f"mkdir -p {place}; tar -xC {place}", buffer.getvalue())

    def install_kit(self, version: str, *, from_media: bool) -> None:
        """Install the kit of a bundle on the control node: from its folder, or from the parts on its media."""
        self.on(CONTROL, "cat >/root/bundle.pub", self.bundles.key.read_text())
        bundle = f"/srv/dls-{version}"
        if from_media:
            self.bring(self.bundles.media[version], "/media/dls")
            self.operator(f"python3 /media/dls/media.py join /media/dls --key /root/bundle.pub --out {bundle}")
        else:
            self.bring(self.bundles.folders[version], bundle)
        self.operator(f"python3 {bundle}/verify.py --key /root/bundle.pub --here")
        self.operator(f"python3 {bundle}/install.py --key /root/bundle.pub --into {KIT}")

    def write_inventory(self) -> None:
        """Begin the inventory of a pair, and fill in what `init` asks for."""
        self.operator(f"{PROGRAMS}/dlskit init {SITE} --kind pair")
        names = f"s/dls1.example.com/{MAIN}/; s/dls2.example.com/{STANDBY}/"
        files = f"{SITE}/hosts.yml {SITE}/group_vars/dls.yml"
        self.operator(f"sed -i '{names}; s/^  hosts:/  vars: {{ansible_user: {hosts.USER}}}\\n&/' {files}")
        # An authority of one's own, which the vendor's Java does not know: docs/pair.md.
        self.operator(f"sed -i 's,: https://lab,: http://lab,' {SITE}/group_vars/dls.yml")
        self.operator(f"echo 'dls_proxy_protocols: [http, https]' >>{SITE}/group_vars/dls.yml; mkdir {SITE}/files")
        authority = issue("authority", authority=True)
        self.on(CONTROL, f"cat >{SITE}/files/authority.pem", authority.pem)
        for name in (MAIN, STANDBY):
            server = issue(name, name, issuer=authority)
            self.on(CONTROL, f"cat >{SITE}/files/{name}.pem", server.pem)
            self.on(CONTROL, f"umask 077; cat >{SITE}/files/{name}.key", server.key)

    def deploy(self, name: str, *options: str) -> str:
        """Run a playbook of the kit, or the deploy of its name."""
        if self.by == "ansible":
            command = [f"{PROGRAMS}/ansible-playbook", f"playbooks/{name}.yml"]
        else:
            command = [f"{PROGRAMS}/dlskit", "deploy", name]
        return self.operator(shlex.join([*command, "-i", SITE, *options]))

    def changes_by(self, told: str) -> list[str]:
        """The lines of a run's summary that tell of a host that was changed."""
        lines = [line for line in told.splitlines() if line.startswith("lab-")]
        assert len(lines) >= len((MAIN, STANDBY)), told
        return [line for line in lines if not re.search(r"\bchanged=0\b|\bunchanged$", line.rstrip())]

    def open(self) -> None:
        """Install the site, give the portals their passwords, and say so."""
        self.deploy("site")
        for name in (MAIN, STANDBY):
            self.on(name, f"{DLSCTL} health")
        self.operator(f"sed -i 's/admin_password_set: false/admin_password_set: true/' {SITE}/group_vars/dls.yml")
        self.deploy("site")

    def version(self, host: str) -> str:
        return self.on(host, f"{DLSCTL} version").split()[-1]

    def probe(self) -> str:
        """What clients of the pair get by TLS: exit code 0 where nothing failed."""
        urls = f"https://{MAIN}/dls/ https://{STANDBY}/dls/"
        return self.operator(f"{PROGRAMS}/dlskit probe {urls} --ca-file {SITE}/files/authority.pem --timeout 3")

    def left(self) -> dict[str, list[str]]:
        """By host, where packets wanted to go that left the network."""
        found = {name: self.on(name, f"cat {LOG}").splitlines() for name in self.hosts}
        assert all(lines and lines[0] == "watches" for lines in found.values()), found
        return {name: lines[1:] for name, lines in found.items()}


def run(command: list[str], stdin: bytes = b"") -> str:
    """Run a command that must succeed; returns what it prints."""
    done = subprocess.run(command, input=stdin, capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, f"{command[-1]}: exit {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode()


@pytest.fixture(scope="module", params=["ansible", "pyinfra"])
def site(request: pytest.FixtureRequest, bundles: Bundles) -> Iterator[Site]:
    site = Site(request.param, bundles)
    yield site
    hosts.down(engine.connect(), site.lab)


def test_who_leaves_the_network_is_seen(site: Site) -> None:
    connect = 'import socket; socket.create_connection(("198.51.100.7", 443), timeout=0.5)'
    for name in site.hosts:
        site.on(name, f"python3 -c '{connect}' || true; timeout 5 getent hosts dynamsoft.com || true")
        for place in ("198.51.100.7 443", "192.0.2.53 53"):
            site.on(name, f"timeout 30 sh -c \"until grep -qF '{place} ' {LOG}; do sleep 0.1; done\"")
        site.on(name, f"echo watches >{LOG}")


def test_a_site_is_installed_from_media_alone(site: Site) -> None:
    site.install_kit(OLD, from_media=True)
    site.write_inventory()
    site.open()
    assert [site.version(name) for name in (MAIN, STANDBY)] == [OLD, OLD]
    assert site.changes_by(site.deploy("site")) == []


def test_its_servers_are_a_pair_that_clients_reach_by_tls(site: Site) -> None:
    text = site.probe()
    assert "failed" not in text
    site.deploy("verify")
    site.on(MAIN, f"{DLSCTL} stop")
    deadline = time.monotonic() + 60
    while "the standby of its pair, which serves clients" not in site.on(STANDBY, f"{DLSCTL} status"):
        assert time.monotonic() < deadline
        time.sleep(1)
    site.on(MAIN, f"{DLSCTL} start")


def test_the_next_bundle_upgrades_the_pair(site: Site) -> None:
    site.install_kit(NEW, from_media=False)
    archive = f"{KIT}/dls-{NEW}/bundle/archives/dynamsoft_dls-linux_x64-v{NEW}.tar.gz"
    site.operator(f"{PROGRAMS}/dlskit archive pin {archive} --into {SITE}/group_vars/dls.yml")
    site.deploy("upgrade", "-e", "dls_server_upgrade_acknowledged=true")
    assert [site.version(name) for name in (MAIN, STANDBY)] == [NEW, NEW]
    site.probe()
    assert site.changes_by(site.deploy("site")) == []


def test_nothing_has_tried_to_leave_the_network(site: Site) -> None:
    assert site.left() == {name: [] for name in site.hosts}


def test_the_second_bundle_installs_such_a_site_anew_when_all_is_lost(bundles: Bundles) -> None:
    anew = Site("pyinfra", bundles)
    anew.install_kit(NEW, from_media=True)
    anew.write_inventory()
    anew.open()
    assert [anew.version(name) for name in (MAIN, STANDBY)] == [NEW, NEW]
    assert anew.left() == {name: [] for name in anew.hosts}
    hosts.down(engine.connect(), anew.lab)
