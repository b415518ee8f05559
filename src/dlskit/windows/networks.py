"""Networks for the Windows firewall, in which a rule that blocks beats every rule that allows.

So the port is blocked for everybody who is not allowed, whatever other rules say; loopback is never filtered.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from dlsctl.values import IPNetwork, network_of

ANY = "any"
_ALL = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
# What packets of other hosts come from: not from 0.0.0.0/8, the broadcast, :: or ::1.
_HOSTS = {
    4: (ipaddress.IPv4Address("1.0.0.0"), ipaddress.IPv4Address("255.255.255.254")),
    6: (ipaddress.IPv6Address("::2"), ipaddress.IPv6Address(2**128 - 1)),
}


def allowed(texts: Iterable[str]) -> str:
    """The remote addresses of the rule that allows, "" where there is to be none.

    `texts` are localhost, any, addresses and networks, as in dls_server_allowed_networks.
    """
    networks = remote(texts)
    if networks == list(_ALL):
        return ANY
    return ",".join(written(int(net.network_address), int(net.broadcast_address), net.version) for net in networks)


def blocked(texts: Iterable[str]) -> str:
    """The remote addresses of the rule that blocks: all but the allowed ones. "" where there is to be none."""
    networks = remote(texts)
    if not networks:
        return ANY
    return ",".join(gap for version in (4, 6) for gap in gaps(version, networks))


def remote(texts: Iterable[str]) -> list[IPNetwork]:
    """The networks that texts name, without loopback, merged and in order, those of IPv4 first."""
    found: list[IPNetwork] = []
    for text in texts:
        if text == ANY:
            return list(_ALL)
        if text != "localhost":
            found.append(network_of(text, strict=False))
    found = [network for network in found if not network.is_loopback]
    return [network for version in (4, 6) for network in merged(found, version)]


def merged(networks: Iterable[IPNetwork], version: int) -> Iterator[IPNetwork]:
    own = [network for network in networks if network.version == version]
    yield from ipaddress.collapse_addresses(own)  # type: ignore[type-var]


def written(first: int, last: int, version: int) -> str:
    """A range as a rule takes it."""
    address = {4: ipaddress.IPv4Address, 6: ipaddress.IPv6Address}[version]
    return str(address(first)) if first == last else f"{address(first)}-{address(last)}"


def gaps(version: int, networks: Iterable[IPNetwork]) -> Iterator[str]:
    """The ranges of addresses that no network holds; `networks` are merged and in order."""
    first, last = map(int, _HOSTS[version])
    for network in networks:
        if network.version == version:
            begin, end = int(network.network_address), int(network.broadcast_address)
            if first < begin:
                yield written(first, min(begin - 1, last), version)
            first = max(first, end + 1)
    if first <= last:
        yield written(first, last, version)
