"""Firewalls that really enforce: what another host reaches before, while and after the proxy's ports are open."""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import docker
import pytest

from tests.lab import engine, hosts
from tests.lab.paths import ROOT

pytestmark = pytest.mark.slow

SSH, PORTAL, DATA, FOREIGN = 22, 48080, 30201, 8080
PROXY, OTHER_PROXY = 443, 8443
LISTENERS = (PORTAL, DATA, FOREIGN, PROXY, OTHER_PROXY)
NOT_PROXY = {SSH}  # open before anything is asked of the firewall

LISTEN = """
import socket, threading
for port in PORTS:
    server = socket.create_server(("", port))
    threading.Thread(target=lambda server=server: [server.accept()[0].close() for _ in iter(int, 1)]).start()
"""
UNIT = """[Service]
ExecStart=/usr/bin/python3 /usr/local/bin/listen
[Install]
WantedBy=multi-user.target
"""
PROBE = """
import json, socket, sys, time
address, ports = json.loads(sys.argv[1])
probes = {port: socket.socket() for port in ports}
for port, probe in probes.items():
    probe.setblocking(False)
    probe.connect_ex((address, port))
time.sleep(0.5)  # for all of them at once
print(json.dumps([port for port, probe in probes.items() if not probe.connect_ex((address, port))]))
"""
NFTABLES = """#!/usr/sbin/nft -f
flush ruleset
table inet filter {
	chain input {
		type filter hook input priority filter; policy POLICY;
		ct state established,related accept
		iif lo accept
		tcp dport 22 accept
		LAST
	}
}
"""


def nftables_conf(policy: str, last: str) -> str:
    return NFTABLES.replace("POLICY", policy).replace("LAST", last)


INCLUDE_FIRST = 'flush ruleset\ninclude "/etc/nftables.d/*.nft"'
WRITE_NFTABLES = "cat > /etc/nftables.conf <<'X'\n{}X\nsystemctl enable --quiet nftables; systemctl restart nftables"


@dataclass(frozen=True)
class Firewall:
    """One kind of firewall.

    packages: what it needs. start: what an operator does. listing: everything that it tells of its rules. reload: what
    makes it read its files. closed: whether it closes ports at all.
    """

    packages: str
    start: str
    listing: str
    reload: str
    name: str
    closed: bool = True
    undo: str = "true"


FIREWALLS = {
    "ufw": Firewall(
        "ufw",
        "ufw allow 22/tcp >/dev/null && ufw --force enable",
        "ufw status verbose; ufw show added; cat /etc/ufw/user*.rules",
        "ufw reload",
        "ufw",
        undo="ufw --force disable",
    ),
    "firewalld": Firewall(
        "firewalld netbase",
        "systemctl enable --quiet --now firewalld",
        "firewall-cmd --list-all-zones; firewall-cmd --permanent --list-all-zones",
        "firewall-cmd --reload",
        "firewalld",
        undo="systemctl disable --quiet --now firewalld",
    ),
    "nftables": Firewall(
        "nftables",
        WRITE_NFTABLES.format(nftables_conf("drop", "")),
        "nft list ruleset; cat /etc/nftables.conf; ls -a /etc/*.nft /etc/nftables.d",
        "systemctl reload nftables",
        "nftables",
    ),
    "nftables with a last rule": Firewall(
        "nftables",
        WRITE_NFTABLES.format(nftables_conf("accept", "counter reject")),
        "nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'; cat /etc/nftables.conf; ls -a /etc/*.nft",
        "systemctl restart nftables",
        "nftables",
    ),
    "nftables with a folder that is read first": Firewall(
        "nftables",
        WRITE_NFTABLES.format(nftables_conf("drop", "").replace("flush ruleset", INCLUDE_FIRST)),
        "nft list ruleset; cat /etc/nftables.conf; ls -a /etc/*.nft /etc/nftables.d",
        "systemctl restart nftables",
        "nftables",
    ),
    "none": Firewall(
        "nftables",
        WRITE_NFTABLES.format("#!/usr/sbin/nft -f\nflush ruleset\n"),
        "nft list ruleset; cat /etc/nftables.conf",
        "systemctl restart nftables",
        "none",
        closed=False,
    ),
}


