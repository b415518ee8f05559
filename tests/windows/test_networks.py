"""What the Windows firewall blocks and allows: between them every address once."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlskit.windows import networks

V4 = "1.0.0.0-255.255.255.254"
V6 = "::2-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
CASES = {
    "nobody": (["localhost"], "", "any"),
    "loopback, however it is written": (["localhost", "127.0.0.1", "127.0.0.0/8", "::1"], "", "any"),
    "everybody": (["any"], "any", ""),
    "both families": (["0.0.0.0/0", "::/0"], "any", ""),
    "one family": (["0.0.0.0/0"], "0.0.0.0-255.255.255.255", V6),
    "a network": (
        ["localhost", "10.20.0.0/16"],
        "10.20.0.0-10.20.255.255",
        f"1.0.0.0-10.19.255.255,10.21.0.0-255.255.255.254,{V6}",
    ),
    "an address": (
        ["192.0.2.7"],
        "192.0.2.7",
        f"1.0.0.0-192.0.2.6,192.0.2.8-255.255.255.254,{V6}",
    ),
    "networks that touch, in another order": (
        ["10.128.0.0/9", "10.0.0.0/9"],
        "10.0.0.0-10.255.255.255",
        f"1.0.0.0-9.255.255.255,11.0.0.0-255.255.255.254,{V6}",
    ),
    "the edges": (
        ["0.0.0.0/8", "255.255.255.255"],
        "0.0.0.0-0.255.255.255,255.255.255.255",
        f"1.0.0.0-255.255.255.254,{V6}",
    ),
    "IPv6": (
        ["2001:db8::/32"],
        "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        f"{V4},::2-2001:db7:ffff:ffff:ffff:ffff:ffff:ffff,2001:db9::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_everybody_who_is_not_allowed_is_blocked(name: str) -> None:
    texts, allowed, blocked = CASES[name]
    assert (networks.allowed(texts), networks.blocked(texts)) == (allowed, blocked)


NEAR = st.integers(0, 40).map(lambda number: ipaddress.ip_address(f"192.0.2.{number}"))  # so that some meet
ADDRESSES = st.one_of(NEAR, st.ip_addresses())
BROADCAST = "255.255.255.255"
NO_HOSTS = ipaddress.ip_network("0.0.0.0/8")


@given(st.lists(ADDRESSES.map(str), max_size=6), ADDRESSES)
def test_every_address_is_either_allowed_or_blocked(texts: list[str], asked: ipaddress.IPv4Address) -> None:
    def holds(ranges: str) -> bool:
        if ranges in ("", "any"):
            return ranges == "any"
        ends = [list(map(ipaddress.ip_address, part.split("-"))) for part in ranges.split(",")]
        return any(end[0].version == asked.version and int(end[0]) <= int(asked) <= int(end[-1]) for end in ends)

    if not asked.is_loopback and not asked.is_unspecified and asked not in NO_HOSTS and str(asked) != BROADCAST:
        assert holds(networks.allowed(texts)) == (str(asked) in texts)
        assert holds(networks.blocked(texts)) != holds(networks.allowed(texts))
