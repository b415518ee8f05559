"""Upgrade and rollback: of a pair one host after the other, so that one of them answers clients all the time.

A change of the version is one operation. Those of a pair's two hosts run beside each other, and whoever goes second
waits inside of its own until the first has come to its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gevent.event import AsyncResult
from pyinfra import context
from pyinfra.api import Host

from deploys import judge, looks, remote, server
from deploys.looks import Look
from deploys.remote import Failed, Lost
from deploys.steps import Steps
from deploys.tell import say
from deploys.work import dlsctl, work
from dlsctl.problems import Refused


@dataclass(frozen=True)
class Turn:
    """What has come of a host's turn: whether it failed, and whether the server answers all the same."""

    failed: bool = False
    answers: bool = True


@dataclass(frozen=True)
class Roll:
    """A change of the version. verb: what is done to a host, in words. way_back: what dlsctl is to do then."""

    verb: str
    entry: str
    change: Callable[[Host, Look], None]
    way_back: Sequence[str]


def upgrade(host: Host, look: Look) -> None:
    """Put a newer release in use; a main of a pair after its standby."""
    remote.refuse(*parts(host, look))
    steps = Steps()
    if moves(look):
        server.prepare_host(steps, look)
        server.write_configuration(steps, look)
        server.copy_archive(steps, look)
    goes_first = look.wanted["dls_server_mode"] != "main"
    roll(host, look, steps, goes_first, Roll("upgraded", "upgrade", put_in_use, ["rollback"]))


def parts(host: Host, look: Look) -> Sequence[str]:
    """What a host does wrong in its pair or, where it is the other one that does, that this one must stay as it is."""
    found = judge.compared(host, look, "upgrade")["parts"]
    other = judge.other_host(host, look) if not found else None
    theirs, _ = judge.other_look(host, look, "upgrade") if other else (None, False)
    if other and theirs and judge.compared(other, theirs, "upgrade")["parts"]:
        rule = f"must be fit for this run, as the other host of {host.data.kit_name}'s pair"
        name = other.data.kit_name
        return [str(Refused(name, rule, "a refusal", f"mend what is said of {name}, then run the same again"))]
    return list(found)


def rollback(host: Host, look: Look) -> None:
    """Put the earlier release back in use; a main of a pair before its standby, unless it alone does not answer."""
    other, _ = judge.other_look(host, look, "rollback")
    is_main = look.wanted["dls_server_mode"] == "main"
    mine, theirs = bool(look.seen["healthy"]), bool(other and other.seen["healthy"])
    standby_first = (mine and not theirs) if is_main else (theirs and not mine)
    goes_first = not look.wanted["is_paired"] or (is_main != standby_first)
    roll(host, look, Steps(), goes_first, Roll("rolled back", "rollback", put_back, ["rollback", "--undo"]))


def moves(look: Look) -> bool:
    """Whether there is something to do on the host."""
    return bool(look.seen["current"] != server.version(look))


def roll(host: Host, look: Look, steps: Steps, goes_first: bool, kind: Roll) -> None:
    """Change the version of a host in its turn."""
    other = judge.other_host(host, look)
    if look.wanted["is_paired"] and other is None:
        name = look.wanted["pair_request"]["other"]["name"]
        remote.refuse(
            f"{name}: must be {kind.verb} in one run with {host.data.kit_name}, got one without\n"
            "HINT: leave out --limit: the two hosts of a pair have one version"
        )
    if moves(look):
        name = f"{kind.entry.capitalize()} {look.seen['current']} to {server.version(look)}"
        in_time = [lambda: comes_to_its_turn(host, steps)]
        steps.do(name, lambda host: take_turn(host, look, other, goes_first, kind), _if=in_time)
        steps.otherwise("Put the earlier configuration back", lambda host: undo(host, look, steps))
    else:
        turn(host).set(Turn())
        say(host, f"{server.version(look)} is in use already: there is nothing to do")


def turn(host: Host) -> AsyncResult[Turn]:
    """The turn of a host in this run."""
    found: AsyncResult[Turn] = looks.source_of(host).turns.setdefault(host.data.kit_name, AsyncResult())
    return found


