"""Access: only the networks that the configuration names reach the server's ports."""

import contextlib
import hashlib
import ipaddress
import os
import re
import select
import socket
import time
from typing import List

from dlsctl.files import write_atomic
from dlsctl.host import read_proc, run, systemctl, unit_properties
from dlsctl.installation import Installation
from dlsctl.problems import Problem
from dlsctl.service import stop


def uses_filter(inst: Installation) -> bool:
    """Whether nftables rules of ours keep the ports closed; otherwise systemd's IPAddressAllow does."""
    return bool(inst.supervisor == "systemd" and inst.port_filter == "nftables")


def filter_table(inst: Installation) -> str:
    return "dlsctl_" + re.sub("[^A-Za-z0-9_.-]", "_", inst.service)


def filter_rules(inst: Installation) -> List[str]:
    """The rules of an nftables chain at the input hook, the last one with a comment that tells them from any others.

    Only the first packet of a connection is looked at: an answer to this host may come to one of these ports by chance.
    """
    rules = ["ip saddr 127.0.0.0/8 accept", "ip6 saddr ::1 accept"]
    for network in sorted(set(inst.networks) - {"localhost"}):
        family = "ip6" if ":" in network else "ip"
        source = "" if network == "any" else "{} saddr {} ".format(family, ipaddress.ip_network(network, strict=False))
        rules.append("{}tcp dport {} accept".format(source, inst.server_port))
    ports = "{{ {}, {} }}".format(inst.server_port, inst.data_port)
    rules.append("tcp flags & (fin | syn | rst | ack) == syn tcp dport {} drop".format(ports))
    digest = hashlib.sha256("\n".join(rules).encode()).hexdigest()[:16]
    return [*rules[:-1], '{} comment "{}"'.format(rules[-1], digest)]


def filter_is_loaded(inst: Installation) -> bool:
    """Whether the kernel holds our rules as they should be, and nothing between them. Only root can see them."""
    if os.geteuid() != 0:
        return True
    rules = filter_rules(inst)
    try:
        listing = run(["nft", "list", "table", "inet", filter_table(inst)])[1]
    except FileNotFoundError:
        return False
    accepting = [line for line in listing.splitlines() if line.endswith("accept")]
    # Every rule but the last one accepts; a table that is dormant does nothing.
    is_whole = len(accepting) == len(rules) - 1 and "dormant" not in listing
    return rules[-1].rpartition(" comment ")[2] in listing and is_whole


def load_filter(inst: Installation, *options: str) -> None:
    """Put our rules into the kernel, in place of earlier ones, in one step; with --check only try. Raises Problem."""
    chain = ["type filter hook input priority -10; policy accept;", *filter_rules(inst)]
    table = "table inet {} {{ chain input {{\n{}\n}}\n}}".format(filter_table(inst), "\n".join(chain))
    nft(*options, "-f", "-", text="table inet {0}\ndelete table inet {0}\n{1}\n".format(filter_table(inst), table))


def unload_filter(inst: Installation) -> None:
    with contextlib.suppress(FileNotFoundError):
        run(["nft", "delete", "table", "inet", filter_table(inst)])


def nft(*words: str, text: str = "") -> None:
    hint = "install nftables and let root of this host use it, or set dls_server_port_filter: systemd"
    try:
        code, output = run(["nft", *words], text)
    except FileNotFoundError:
        raise Problem("nft", "must be installed, since it keeps the server's ports closed", "none", hint) from None
    if code:
        raise Problem("nft", "must take the rules that keep the server's ports closed", output.strip(), hint)


def own_addresses() -> List[str]:
    """The addresses of this host by which others reach it: no loopback, and no IPv6 address of one link only."""
    found = re.findall(r"(\S+)\n\s+/32 host LOCAL", read_proc("/proc/net/fib_trie") or "")
    for line in (read_proc("/proc/net/if_inet6") or "").splitlines():
        digits, _, _, scope = line.split()[:4]
        if scope == "00":  # global
            found.append(str(ipaddress.IPv6Address(int(digits, 16))))
    return sorted({address for address in found if not ipaddress.ip_address(address).is_loopback})


