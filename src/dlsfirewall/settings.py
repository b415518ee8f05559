"""Settings: what the variables ask of the firewall."""

import ipaddress
import os
import re
from typing import Any, FrozenSet, Iterable, Iterator, Mapping, NamedTuple, Tuple

from dlsctl.problems import Problem, Refused
from dlsctl.values import network_of, set_hint

VARIABLE = "dls_proxy_firewall"
NETWORKS = "dls_proxy_client_networks"
CHAINS = "dls_proxy_nftables_chains"
IPV6 = "/proc/net/if_inet6"  # there where the kernel has IPv6
CHAIN_FORM = r"(inet|ip|ip6) [A-Za-z][\w.-]* [A-Za-z][\w.-]*"


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


NOTHING = Settings("none", frozenset())  # what was opened earlier is closed
Placed = Tuple[str, Opening]  # the zone or chain that an opening belongs in, and the opening


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
