"""The proxy's ports in the host's firewall: which firewall is meant, what is due in it, and the commands for it."""

import fnmatch
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dlsctl.problems import Problem, Refused
from dlsfirewall import firewall, nftables
from dlsfirewall.firewalld import client_zones, firewalld_steps, listed_openings, zone_file_openings
from dlsfirewall.settings import NOTHING, Opening, Settings, settings, value_problems
from dlsfirewall.steps import Command, Step, Write
from dlsfirewall.ufw import ufw_allow, ufw_delete, ufw_steps
from tests.dlsctl import replacing

replace = partial(replacing.replace, program="dlsfirewall")
Host = Callable[..., "Answers"]
V4, V6, OFFICE = Opening(443, "0.0.0.0/0"), Opening(443, "::/0"), Opening(443, "10.0.0.0/8")
WANTED = frozenset({V4, V6})
COMMENT = "comment=646c735f70726f7879"


def commands(steps: list[Step]) -> list[str]:
    return [" ".join(action.argv) for step in steps for action in step.actions if isinstance(action, Command)]


# --- Values ---


def values(**changes: Any) -> dict[str, Any]:
    return {"dls_proxy_firewall": "auto", "dls_proxy_client_networks": ["10.0.0.0/8"], **changes}


def test_each_port_is_opened_to_each_network_of_clients() -> None:
    asked = settings(values(dls_proxy_client_networks=["10.0.0.0/8", "192.0.2.7"]), {"http": 80, "https": 443}, [48080])
    assert {str(opening) for opening in asked.openings} == {
        "TCP port 80 to 10.0.0.0/8",
        "TCP port 80 to 192.0.2.7/32",
        "TCP port 443 to 10.0.0.0/8",
        "TCP port 443 to 192.0.2.7/32",
    }


def test_a_host_without_ipv6_is_asked_for_ipv4_only(monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "IPV6", "/nowhere")
    asked = settings(values(dls_proxy_client_networks=["0.0.0.0/0", "::/0"]), {"https": 443}, [])
    assert asked.openings == {V4}


@pytest.mark.parametrize("port", [48080, 30201])
def test_a_port_of_the_server_is_refused(port: int) -> None:
    with pytest.raises(Refused) as refusal:
        settings(values(), {"https": 443, "http": port}, [48080, 30201])
    assert str(refusal.value) == (
        f"dls_proxy_http_port: must not be a port of the server, which is never opened, got {port}\n"
        "HINT: set dls_proxy_http_port in the inventory, for example in group_vars/dls.yml"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"dls_proxy_client_networks": []},
            "dls_proxy_client_networks: must name a network, 0.0.0.0/0 for all of IPv4",
        ),
        ({"dls_proxy_client_networks": ["10.0.0.1/8"]}, "dls_proxy_client_networks: must be networks such as"),
        ({"dls_proxy_client_networks": ["any"]}, "dls_proxy_client_networks: must be networks such as"),
        ({"dls_proxy_nftables_chains": ["input"]}, "dls_proxy_nftables_chains: must be family, table and chain"),
        (
            {"dls_proxy_nftables_chains": ["inet a b; flush ruleset"]},
            "dls_proxy_nftables_chains: must be family, table",
        ),
    ],
)
def test_a_value_that_breaks_a_rule_is_told(changes: dict[str, Any], problem: str) -> None:
    (told,) = value_problems(values(**changes))
    assert str(told).startswith(problem)
    assert told.hint


def test_good_values_have_no_problem() -> None:
    good = values(dls_proxy_client_networks=["0.0.0.0/0", "::/0"], dls_proxy_nftables_chains=["inet filter input"])
    assert list(value_problems(good)) == []


# --- ufw ---


def test_ufw_opens_what_is_missing_and_closes_what_is_ours() -> None:
    rules = (
        "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n-A ufw-user-input -p tcp --dport 22 -j ACCEPT\n"
        f"### tuple ### allow tcp 443 0.0.0.0/0 any 0.0.0.0/0 in {COMMENT}\n"
        f"### tuple ### allow tcp 8443 0.0.0.0/0 any 10.0.0.5 in {COMMENT}\n"
    )
    steps = list(ufw_steps(WANTED, rules))
    assert [step.text for step in steps] == [
        "open TCP port 443 to ::/0 in ufw",
        "close TCP port 8443 to 10.0.0.5/32 in ufw",
    ]
    assert commands(steps) == [
        "ufw allow proto tcp from ::/0 to any port 443 comment dls_proxy",
        "ufw delete allow proto tcp from 10.0.0.5/32 to any port 8443",
    ]
    assert [step.undo for step in steps] == [
        [ufw_delete(V6)],
        [ufw_allow(Opening(8443, "10.0.0.5/32"))],
    ]


