"""ufw: rules with our comment."""

import ipaddress
import re
import shutil
from typing import Dict, FrozenSet, Iterator, List, Sequence, Set, Tuple

from dlsctl.problems import Refused
from dlsfirewall.settings import NETWORKS, Opening
from dlsfirewall.steps import MARK, Command, Step, call, setting, text_of

UFW_CONF, UFW_DEFAULTS = "/etc/ufw/ufw.conf", "/etc/default/ufw"
UFW_RULES = ("/etc/ufw/user.rules", "/etc/ufw/user6.rules")
UFW_TUPLE = re.compile(r"^### tuple ### (\w+) (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)(.*)$", re.MULTILINE)


class Ufw:
    """Uncomplicated Firewall. Its rules are read from its own files: that costs no process."""

    def __init__(self) -> None:
        is_enabled = bool(shutil.which("ufw")) and setting(UFW_CONF, "ENABLED").lower() == "yes"
        self.runs = is_enabled and "Status: active" in call(["ufw", "status"])[1]
        self.has_ipv6 = setting(UFW_DEFAULTS, "IPV6").lower() == "yes"  # otherwise it drops all of it

    def steps(self, wanted: FrozenSet[Opening]) -> List[Step]:
        if not shutil.which("ufw"):
            return []
        if not self.has_ipv6:
            wanted = frozenset(opening for opening in wanted if opening.version == 4)
        return list(ufw_steps(wanted, "\n".join(map(text_of, UFW_RULES))))


def ufw_steps(wanted: FrozenSet[Opening], rules: str) -> Iterator[Step]:
    """What is due, from the text of ufw's rules. Raises Refused where a rule of somebody else says the opposite.

    ufw has one rule for a port and network: to add one that is there would take it away from its owner.
    """
    own, others = ufw_rules(rules)
    for opening in sorted(wanted - own):
        if others.get(opening) in ("deny", "reject"):
            hint = "delete that rule, or leave the network out of {}".format(NETWORKS)
            raise Refused("ufw", "must not have a rule that denies what the proxy needs", str(opening), hint)
        if opening not in others:
            yield Step("open {} in ufw".format(opening), [ufw_allow(opening)], [ufw_delete(opening)])
    for opening in sorted(own - wanted):
        yield Step("close {} in ufw".format(opening), [ufw_delete(opening)], [ufw_allow(opening)])


def ufw_rules(rules: str) -> Tuple[Set[Opening], Dict[Opening, str]]:
    """Our openings, and the actions of others' rules that ufw would take for the same."""
    own: Set[Opening] = set()
    others: Dict[Opening, str] = {}
    for action, protocol, port, to, from_port, network, direction, rest in UFW_TUPLE.findall(rules):
        if (protocol, from_port, direction) != ("tcp", "any", "in") or to not in ("0.0.0.0/0", "::/0"):
            continue
        if not port.isdigit():
            continue
        opening = Opening(int(port), str(ipaddress.ip_network(network, strict=False)))
        if action == "allow" and "comment=" + MARK.encode().hex() in rest.split():
            own.add(opening)
        else:
            others[opening] = action.partition("_")[0]
    return own, others


def ufw_allow(opening: Opening) -> Command:
    return Command(("ufw", "allow", *ufw_words(opening), "comment", MARK))


def ufw_delete(opening: Opening) -> Command:
    return Command(("ufw", "delete", "allow", *ufw_words(opening)))


def ufw_words(opening: Opening) -> Sequence[str]:
    return "proto", "tcp", "from", opening.network, "to", "any", "port", str(opening.port)
