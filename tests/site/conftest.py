"""One site for the tests of this folder: set up once by the site playbook, at its most talkative, and watched."""

import contextlib
import http.client
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import play, site
from tests.checkout.paths import ROOT
from tests.dlsproxy.certificates import issue
from tests.lab import engine, hosts
from tests.site import watch
from tests.standin.portal import license_text

MAIN, STANDBY = "lab-main", "lab-standby"
KINDS = ("http", "https")
PROJECT = "Scanners"
PASSWORD = "portal-canary-5d20"
PFX = "dls_proxy_tls_pfx_password"  # of Windows, which a Linux host has no use for
ALERTS: dict[str, Any] = {
    "host": "smtp.example.com",
    "port": 465,
    "ssl_trust": "smtp.example.com",
    "address": "dls@example.com",
    "password": "smtp-canary-77b1",
    "to": ["ops@example.com", "licences@example.com"],
}
TALKATIVE = {"ANSIBLE_NOCOLOR": "1"}


@dataclass
class Site:
    """A pair of servers behind TLS, and all that was said while it was set up.

    portal_seen: when the control node, in an administrators' network, first saw a portal page, by URL.
    """

    lab: hosts.Lab
    folder: Path
    secrets: list[str]
    certificates: dict[str, str]
    authority: str
    output: str = ""
    portal_seen: dict[str, float] = field(default_factory=dict)
    first: play.Result | None = None
    second: play.Result | None = None

    def __post_init__(self) -> None:
        self.hosts = {host.name: host for host in hosts.read_hosts(self.lab)}

    def url(self, name: str) -> str:
        """The server URL that clients of a host use."""
        return f"https://{self.hosts[name].address}/dls/"

    def shell(self, name: str, script: str) -> str:
        """Run a script as root on a host, passed by standard input, and return its output."""
        command = hosts.ssh_command(self.lab, self.hosts[name], "sudo sh -s")
        run = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr + run.stdout
        return run.stdout

    def play(self, name: str, *options: str, **environment: str) -> play.Result:
        """Run a playbook at -vvv and keep what it says."""
        vault = f"--vault-password-file={self.folder / 'vault-password'}"
        result = play.run(
            name,
            self.lab.inventory,
            "-vvv",
            "--diff",
            vault,
            *options,
            quiet=True,
            environment=TALKATIVE | environment,
        )
        self.output += result.output
        return result


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two lab hosts with a server and a proxy each, as main and standby."""
    if not engine.answers():
        pytest.skip("no container engine answers")
    lab = hosts.Lab("site")
    client = engine.connect()
    hosts.up(client, lab, {MAIN: "debian12", STANDBY: "debian12"})
    folder = tmp_path_factory.mktemp("control")
    found = write_inventory(lab, folder)
    stop = threading.Event()
    watched: set[bytes] = set()
    threads = [threading.Thread(target=keep_looking, args=(watched, stop))]
    threads += [
        threading.Thread(target=scan, args=(host.address, found.portal_seen, stop)) for host in found.hosts.values()
    ]
    for thread in threads:
        thread.start()
    try:
        for name in found.hosts:
            copy = (Path(watch.__file__)).read_text()
            found.shell(name, f"cat >/root/watch.py <<'END'\n{copy}\nEND\n")
            found.shell(name, "systemd-run --quiet --unit=watch python3 /root/watch.py /root/watched 600")
        play.succeed(found.play("provision", "--check"), "provision, in check mode")
        found.first = play.succeed(found.play("provision"), "provision")
        found.second = play.succeed(found.play("provision"), "provision again")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    (folder / "watched").write_bytes(b"\n".join(watched))
    yield found
    if "DLS_LAB_KEEP" not in os.environ:
        hosts.down(client, lab)


def keep_looking(watched: set[bytes], stop: threading.Event) -> None:
    """Collect what processes of the control node bear on their command lines."""
    while not stop.wait(0.05):
        watch.look(watched)


def scan(address: str, seen: dict[str, float], stop: threading.Event) -> None:
    """Ask for the portal in every way from outside the host, and note when each first shows it."""
    context = ssl._create_unverified_context()  # noqa: S323 - what is looked for is a page, whoever shows it
    urls = [f"http://{address}:48080/page/index.html", *(f"{kind}://{address}/dls/page/index.html" for kind in KINDS)]
    while not stop.wait(0.1):
        for url in urls:
            with contextlib.suppress(OSError, http.client.HTTPException):
                urllib.request.urlopen(url, timeout=0.3, context=context).close()  # noqa: S310 - http or https
                seen.setdefault(url, time.time())


def write_inventory(lab: hosts.Lab, folder: Path) -> Site:
    """Turn inventories/pair into that of the lab's hosts; the keys are in Ansible Vault, the main's inline."""
    authority = issue("Site authority", authority=True)
    address = {host.name: host.address for host in hosts.read_hosts(lab)}
    issued = {name: issue(address[name], address[name], issuer=authority) for name in address}
    secrets = [line for pair in issued.values() for line in pair.key.splitlines()[1:3]]
    found = Site(lab, folder, secrets, {name: pair.pem + authority.pem for name, pair in issued.items()}, authority.pem)
    password = folder / "vault-password"
    password.write_text("vault-canary-4b1d\n")
    found.secrets.append("vault-canary-4b1d")
    shutil.copytree(ROOT / "inventories/pair/group_vars", lab.inventory / "group_vars")
    (lab.inventory / "files").mkdir()
    for name, pair in issued.items():
        (lab.inventory / "files" / f"{name}.pem").write_text(found.certificates[name])
        key = lab.inventory / "files" / f"{name}.key"
        key.write_text(pair.key)
        vault(password, "encrypt", str(key))
    for number, name in enumerate(issued, start=100028117):
        found.secrets.append(f"licence-of-{name}-8d20")
        path = lab.inventory / "files" / f"{name}.lic"
        path.write_text(license_text(str(number)).replace("LicenseItems:", f"Remark: {secrets[-1]}\nLicenseItems:"))
        vault(password, "encrypt", str(path))
    members = {
        name: {
            **site.archive_variables(),
            "dls_server_mode": mode,
            # The link between the two servers is plain http, because the stand-in trusts no authority of ours.
            "dls_server_main_url": f"http://{address[MAIN]}/dls/",
            "dls_server_standby_url": f"http://{address[STANDBY]}/dls/",
            "dls_server_licenses": [
                {"file": "{{ inventory_dir }}/files/{{ inventory_hostname }}.lic", "project": PROJECT}
            ],
            "dls_server_keys_dir": str(folder / "keys"),
            "dls_server_probe": [],
            "dls_proxy_server_names": [address[name]],
            "dls_proxy_protocols": list(KINDS),
            "dls_proxy_admin_networks": ["10.0.0.0/8"],
        }
        for name, mode in ((MAIN, "main"), (STANDBY, "standby"))
    }
    (lab.inventory / "site.yml").write_text(yaml.safe_dump({"dls": {"hosts": members}}))
    secrets += [PASSWORD, ALERTS["password"], "pfx-canary-77a2"]
    everywhere = lab.inventory / "group_vars" / "all.yml"
    vaulted = {"dls_server_admin_password": PASSWORD, "dls_server_alerts": ALERTS, PFX: secrets[-1]}
    everywhere.write_text(yaml.safe_dump(vaulted))
    vault(password, "encrypt", str(everywhere))
    inline = vault(password, "encrypt_string", "--stdin-name", "dls_proxy_tls_key", text=issued[MAIN].key)
    (lab.inventory / "host_vars").mkdir()
    (lab.inventory / "host_vars" / f"{MAIN}.yml").write_text(inline)
    return found


def vault(password: Path, *words: str, text: str = "") -> str:
    """Run ansible-vault."""
    command = [sys.executable, "-m", "ansible", "vault", words[0], "--vault-password-file", str(password), *words[1:]]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
