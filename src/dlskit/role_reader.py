"""What the variables of the kit's roles come to, for hosts of an inventory: read with Ansible's own classes.

Run as a child of who asks. The question comes as JSON on standard input: `inventory`, `vault_password_file` and
`ask_vault` as inventory.read_host takes them; `limit`, a pattern of hosts; `extra`, a list of what --extra-vars takes;
`kit`, the folder with `roles`; `views`, by name: of a `role` the `names` of variables, `given` some, `aliases`, which
are variables that stand for others, and `only_if`: by variable another one that must be true, or it is None.

The answer goes as JSON to a pipe, as it may hold secrets: `hosts`, and of each `connection`, `ssh`, `become` and
`views`; `windows`, the hosts that are left out for what they are; `unresolved`, by host the reason for each variable
of the inventory that cannot be made out here, for example because it takes facts: then no host has views;
`unmatched`, the parts of the limit that name no host.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from ansible import context
from ansible.inventory.host import Host
from ansible.inventory.manager import split_host_pattern
from ansible.module_utils.common.collections import ImmutableDict
from ansible.plugins.loader import lookup_loader
from ansible.template import trust_as_template
from ansible.vars.hostvars import HostVars
from jinja2 import Environment
from jinja2.lexer import get_lexer

from dlskit.inventory_reader import Inventory

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FAILED = "failed: "  # begins what is no JSON
# Variables of a role that are the same for every host: made out once.
SHARED = ("kit", "piped", "lines", "spec", "proxy_spec", "server_spec", "own", "known", "secrets", "families",
          "documented_versions")  # fmt: skip


class Reader:
    """Reads the roles of a kit for the hosts of an inventory."""

    def __init__(self, question: Mapping[str, Any]) -> None:
        self.kit = Path(question["kit"])
        self.views: Mapping[str, Mapping[str, Any]] = question["views"]
        # Where Ansible takes them from, for every host.
        context.CLIARGS = ImmutableDict(extra_vars=[trust_as_template(words) for words in question["extra"]])
        self.inventory = Inventory(question["inventory"], question["vault_password_file"], question["ask_vault"])
        self.extra: Mapping[str, Any] = self.inventory.variables.extra_vars
        self.limit: str = question["limit"]
        self.inventory.hosts.subset(self.limit or None)
        self.hosts: list[Host] = self.inventory.hosts.get_hosts("dls")
        self.hostvars = HostVars(self.inventory.hosts, self.inventory.variables, self.inventory.loader)
        self.files: dict[Path, dict[str, Any]] = {}
        self.roles: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def answer(self) -> dict[str, Any]:
        """What there is to say of the hosts."""
        hosts, windows, unresolved = {}, [], {}
        for host in self.hosts:
            values = self.inventory.variables.get_vars(host=host)
            problems: dict[str, str] = {}
            own = self.inventory.settings(host, values, problems)
            found = {**self.inventory.connection(own), "become": self.inventory.become(own)}
            if self.is_windows(values):
                windows.append(host.name)
                continue
            self.inventory.resolve([name for name in values if name.startswith("dls_")], values, problems)
            if problems:
                unresolved[host.name] = problems
            hosts[host.name] = found
        asked = [] if unresolved else [(name, view) for name in hosts for view in self.views]
        for (name, view), values in zip(asked, self.spread(asked), strict=True):
            hosts[name].setdefault("views", {})[view] = values
        self.inventory.hosts.subset(None)
        limits = [name for name in split_host_pattern(self.limit) if name and name[0] not in "!&"]
        unmatched = [name for name in limits if not self.inventory.hosts.get_hosts(name)]
        return {"hosts": hosts, "windows": windows, "unresolved": unresolved, "unmatched": unmatched}

    def spread(self, asked: Sequence[tuple[str, str]]) -> list[Any]:
        """What views of hosts come to, spread over the processors: it is for them that one waits."""
        if len(asked) < 2:
            return [self.view_of(*one) for one in asked]
        copies = min(len(asked), os.cpu_count() or 1)
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(copies, fork, initializer=take, initargs=(self,)) as pool:
            texts = list(pool.map(view_of_taken, asked))
        for failure in (text.removeprefix(FAILED) for text in texts if text.startswith(FAILED)):
            raise ValueError(failure)
        return [json.loads(text) for text in texts]

    def view_of(self, host: str, view: str) -> list[Any]:
        """What a view of a host comes to."""
        values = self.inventory.variables.get_vars(host=self.inventory.hosts.get_host(host))
        return self.view(values, self.views[view])

    def is_windows(self, values: Mapping[str, Any]) -> bool:
        """Whether a host is one of Windows."""
        own = self._load(self.kit / "roles/dls_server/vars/main.yml")
        return bool(self.inventory.template(own["__dls_server_platform"], {**values, **own}) == "windows")

    def view(self, values: Mapping[str, Any], view: Mapping[str, Any]) -> list[Any]:
        """What the variables of a view come to, in the order of its names."""
        defaults, own = self.role(view["role"], values)
        names = [host.name for host in self.hosts]
        magic = {
            "role_path": str(self.kit / "roles" / view["role"]),
            "hostvars": self.hostvars,
            "ansible_play_hosts_all": names,
            "ansible_play_hosts": names,
            "ansible_playbook_python": sys.executable,
        }
        scope = {**defaults, **values, **own, **magic, **view.get("given", {}), **self.extra}
        scope.update({alias: scope[name] for alias, name in view.get("aliases", {}).items()})
        conditions = view.get("only_if", {})
        return [
            self.inventory.template(scope[name], scope)
            if name not in conditions or self.inventory.template(scope[conditions[name]], scope)
            else None
            for name in view["names"]
        ]

    def role(self, name: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The defaults and the variables of a role for Linux, those made out that are the same for every host."""
        if name not in self.roles:
            folder = self.kit / "roles" / name
            defaults = self._load(folder / "defaults/main.yml")
            own = {**self._load(folder / "vars/main.yml"), **self._load(folder / "vars/linux.yml")}
            scope = {**defaults, **values, **own, "role_path": str(folder), "ansible_playbook_python": sys.executable}
            for shared in (f"__{name}_{short}" for short in SHARED):
                if shared in own:
                    own[shared] = scope[shared] = self.inventory.template(scope[shared], scope)
            self.roles[name] = defaults, own
        return self.roles[name]

    def _load(self, file: Path) -> dict[str, Any]:
        if file not in self.files:
            there = file.exists()
            self.files[file] = (
                self.inventory.loader.load_from_file(str(file), trusted_as_template=True) if there else {}
            )
        return self.files[file]


