"""Who may reach the server's ports: the rules, and the look from the host itself at what they let through."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlsctl.access import (
    filter_is_loaded,
    filter_rules,
    is_allowed,
    load_filter,
    needs_reload,
    open_ports,
    own_addresses,
    renew_address_filter,
    require_address_filter,
    require_closed,
)
from dlsctl.apply import apply, write_pending
from dlsctl.installation import Installation
from dlsctl.launch import require_configured_ports, require_inside_unit
from dlsctl.preflight import installation_of
from dlsctl.problems import Problem, Refused
from tests.dlsctl.conftest import Site, free_port
from tests.dlsctl.replacing import replace


@pytest.fixture
def listener(site: Site) -> Iterator[Site]:
    """A site under systemd, whose port something listens on; 127.0.0.1 plays the address that others use."""
    with socket.create_server(("127.0.0.1", site.settings["port"])):
        site.configure(supervisor="systemd", data_port=free_port())
        yield site


def test_rules_accept_this_host_then_the_networks_and_drop_every_other_connection_to_both_ports(site: Site) -> None:
    site.configure(port=48080, data_port=30201, allowed_networks=["10.1.0.5/16", "localhost", "fd00::/8"])
    rules = filter_rules(site.installation)
    assert rules[:-1] == [
        "ip saddr 127.0.0.0/8 accept",
        "ip6 saddr ::1 accept",
        "ip saddr 10.1.0.0/16 tcp dport 48080 accept",
        "ip6 saddr fd00::/8 tcp dport 48080 accept",
    ]
    assert rules[-1].startswith("tcp flags & (fin | syn | rst | ack) == syn tcp dport { 48080, 30201 } drop comment")


def test_rules_with_any_still_close_the_data_port(site: Site) -> None:
    site.configure(port=48080, data_port=30201, allowed_networks=["any"])
    rules = filter_rules(site.installation)
    assert rules[2] == "tcp dport 48080 accept"
    assert "30201 } drop" in rules[-1]


def test_rules_of_another_configuration_bear_another_comment(site: Site) -> None:
    one = filter_rules(site.installation)[-1]
    site.configure(allowed_networks=["any"])
    assert filter_rules(site.installation)[-1] != one


def test_networks_count_only_after_the_admin_password_was_confirmed(site: Site) -> None:
    values: dict[str, Any] = {**site.settings, "allowed_networks": ["any"], "admin_password_set": False}
    spec = {"prefix": "", "values": values}
    assert installation_of(spec).networks == ["localhost"]
    values["admin_password_set"] = True
    assert installation_of(spec).networks == ["any"]


@pytest.mark.parametrize(
    ("networks", "allowed"),
    [(["localhost"], False), (["any"], True), (["10.0.0.0/8"], True), (["10.1.2.3"], True), (["10.2.0.0/16"], False)],
)
def test_address_is_allowed_by_the_networks_that_hold_it(site: Site, networks: list[str], allowed: bool) -> None:
    site.configure(allowed_networks=networks)
    assert is_allowed(site.installation, "10.1.2.3") is allowed


def test_own_addresses_are_those_that_others_use() -> None:
    addresses = own_addresses()
    assert "127.0.0.1" not in addresses
    for address in addresses:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.bind((address, 0))  # fails for an address that is not this host's


def test_port_that_answers_on_an_address_of_others_is_found_open(
    listener: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "own_addresses", lambda: ["127.0.0.1"])
    assert open_ports(listener.installation) == [f"127.0.0.1 port {listener.settings['port']}"]
    listener.configure(allowed_networks=["127.0.0.0/8"])
    assert open_ports(listener.installation) == []


def test_server_that_can_be_reached_by_others_is_stopped(listener: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[Installation] = []
    replace(monkeypatch, "own_addresses", lambda: ["127.0.0.1"])
    replace(monkeypatch, "stop", stopped.append)
    with pytest.raises(Problem, match="must not be reached from networks that dls_server_allowed_networks"):
        require_closed(listener.installation)
    assert stopped


def test_start_under_an_address_filter_that_filters_nothing_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "own_addresses", lambda: ["127.0.0.1"])
    site.configure(supervisor="systemd", port_filter="systemd")
    with pytest.raises(Problem, match=r"IPAddressDeny: must be enforced by this host.*127.0.0.1\nHINT: .*nftables"):
        require_address_filter(site.installation)
    site.configure(port_filter="nftables")
    require_address_filter(site.installation)


def test_process_outside_the_unit_is_ended_where_systemd_filters(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
    replace(monkeypatch, "server_processes", lambda inst: [child])
    site.configure(supervisor="systemd", port_filter="systemd")
    with pytest.raises(Problem, match="must leave the server inside its unit"):
        require_inside_unit(site.installation)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9


def test_missing_nft_is_named_with_the_way_round(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Problem, match=r"nft: must be installed.*\nHINT: .*dls_server_port_filter: systemd"):
        load_filter(site.installation)


@pytest.mark.parametrize(
    ("due", "order"),
    [
        (["filter", "restart"], ["load --check", "rehearse", "stop", "load", "write", "start"]),
        (["filter", "start"], ["load", "rehearse", "write", "start"]),
        (["filter"], ["load", "write"]),
    ],
)
def test_rules_that_close_the_ports_of_a_running_server_stay_until_it_is_stopped(
    site: Site, monkeypatch: pytest.MonkeyPatch, due: list[str], order: list[str]
) -> None:
    done: list[str] = []
    for name, word in {"rehearse": "rehearse", "stop": "stop", "write_due": "write", "start": "start"}.items():
        replace(monkeypatch, name, lambda *_, word=word: done.append(word))
    for name in ("wait_healthy", "confirm_access", "confirm_sight", "write_json"):
        replace(monkeypatch, name, lambda *_: None)
    replace(monkeypatch, "plan", lambda *_: [{"step": step} for step in due])
    replace(monkeypatch, "load_filter", lambda _, *options: done.append(" ".join(["load", *options])))
    monkeypatch.setattr(Installation, "release", lambda *_: {"version": "2.4.11"})
    apply(site.installation)
    assert done == order


def test_server_is_not_started_on_ports_that_the_rules_do_not_close(site: Site) -> None:
    site.configure(launch="vendor")
    site.install()
    record = site.installation.release("2.4.11")
    base = site.installation.release_dir("2.4.11")
    write_pending(site.installation, record, base)
    require_configured_ports(site.installation, record)
    site.configure(port=free_port())
    with pytest.raises(Refused, match=r"startup.sh: must have the ports of the configuration.*\nHINT: .*apply"):
        require_configured_ports(site.installation, record)


@pytest.mark.parametrize(
    ("before", "after", "loaded"),
    [
        ("", "", True),
        ("# Warning: table ip nat is managed by iptables-nft\n", "", True),
        ("", "\t\taccept\n", False),
        ("", "\tflags dormant\n", False),
    ],
)
def test_rule_that_somebody_has_put_between_ours_is_noticed(
    site: Site, monkeypatch: pytest.MonkeyPatch, before: str, after: str, loaded: bool
) -> None:
    rules = "".join(f"\t\t{rule}\n" for rule in filter_rules(site.installation))
    hook = "\t\ttype filter hook input priority filter - 10; policy accept;\n"
    listing = f"{before}table inet dlsctl_tiny {{\n\tchain input {{\n{hook}{after}{rules}\t}}\n}}\n"
    replace(monkeypatch, "run", lambda argv: (0, listing))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert filter_is_loaded(site.installation) is loaded


class Systemd:
    """What systemctl is asked, with the folder of run-time properties as `set-property` leaves it."""

    def __init__(self, overrides: Path, fails_at: str = "") -> None:
        self.asked: list[tuple[str, ...]] = []
        self.overrides, self.fails_at = overrides, fails_at

    def __call__(self, *words: str) -> str:
        self.asked.append(words)
        if words[0] == "set-property":
            self.overrides.mkdir(parents=True)
            for word in words[3:]:
                (self.overrides / f"50-{word.split('=')[0]}.conf").touch()
        if words[0] == self.fails_at:
            raise Problem(words[0], "must succeed")
        return "IPAddressAllow=127.0.0.0/8\nIPAddressDeny=\n" if words[0] == "show" else ""


@pytest.fixture
def overrides(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Path(site.installation.kit).mkdir(parents=True)
    folder = tmp_path / "system.control"
    replace(monkeypatch, "RUNTIME_PROPERTIES", str(folder) + "/{}.d")
    return folder / f"{site.installation.service}.service.d"


def test_running_server_is_filtered_anew_and_no_run_time_property_outlives_that(
    site: Site, overrides: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = Systemd(overrides)
    replace(monkeypatch, "systemctl", systemd)
    renew_address_filter(site.installation, live=True)
    values = ("IPAddressAllow=127.0.0.0/8", "IPAddressDeny=")
    assert ("set-property", "--runtime", f"{site.installation.service}.service", *values) in systemd.asked
    assert [words[0] for words in systemd.asked] == ["daemon-reload", "show", "set-property", "daemon-reload"]
    assert not overrides.exists()
    assert not needs_reload(site.installation)


def test_renewal_that_was_cut_off_is_due_again(site: Site, overrides: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "systemctl", Systemd(overrides, "set-property"))
    with pytest.raises(Problem):
        renew_address_filter(site.installation, live=True)
    assert needs_reload(site.installation)
    assert overrides.exists()
    replace(monkeypatch, "systemctl", Systemd(overrides))
    renew_address_filter(site.installation, live=False)
    assert not overrides.exists()
    assert not needs_reload(site.installation)