def comes_to_its_turn(host: Host, steps: Steps) -> bool:
    """Whether a host has come so far; one that has failed before has had its turn: nobody is to wait for it."""
    if steps.failed():
        turn(host).set(Turn(failed=True))
    return not steps.failed()


def end_of_turn(host: Host) -> Turn:
    """Wait for the end of a host's turn; there is none for a host that was refused."""
    if host not in context.state.inventory.get_active_hosts():
        return Turn(failed=True)
    return turn(host).get() or Turn(failed=True)


def take_turn(host: Host, look: Look, other: Host | None, goes_first: bool, kind: Roll) -> None:
    """Change a host when it is its turn; go back where the other host of the pair fails afterwards."""
    name = other.data.kit_name if other else ""
    try:
        if other and not goes_first and end_of_turn(other).failed:
            raise Failed(
                f"{name}: must be {kind.verb} and healthy before {host.data.kit_name}, got a failure\n"
                f"HINT: mend what is said of {name}, then run the same again"
            )
        kind.change(host, look)
    except Exception:
        turn(host).set(Turn(failed=True, answers=answers(host, look)))
        raise
    turn(host).set(Turn())
    if other and goes_first and (theirs := end_of_turn(other)).failed and theirs.answers:
        back = work(host, look.wanted, kind.way_back)
        rule = f"must have the version of {name}, where the new one failed, and went back to {back['new']}"
        raise Failed(f"{host.data.kit_name}: {rule}")


def answers(host: Host, look: Look) -> bool:
    """Whether the server of a host that has failed runs."""
    try:
        return dlsctl(host, look.wanted, ["status"]).code == 0
    except (Lost, ValueError):
        return False


def put_in_use(host: Host, look: Look) -> None:
    """Upgrade a host, and prove the new release; any failure puts the old one back."""
    wanted = look.wanted
    words = [
        "upgrade",
        wanted["archive_path"],
        f"--sha256={wanted['sha256']}",
        f"--version={server.version(look)}",
        f"--line={json.dumps(wanted.request['line'])}",
        f"--state={wanted['dls_server_upgrade_state']}",
        "--acknowledge",
    ]
    answer = work(host, wanted, words)
    try:
        server.apply_now(host, look)
        do_part(host, look, "upgrade")
    except Failed as failure:
        work(host, wanted, ["rollback"])
        raise Failed(f"{failure}\nRelease {look.seen['current']} is in use again.", failure.code) from None
    old, new, away = look.seen["current"], server.version(look), answer["outage"] or "some"
    say(host, f"{old} became {new}, the server was away for {away} s.")
    say(host, "The hardware labels are the same; the UUID was not read, which playbooks/upgrade.yml can do.")
    say(host, f"What {old} was left with is in the backup {answer['backup']}.")


def put_back(host: Host, look: Look) -> None:
    """Roll a host back, and prove the earlier release; where it does not do its part, the newer one is put back."""
    answer = work(host, look.wanted, ["rollback", f"--to={server.version(look)}"])
    try:
        do_part(host, look, "rollback")
    except Failed as failure:
        work(host, look.wanted, ["rollback", "--undo"])
        raise Failed(f"{failure}\nRelease {look.seen['current']} is in use again.", failure.code) from None
    say(host, f"{answer['new']} is back with the state it had.")
    say(host, f"What {answer['old']} wrote since is in the backup {answer['backup']}.")


def do_part(host: Host, look: Look, entry: str) -> None:
    """Wait until the server is healthy and, where the other one of its pair is, does its part."""
    words = ["health"]
    other, _ = judge.other_look(host, look, entry)
    if other and other.seen["healthy"]:
        words.append(f"--part={look.wanted['dls_server_mode']}")
    dlsctl(host, look.wanted, words).done()


def undo(host: Host, look: Look, steps: Steps) -> str:
    """Put the earlier configuration back after a failure that dlsctl has undone."""
    if steps.failure and steps.failure.code in server.LEAVE_ALONE:
        return ""
    if look.seen["differs"]:
        server.undo_configuration(host, look)
    return ""
