"""Open the ports of the proxy in the firewall that runs on this host, and nothing else.

Called by dlsproxy, with which it is piped through the host's Python; helpers come from dlsctl. Standard library only,
Python 3.6 and later. What was opened here is known again by its mark, so that it can be closed; rules of others are
never changed. No firewall is started: that would close everything else on the host, which is the operator's decision.
"""

import contextlib
import glob
import ipaddress
import json
import os
import re
import shutil
import stat
import subprocess
import xml.etree.ElementTree
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from dlsctl.files import read_bytes, write_atomic
from dlsctl.host import unit_properties
from dlsctl.problems import Problem, Refused
from dlsctl.values import network_of, set_hint

VARIABLE = "dls_proxy_firewall"
NETWORKS = "dls_proxy_client_networks"
CHAINS = "dls_proxy_nftables_chains"
MARK = "dls_proxy"
IPV6 = "/proc/net/if_inet6"  # there where the kernel has IPv6

UFW_CONF, UFW_DEFAULTS = "/etc/ufw/ufw.conf", "/etc/default/ufw"
UFW_RULES = ("/etc/ufw/user.rules", "/etc/ufw/user6.rules")
FIREWALLD_CONF, FIREWALLD_ZONES = "/etc/firewalld/firewalld.conf", "/etc/firewalld/zones"
FIREWALLD_MARK = "30443"  # the priority of our rich rules, which have no comment; above 0: after those of others
NFTABLES_CONFS = ("/etc/sysconfig/nftables.conf", "/etc/nftables.conf")  # what nftables.service loads: RHEL, Debian
# In no folder of which an operator includes all files: read before his chain, ours would make one that his cannot be.
NFTABLES_FILE, NFTABLES_EARLIER_FILE = "/etc/dls-proxy.nft", "/etc/nftables.d/dls-proxy.nft"
NFTABLES_INCLUDE = 'include "/etc/dls-proxy*.nft"'  # a pattern may match nothing: no boot without a firewall
NFTABLES_INCLUDES = (NFTABLES_INCLUDE, 'include "/etc/nftables.d/dls-proxy*.nft"')
NFTABLES_MARK = "# Written by the DLS kit, which overwrites it\n"
FAMILIES = {"inet": (4, 6), "ip": (4,), "ip6": (6,)}
CHAIN_FORM = r"(inet|ip|ip6) [A-Za-z][\w.-]* [A-Za-z][\w.-]*"

HINTS = {
    "firewalld": "allow SSH in it first (firewall-offline-cmd --add-service=ssh), then: systemctl enable --now "
    "firewalld",
    "ufw": "allow SSH in it first (ufw allow ssh), then: ufw enable",
    "nftables": "load rules that drop at the input hook (and allow SSH), or name their chain in " + CHAINS,
}


class Opening(NamedTuple):
    """A TCP port that the addresses of a network (CIDR) may reach."""

    port: int
    network: str

    @property
    def version(self) -> int:
        return ipaddress.ip_network(self.network).version

    def __str__(self) -> str:
        return "TCP port {} to {}".format(self.port, self.network)


class Settings(NamedTuple):
    """What is asked: auto, none or a firewall; what it shall let through; the nftables chains, () for the only one."""

    firewall: str
    openings: FrozenSet[Opening]
    chains: Tuple[str, ...] = ()


class Command(NamedTuple):
    """A command line, and what it reads on standard input."""

    argv: Tuple[str, ...]
    stdin: str = ""


class Write(NamedTuple):
    """A file's new content; None removes it."""

    path: str
    content: Optional[str]


class Step(NamedTuple):
    """A change in words, what makes it, and what takes it back."""

    text: str
    actions: Sequence[object]
    undo: Sequence[object] = ()


class Look(NamedTuple):
    """The firewall that settings mean on this host, and what is due in it."""

    firewall: str
    steps: List[Step]

    @property
    def texts(self) -> List[str]:
        return [step.text for step in self.steps]


NOTHING = Settings("none", frozenset())  # what was opened earlier is closed


