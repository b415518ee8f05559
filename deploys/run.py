"""A deploy from its first look to its summary: what `dlskit deploy` does."""

from __future__ import annotations

import difflib
import logging
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

import gevent
from pyinfra.api import Config, DeployError, Host, Inventory, State
from pyinfra.api.connect import disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import StateStage
from pyinfra.connectors import util
from pyinfra.context import ctx_host, ctx_state
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import deploys
from deploys.looks import NoPython
from deploys.remote import Failed
from deploys.server import WRITE, install_python
from deploys.source import SERVER, Source, views_of
from deploys.tell import complain, is_news
from dlsctl.problems import EXIT_DIFFERS, EXIT_FAILED, EXIT_OK, EXIT_REFUSED, Refused

INSTALLING = ("install", "site", "restore")  # the deploys that a host without anything may be for
CHANGES, UNCHANGED, FAILED, UNREACHABLE, REFUSED = "changes", "unchanged", "failed", "unreachable", "refused"
LEFT_ALONE = "left alone"
PATIENCE = 10  # seconds, for a host to be connected to


def run(deploy: str, source: Source, dry: bool, strict: bool) -> int:
    """Look at every host, say what would change and, unless that is all, change it. Returns the exit code.

    deploy: one of source.ENTRIES. dry: only say what would change. strict: change no host where one is refused or
    silent.
    0: as wanted. 5: with `dry`, changes are pending. 1: a host failed or did not answer. 6: one was refused, where
    nothing was changed. Raises Refused or Problem before any host is reached.
    """
    hosts = source.linux_hosts(views_of(deploy))
    state = State(Inventory((hosts, {})), Config(CONNECT_TIMEOUT=PATIENCE, FAIL_PERCENT=0 if strict else None))
    this = Run(state, deploy, source, dry, strict)
    try:
        with ctx_state.use(state):
            this.connect()
            this.prepare()
            this.show()
            if not dry:
                this.execute()
    finally:
        disconnect_all(state)
    if this.bare and not this.failed() and not dry:
        return run(deploy, source.anew(), dry, strict)  # now that these hosts can be looked at
    this.summarize()
    return this.code()


class Run:
    """The hosts of a run, and what has become of each."""

    def __init__(self, state: State, deploy: str, source: Source, dry: bool, strict: bool) -> None:
        self.state, self.deploy, self.source, self.dry, self.strict = state, deploy, source, dry, strict
        self.ends: dict[str, str] = {host.data.kit_name: UNREACHABLE for host in state.inventory}
        self.bare: list[Host] = []  # those without Python
        self.out = Console(highlight=False)

    def connect(self) -> None:
        """Reach the hosts. With `strict` none is missing. Raises Refused where none answers."""
        self.state.set_stage(StateStage.Connect)
        hosts = list(self.state.inventory)
        gevent.joinall([self.state.pool.spawn(reach, host) for host in hosts])
        for host in hosts:
            if host.connected:
                self.state.activate_host(host)
        try:
            self.state.fail_hosts({host for host in hosts if not host.connected}, activated_count=len(hosts))
        except PyinfraError:
            rule = "must all answer" if self.strict else "must answer"
            missing = [host.data.kit_name for host in self.state.inventory if not host.connected]
            raise Refused("hosts", rule, f"none from {', '.join(missing)}", "see what is said of each") from None

    def prepare(self) -> None:
        """Look at all hosts at once, and keep what is to be done."""
        self.state.set_stage(StateStage.Prepare)
        hosts = list(self.state.inventory.get_active_hosts())
        tasks = {host: self.state.pool.spawn(self._prepare, host) for host in hosts}
        gevent.joinall(list(tasks.values()), raise_error=True)
        refused = {host for host in hosts if self.ends[host.data.kit_name] == REFUSED}
        if refused and (self.strict or len(refused) == len(hosts)):
            self.state.active_hosts.clear()
            self.ends.update({name: LEFT_ALONE for name, end in self.ends.items() if end == CHANGES})
        else:
            self.state.fail_hosts(refused)

    def _prepare(self, host: Host) -> None:
        with ctx_state.use(self.state), ctx_host.use(host):
            try:
                getattr(deploys, self.deploy)()
                self.ends[host.data.kit_name] = CHANGES if self.source.plans.get(host.data.kit_name) else UNCHANGED
            except NoPython as error:
                if self.deploy in INSTALLING:
                    self.bare.append(host)
                    self.ends[host.data.kit_name] = CHANGES
                    self.source.plans[host.data.kit_name] = ["Install python3; what else is to be done is known then"]
                else:
                    self.refuse(host, str(error))
            except (DeployError, Failed) as error:
                self.refuse(host, str(error))
            except Exception as error:  # a fault of the kit's must not keep the others from their deploy
                self.refuse(host, f"{host.data.kit_name}: must be looked at, got {type(error).__name__}: {error}")

    def refuse(self, host: Host, reason: str) -> None:
        """Note that a host was refused, and say why."""
        self.ends[host.data.kit_name] = REFUSED
        complain(host, reason)

    def show(self) -> None:
        """Say what would change: steps, and the lines of files."""
        for name in sorted(name for name, end in self.ends.items() if end == CHANGES):
            for step in self.source.plans[name]:
                self.out.print(f"[bold]{escape(name)}[/]: {escape(step)}")
            for line in differences(self.source, name) if WRITE in self.source.plans[name] else ():
                self.out.print(escape(line), style={"+": "green", "-": "red"}.get(line[:1], ""), soft_wrap=True)

    def execute(self) -> None:
        """Do what is to be done."""
        self.state.set_stage(StateStage.Execute)
        self.state.config.FAIL_PERCENT = None  # a host at work is never left in the middle for the failure of another
        if not self.state.active_hosts:
            return
        for host in self.bare:
            try:
                install_python(host)
            except Failed as failure:
                complain(host, str(failure))
                self.state.failed_hosts.add(host)
        carry_out(self.state)
        for host in self.failed():
            self.ends[host.data.kit_name] = FAILED

    def failed(self) -> list[Host]:
        """The hosts that failed while they were changed."""
        return [host for host in self.state.failed_hosts if self.ends[host.data.kit_name] in (CHANGES, FAILED)]

    def summarize(self) -> None:
        """Say what has become of each host."""
        table = Table("host", "outcome", box=None, pad_edge=False)
        words = {CHANGES: "would change" if self.dry else "changed"}
        for name, end in sorted(self.ends.items()):
            table.add_row(escape(name), words.get(end, end))
        self.out.print(table)

    def code(self) -> int:
        """The exit code of the run."""
        ends = set(self.ends.values())
        if ends & {FAILED, UNREACHABLE}:
            return EXIT_FAILED
        if REFUSED in ends:
            return EXIT_REFUSED
        return EXIT_DIFFERS if self.dry and CHANGES in ends else EXIT_OK


