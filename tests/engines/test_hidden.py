"""Secrets that a deploy handles are in no output and in no command line, on the control node and on the host."""

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.checkout.paths import ROOT
from tests.checkout.site import archive_variables
from tests.dlsproxy.certificates import issue
from tests.lab import engine, hosts
from tests.site import watch

pytestmark = pytest.mark.slow

HOST = "lab-hidden"
PASSWORDS = {"sudo": "marked-sudo-5c1d", "su": "marked-su-5c1d"}
SEAT = "seat-of-gold-5c1d"
LICENCE = f"LicenseId: 1\r\nOrganizationID: 216998\r\nLicenseStatus: Activated\r\nLicenseItems:\r\n{SEAT}\r\n"
SETUP = """
useradd -m pat
printf 'pat:%s\\nroot:%s\\n' {sudo} {su} | chpasswd
echo 'pat ALL=(ALL) ALL' >/etc/sudoers.d/pat
cp -r ~kit/.ssh ~pat/ && chown -R pat ~pat/.ssh
cat >/root/watch.py <<'END'
{program}
END
systemd-run --quiet --unit=watch python3 /root/watch.py /root/watched 600
"""


class Hidden:
    """A host on which who connects has to give a password; `printed` and `seen` are what anybody could read here."""

    def __init__(self, lab: hosts.Lab, host: hosts.Host) -> None:
        self.lab, self.host = lab, host
        self.printed, self.seen = "", set[bytes]()
        key = issue("dls.example.com", "dls.example.com")
        self.secrets = [*PASSWORDS.values(), SEAT, *key.key.splitlines()[1:3]]
        (lab.folder / "server.lic").write_text(LICENCE)
        variables = {
            **archive_variables(),
            "ansible_user": "pat",
            "dls_server_admin_password_set": False,
            "dls_server_licenses": [{"file": str(lab.folder / "server.lic")}],
            "dls_proxy_server_names": ["dls.example.com"],
            "dls_proxy_protocols": ["http", "https"],
            "dls_proxy_tls_certificate": key.pem,
            "dls_proxy_tls_key": key.key,
        }
        (lab.inventory / "site.yml").write_text(yaml.safe_dump({"dls": {"hosts": {HOST: variables}}}))
        self.run("bash -s", SETUP.format(**PASSWORDS, program=Path(watch.__file__).read_text()))

    def run(self, command: str, stdin: str = "") -> str:
        """Run a shell's command on the host as root."""
        words = hosts.ssh_command(self.lab, self.host, f"sudo bash -c {shlex.quote(command)}")
        return subprocess.run(words, input=stdin, capture_output=True, text=True, check=True).stdout

    def deploy(self, name: str, method: str, *options: str) -> int:
        """Run a deploy with the password of sudo or su, and watch this machine meanwhile."""
        become = {"ansible_become_method": method, "ansible_become_password": PASSWORDS[method]}
        (self.lab.inventory / "become.yml").write_text(yaml.safe_dump({"dls": {"hosts": {HOST: become}}}))
        command = [sys.executable, "-P", "-m", "dlskit", "deploy", name, "-i", str(self.lab.inventory)]
        path = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        stop = threading.Event()
        thread = threading.Thread(target=self.look_until, args=(stop,))
        thread.start()
        done = subprocess.run([*command, *options], env=path, capture_output=True, text=True, check=False)
        stop.set()
        thread.join()
        self.printed += done.stdout + done.stderr
        return done.returncode

    def look_until(self, stop: threading.Event) -> None:
        while not stop.wait(0.05):
            watch.look(self.seen)


@pytest.fixture(scope="module")
def hidden() -> Iterator[Hidden]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    client, lab = engine.connect(), hosts.Lab("hidden")
    (host,) = hosts.up(client, lab, {HOST: "debian12"})
    yield Hidden(lab, host)
    hosts.down(client, lab)


def test_both_methods_do_their_work(hidden: Hidden) -> None:
    assert hidden.deploy("site", "su", "--dry") == 5, hidden.printed
    assert hidden.deploy("site", "sudo") == 0, hidden.printed
    assert hidden.deploy("backup", "su") == 0, hidden.printed


def test_no_secret_was_printed_or_seen_here(hidden: Hidden) -> None:
    assert [secret for secret in hidden.secrets if secret in hidden.printed] == []
    seen = b"\n".join(hidden.seen)
    assert b"deploys" in seen
    assert [secret for secret in hidden.secrets if secret.encode() in seen] == []


def test_no_secret_was_seen_or_left_on_the_host(hidden: Hidden) -> None:
    watched = hidden.run("sleep 2; tr '\\0' ' ' </root/watched")
    assert "python3 -I -c" in watched
    assert [secret for secret in hidden.secrets if secret in watched] == []
    marks = "\n".join(hidden.secrets)
    assert hidden.run("grep -raFlf - /tmp /var/tmp /var/log /run /home || true", marks) == ""