def is_allowed(inst: Installation, address: str) -> bool:
    """Whether the configuration lets `address` reach the server's port."""
    networks = set(inst.networks) - {"localhost"}
    return "any" in networks or any(
        ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False) for network in networks
    )


def open_ports(inst: Installation, seconds: float = 0.5) -> List[str]:
    """Which of the server's ports answer on an address of this host from which nobody may reach them.

    A connection from this host to its own address bears that address as its source, so it meets the filter as one from
    outside does.
    """
    wanted = [(address, inst.server_port) for address in own_addresses() if not is_allowed(inst, address)]
    wanted += [(address, inst.data_port) for address, _ in wanted]
    waiting, found = {}, []
    for address, port in wanted:
        attempt = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        attempt.setblocking(False)
        attempt.connect_ex((address, port))
        waiting[attempt] = "{} port {}".format(address, port)
    end = time.monotonic() + seconds
    while waiting:
        _, ready, _ = select.select([], list(waiting), [], max(end - time.monotonic(), 0))
        if not ready:
            break
        for attempt in ready:
            name = waiting.pop(attempt)
            if attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(name)
            attempt.close()
    for attempt in waiting:
        attempt.close()
    return found


def open_problem(inst: Installation, found: List[str]) -> Problem:
    return Problem(
        inst.service,
        "must not be reached from networks that dls_server_allowed_networks does not name",
        "a connection to " + ", ".join(found),
        "see what lets it through: nft list ruleset, systemctl cat {}".format(inst.service),
    )


def require_closed(inst: Installation) -> None:
    """Stop the server, and raise Problem, where its ports can be reached by those who must not."""
    found = open_ports(inst) if inst.supervisor == "systemd" else []
    if found:
        stop(inst)
        raise open_problem(inst, found)


def confirm_access(inst: Installation) -> None:
    """Raise Problem where others reach the server; forget the rules of an earlier configuration."""
    require_closed(inst)
    if inst.supervisor == "systemd" and not uses_filter(inst):
        unload_filter(inst)


RUNTIME_PROPERTIES = "/run/systemd/system.control/{}.d"  # where `systemctl set-property --runtime` keeps a unit's
ADDRESS_FILTER = ("IPAddressAllow", "IPAddressDeny")  # properties of a unit, systemd.resource-control(5)


def require_address_filter(inst: Installation) -> None:
    """Raise Problem where this process, inside the unit, can send to an address that systemd should keep from it.

    systemd's IPAddressDeny needs a kernel with cgroup BPF; without it systemd only logs that it cannot filter.
    """
    for address in own_addresses():
        if inst.port_filter != "systemd" or inst.supervisor != "systemd" or is_allowed(inst, address):
            continue
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.sendto(b"", (address, 9))
            except PermissionError:
                continue
        raise Problem(
            "IPAddressDeny",
            "must be enforced by this host, since it keeps the server's ports closed",
            "a datagram sent to " + address,
            "set dls_server_port_filter: nftables",
        )


def needs_reload(inst: Installation) -> bool:
    """Whether systemd has not read the unit as it is, or may filter the server's addresses by an earlier one."""
    return unit_properties(inst.service).get("NeedDaemonReload") == "yes" or os.path.exists(inst.renewal_flag)


def renew_address_filter(inst: Installation, live: bool) -> None:
    """Let systemd read the unit, and with `live` filter the running server's addresses by it without a restart.

    For the latter daemon-reload was enough up to systemd 252; with 255 and 257 a running unit keeps its filter until
    its properties are set at run time.
    """
    unit = inst.service + ".service"
    folder = RUNTIME_PROPERTIES.format(unit)
    overrides = {name: os.path.join(folder, "50-{}.conf".format(name)) for name in ADDRESS_FILTER}

    def take_back() -> None:
        for path in overrides.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(folder)

    write_atomic(inst.renewal_flag, b"")
    take_back()  # of a run that was killed in between
    systemctl("daemon-reload")
    if live:
        wanted = systemctl("show", unit, "--property=" + ",".join(ADDRESS_FILTER)).split("\n")
        systemctl("set-property", "--runtime", unit, *filter(None, wanted))
        take_back()
        systemctl("daemon-reload")
    os.unlink(inst.renewal_flag)
