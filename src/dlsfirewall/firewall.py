"""The firewall of this host: which one is meant, what is due in it, and doing that."""

import contextlib
import re
import shutil
from typing import FrozenSet, List, NamedTuple

from dlsctl.problems import Problem, Refused
from dlsfirewall.firewalld import Firewalld
from dlsfirewall.nftables import Nftables
from dlsfirewall.settings import CHAINS, VARIABLE, Opening, Settings
from dlsfirewall.steps import Step, act, call
from dlsfirewall.ufw import Ufw

HINTS = {
    "firewalld": "allow SSH in it first (firewall-offline-cmd --add-service=ssh), then: systemctl enable --now "
    "firewalld",
    "ufw": "allow SSH in it first (ufw allow ssh), then: ufw enable",
    "nftables": "load rules that drop at the input hook (and allow SSH), or name their chain in " + CHAINS,
}


class Look(NamedTuple):
    """The firewall that settings mean on this host, and what is due in it."""

    firewall: str
    steps: List[Step]

    @property
    def texts(self) -> List[str]:
        return [step.text for step in self.steps]


def look(wanted: Settings) -> Look:
    """Find the firewall and what is due, leftovers in another one included. Changes nothing; raises Refused."""
    nftables = Nftables()
    firewalld, ufw = Firewalld(), Ufw()
    found = chosen(wanted, firewalld, ufw, nftables)

    def due(name: str) -> FrozenSet[Opening]:
        return wanted.openings if name == found else frozenset()

    steps = ufw.steps(due("ufw")) + firewalld.steps(due("firewalld"))
    steps += nftables.steps(due("nftables"), wanted.chains)  # the last, since what it runs cannot be taken back
    return Look(found, steps)


def apply(seen: Look) -> None:
    """Open and close what is due, now and for the next boot. Where a part fails, all is taken back. Raises Problem."""
    done: List[Step] = []
    try:
        for step in seen.steps:
            done.append(step)
            for action in step.actions:
                act(action)
    except BaseException:
        for step in reversed(done):
            for action in step.undo:
                with contextlib.suppress(Problem, OSError):
                    act(action)
        raise


def chosen(wanted: Settings, firewalld: "Firewalld", ufw: "Ufw", nftables: "Nftables") -> str:
    """The name of the firewall to open ports in, or none. Raises Refused where that cannot be told."""
    running = {
        "firewalld": lambda: firewalld.runs,
        "ufw": lambda: ufw.runs,
        "nftables": lambda: bool(nftables.chains(wanted.chains)),
    }
    if wanted.firewall == "none":
        return "none"
    if wanted.firewall != "auto":
        if not running[wanted.firewall]():
            got = "{}, which does not run".format(wanted.firewall)
            raise Refused(VARIABLE, "must be a firewall that runs on this host", got, HINTS[wanted.firewall])
        return wanted.firewall
    for name in ("firewalld", "ufw", "nftables"):
        if running[name]():
            return name
    if wanted.openings and iptables_drops():
        hint = "open the ports there, and set {} to none".format(VARIABLE)
        raise Refused("iptables", "must not drop packets by rules of its own, which are left alone", "some", hint)
    return "none"


def iptables_drops() -> bool:
    """Whether rules of iptables itself drop or reject what they do not know."""
    for tool in filter(shutil.which, ("iptables", "ip6tables")):
        lines = call([tool, "-S", "INPUT"])[1].splitlines()
        if "-P INPUT DROP" in lines or re.match(r"-A INPUT -j (DROP|REJECT)\b", lines[-1] if lines else ""):
            return True
    return False
