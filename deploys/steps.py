"""Operations of which each needs the one before, and what is to be done where one fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyinfra import context
from pyinfra.api import Host, State
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import python

from deploys.looks import source_of
from deploys.remote import Failed
from deploys.tell import complain, say
from dlsctl.problems import Problem

Change = Callable[[Host], object]  # does something on a host. Raises Failed


class Steps:
    """Operations for one host, in order. After one that fails, no other one is run."""

    def __init__(self) -> None:
        self.metas: list[tuple[str, OperationMeta]] = []  # with their names
        self.failure: Failed | None = None
        self.has_installed = False  # a release that was not there

    def failed(self) -> bool:
        """Whether an operation has failed."""
        return any(has_failed(meta) for _, meta in self.metas)

    def starts(self, host: Host, name: str) -> bool:
        """Whether an operation is to be run now, and says so then."""
        if self.failed():
            return False
        say(host, name)
        return True

    def add(self, operation: Callable[..., OperationMeta], *arguments: Any, **options: Any) -> OperationMeta:
        """Add an operation of pyinfra's, with its name."""
        host = context.host
        conditions = [*options.pop("_if", []), lambda: self.starts(host, options["name"])]
        source_of(host).plans.setdefault(host.data.kit_name, []).append(options["name"])
        meta = operation(*arguments, **options, _ignore_errors=True, _if=conditions)
        self.metas.append((options["name"], meta))
        return meta

    def do(self, name: str, change: Change, **options: Any) -> OperationMeta:
        """Add what is no operation of pyinfra's."""

        def function(state: State, host: Host) -> bool:
            try:
                change(host)
            except Failed as failure:
                self.failure = failure
            except Exception as error:  # a fault of the kit's must not take the way back from this host
                self.failure = Failed(f"{name}: must come to an end, got {type(error).__name__}: {error}")
            return self.failure is None

        return self.add(python.call, function=function, name=name, **options)

    def reason(self) -> str:
        """Why an operation failed."""
        if self.failure:
            return str(self.failure)
        name, meta = next((name, meta) for name, meta in self.metas if has_failed(meta))
        told = (meta.stderr or meta.stdout).strip()
        return told or str(Problem(name, "must succeed", "what is said above", "mend that, and run the same again"))

    def otherwise(self, name: str, undo: Callable[[Host], str] = lambda host: "") -> None:
        """End the steps: where one has failed, undo them, and fail the host with the reason and what `undo` says."""

        def function(state: State, host: Host) -> bool:
            try:
                end = undo(host)
            except Failed as failure:
                end = str(failure)
            complain(host, f"{self.reason()}\n{end}")
            return False

        python.call(function=function, name=name, _if=[self.failed])


def has_failed(meta: OperationMeta) -> bool:
    """Whether an operation was run, and failed."""
    return bool(meta.is_complete() and not meta.did_succeed())
