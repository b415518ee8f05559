"""Regular expressions for IIS, whose URL Rewrite compares text only: networks and numbers, as patterns of their text.

Only what ECMAScript 3 has is used. An address is taken as Windows writes one: lower case, the longest run of zeros
shortened, perhaps a zone behind it. What is written in another way matches nothing, and so is refused.
"""

import ipaddress
from collections.abc import Iterable, Iterator

DECIMAL, HEX = "0123456789", "0123456789abcdef"
ANY = {DECIMAL: "[0-9]", HEX: "[0-9a-f]"}
GROUP = "[0-9a-f]{1,4}"


def addresses(networks: Iterable[str]) -> str:
    """The pattern of every address in `networks` (CIDR, IPv4 and IPv6). Raises ValueError for what is no network."""
    forms = [form for text in networks for form in _forms(ipaddress.ip_network(text))]
    return f"^(?:{'|'.join(forms)})$"


def up_to(last: int) -> str:
    """The pattern of every decimal number from 0 to `last`, and of no text at all."""
    return f"^(?:{'|'.join(_numbers(0, last, DECIMAL))})?$"


def _forms(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Iterator[str]:
    if isinstance(network, ipaddress.IPv4Network):
        yield r"\.".join(_parts(network, 8, 4, DECIMAL, "[0-9]{1,3}"))
    else:
        yield from (form + "(?:%[0-9a-z]+)?" for form in _ipv6_forms(network))


def _parts(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, bits: int, count: int, digits: str, free: str
) -> list[str]:
    """A pattern for each number between the separators of an address."""
    first, last = int(network.network_address), int(network.broadcast_address)
    shifts = range(bits * (count - 1), -1, -bits)
    mask = 2**bits - 1
    ranges = [(first >> shift & mask, last >> shift & mask) for shift in shifts]
    return [free if pair == (0, mask) else _one_of(_numbers(*pair, digits)) for pair in ranges]


def _ipv6_forms(network: ipaddress.IPv6Network) -> Iterator[str]:
    """The forms that an address of the network can have, by where its run of zeros is."""
    parts = _parts(network, 16, 8, HEX, GROUP)
    fixed = -(-network.prefixlen // 16)  # how many groups the network says something of
    zeros = [part == "0" for part in parts]
    may_be_zero = [int(group, 16) == 0 for group in network.network_address.exploded.split(":")]
    # No run, or one behind the fixed groups: what follows may be anything, since it is an address.
    yield ":".join(parts[:fixed]) + (":[0-9a-f:.]+" if fixed < 8 else "")
    for begin in range(fixed):
        if begin and zeros[begin - 1]:
            continue  # the run would have begun there
        for end in range(begin + 1, fixed + 1):
            if not may_be_zero[end - 1]:
                break
            if end < fixed and zeros[end]:
                continue  # the run would have gone on
            head = ":".join(parts[:begin]) + "::"
            if end < fixed or fixed == 8:
                yield head + ":".join(parts[end:])
            else:
                yield head + f"(?:{GROUP}(?::{GROUP}){{0,{7 - fixed}}})?"


def _one_of(forms: Iterable[str]) -> str:
    forms = list(forms)
    return forms[0] if len(forms) == 1 else f"(?:{'|'.join(forms)})"


def _numbers(first: int, last: int, digits: str) -> Iterator[str]:
    """Patterns of the numbers from first to last, written without zeros in front."""
    base = len(digits)
    length = 1
    while first <= last:
        top = min(base**length - 1, last)
        if first <= top:
            yield from _same_length(_written(first, length, digits), _written(top, length, digits), digits)
            first = top + 1
        length += 1


def _written(number: int, length: int, digits: str) -> str:
    return "".join(digits[number // len(digits) ** place % len(digits)] for place in reversed(range(length)))


def _same_length(first: str, last: str, digits: str) -> Iterator[str]:
    """Patterns of the numbers between two that have as many digits."""
    if first == last:
        yield first
        return
    rest = len(first) - 1
    lowest, highest = digits[0] * rest, digits[-1] * rest
    begin, end = digits.index(first[0]), digits.index(last[0])
    if begin == end:
        yield from (first[0] + form for form in _same_length(first[1:], last[1:], digits))
        return
    if first[1:] != lowest:
        yield from (first[0] + form for form in _same_length(first[1:], highest, digits))
        begin += 1
    tail = last[1:] != highest
    middle = digits[begin : end if tail else end + 1]
    if middle:
        yield (middle if len(middle) == 1 else ANY[digits] if middle == digits else f"[{middle}]") + ANY[digits] * rest
    if tail:
        yield from (last[0] + form for form in _same_length(lowest, last[1:], digits))
