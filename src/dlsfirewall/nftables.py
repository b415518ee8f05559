"""nftables: rules with our comment at the head of the operator's own chain."""

import json
import os
import re
import shutil
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from dlsctl.problems import Refused
from dlsctl.values import set_hint
from dlsfirewall.settings import CHAINS, VARIABLE, Opening, Placed
from dlsfirewall.steps import MARK, Command, Step, Write, call, text_of

NFTABLES_CONFS = ("/etc/sysconfig/nftables.conf", "/etc/nftables.conf")  # what nftables.service loads: RHEL, Debian
# In no folder of which an operator includes all files: read before his chain, ours would make one that his cannot be.
NFTABLES_FILE, NFTABLES_EARLIER_FILE = "/etc/dls-proxy.nft", "/etc/nftables.d/dls-proxy.nft"
NFTABLES_INCLUDE = 'include "/etc/dls-proxy*.nft"'  # a pattern may match nothing: no boot without a firewall
NFTABLES_INCLUDES = (NFTABLES_INCLUDE, 'include "/etc/nftables.d/dls-proxy*.nft"')
NFTABLES_MARK = "# Written by the DLS kit, which overwrites it\n"
FAMILIES = {"inet": (4, 6), "ip": (4,), "ip6": (6,)}


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


def nft_changes(due: Sequence[Placed], own: Sequence[Rule]) -> Tuple[List[str], str]:
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


def nft_file(due: Sequence[Placed]) -> str:
    """The file that nftables.service loads after the operator's rules.

    It makes table and chain where they are not there, since one failing line would leave the host without any rules.
    """
    lines = []
    for chain in sorted({chain for chain, _ in due}):
        lines += ["add table " + chain.rpartition(" ")[0], "add chain " + chain]
    lines += [nft_insert(chain, opening) for chain, opening in due]
    return NFTABLES_MARK + "".join(line + "\n" for line in lines)


def boot_steps(due: Sequence[Placed]) -> List[Step]:
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
