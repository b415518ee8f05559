"""Patterns of addresses and numbers match what they stand for, and nothing else."""

import ipaddress
import json
import re
import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from dlskit.windows import patterns

NETWORKS = ["10.20.0.0/16", "10.16.0.0/12", "192.0.2.7/32", "0.0.0.0/1", "::1/128", "::/1", "fd00::/8", "2001:db8::/33"]


@some.composite
def pairs(draw: some.DrawFn) -> tuple[str, str]:
    """A network, and an address that is in it, or near it, or anywhere."""
    size = draw(some.sampled_from([32, 128]))
    # Runs of zeros and of ones, which decide how an address is written.
    bits = draw(
        some.lists(some.sampled_from([0, 0, 0, 1, 0xFFFF, 0x10]) | some.integers(0, 0xFFFF), min_size=8, max_size=8)
    )
    base = sum(part << 16 * place for place, part in enumerate(bits)) % 2**size
    length = draw(some.integers(1, size))
    network = ipaddress.ip_network(
        (base, length) if size == 128 else (str(ipaddress.IPv4Address(base)), length), strict=False
    )
    change = draw(some.integers(0, 2**size - 1) | some.sampled_from([0] + [2**n for n in range(size)]))
    kept = draw(some.booleans())
    other = base ^ (change & int(network.hostmask) if kept else change)
    return str(network), str(ipaddress.IPv4Address(other) if size == 32 else ipaddress.IPv6Address(other))


@given(pairs())
@example(("fe80::/10", "fe80::1"))
@example(("2001:db8::/32", "2001:db8:0:0:1::"))
def test_an_address_matches_when_it_is_in_the_network(pair: tuple[str, str]) -> None:
    network, text = pair
    address = ipaddress.ip_address(text)
    found = re.search(patterns.addresses([network]), text)
    assert bool(found) == (address in ipaddress.ip_network(network))


def test_zone_of_a_link_local_address_is_no_part_of_it() -> None:
    assert re.search(patterns.addresses(["fe80::/10"]), "fe80::1%14")
    assert not re.search(patterns.addresses(["10.0.0.0/8"]), "10.0.0.1%14")


def test_text_that_is_no_address_matches_nothing() -> None:
    pattern = patterns.addresses(NETWORKS[:3])
    for text in ("", "10.20.0", "110.20.0.1", "10.20.0.1.1", "x10.20.0.1", "10.20.0.1\n", "10x20.0.1", "192.0.2.70"):
        assert not re.search(pattern.replace("$", r"\Z"), text), text


@given(some.integers(0, 1 << 31), some.integers(0, 1 << 31))
@example(0, 0)
@example(1 << 20, (1 << 20) + 1)
def test_a_number_matches_when_it_is_not_above_the_limit(last: int, number: int) -> None:
    assert bool(re.search(patterns.up_to(last), str(number))) == (number <= last)


def test_no_number_at_all_is_none_above_the_limit() -> None:
    assert re.search(patterns.up_to(5), "")
    assert not re.search(patterns.up_to(5), "-1")


@pytest.mark.parametrize("network", NETWORKS)
def test_an_ecmascript_engine_reads_a_pattern_the_same(network: str) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not on this machine")
    inside = ipaddress.ip_network(network)
    texts = [str(inside[0]), str(inside[-1]), "10.20.1.1", "192.0.2.8", "2001:db8::5", "::1", "::2", "fd00::1"]
    script = (
        "const [p, t] = JSON.parse(process.argv[1]); console.log(JSON.stringify(t.map(x => new RegExp(p).test(x))))"
    )
    done = subprocess.run(
        [node, "-e", script, json.dumps([patterns.addresses([network]), texts])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [ipaddress.ip_address(text) in inside for text in texts]
