"""What the inventory wants of a host, and what the host was seen to be before any change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import AsyncResult
from pyinfra import context
from pyinfra.api import DeployError, Host

from deploys import remote
from deploys.source import NAMES, PROXY, SERVER, Source
from dlsctl.problems import EXIT_OK, EXIT_REFUSED, Problem, Refused

# By role: the program that looks, and how it is called.
PROGRAMS = {SERVER: ("dlsctl.cli", ("preflight", "--json")), PROXY: ("dlsproxy.cli", ("look",))}
NO_SUCH_PROGRAM = 127  # of a shell


class NoPython(DeployError):
    """A host without Python: it cannot even be looked at."""


@dataclass(frozen=True)
class Wanted:
    """What the variables of a role come to for a host; values: by what is behind __ROLE_ in their names."""

    role: str
    values: Mapping[str, Any]

    @property
    def request(self) -> Any:
        return self.values["look_request" if self.role == SERVER else "request"]

    def __getitem__(self, name: str) -> Any:
        """A variable of the role by its name, or one of the role's own by what is behind __ROLE_."""
        return self.values[name] if name in self.values else self.request["values"][name]

    def is_true(self, name: str) -> bool:
        """Whether a variable is true, as Ansible's filter bool has it."""
        return str(self.get(name)).lower() in ("true", "yes", "on", "1", "y", "t")

    def has(self, name: str) -> bool:
        """Whether the inventory or the role has a variable, also one that does not travel to the host."""
        return name in self.request["names"]

    def get(self, name: str, default: Any = None) -> Any:
        """A variable of the role, or the default where it is not set."""
        return self.request["values"].get(name, default)


@dataclass(frozen=True)
class Look:
    """What a host was seen to be: `seen`, as the look tells it, and the problems that a change would meet."""

    wanted: Wanted
    seen: Mapping[str, Any]
    problems: tuple[str, ...]


def wanted(host: Host, role: str, entry: str) -> Wanted:
    """What the inventory wants of a host, for a playbook by its name in the role's specification."""
    views = source_of(host).view(role, entry)
    if host.data.kit_name not in views:
        raise DeployError(f"{host.data.kit_name}: must have variables that can be made out without facts")
    short = (name.removeprefix(f"__{role}_") for name in NAMES[role])
    return Wanted(role, dict(zip(short, views[host.data.kit_name], strict=True)))


def look(host: Host, role: str, entry: str) -> Look:
    """Look at a host, once in a run for each playbook; hosts of a pair may ask for one another's look."""
    looks = source_of(host).looks
    key = host.data.kit_name, role, entry
    if key not in looks:
        looks[key] = AsyncResult()
        try:
            looks[key].set(look_now(host, wanted(host, role, entry)))
        except Exception as error:
            looks[key].set_exception(error)
    found: Look = looks[key].get()
    return found


def begin(role: str, entry: str) -> None:
    """Have the host in context looked at from now on: look() waits for it, and raises what went wrong."""
    state, host = context.ctx_state.get(), context.ctx_host.get()

    def run() -> None:
        with context.ctx_state.use(state), context.ctx_host.use(host), suppress(Exception):
            look(host, role, entry)

    gevent.spawn(run)


def look_now(host: Host, what: Wanted) -> Look:
    """Look at a host. Raises DeployError for one that cannot be looked at."""
    program, words = PROGRAMS[what.role]
    request = {**what.request, "epoch": time.time()} if "epoch" in what.request else what.request
    try:
        ran = remote.ask(host, program, words, request)
    except remote.Lost as error:
        raise DeployError(unfit(host, error)) from error
    if ran.code == NO_SUCH_PROGRAM:
        hint = "install the distribution's; `dlskit deploy install` does that, too"
        raise NoPython(str(Refused(host.name, "must have a python3, which dlsctl needs", "none", hint)))
    if ran.code not in (EXIT_OK, EXIT_REFUSED) or "look" not in ran.answer:
        raise DeployError(ran.problem)
    return Look(what, ran.answer["look"], tuple(problem["text"] for problem in ran.answer["problems"]))


def unfit(host: Host, error: remote.Lost) -> str:
    """Why a host gave no answer: where it lets nobody become root, what was asked was not even read."""
    reason = str(error)
    try:
        remote.run(host, ["true"])
    except remote.Lost as second:
        reason = str(second)
    rule = "must run commands as root, as the inventory says how"
    return str(
        Refused(host.data.kit_name, rule, reason, "try: ansible -i INVENTORY -b -m ping HOST; -K asks for a password")
    )


def source_of(host: Host) -> Source:
    """The inventory that a host comes from."""
    source = host.data.kit_source
    if not isinstance(source, Source):
        rule = "must be one that deploys.source has made"
        raise DeployError(
            str(Problem("inventory", rule, None, "use dlskit deploy, or a file as docs/pyinfra.md has it"))
        )
    return source


def others(host: Host) -> list[Host]:
    """The other hosts of this run that have not failed."""
    return [each for each in context.state.inventory.get_active_hosts() if each.name != host.name]