@pytest.mark.parametrize("action", ["allow", "allow_log", "limit"])
def test_ufw_keeps_the_rule_of_somebody_else_that_does_the_same(action: str) -> None:
    rules = f"### tuple ### {action} tcp 443 0.0.0.0/0 any 0.0.0.0/0 in comment=1234\n"
    assert list(ufw_steps(frozenset({V4}), rules)) == []
    assert list(ufw_steps(frozenset(), rules)) == []


@pytest.mark.parametrize("action", ["deny", "reject", "deny_log"])
@pytest.mark.parametrize("comment", ["", COMMENT])
def test_ufw_is_not_made_to_allow_what_somebody_denies(action: str, comment: str) -> None:
    rules = f"### tuple ### {action} tcp 443 0.0.0.0/0 any 0.0.0.0/0 in {comment}\n"
    with pytest.raises(Refused, match=r"ufw: must not have a rule that denies .* TCP port 443 to 0\.0\.0\.0/0"):
        list(ufw_steps(frozenset({V4}), rules))


@pytest.mark.parametrize(
    "rule",
    [
        "allow udp 443 0.0.0.0/0 any 0.0.0.0/0 in",
        "allow tcp 443 0.0.0.0/0 any 0.0.0.0/0 out",
        "allow tcp 443 0.0.0.0/0 any 0.0.0.0/0 in_eth1",
        "allow tcp 443 192.0.2.1 any 0.0.0.0/0 in",
        "allow tcp 443 0.0.0.0/0 1234 0.0.0.0/0 in",
        "allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 Nginx%20Full - in",
        "allow tcp 443 0.0.0.0/0 any 10.0.0.0/8 in",
    ],
)
def test_ufw_rules_of_another_scope_do_not_count(rule: str) -> None:
    assert len(list(ufw_steps(frozenset({V4}), f"### tuple ### {rule}\n"))) == 1


# --- firewalld ---

RICH = 'rule priority="30443" family="ipv4" source address="10.0.0.0/8" port port="443" protocol="tcp" accept'


def zone(name: str, target: str = "default", interfaces: str = "", sources: str = "", rules: str = "") -> str:
    return (
        f"{name}\n  target: {target}\n  icmp-block-inversion: no\n  interfaces: {interfaces}\n  sources: {sources}\n"
        f"  services: ssh\n  rich rules: \n{rules}\n"
    )


def test_firewalld_opens_in_the_zones_where_clients_arrive() -> None:
    listing = (
        zone("block", "%%REJECT%%")
        + zone("dmz (active)", interfaces="eth1")
        + zone("drop (active)", "DROP", sources="198.51.100.0/24")
        + zone("internal (active)", sources="10.0.0.0/8")
        + zone("public (default, active)")
        + zone("trusted (active)", "ACCEPT", interfaces="eth2")
        + zone("work")
    )
    assert client_zones(listing, "public") == ["dmz", "internal", "public"]


def test_firewalld_opens_in_a_zone_that_drops_where_an_interface_is_in_it() -> None:
    assert client_zones(zone("drop (active)", "DROP", interfaces="eth0"), "public") == ["drop"]


def test_firewalld_knows_its_own_rules_only() -> None:
    theirs = RICH.replace(' priority="30443"', "")
    assert listed_openings(f"\t{RICH}\n\t{theirs}\n") == {OFFICE}


def test_firewalld_reads_its_own_rules_from_a_zone_file() -> None:
    rule = '<rule family="ipv4"{}><source address="10.0.0.0/8"/><port port="443" protocol="tcp"/><accept/></rule>'
    text = "<zone><service name='ssh'/>" + rule.format(' priority="30443"') + rule.format("") + "</zone>"
    assert list(zone_file_openings(text)) == [OFFICE]
    assert list(zone_file_openings("<zone>")) == []