def settings(values: Mapping[str, Any], ports: Mapping[str, int], closed: Iterable[int]) -> Settings:
    """What the variables ask for: `ports` by protocol are opened, those of the server itself, `closed`, never.

    Raises Refused for a port that must stay closed.
    """
    for protocol, port in sorted(ports.items()):
        if port in closed:
            name = "dls_proxy_{}_port".format(protocol)
            raise Refused(name, "must not be a port of the server, which is never opened", port, set_hint(name))
    networks = [ipaddress.ip_network(text) for text in values[NETWORKS]]
    if not os.path.exists(IPV6):
        networks = [network for network in networks if network.version == 4]
    openings = frozenset(Opening(port, str(network)) for port in ports.values() for network in networks)
    return Settings(values[VARIABLE], openings, tuple(values.get(CHAINS) or ()))


def value_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Values of the right type that break a rule."""
    networks = values.get(NETWORKS)
    if networks is not None and not networks:
        rule = "must name a network, 0.0.0.0/0 for all of IPv4"
        yield Refused(NETWORKS, rule, "an empty list", "to open nothing, set {} to none".format(VARIABLE))
    for text in networks or []:
        try:
            network_of(text)
        except ValueError:
            rule = "must be networks such as 10.20.0.0/16, with no bits set behind the length"
            yield Refused(NETWORKS, rule, repr(text), set_hint(NETWORKS))
    for text in values.get(CHAINS) or []:
        if not re.fullmatch(CHAIN_FORM, text):
            yield Refused(
                CHAINS, "must be family, table and chain, such as inet filter input", repr(text), set_hint(CHAINS)
            )


# --- What the engine's program calls ---


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


def call(argv: Sequence[str], stdin: str = "") -> Tuple[int, str, str]:
    """Run a command in plain English; returns exit code, output and error output."""
    done = subprocess.run(
        argv,
        check=False,
        input=stdin.encode(errors="surrogateescape"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, LC_ALL="C"),
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def act(action: object) -> None:
    """Run a command or write a file. Raises Problem."""
    if isinstance(action, Command):
        code, output, errors = call(action.argv, action.stdin)
        if code:
            got = (errors.strip() or output.strip() or "exit code {}".format(code))[-500:]
            raise Problem(" ".join(action.argv), "must succeed", got, "what was changed before it was taken back")
    elif isinstance(action, Write):
        path = os.path.realpath(action.path)
        if action.content is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.dirname(path))  # empty only where it was made for this file
            return
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        status = os.stat(path) if os.path.exists(path) else None
        mode, owner = (stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)) if status else (0o644, None)
        write_atomic(path, action.content.encode(errors="surrogateescape"), mode, owner)


def text_of(path: str) -> str:
    return (read_bytes(path) or b"").decode(errors="surrogateescape")


def setting(path: str, name: str) -> str:
    """What a file of NAME=value lines says of a name, or nothing."""
    found = re.findall(r"^\s*{}\s*=\s*[\"']?([\w-]*)".format(name), text_of(path), re.MULTILINE)
    return found[-1] if found else ""


# --- ufw: rules with our comment ---

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


# --- firewalld: rich rules with our priority, in the zones where clients arrive ---

RICH_RULE = re.compile(
    r'^\s+rule priority="{}" family="ipv[46]" source address="(\S+)" port port="(\d+)" protocol="tcp" accept$'.format(
        FIREWALLD_MARK
    ),
    re.MULTILINE,
)
Zoned = Tuple[str, Opening]


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


def firewalld_steps(due: Set[Zoned], own: Set[Zoned], tool: Sequence[str]) -> List[Step]:
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


# --- nftables: rules with our comment at the head of the operator's own chain ---


class Rule(NamedTuple):
    """A rule of ours: its chain as "family table name", its comment, and nftables' number for it."""

    chain: str
    comment: str
    handle: int


