"""Whether two hosts make a standby pair: compared on the control node, since no host sees both.

``python -m dlskit.pair`` reads what compare() takes as JSON from standard input and prints what it returns as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dlsctl.pair import STANDBY_REFUSES
from dlsctl.problems import Problem


@dataclass(frozen=True)
class Host:
    """One host of a pair, as the inventory and a look at it have it.

    version, checksum: of the release that the inventory names, empty where it names none.
    look: what ``dlsctl preflight`` saw there; empty where it was not looked at.
    lost: whether this run was to change the host, and will not: it was refused, or did not answer.
    """

    name: str
    version: str = ""
    checksum: str = ""
    look: Mapping[str, Any] = field(default_factory=dict)
    lost: bool = False


@dataclass(frozen=True)
class Pair:
    """This host, the other one, and what the inventory says of both.

    modes: dls_server_mode by host, of every host that names these URLs. urls: the main's, then the standby's.
    max_clock_skew: seconds by which the two clocks may differ.
    """

    own: Host
    other: Host
    modes: Mapping[str, str]
    urls: tuple[str, str]
    max_clock_skew: int

    @property
    def mode(self) -> str:
        """What this host is to be: main or standby."""
        return self.modes[self.own.name]


def compare(pair: Pair) -> dict[str, Any]:
    """What is wrong with a pair, as texts.

    Returns {problems: what must be mended before anything is changed, findings: what an installed pair does wrong,
    parts: those of them that its servers do wrong, whatever their releases, checked: which part of a pair was checked,
    in words}.
    """
    problems = list(incomplete(pair) or differences(pair))
    parts = list(faults(pair)) if pair.own.look.get("pair") else []
    findings = [*other_release(pair), *parts] if pair.own.look.get("pair") else []
    beside = "compared with {}" if pair.other.look else "but {} was not asked"
    checked = f"as {pair.mode} of its pair, {beside.format(pair.other.name or 'the other host')}"
    found = {"problems": problems, "findings": findings, "parts": parts}
    return {**{name: list(map(str, each)) for name, each in found.items()}, "checked": checked}


def incomplete(pair: Pair) -> list[Problem]:
    """The one problem of a pair that is none, else nothing."""
    if sorted(pair.modes.values()) == ["main", "standby"]:
        return []
    rule = (
        "must be main on one host and standby on one other with the same dls_server_main_url and dls_server_standby_url"
    )
    got = ", ".join(f"{mode} on {name}" for name, mode in pair.modes.items())
    hint = "name the other host of the pair in the inventory, and set both URLs once for the two"
    return [Problem("dls_server_mode", rule, got or "no host", hint)]


def differences(pair: Pair) -> Iterator[Problem]:
    """What must be the same on both hosts before anything is changed."""
    own, other = pair.own, pair.other
    if other.lost:
        hint = (
            f"see what is said of {other.name}; where neither host is to get another release, it can be left out with"
            f" --limit {own.name}"
        )
        yield Problem(
            other.name,
            f"must be fit for this run, as the other host of {own.name}'s pair",
            "a refusal or no answer",
            hint,
        )
    for variable, here, there in (
        ("dls_server_version", own.version, other.version),
        ("dls_server_archive_checksum", own.checksum, other.checksum),
    ):
        if here != there:
            got = f"{here or 'nothing'}, and {there or 'nothing'} on {other.name}"
            hint = "set it once for the two, for example in group_vars/dls.yml"
            yield Problem(variable, "must be the same on both hosts of a pair", got, hint)
    if own.look and other.look:
        ahead = own.look["clock_skew"] - other.look["clock_skew"]
        if abs(ahead) > pair.max_clock_skew:
            rule = f"must be within dls_server_max_clock_skew = {pair.max_clock_skew} s of {other.name}'s"
            yield Problem("clock", rule, f"{ahead:+.1f} s", "synchronize both clocks, for example with chrony")


def other_release(pair: Pair) -> Iterator[Problem]:
    """Whether the two hosts of an installed pair have different releases."""
    own, other = pair.own.look, pair.other.look
    release = own["current"] or "none"
    if other and other["current"] != own["current"]:
        got = f"{release}, and {other['current'] or 'none'} on {pair.other.name}"
        yield Problem(
            "release", "must be the same on both hosts of a pair", got, "run the playbook upgrade on both hosts"
        )


def faults(pair: Pair) -> Iterator[Problem]:
    """What the servers of an installed pair do wrong, seen from this host."""
    other, seen = pair.other.look, pair.own.look["pair"]
    wanted = ["self", pair.urls[1]] if pair.mode == "main" else [pair.urls[0], "self"]
    if seen["servers"] != wanted:
        rule = f"must mirror that of the pair's other host and name this one as its {pair.mode}"
        got = f"servers {json.dumps(seen['servers'])}"
        yield Problem("dls.json", rule, got, "run the install playbook on both hosts")
    clients = seen["clients"]
    if not clients:
        return
    if seen["role"] == "main" and clients["error"] == STANDBY_REFUSES:
        got = f"{clients['text']}, as of a standby or of a server that is not ready"
        yield Problem("main", "must serve clients", got, "see its log, then restart it with: dlsctl restart")
    # A silent one says nothing: this host need not be among those that reach it.
    if seen["role"] == "main" and seen["other"]["status"] is not None and seen["other"]["error"] is None:
        hint = "correct it, or what leads from there to the standby: clients would find none when the main is gone"
        yield Problem("dls_server_standby_url", "must lead to a license server", seen["other"]["text"], hint)
    # The main works where it is healthy, or answers clients on the standby's host.
    if (
        seen["role"] == "standby"
        and clients["error"] != STANDBY_REFUSES
        and (seen["other"]["error"] is not None or (other and other["healthy"]))
    ):
        rule = f"must refuse clients with error {STANDBY_REFUSES} while the main works"
        hint = (
            f"the standby must reach {seen['servers'][0]}: from this host it gives {seen['other']['text']}; check"
            " dls_server_admin_password_set, without which no server reaches another, then its name, route and"
            " certificate, and dls_server_allowed_networks on both hosts"
        )
        yield Problem("standby", rule, clients["text"], hint)


def read(document: Mapping[str, Any]) -> Pair:
    """The pair that a JSON document describes: the fields of Pair, with `own` and `other` as those of Host."""
    hosts = {side: Host(**document[side]) for side in ("own", "other")}
    return Pair(**{**document, **hosts, "urls": tuple(document["urls"])})


if __name__ == "__main__":
    print(json.dumps(compare(read(json.load(sys.stdin)))))