def reach(host: Host) -> None:
    """Connect to a host, or say why not: what is wrong with one keeps no other from its deploy."""
    try:
        host.connect()
    except Exception as error:  # such as a key that is not there, or a name that is none
        complain(host, f"{host.data.kit_name}: must be reached as the inventory says, got {error}")


def carry_out(state: State) -> None:
    """Run the operations of all hosts, each host's one after the other; a host with more of them keeps none waiting.

    pyinfra's own run_ops starts the third operation of one host when the second one of every other host has ended,
    and a main whose upgrade is its second would wait for that of its standby, which is the third, for ever.
    """
    state.is_executing = True
    hosts = list(state.inventory.get_active_hosts())
    gevent.joinall([gevent.spawn(carry_out_on, state, host) for host in hosts], raise_error=True)


def carry_out_on(state: State, host: Host) -> None:
    """Run the operations of a host up to one that fails."""
    with ctx_state.use(state), ctx_host.use(host):
        operations = [each for each in state.get_op_order() if each in state.ops[host]]
        try:
            done = all(run_host_op(state, host, operation) for operation in operations)
        except Exception as error:  # a fault of the kit's must not end what is done on the others
            done = False
            complain(host, f"{host.data.kit_name}: must be worked on to the end, got {type(error).__name__}: {error}")
        if not done:
            state.failed_hosts.add(host)
            state.active_hosts.discard(host)


def differences(source: Source, name: str) -> Iterator[str]:
    """How the files of the server's configuration would change on a host."""
    for (host, role, _), result in source.looks.items():
        if (host, role) == (name, SERVER) and result.successful():
            look = result.value
            there = {file["path"]: file["content"] for file in look.seen.get("files", [])}
            wanted = {
                file["path"]: file.get("content") for file in look.wanted.request["files"] if not file.get("self")
            }
            for path in look.seen.get("differs", []):
                if path not in wanted:
                    yield f"{path} on {name}: that of this kit"
                    continue
                old, new = ((files.get(path) or "").splitlines() for files in (there, wanted))
                if not old:
                    yield f"{path} on {name}: new, {len(new)} lines"
                    continue
                yield from difflib.unified_diff(old, new, f"{path} on {name}", path, lineterm="")


def stop_on_signals() -> None:
    """Have Ctrl-C and SIGTERM end the run itself, and not whichever of its tasks is at work: it may take that for a
    lost connection."""
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)  # it is told in one line, without a traceback
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, interrupt)


def interrupt() -> NoReturn:
    """End the run."""
    raise KeyboardInterrupt


def log() -> None:
    """Show what pyinfra says, on standard error; it asks for no password, and has none in its command lines."""
    setattr(util, "getpass", lambda prompt: "")  # noqa: B010 - another function's place
    logger = logging.getLogger("pyinfra")
    logger.setLevel(logging.INFO)
    logger.addFilter(is_news)
    logger.addHandler(logging.StreamHandler(sys.stderr))