class Nftables:
    """The ruleset of an operator who writes it himself."""

    def __init__(self) -> None:
        self.ruleset: List[Dict[str, Any]] = []
        self.error = ""
        if shutil.which("nft"):
            code, output, errors = call(["nft", "--json", "list", "ruleset"])
            if code:
                self.error = errors.strip()[-300:] or "exit code {}".format(code)
            else:
                self.ruleset = json.loads(output)["nftables"]

    def chains(self, named: Sequence[str]) -> List[str]:
        """The chains to open ports in. Raises Refused where they cannot be told."""
        if self.error:
            hint = "try: nft list ruleset; or set {} to none".format(VARIABLE)
            raise Refused("nft", "must list the rules", self.error, hint)
        inputs = input_chains(self.ruleset)
        for chain in named:
            if chain not in inputs:
                got = "{}; there is {}".format(chain, ", ".join(inputs) or "none")
                raise Refused(CHAINS, "must be chains at the input hook", got, set_hint(CHAINS))
        found = list(named) or [chain for chain, drops in inputs.items() if drops]
        if len(found) > 1 and not named:
            hint = "name each in which the ports are to be opened"
            raise Refused(CHAINS, "must say which, where several chains drop packets", ", ".join(found), hint)
        return found

    def steps(self, wanted: FrozenSet[Opening], named: Sequence[str]) -> List[Step]:
        """What is due. The rules change all at once and at last, since that is not taken back."""
        chains = self.chains(named) if wanted else []
        due = [(chain, opening) for chain in chains for opening in sorted(wanted) if fits(chain, opening)]
        steps = boot_steps(due)
        texts, script = nft_changes(due, own_rules(self.ruleset))
        steps += [Step(text, []) for text in texts[:-1]]
        return steps + [Step(text, [Command(("nft", "-f", "-"), script)]) for text in texts[-1:]]


def chain_name(item: Dict[str, Any], key: str) -> str:
    return "{} {} {}".format(item["family"], item["table"], item[key])


def rules_of(ruleset: Iterable[Dict[str, Any]]) -> Iterator[Tuple[str, Dict[str, Any]]]:
    for item in ruleset:
        if "rule" in item:
            yield chain_name(item["rule"], "chain"), item["rule"]


def input_chains(ruleset: Iterable[Dict[str, Any]]) -> Dict[str, bool]:
    """The operator's base chains at the input hook, and whether each drops or rejects what no rule takes.

    Those of firewalld are left out. That of iptables (in upper case, as ufw has it) is taken only where it is named.
    """
    last = dict(rules_of(ruleset))
    found = {}
    for chain in (item["chain"] for item in ruleset if "chain" in item):
        is_input = (chain.get("hook"), chain.get("type")) == ("input", "filter") and chain["family"] in FAMILIES
        if is_input and chain["table"] != "firewalld":
            name = chain_name(chain, "name")
            drops = chain["policy"] == "drop" or ends_all(last.get(name, {}))
            found[name] = drops and not re.match("ip6? .* INPUT$", name)
    return found


def ends_all(rule: Dict[str, Any]) -> bool:
    """Whether a rule drops or rejects every packet that comes to it."""
    words = {word for part in rule.get("expr", ()) for word in part}
    return bool(words & {"drop", "reject"}) and words <= {"drop", "reject", "counter", "log"}


def own_rules(ruleset: Iterable[Dict[str, Any]]) -> List[Rule]:
    found = [Rule(chain, rule.get("comment", ""), rule["handle"]) for chain, rule in rules_of(ruleset)]
    return [rule for rule in found if re.fullmatch(MARK + r" TCP port \d+ to \S+", rule.comment)]


def fits(chain: str, opening: Opening) -> bool:
    return opening.version in FAMILIES[chain.split(maxsplit=1)[0]]


def nft_comment(opening: Opening) -> str:
    return "{} {}".format(MARK, opening)


def nft_insert(chain: str, opening: Opening) -> str:
    """The statement that lets an opening through, before all other rules of the chain.

    A rule behind the others would often come after one that drops the rest.
    """
    family, protocol = chain.split(maxsplit=1)[0], "ip6" if opening.version == 6 else "ip"
    source = "{} saddr {} ".format(protocol, opening.network)
    if opening.network.endswith("/0"):
        source = "meta nfproto ipv{} ".format(opening.version) if family == "inet" else ""
    rule = "{}tcp dport {} accept comment".format(source, opening.port)
    return 'insert rule {} {} "{}"'.format(chain, rule, nft_comment(opening))