@dataclass
class Target:
    """A lab host with a firewall, and the host from which it is probed."""

    lab: hosts.Lab
    host: hosts.Host
    stranger: hosts.Host
    firewall: Firewall = field(default_factory=lambda: FIREWALLS["none"])

    def run(self, script: str, host: hosts.Host | None = None) -> str:
        """Run a script as root over SSH and return its output."""
        command = hosts.ssh_command(self.lab, host or self.host, "sudo bash -s")
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def reachable(self, *ports: int) -> set[int]:
        """Which ports the other host reaches now."""
        question = json.dumps([self.host.address, ports or (SSH, *LISTENERS)])
        return set(json.loads(self.run(f"python3 - '{question}' <<'X'\n{PROBE}X\n", self.stranger)))

    def rules(self) -> list[str]:
        return [line for line in self.run(self.firewall.listing + "; true").splitlines() if line.strip()]

    def call(self, verb: str, **changes: Any) -> Any:
        """What dlsfirewall answers on the host, to which it is piped as the role does it."""
        values = {
            "dls_proxy_firewall": "auto",
            "dls_proxy_client_networks": ["0.0.0.0/0", "::/0"],
            "ports": {"https": PROXY},
            **changes,
        }
        request = {
            "modules": {**{str(path.relative_to(SOURCES)): path.read_text() for path in MODULES}, "caller.py": CALLER},
            "program": "caller",
            "arguments": verb,
            "spec": {"values": values, "closed": [PORTAL, DATA]},
        }
        python = ["sudo", "python3", "-I", "-c", (SOURCES / "piped.py").read_text()]
        command = hosts.ssh_command(self.lab, self.host, shlex.join(python))
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