_taken: list[Reader] = []  # in a copy of the process


def take(reader: Reader) -> None:
    """Keep the reader that the process was copied with, which says when there is nothing more to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _taken.append(reader)


def view_of_taken(asked: tuple[str, str]) -> str:
    """What Reader.view_of() returns, as JSON, for Ansible's own kinds of text need not travel; or why there is none."""
    (reader,) = _taken
    try:
        return json.dumps(reader.view_of(*asked), default=str)
    except Exception as error:
        return FAILED + str(error)


def compile_once() -> None:
    """Have Jinja compile a template once in the process, and not once for each host and variable that has it.

    Jinja has one lexer for each syntax. A text with a backslash is left out: Ansible reads it in two ways.
    """
    compiled: dict[tuple[Any, ...], Any] = {}
    plain = Environment.compile

    def compile_text(self: Environment, source: Any, *words: Any, **options: Any) -> Any:
        if not isinstance(source, str) or "\\" in source:
            return plain(self, source, *words, **options)
        key = (type(self), get_lexer(self), str(source), words, *sorted(options.items()))
        if key not in compiled:
            compiled[key] = plain(self, source, *words, **options)
        return compiled[key]

    setattr(Environment, "compile", compile_text)  # noqa: B010 - another module's name


def interrupt(*_: object) -> NoReturn:
    """End the process; a second signal must not disturb that."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Answer the question on standard input."""
    gc.disable()  # for a second of life
    for number in SIGNALS:
        signal.signal(number, interrupt)  # SIGTERM, too: a terminal shows again what is typed
    lookup = lookup_loader.get("template", class_only=True)
    # It copies every variable, to the last part, for each file; nothing here changes one.
    setattr(sys.modules[lookup.__module__], "deepcopy", dict)  # noqa: B010 - another module's name
    compile_once()
    print(json.dumps(Reader(json.load(sys.stdin)).answer(), default=str))


if __name__ == "__main__":
    main()