def nft_changes(due: Sequence[Zoned], own: Sequence[Rule]) -> Tuple[List[str], str]:
    """What is due in words, and the script that does it in one go."""
    texts, lines = [], []
    missing = {(chain, nft_comment(opening)): nft_insert(chain, opening) for chain, opening in due}
    for rule in own:
        if missing.pop((rule.chain, rule.comment), None) is None:  # no longer due, or the second of its kind
            texts.append("close {} in nftables chain {}".format(rule.comment[len(MARK) + 1 :], rule.chain))
            lines.append("delete rule {} handle {}".format(rule.chain, rule.handle))
    for (chain, comment), line in missing.items():
        texts.append("open {} in nftables chain {}".format(comment[len(MARK) + 1 :], chain))
        lines.append(line)
    return texts, "".join(line + "\n" for line in lines)


def nft_file(due: Sequence[Zoned]) -> str:
    """The file that nftables.service loads after the operator's rules.

    It makes table and chain where they are not there, since one failing line would leave the host without any rules.
    """
    lines = []
    for chain in sorted({chain for chain, _ in due}):
        lines += ["add table " + chain.rpartition(" ")[0], "add chain " + chain]
    lines += [nft_insert(chain, opening) for chain, opening in due]
    return NFTABLES_MARK + "".join(line + "\n" for line in lines)


def boot_steps(due: Sequence[Zoned]) -> List[Step]:
    """What is due in the files that nftables.service loads. Raises Refused where nft would not take them."""
    conf = next(filter(os.path.exists, NFTABLES_CONFS), None)
    if due and not conf:
        rule = "must be there, to be loaded at boot by nftables.service"
        raise Refused(NFTABLES_CONFS[-1], rule, "no such file", "keep the rules of this host there")
    own = (NFTABLES_FILE, NFTABLES_EARLIER_FILE)
    now = {path: text_of(path) for path in (*own, conf) if path and os.path.exists(path)}
    others = [path for path in own if not now.get(path, NFTABLES_MARK).startswith(NFTABLES_MARK)]
    if due and NFTABLES_FILE in others:
        raise Refused(NFTABLES_FILE, "must be a file that this role has written", "another one", "move it away")
    new: Dict[str, Optional[str]] = {NFTABLES_FILE: nft_file(due) if due else None}
    if conf:
        new[conf] = with_include(now[conf]) if due else without_include(now[conf])
    new[NFTABLES_EARLIER_FILE] = None
    changed = [path for path in new if new[path] != now.get(path) and path not in others]
    if due and conf and changed and NFTABLES_EARLIER_FILE not in changed:  # which nft would read before it is removed
        code, _, errors = call(["nft", "--check", "-f", "-"], without_include(now[conf]) + "\n" + nft_file(due))
        if code:
            raise Refused(conf, "must hold rules that nft takes", errors.strip()[:500], "try: nft -c -f " + conf)
    if not due:
        changed.reverse()  # what is not there must not be included, however this ends
    return [
        Step(
            "{} {}".format("remove" if new[path] is None else "write", path),
            [Write(path, new[path])],
            [Write(path, now.get(path))],
        )
        for path in changed
    ]


def with_include(conf: str) -> str:
    """The text of nftables' configuration that includes our file, behind everything else."""
    rest = without_include(conf)
    return rest + ("" if rest.endswith("\n") else "\n") + NFTABLES_INCLUDE + "\n"


def without_include(conf: str) -> str:
    return "".join(line for line in conf.splitlines(True) if line.strip() not in NFTABLES_INCLUDES)


# --- iptables: left alone ---


def iptables_drops() -> bool:
    """Whether rules of iptables itself drop or reject what they do not know."""
    for tool in filter(shutil.which, ("iptables", "ip6tables")):
        lines = call([tool, "-S", "INPUT"])[1].splitlines()
        if "-P INPUT DROP" in lines or re.match(r"-A INPUT -j (DROP|REJECT)\b", lines[-1] if lines else ""):
            return True
    return False