def test_firewalld_changes_what_runs_without_a_reload() -> None:
    old = Opening(8443, "10.0.0.0/8")
    steps = firewalld_steps({("public", OFFICE)}, {("public", old)}, ["firewall-cmd"])
    assert commands(steps) == [
        f"firewall-cmd --zone=public --add-rich-rule={RICH}",
        "firewall-cmd --zone=public --remove-rich-rule=" + RICH.replace('"443"', '"8443"'),
    ]
    assert steps[0].undo == [Command(("firewall-cmd", "--zone=public", f"--remove-rich-rule={RICH}"))]


def test_firewalld_changes_its_files_too() -> None:
    steps = firewalld_steps({("public", OFFICE)}, set(), ["firewall-cmd", "--permanent"])
    assert commands(steps) == [f"firewall-cmd --permanent --zone=public --add-rich-rule={RICH}"]
    assert steps[0].text == "open TCP port 443 to 10.0.0.0/8 in zone public of firewalld for the next start"


# --- nftables ---


def chain(
    policy: str = "drop", family: str = "inet", table: str = "filter", name: str = "input", hook: str = "input"
) -> dict[str, Any]:
    facts = {"family": family, "table": table, "name": name, "type": "filter", "hook": hook, "policy": policy}
    return {"chain": facts}


def rule(*words: str, comment: str = "", handle: int = 5) -> dict[str, Any]:
    facts = {"family": "inet", "table": "filter", "chain": "input", "handle": handle, "comment": comment}
    return {"rule": {**facts, "expr": [{word: None} for word in words]}}


@pytest.mark.parametrize(
    ("ruleset", "chains"),
    [
        ([chain()], {"inet filter input": True}),
        ([chain("accept")], {"inet filter input": False}),
        ([chain("accept"), rule("match", "accept"), rule("counter", "drop")], {"inet filter input": True}),
        ([chain("accept"), rule("log", "reject")], {"inet filter input": True}),
        ([chain("accept"), rule("match", "drop")], {"inet filter input": False}),
        ([chain("accept"), rule("drop"), rule("match", "accept")], {"inet filter input": False}),
        ([chain(hook="forward")], {}),
        ([chain(table="firewalld", name="filter_INPUT")], {}),
        ([chain(family="ip", name="INPUT")], {"ip filter INPUT": False}),
        ([chain(family="netdev")], {}),
    ],
)
def test_the_operators_chains_are_told_from_those_of_programs(
    ruleset: list[dict[str, Any]], chains: dict[str, bool]
) -> None:
    assert nftables.input_chains([{"metainfo": {}}, *ruleset]) == chains


def nftables_with(*ruleset: dict[str, Any]) -> nftables.Nftables:
    found = nftables.Nftables.__new__(nftables.Nftables)
    found.ruleset, found.error = list(ruleset), ""
    return found


def test_of_several_chains_that_drop_one_must_be_named() -> None:
    several = nftables_with(chain(family="ip"), chain(family="ip6"), chain("accept"))
    with pytest.raises(Refused, match=r"must say which, where several .* got ip filter input, ip6 filter input\nHINT"):
        several.chains(())
    assert several.chains(("ip filter input", "ip6 filter input")) == ["ip filter input", "ip6 filter input"]
    with pytest.raises(Refused, match="must be chains at the input hook, got inet a b; there is ip filter input"):
        several.chains(("inet a b",))


@pytest.mark.parametrize(
    ("chain", "opening", "statement"),
    [
        (
            "inet filter input",
            OFFICE,
            "insert rule inet filter input ip saddr 10.0.0.0/8 tcp dport 443 accept comment"
            ' "dls_proxy TCP port 443 to 10.0.0.0/8"',
        ),
        (
            "inet filter input",
            V6,
            "insert rule inet filter input meta nfproto ipv6 tcp dport 443 accept comment"
            ' "dls_proxy TCP port 443 to ::/0"',
        ),
        (
            "ip a b",
            V4,
            'insert rule ip a b tcp dport 443 accept comment "dls_proxy TCP port 443 to 0.0.0.0/0"',
        ),
    ],
)
def test_an_opening_is_a_rule_before_all_others(chain: str, opening: Opening, statement: str) -> None:
    assert nftables.nft_insert(chain, opening) == statement