SOURCES = ROOT / "src"
MODULES = tuple(sorted(path for folder in ("dlsctl", "dlsfirewall") for path in (SOURCES / folder).glob("*.py")))
CALLER = """
import json
from dlsctl.problems import Problem
from dlsfirewall.firewall import apply, look
from dlsfirewall.settings import NOTHING, settings

def main(verb, spec):
    values = spec["values"]
    try:
        asked = settings(values, values["ports"], spec["closed"])
        seen = look(NOTHING if verb == "remove" else asked)
        answer = seen.texts
        if verb == "look":
            answer = {"firewall": seen.firewall, "steps": answer}
        else:
            apply(seen)
    except Problem as problem:
        answer = {"code": problem.code, "problem": str(problem)}
    print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Target]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    lab = hosts.Lab("firewall")
    client = engine.connect()
    target, stranger = hosts.up(client, lab, {"lab-a": "debian12", "lab-b": "debian12"})
    found = Target(lab, target, stranger)
    found.run(
        f"cat > /usr/local/bin/listen <<'X'\nPORTS = {LISTENERS}{LISTEN}X\n"
        f"cat > /etc/systemd/system/listen.service <<'X'\n{UNIT}X\n"
        "systemctl enable --quiet --now listen && apt-get -qq update"
    )
    yield found
    if "DLS_LAB_KEEP" not in os.environ:
        hosts.down(client, lab)


def started(lab: Target, name: str) -> Iterator[Target]:
    """The host with a firewall as an operator starts it, which is taken away at the end."""
    lab.firewall = FIREWALLS[name]
    install = f"DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends install {lab.firewall.packages}"
    lab.run(f"{install} >/dev/null 2>&1\n{lab.firewall.start}")
    try:
        yield lab
        lab.call("remove")
    finally:
        lab.run(lab.firewall.undo)


@pytest.fixture(scope="module", params=FIREWALLS)
def target(request: pytest.FixtureRequest, lab: Target) -> Iterator[Target]:
    yield from started(lab, request.param)


@pytest.fixture(scope="module")
def ufw(lab: Target) -> Iterator[Target]:
    yield from started(lab, "ufw")


def closed_ports(target: Target) -> set[int]:
    """What is reachable without an opening: SSH behind a firewall, and everything without one."""
    return {SSH} if target.firewall.closed else {SSH, *LISTENERS}


def test_only_what_is_asked_opens_moves_and_closes_again(target: Target) -> None:
    before, is_closed = target.rules(), target.firewall.closed
    assert target.reachable() == closed_ports(target)

    seen = target.call("look")
    assert seen["firewall"] == target.firewall.name
    assert bool(seen["steps"]) is is_closed
    assert target.rules() == before, "look changes nothing"

    assert target.call("apply") == seen["steps"]
    assert target.reachable() == closed_ports(target) | {PROXY}
    opened = target.rules()
    assert target.call("apply") == []
    assert target.rules() == opened, "a second apply changes nothing"

    target.run(target.firewall.reload)
    assert target.reachable() == closed_ports(target) | {PROXY}
    assert target.call("look")["steps"] == []

    moved = target.call("apply", ports={"https": OTHER_PROXY})
    assert bool(moved) is is_closed
    assert target.reachable() == closed_ports(target) | {OTHER_PROXY}

    assert bool(target.call("remove")) is is_closed
    assert target.reachable() == closed_ports(target)
    assert target.rules() == before
    assert target.call("remove") == []


def test_the_opening_is_there_after_a_reboot(target: Target) -> None:
    target.call("apply")
    reboot(target)
    assert target.reachable() == closed_ports(target) | {PROXY}
    assert target.call("look")["steps"] == []
    target.call("remove")
    reboot(target)
    assert target.reachable() == closed_ports(target)


def reboot(target: Target) -> None:
    docker.from_env().containers.get(target.host.container).restart()
    deadline = time.monotonic() + 30
    while target.reachable(SSH) != {SSH}:
        assert time.monotonic() < deadline, "the host is back within 30 s"
    time.sleep(1)  # PAM refuses users until systemd-user-sessions has run
    subprocess.run(["ssh", "-O", "exit", *hosts.ssh_command(target.lab, target.host, "")[1:-1]], check=False)
    while "running" not in target.run("systemctl is-system-running --wait || echo running"):
        pass


def test_only_the_networks_of_clients_are_let_through(target: Target) -> None:
    elsewhere, here = ["10.99.0.0/16", "2001:db8::/32"], [f"{target.stranger.address}/32"]
    target.call("apply", dls_proxy_client_networks=elsewhere)
    assert target.reachable(PROXY) == closed_ports(target) & {PROXY}
    target.call("apply", dls_proxy_client_networks=here)
    assert target.reachable() == closed_ports(target) | {PROXY}
    assert target.call("look", dls_proxy_client_networks=here)["steps"] == []
    target.call("remove")


@pytest.mark.parametrize("port", [PORTAL, DATA])
def test_a_port_of_the_server_is_never_opened(ufw: Target, port: int) -> None:
    before = ufw.rules()
    answer = ufw.call("apply", ports={"https": port})
    assert answer["problem"].startswith(
        f"dls_proxy_https_port: must not be a port of the server, which is never opened, got {port}\n"
    )
    assert answer["code"] == 6
    assert ufw.rules() == before


def test_rules_of_others_for_the_same_port_stay_as_they_are(ufw: Target) -> None:
    ufw.run(f"ufw allow {PROXY}/tcp comment theirs; ufw allow {FOREIGN}/tcp")
    before = ufw.rules()
    try:
        assert ufw.call("apply") == []
        assert len(ufw.call("apply", ports={"https": OTHER_PROXY})) == 2
        ufw.call("remove")
        assert ufw.rules() == before
        ufw.run(f"ufw deny {PROXY}/tcp")
        before = ufw.rules()
        assert "must not have a rule that denies" in ufw.call("apply")["problem"]
        assert ufw.rules() == before
    finally:
        ufw.run(f"ufw delete deny {PROXY}/tcp; ufw delete allow {FOREIGN}/tcp")


def test_a_failure_in_the_middle_takes_back_what_was_done(ufw: Target) -> None:
    before = ufw.rules()
    ufw.run(  # the second rule fails
        'printf \'#!/bin/sh\\ncase "$*" in *::/0*) echo no >&2; exit 1;; esac\\nexec /usr/sbin/ufw "$@"\\n\''
        " > /usr/local/sbin/ufw; chmod 755 /usr/local/sbin/ufw"
    )
    try:
        answer = ufw.call("apply")
        assert answer["problem"].startswith(
            "ufw allow proto tcp from ::/0 to any port 443 comment dls_proxy: must succeed"
        )
    finally:
        ufw.run("rm /usr/local/sbin/ufw")
    assert ufw.rules() == before


def test_what_is_left_in_a_firewall_of_earlier_is_closed(ufw: Target) -> None:
    before = ufw.rules()
    ufw.call("apply")
    assert len(ufw.call("apply", dls_proxy_firewall="none")) == 2
    assert ufw.rules() == before


@pytest.mark.parametrize("name", ["firewalld", "nftables"])
def test_a_firewall_that_does_not_run_is_refused_and_not_started(ufw: Target, name: str) -> None:
    answer = ufw.call("apply", dls_proxy_firewall=name)
    assert answer["problem"].startswith(
        f"dls_proxy_firewall: must be a firewall that runs on this host, got {name}, which does not run\nHINT: "
    )
    assert "SSH" in answer["problem"]


def test_a_drop_of_the_kits_own_table_is_final_whatever_ufw_accepts(ufw: Target) -> None:
    own = "add chain inet dlsctl_test input {{ type filter hook input priority {}; policy accept; }}"
    ufw.run("DEBIAN_FRONTEND=noninteractive apt-get -qq install nftables >/dev/null 2>&1")
    ufw.run(f"ufw allow {PORTAL}/tcp; ufw allow {DATA}/tcp; ufw allow {FOREIGN}/tcp")
    try:
        assert {PORTAL, DATA, FOREIGN} <= ufw.reachable()
        for priority in (-10, 10):  # before and after ufw, which accepts at 0
            ufw.run(
                "nft -f - <<'X'\nadd table inet dlsctl_test\n"
                + own.format(priority)
                + f"\nadd rule inet dlsctl_test input tcp dport {{ {PORTAL}, {DATA} }} drop\nX\n"
            )
            assert ufw.call("apply"), "the kit's own table is not taken for the host's firewall"
            assert ufw.reachable() == {SSH, FOREIGN, PROXY}
            ufw.call("remove")
            ufw.run("nft delete table inet dlsctl_test")
        assert {PORTAL, DATA} <= ufw.reachable()
    finally:
        ufw.run(f"ufw delete allow {PORTAL}/tcp; ufw delete allow {DATA}/tcp; ufw delete allow {FOREIGN}/tcp")
