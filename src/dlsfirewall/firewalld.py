"""firewalld: rich rules with our priority, in the zones where clients arrive."""

import contextlib
import glob
import os
import re
import shutil
import xml.etree.ElementTree
from typing import Dict, FrozenSet, Iterator, List, Sequence, Set

from dlsctl.host import unit_properties
from dlsctl.problems import Refused
from dlsfirewall.settings import Opening, Placed
from dlsfirewall.steps import Command, Step, call, setting, text_of

FIREWALLD_CONF, FIREWALLD_ZONES = "/etc/firewalld/firewalld.conf", "/etc/firewalld/zones"
FIREWALLD_MARK = "30443"  # the priority of our rich rules, which have no comment; above 0: after those of others

RICH_RULE = re.compile(
    r'^\s+rule priority="{}" family="ipv[46]" source address="(\S+)" port port="(\d+)" protocol="tcp" accept$'.format(
        FIREWALLD_MARK
    ),
    re.MULTILINE,
)


class Firewalld:
    """firewalld, as it runs and as its files say it will. It is never reloaded: that would drop what others added."""

    def __init__(self) -> None:
        self.is_there = bool(shutil.which("firewall-cmd"))
        self.runs = self.is_there and unit_properties("firewalld").get("ActiveState") == "active"

    def steps(self, wanted: FrozenSet[Opening]) -> List[Step]:
        if not self.is_there:
            return []
        files = {os.path.basename(path)[:-4]: text_of(path) for path in glob.glob(FIREWALLD_ZONES + "/*.xml")}
        later = {(zone, opening) for zone, text in files.items() for opening in zone_file_openings(text)}
        if not self.runs:
            return firewalld_steps(set(), later, ["firewall-offline-cmd"])
        code, listing, errors = call(["firewall-cmd", "--list-all-zones"])
        if code:
            raise Refused("firewalld", "must tell its zones", errors.strip(), "see: systemctl status firewalld")
        default = setting(FIREWALLD_CONF, "DefaultZone") or "public"
        due = {(zone, opening) for zone in client_zones(listing, default) for opening in wanted}
        now = {(zone, opening) for zone, text in zones(listing).items() for opening in listed_openings(text)}
        return firewalld_steps(due, now, ["firewall-cmd"]) + firewalld_steps(
            due, later, ["firewall-cmd", "--permanent"]
        )


def zones(listing: str) -> Dict[str, str]:
    """The text of each zone in the output of `firewall-cmd --list-all-zones`."""
    parts = re.split(r"^(\S+)(?: \([a-z, ]*\))?$", listing, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def client_zones(listing: str, default: str) -> List[str]:
    """The zones in which clients arrive: the default one, and those with an interface or addresses.

    A zone that lets everything through needs nothing. One that is bound to addresses only, and drops or rejects, is
    how an operator locks somebody out: it stays as it is.
    """

    def has(text: str, name: str, value: str) -> bool:
        return bool(re.search(r"^  {}: ({})\s*$".format(name, value), text, re.MULTILINE))

    found = []
    for zone, text in zones(listing).items():
        is_used = zone == default or has(text, "interfaces", r"\S.*")
        if not is_used and has(text, "sources", r"\S.*"):
            is_used = not has(text, "target", "DROP|%%REJECT%%|REJECT")
        if is_used and not has(text, "target", "ACCEPT"):
            found.append(zone)
    return found


def listed_openings(text: str) -> Set[Opening]:
    return {Opening(int(port), network) for network, port in RICH_RULE.findall(text)}


def zone_file_openings(text: str) -> Iterator[Opening]:
    """Our openings in a zone's file."""
    with contextlib.suppress(xml.etree.ElementTree.ParseError):
        for rule in xml.etree.ElementTree.fromstring(text).findall("rule"):
            source, port = rule.find("source"), rule.find("port")
            if rule.get("priority") == FIREWALLD_MARK and source is not None and port is not None:
                yield Opening(int(port.get("port", "0")), source.get("address", ""))


def firewalld_steps(due: Set[Placed], own: Set[Placed], tool: Sequence[str]) -> List[Step]:
    """What is due with one tool: firewall-cmd for now, with --permanent for later."""
    when = " for the next start" if len(tool) > 1 or tool[0] != "firewall-cmd" else ""
    steps = []
    for verb, undo, changes in (("add", "remove", due - own), ("remove", "add", own - due)):
        for zone, opening in sorted(changes):
            word = "open" if verb == "add" else "close"
            text = "{} {} in zone {} of firewalld{}".format(word, opening, zone, when)
            commands = [firewalld_command(tool, word, zone, opening) for word in (verb, undo)]
            steps.append(Step(text, commands[:1], commands[1:]))
    return steps


def firewalld_command(tool: Sequence[str], verb: str, zone: str, opening: Opening) -> Command:
    rule = 'rule priority="{}" family="ipv{}" source address="{}" port port="{}" protocol="tcp" accept'.format(
        FIREWALLD_MARK, opening.version, opening.network, opening.port
    )
    return Command((*tool, "--zone=" + zone, "--{}-rich-rule={}".format(verb, rule)))