def test_a_chain_gets_the_networks_of_its_family() -> None:
    fits = {
        chain: [nftables.fits(chain, opening) for opening in (V4, V6)] for chain in ("inet a b", "ip a b", "ip6 a b")
    }
    assert fits == {"inet a b": [True, True], "ip a b": [True, False], "ip6 a b": [False, True]}


def test_rules_change_in_one_script_and_a_second_of_its_kind_goes() -> None:
    old = [
        rule("accept", comment="dls_proxy TCP port 443 to 10.0.0.0/8", handle=7),
        rule("accept", comment="dls_proxy TCP port 443 to 10.0.0.0/8", handle=8),
        rule("accept", comment="dls_proxy TCP port 80 to 10.0.0.0/8", handle=9),
        rule("accept", comment="dls_proxy", handle=10),  # an operator's own words
        rule("accept", handle=11),
    ]
    name = "inet filter input"
    texts, script = nftables.nft_changes([(name, OFFICE), (name, V4)], nftables.own_rules(old))
    assert script == (
        "delete rule inet filter input handle 8\ndelete rule inet filter input handle 9\n"
        "insert rule inet filter input meta nfproto ipv4 tcp dport 443 accept comment"
        ' "dls_proxy TCP port 443 to 0.0.0.0/0"\n'
    )
    assert texts == [
        "close TCP port 443 to 10.0.0.0/8 in nftables chain inet filter input",
        "close TCP port 80 to 10.0.0.0/8 in nftables chain inet filter input",
        "open TCP port 443 to 0.0.0.0/0 in nftables chain inet filter input",
    ]


def test_the_file_for_the_next_boot_makes_a_chain_that_is_not_there() -> None:
    assert nftables.nft_file([("inet filter input", OFFICE)]).splitlines()[1:] == [
        "add table inet filter",
        "add chain inet filter input",
        nftables.nft_insert("inet filter input", OFFICE),
    ]


@pytest.mark.parametrize("conf", ["flush ruleset\n", "flush ruleset", ""])
def test_the_include_line_is_added_once_and_taken_out_again(conf: str) -> None:
    new = nftables.with_include(conf)
    assert new.splitlines()[-1] == 'include "/etc/dls-proxy*.nft"'
    assert nftables.with_include(new) == new
    assert nftables.without_include(new).strip() == conf.strip()
    assert nftables.without_include(conf) == conf, "a host that never had the proxy is left alone"


@pytest.mark.parametrize("pattern", ["/etc/nftables.d/*.nft", "nftables.d/*", "/etc/nftables/*.nft", "*.conf"])
def test_no_include_of_the_operator_has_our_file_and_our_own_is_always_the_last_line(pattern: str) -> None:
    theirs = f'include "{pattern}"\n'
    own = 'include "/etc/dls-proxy*.nft"\n'
    assert not fnmatch.fnmatchcase(nftables.NFTABLES_FILE, str(Path("/etc", pattern)))
    assert nftables.with_include(theirs) == theirs + own
    assert nftables.with_include(own + theirs) == theirs + own
    assert nftables.with_include('include "/etc/nftables.d/dls-proxy*.nft"\n' + theirs) == theirs + own


# --- Which firewall, and applying ---


