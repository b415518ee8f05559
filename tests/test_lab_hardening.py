"""The UUID outlives every change of the sandbox: one that would hide a label is announced, refused and put back."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.checkout import play, site
from tests.checkout.paths import ROOT
from tests.lab import engine, hosts

pytestmark = pytest.mark.slow

LAUNCHES = {"lab-vendor": "vendor", "lab-direct": "direct"}
TEMPLATE = "dynamsoft-dls.service.j2"
REHEARSALS = "find /run -name '*rehearsal*'; systemctl list-units --all --no-legend '*rehearsal*'"
HIDING = {
    "machine_id_sha256": "InaccessiblePaths=/etc/machine-id",
    "mac eth0": "PrivateNetwork=yes",
    "processor": "ProcSubset=pid",
}


class Site:
    """Two lab hosts, one for each launch, and what is asked of them."""

    def __init__(self, lab: hosts.Lab) -> None:
        self.lab = lab
        self.hosts = {host.name: host for host in hosts.read_hosts(lab)}

    def install(self, *options: str) -> play.Result:
        # Announcements belong to tasks that change nothing.
        environment = {"ANSIBLE_NOCOLOR": "true", "ANSIBLE_DISPLAY_OK_HOSTS": "true"}
        return play.run("install", self.lab.inventory, *options, quiet=True, environment=environment)

    def shell(self, name: str, script: str) -> str:
        command = hosts.ssh_command(self.lab, self.hosts[name], "sudo sh -s")
        return subprocess.run(command, input=script, capture_output=True, text=True, check=True).stdout

    def uuids(self, name: str) -> list[str]:
        """The UUID of each start of the server, in order."""
        return re.findall(r"UUID: ([0-9A-F-]{36})", self.shell(name, "cat /opt/dls/current/logs/dls.log"))


@pytest.fixture(scope="module")
def unprotected() -> Iterator[Site]:
    """Servers that were installed without a sandbox."""
    if not engine.answers():
        pytest.skip("no container engine answers")
    lab, client = hosts.Lab("hardening"), engine.connect()
    hosts.up(client, lab, dict.fromkeys(LAUNCHES, "debian12"))
    launches = {name: {"dls_server_launch": LAUNCHES[name]} for name in LAUNCHES}
    inventory = {"dls": {"hosts": launches, "vars": site.archive_variables()}}
    (lab.inventory / "site.yml").write_text(yaml.safe_dump(inventory))
    found = Site(lab)
    play.succeed(found.install("-e", "dls_server_hardening=none"), "install without a sandbox")
    yield found
    if "DLS_LAB_KEEP" not in os.environ:
        hosts.down(client, lab)


@pytest.fixture(scope="module")
def hardened(unprotected: Site) -> Site:
    """The same servers in their sandbox, which was announced."""
    for options in (["--check"], []):
        said = unprotected.install(*options)
        play.succeed(said, "hardening")
        assert said.output.count("+PrivateDevices=yes") == len(LAUNCHES), said.output
        assert said.output.count("HINT: note the UUID") == len(LAUNCHES), said.output
    return unprotected


def test_uuid_is_the_same_before_and_after_hardening(hardened: Site) -> None:
    for name in LAUNCHES:
        uuids = hardened.uuids(name)
        assert len(uuids) >= 2, "before and after"
        assert len(set(uuids)) == 1, uuids
    again = play.succeed(hardened.install(), "second run")
    assert (again.changed, "HINT: note" in again.output) == (0, False)


@pytest.mark.parametrize("label", HIDING)
def test_sandbox_that_hides_a_label_is_announced_refused_and_put_back(
    hardened: Site, tmp_path: Path, label: str
) -> None:
    shutil.copytree(ROOT / "templates", tmp_path, dirs_exist_ok=True)
    text = (tmp_path / TEMPLATE).read_text()
    (tmp_path / TEMPLATE).write_text(text.replace("NoNewPrivileges=yes", f"{HIDING[label]}\nNoNewPrivileges=yes", 1))
    before = {name: hardened.uuids(name) for name in LAUNCHES}

    result = hardened.install("-e", f"__dls_server_templates={tmp_path}")
    output = " ".join(result.output.split())
    assert result.code != 0
    assert f"+{HIDING[label]} it sees now: " in output
    assert f"hidden from it: {label} (as user) HINT: " in output, "direct launch"
    assert f"hidden from it: {label} (as root), {label} (as user) HINT: " in output, "vendor launch"
    assert output.count("The host was put back as it was.") >= len(LAUNCHES)

    for name in LAUNCHES:
        # No start of the server has had another UUID, not even for a moment.
        assert set(hardened.uuids(name)) == set(before[name])
        assert HIDING[label] not in hardened.shell(name, "cat /etc/systemd/system/dynamsoft-dls.service")
        assert "healthy" in hardened.shell(name, "dlsctl status")
        assert hardened.shell(name, REHEARSALS) == ""
    play.succeed(play.run("verify", hardened.lab.inventory, quiet=True), "verify")


def test_label_hidden_behind_the_kit_s_back_is_found(hardened: Site) -> None:
    hiding = "/etc/systemd/system/dynamsoft-dls.service.d/hide.conf"
    hide = f"printf '[Service]\\nInaccessiblePaths=/etc/machine-id\\n' > {hiding}"
    for name in LAUNCHES:
        hardened.shell(name, f"{hide}; systemctl daemon-reload; dlsctl restart")
    try:
        for playbook in ("verify", "install"):
            said = play.run(playbook, hardened.lab.inventory, quiet=True)
            assert said.code != 0, playbook
            assert "hidden from it: machine_id_sha256 (as user)" in " ".join(said.output.split()), playbook
        assert "machine_id_sha256 (as user): hidden from the server" in hardened.shell(
            "lab-direct", "dlsctl identity || test $? -eq 5"
        )
    finally:
        for name in LAUNCHES:
            hardened.shell(name, f"rm {hiding}; systemctl daemon-reload; dlsctl restart")
    play.succeed(play.run("verify", hardened.lab.inventory, quiet=True), "verify")


def test_unit_edited_by_hand_is_refused_before_the_server_is_stopped(hardened: Site) -> None:
    unit = "/etc/systemd/system/dynamsoft-dls.service"
    for name in LAUNCHES:
        before = hardened.uuids(name)
        hardened.shell(name, f"sed -i 's/^ProtectClock=yes/ProcSubset=pid/' {unit}; systemctl daemon-reload")
        try:
            said = hardened.shell(name, "dlsctl restart 2>&1; echo exit $?")
        finally:
            hardened.shell(name, f"sed -i 's/^ProcSubset=pid/ProtectClock=yes/' {unit}; systemctl daemon-reload")
        assert "hidden from it: processor" in said
        assert said.endswith("exit 5\n")
        assert hardened.uuids(name) == before, "it runs on"


PROBE = "/usr/local/sbin/dlsprobe"
# What a start script that root runs may do: each prints the user it has become, or what it has read.
AS_ROOT = r"""#!/bin/bash
exec 2>/dev/null
useradd --system --user-group --no-create-home dlsprobe1 && echo done useradd
useradd --create-home --shell /bin/bash dlsprobe2 && echo done useradd with a home
mkdir probe && chown -R dlsprobe2: probe && chmod -R 755 probe && echo done chown
[ "$(su -s /bin/bash dlsprobe2 -c 'touch probe/file; whoami')" = dlsprobe2 ] && echo done su
[ "$(su - dlsprobe2 -c 'whoami; pwd' | tail -1)" = /home/dlsprobe2 ] && echo done su with login
[ "$(runuser -u dlsprobe2 -- whoami)" = dlsprobe2 ] && echo done runuser
[ "$(sudo -u dlsprobe2 whoami)" = dlsprobe2 ] && echo done sudo
setpriv --reuid dlsprobe2 --regid dlsprobe2 --init-groups --bounding-set=-all whoami | grep -q 2 && echo done setpriv
start-stop-daemon --start --chuid dlsprobe2 --exec /usr/bin/whoami | grep -q dlsprobe2 && echo done start-stop-daemon
ip link | grep -q ether && echo done ip
ifconfig -a | grep -q ether && echo done ifconfig
netstat -lnt | grep -q :48080 && echo done netstat
lsblk >/dev/null && echo done lsblk
echo x > /var/log/dlsprobe && echo done log
echo x > /usr/dlsprobe || echo done no writing to usr
rm -r probe /var/log/dlsprobe
sleep 0.5
userdel dlsprobe1; userdel --remove dlsprobe2
true
"""


def test_start_script_may_become_a_user_in_any_of_the_usual_ways_and_ask_for_hardware(hardened: Site) -> None:
    wanted = re.findall(r"echo done (.+)$", AS_ROOT, re.MULTILINE)
    run = rf"""
        cat > {PROBE} <<'END'
{AS_ROOT}END
        chmod 755 {PROBE}
        sed -E '/^(Type|PIDFile|Exec[A-Za-z]+|Restart)=/d; s,^\[Service\]$,&\nType=oneshot\nExecStart={PROBE},' \
            /etc/systemd/system/dynamsoft-dls.service > /run/systemd/system/dlsprobe.service
        systemctl start dlsprobe
        rm {PROBE} /run/systemd/system/dlsprobe.service
        journalctl --no-pager --output=cat _SYSTEMD_UNIT=dlsprobe.service"""
    said = hardened.shell("lab-vendor", run)
    assert [what for what in wanted if f"done {what}\n" not in said + "\n"] == [], said


def test_sandbox_can_be_switched_off_again(hardened: Site) -> None:
    said = play.succeed(hardened.install("-e", "dls_server_hardening=none"), "switching off")
    assert said.output.count("-PrivateDevices=yes") == len(LAUNCHES)
    for name in LAUNCHES:
        assert len(set(hardened.uuids(name)[-2:])) == 1