class Answers:
    """What commands answer, by how they begin; everything that was run."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers, self.ran = answers, list[str]()
        self.stdin = list[tuple[str, str]]()

    def __call__(self, argv: list[str], stdin: str = "") -> tuple[int, str, str]:
        line = " ".join(argv)
        self.ran.append(line)
        self.stdin.append((line, stdin))
        for start, output in self.answers.items():
            if line.startswith(start):
                return (1, "", output[1:]) if output.startswith("!") else (0, output, "")
        return 0, "", ""


PATHS = ("UFW_CONF", "UFW_DEFAULTS", "FIREWALLD_CONF", "FIREWALLD_ZONES", "NFTABLES_FILE", "NFTABLES_EARLIER_FILE")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """A host with nothing on it; call it with what is: programs, answers of commands, and files."""

    def make(programs: str = "", answers: dict[str, str] | None = None, **files: str) -> Answers:
        paths = {name: tmp_path / name / "file" for name in PATHS}
        for name, path in paths.items():
            replace(monkeypatch, name, str(path))
        replace(monkeypatch, "NFTABLES_CONFS", [str(tmp_path / "nftables.conf")])
        replace(monkeypatch, "UFW_RULES", [str(tmp_path / "user.rules")])
        for name, text in files.items():
            path = paths.get(name, tmp_path / name.replace("_", "."))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr("shutil.which", lambda name: name if name in programs.split() else None)
        known = Answers(answers or {})
        replace(monkeypatch, "call", known)
        state = "active" if "firewalld" in programs.split() else "inactive"
        replace(monkeypatch, "unit_properties", lambda _: {"ActiveState": state})
        return known

    return make


UFW_ON = {"UFW_CONF": "ENABLED=yes\n", "UFW_DEFAULTS": "IPV6=yes\n"}
RULESET = {"nft --json": json.dumps({"nftables": [chain()]})}


def asked(firewall: str = "auto") -> Settings:
    return Settings(firewall, WANTED)


def test_a_host_without_a_firewall_needs_nothing_and_runs_nothing(host: Host) -> None:
    seen = host()
    assert firewall.look(asked()) == ("none", [])
    assert seen.ran == []


def test_the_firewall_that_runs_is_taken(host: Host) -> None:
    host("ufw", {"ufw status": "Status: active\n"}, **UFW_ON)
    assert firewall.look(asked()).firewall == "ufw"
    host("nft", RULESET, nftables_conf="flush ruleset\n")
    assert firewall.look(asked()).firewall == "nftables"
    both = {"firewall-cmd --list": zone("public (active)"), "ufw status": "Status: active\n"}
    host("firewall-cmd firewalld ufw", both, **UFW_ON)
    assert firewall.look(asked()).firewall == "firewalld"


def test_a_firewall_that_is_only_installed_is_not_taken(host: Host) -> None:
    seen = host("ufw firewall-cmd nft", {"nft --json": '{"nftables": []}'}, UFW_CONF="ENABLED=no\n")
    assert firewall.look(asked()) == ("none", [])
    assert seen.ran == ["nft --json list ruleset"]


@pytest.mark.parametrize("name", ["ufw", "firewalld", "nftables"])
def test_a_named_firewall_must_run_and_the_hint_says_ssh_first(host: Host, name: str) -> None:
    host()
    with pytest.raises(Refused) as refusal:
        firewall.look(asked(name))
    assert refusal.value.got == f"{name}, which does not run"
    assert "SSH" in str(refusal.value.hint)


def test_rules_of_iptables_that_drop_are_refused_unless_none_is_asked_for(host: Host) -> None:
    for rules in ("-P INPUT DROP\n", "-P INPUT ACCEPT\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j REJECT --reject-with x\n"):
        host("iptables", {"iptables -S": rules})
        with pytest.raises(Refused, match="iptables: must not drop packets by rules of its own"):
            firewall.look(asked())
        assert firewall.look(asked("none")).steps == []
    host("iptables", {"iptables -S": "-P INPUT ACCEPT\n-A INPUT -s 192.0.2.1/32 -j DROP\n"})
    assert firewall.look(asked()).firewall == "none"


def test_a_ruleset_that_cannot_be_read_matters_only_where_it_is_needed(host: Host) -> None:
    host("nft", {"nft --json": "!Operation not permitted"})
    with pytest.raises(Refused, match=r"nft: must list the rules, got Operation not permitted\nHINT: .*none"):
        firewall.look(asked())
    assert firewall.look(asked("none")) == ("none", [])


def test_ufw_without_ipv6_gets_no_rule_for_it(host: Host) -> None:
    host("ufw", {"ufw status": "Status: active\n"}, UFW_CONF="ENABLED=yes\n", UFW_DEFAULTS="IPV6=no\n")
    assert commands(firewall.look(asked()).steps) == [
        "ufw allow proto tcp from 0.0.0.0/0 to any port 443 comment dls_proxy"
    ]


def test_what_was_done_is_taken_back_where_a_later_step_fails(host: Host) -> None:
    answers = {"ufw status": "Status: active\n", "ufw allow proto tcp from ::/0": "!no"}
    seen = host("ufw", answers, **UFW_ON)
    with pytest.raises(Problem, match=r"ufw allow proto tcp from ::/0 .* must succeed, got no"):
        firewall.apply(firewall.look(asked()))
    assert seen.ran[1:] == [
        "ufw allow proto tcp from 0.0.0.0/0 to any port 443 comment dls_proxy",
        "ufw allow proto tcp from ::/0 to any port 443 comment dls_proxy",
        "ufw delete allow proto tcp from ::/0 to any port 443",
        "ufw delete allow proto tcp from 0.0.0.0/0 to any port 443",
    ]


def test_files_of_nftables_are_put_back_where_the_rules_are_not_taken(host: Host, tmp_path: Path) -> None:
    host("nft", {**RULESET, "nft -f -": "!no"}, nftables_conf="flush ruleset\n")
    with pytest.raises(Problem, match="nft -f -: must succeed, got no"):
        firewall.apply(firewall.look(asked()))
    assert (tmp_path / "nftables.conf").read_text() == "flush ruleset\n"
    assert not Path(nftables.NFTABLES_FILE).parent.exists()


def test_files_of_nftables_that_nft_does_not_take_are_refused_before_any_change(host: Host, tmp_path: Path) -> None:
    seen = host("nft", {**RULESET, "nft --check": "!syntax error"}, nftables_conf="nonsense\n")
    with pytest.raises(Refused, match=r"nftables\.conf: must hold rules that nft takes, got syntax error"):
        firewall.apply(firewall.look(asked()))
    assert (tmp_path / "nftables.conf").read_text() == "nonsense\n"
    assert not [line for line in seen.ran if line.startswith("nft -f")]


def test_rules_that_nothing_loads_at_boot_are_refused(host: Host) -> None:
    host("nft", RULESET)
    with pytest.raises(Refused, match=r"nftables\.conf: must be there, to be loaded at boot"):
        firewall.look(asked())


def test_a_file_is_written_before_it_is_included_and_removed_after(host: Host) -> None:
    host("nft", RULESET, nftables_conf="flush ruleset\n")
    writes = [step.actions[0] for step in firewall.look(asked()).steps if step.actions][:2]
    assert [write.path for write in writes if isinstance(write, Write)] == [
        nftables.NFTABLES_FILE,
        nftables.NFTABLES_CONFS[0],
    ]
    firewall.apply(firewall.look(asked()))
    assert firewall.look(asked("none")).texts == [
        f"write {nftables.NFTABLES_CONFS[0]}",
        f"remove {nftables.NFTABLES_FILE}",
    ]
    firewall.apply(firewall.look(NOTHING))
    assert not Path(nftables.NFTABLES_FILE).exists()
    assert Path(nftables.NFTABLES_CONFS[0]).read_text() == "flush ruleset\n"


def test_file_at_its_earlier_place_is_removed_unless_it_is_somebody_elses(host: Host, tmp_path: Path) -> None:
    for text, is_left in (("# Written by the DLS kit, which overwrites it\n", False), ("# theirs\n", True)):
        for wanted in (asked(), NOTHING):
            seen = host("nft", RULESET, nftables_conf="flush ruleset\n", NFTABLES_EARLIER_FILE=text)
            earlier = Path(nftables.NFTABLES_EARLIER_FILE)
            seen.answers["nft --check"] = "" if is_left else "!what nft says while it is there"
            firewall.apply(firewall.look(wanted))
            assert earlier.exists() is is_left


def test_file_of_somebody_else_at_our_place_is_left_alone(host: Host) -> None:
    host("nft", RULESET, nftables_conf="flush ruleset\n", NFTABLES_FILE="# theirs\n")
    with pytest.raises(Refused, match="must be a file that this role has written, got another one\nHINT: move it away"):
        firewall.look(asked())
    assert firewall.look(NOTHING).steps == []


def test_rules_are_checked_as_the_next_boot_will_read_them(host: Host) -> None:
    seen = host("nft", RULESET, nftables_conf='include "/etc/dls-proxy*.nft"\nflush ruleset\n')
    firewall.look(asked())
    (checked,) = [text for line, text in seen.stdin if line.startswith("nft --check")]
    assert checked == "flush ruleset\n\n" + nftables.nft_file([("inet filter input", V4), ("inet filter input", V6)])
