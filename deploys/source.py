"""The Ansible inventory as pyinfra takes it: the same hosts, connections and values, made out by Ansible's own classes.

Ansible is imported by a child process only (dlskit.role_reader): what it patches and takes never gets into pyinfra.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from dlsctl.problems import Refused
from dlskit.inventory import require, unreadable

ROOT = Path(__file__).resolve().parents[1]  # of the kit: roles, templates and src are beside this package
SOURCES = ROOT / "src"
SERVER, PROXY = "dls_server", "dls_proxy"
# By deploy: the playbook that the role's specification knows, and whether the proxy is part of it.
ENTRIES = {
    "install": ("main", False),
    "site": ("main", True),
    "licenses": ("licenses", False),
    "backup": ("backup", False),
    "restore": ("restore", False),
    "upgrade": ("upgrade", False),
    "rollback": ("rollback", False),
    "verify": ("verify", True),
    "uninstall": ("uninstall", True),
}
# Of each role: the variables that a deploy takes from it.
NAMES = {
    SERVER: (
        "__dls_server_look_request",
        "__dls_server_archive",
        "__dls_server_archive_path",
        "__dls_server_sha256",
        "__dls_server_command",
        "__dls_server_config_option",
        "__dls_server_line",
        "__dls_server_where",
        "__dls_server_undocumented",
        "__dls_server_license_dir",
        "__dls_server_is_paired",
        "__dls_server_pair_request",
        "__dls_server_license_request",
        "__dls_server_drop_ins",
        "__dls_server_package_folder",
        "__dls_server_package_place",
    ),
    PROXY: ("__dls_proxy_request",),
}
# What is asked only where another variable is true: it takes the variables of all other hosts.
ONLY_IF = {"__dls_server_pair_request": "__dls_server_is_paired"}
# What a playbook has by then, and a deploy fills in itself.
NOT_YET = {"__dls_server_preflight": {"stdout": "{}"}}
CONNECTORS = {"ssh": "", "smart": "", "local": "@local", "docker": "@docker/{host}", "podman": "@podman/{host}"}
SSH_FLAGS = {"J": "ProxyJump", "i": "IdentityFile", "l": "User", "p": "Port"}  # of ssh, beside -o
IGNORED = re.compile(r"\[WARNING\]: Unable to parse ")  # begins what Ansible says of a file that it goes on without
PIECE = 1 << 16  # bytes read at once
# What has no meaning for one connection that stays open until the run ends.
NOT_FOR_PARAMIKO = ("control", "serveralive", "batchmode", "tcpkeepalive", "preferredauthentications")


def views_of(deploy: str) -> list[tuple[str, str]]:
    """The roles and playbooks whose values a deploy takes."""
    entry, has_proxy = ENTRIES[deploy]
    return [(SERVER, entry), *([(PROXY, entry)] if has_proxy else [])]


class Reading:
    """A child process that reads an inventory. Raises Refused where there is none."""

    def __init__(self, source: Source, asked: Mapping[str, Any]) -> None:
        require(source.inventory)
        self.inventory, self.asked = source.inventory, asked
        question = {
            "inventory": source.inventory,
            "limit": source.limit,
            "extra": list(source.extra),
            "vault_password_file": source.vault_password_file,
            "ask_vault": source.ask_vault,
            "kit": str(ROOT),
            "views": asked,
        }
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - goes with this object
        self.child = subprocess.Popen(
            [sys.executable, "-P", "-m", "dlskit.role_reader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, "PYTHONPATH": str(SOURCES), "ANSIBLE_LOCALHOST_WARNING": "false"},
            text=True,
        )
        with contextlib.suppress(BrokenPipeError), cast(IO[str], self.child.stdin) as pipe:
            pipe.write(json.dumps(question))

    def answer(self) -> dict[str, Any]:
        """What dlskit.role_reader answers. Raises Refused or Problem for what it cannot read."""
        said = b"".join(self._pieces())
        failed = self.child.wait()
        self.errors.seek(0)
        errors = self.errors.read()
        if failed:
            raise unreadable(self.inventory, errors)
        for line in filter(IGNORED.match, errors.splitlines()):
            print(line, file=sys.stderr)
        found: dict[str, Any] = json.loads(said)
        return found

    def _pieces(self) -> Iterator[bytes]:
        """The answer. Other tasks of pyinfra's loop, and signals, go on meanwhile: for select() it puts its own."""
        with cast(IO[str], self.child.stdout) as pipe:
            while select.select([pipe], [], []) and (piece := os.read(pipe.fileno(), PIECE)):
                yield piece

    def stop(self) -> None:
        """End the child, if it is still at work."""
        if self.child.poll() is None:
            self.child.terminate()
            self.child.wait()


@dataclass
class Source:
    """An inventory, and what is asked of it.

    limit: a pattern of hosts, as Ansible's --limit. extra: as Ansible's --extra-vars. vault_password_file and
    ask_vault: as inventory.read_host takes them. site: whether the proxy follows the server. The rest is of one run:
    what the hosts were seen to be, whose turn has ended how, and what is to be done, by host.
    """

    inventory: str
    limit: str = ""
    extra: Sequence[str] = ()
    vault_password_file: str | None = None
    ask_vault: bool = False
    site: bool = False
    looks: dict[Any, Any] = field(default_factory=dict, repr=False)
    turns: dict[str, Any] = field(default_factory=dict, repr=False)
    plans: dict[str, list[str]] = field(default_factory=dict, repr=False)
    _views: dict[tuple[str, str], dict[str, list[Any]]] = field(default_factory=dict, repr=False)
    _files: list[Any] = field(default_factory=list, repr=False)
    _reading: Reading | None = field(default=None, repr=False)

    def anew(self) -> Source:
        """The same inventory, of which nothing is known yet."""
        return Source(self.inventory, self.limit, self.extra, self.vault_password_file, self.ask_vault, self.site)

    def view(self, role: str, entry: str) -> dict[str, list[Any]]:
        """What the NAMES of a role come to for each host, for a playbook by its name in the role's specification."""
        if (role, entry) not in self._views:
            self.read([(role, entry)])
        return self._views[role, entry]

    def read(self, views: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """What dlskit.role_reader answers, whose views are kept. Raises Refused or Problem for what it cannot read."""
        asked = self._asked(views)
        run = self._reading if self._reading and self._reading.asked == asked else Reading(self, asked)
        self._reading = None
        try:
            answer = run.answer()
        finally:
            run.stop()
        for name in asked:
            role, entry = name.split()
            self._views[role, entry] = {
                host: found["views"][name] for host, found in answer["hosts"].items() if "views" in found
            }
        return answer

    def begin(self, views: Iterable[tuple[str, str]]) -> None:
        """Have the inventory read from now on: the next read() of the same views takes the answer."""
        self._reading = Reading(self, self._asked(views))

    def stop(self) -> None:
        """End the reading of the inventory, if it goes on."""
        if self._reading:
            self._reading.stop()

    def _asked(self, views: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """What the reader is asked about roles and playbooks, by name."""
        return {
            f"{role} {entry}": {
                "role": role,
                "names": NAMES[role],
                "given": {**NOT_YET, f"__{role}_entry": entry},
                "aliases": self._aliases() if role == SERVER else {},
                "only_if": ONLY_IF,
            }
            for role, entry in views
        }

    def linux_hosts(self, views: Iterable[tuple[str, str]] = ()) -> list[tuple[str, dict[str, Any]]]:
        """Names and data of the hosts, as pyinfra's inventories have them; says which hosts are left out.

        views: roles and playbooks for which the values are read at the same time. Raises Refused where no host is left,
        or the variables of one cannot be made out.
        """
        answer = self.read(views)
        for name in answer["windows"]:
            print(f"{name}: a Windows host, left out: use the playbooks for it", file=sys.stderr)
        if answer["unmatched"]:
            rule = "must be hosts or groups of the inventory"
            raise Refused(
                "--limit", rule, ", ".join(answer["unmatched"]), f"ansible-inventory -i {self.inventory} --graph"
            )
        if answer["unresolved"]:
            hint = "mend what is named; a deploy has none of Ansible's facts"
            raise Refused("variables", "must be made out", unresolved(answer["unresolved"]), hint)
        if not answer["hosts"]:
            raise Refused(
                "hosts", "must be at least one Linux host of group dls", "none", "see --limit and the inventory"
            )
        return distinct([self._host(name, found) for name, found in answer["hosts"].items()])

    def _aliases(self) -> dict[str, str]:
        """Variables of the server's role that tasks of its playbooks set to others."""
        follows = {"__dls_server_proxy_follows": "__dls_server_proxy_is_next"} if self.site else {}
        return {"__dls_server_pair": "__dls_server_find_pair", **follows}

    def _host(self, name: str, found: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        kind = found["connection"].rsplit(".", 1)[-1]
        if kind not in CONNECTORS:
            rule = f"must be one of {', '.join(CONNECTORS)} for pyinfra"
            raise Refused(f"{name}: ansible_connection", rule, kind, "use the playbook for this host")
        if name.startswith("@"):
            rule = "must not begin with @, which means something else to pyinfra"
            raise Refused("host", rule, name, "name it otherwise and give its address as ansible_host")
        data = {**become(found["become"]), "kit_source": self, "kit_name": name}
        if CONNECTORS[kind]:
            host = found["ssh"]["host"] or name
            return CONNECTORS[kind].format(host=host), {**data, "_temp_dir": "/var/tmp"}  # noqa: S108 - no tmpfs there
        return name, {**data, **self._ssh(name, found["ssh"])}

    def _ssh(self, name: str, ssh: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of ssh that Ansible would give to the ssh of the system."""
        settings: dict[str, str] = {}
        for key, value in ssh_options(self._ssh_words(name, ssh)):
            settings.setdefault(key, value)  # as for ssh, what is said first
        config = settings.pop("-F", None)
        checking = settings.pop("stricthostkeychecking", "yes")  # nobody is there to be asked
        data = {
            "ssh_hostname": ssh["host"],
            "ssh_port": ssh["port"],
            "ssh_user": ssh["remote_user"],
            "ssh_password": ssh["password"],
            "ssh_key": ssh["private_key_file"],
            "ssh_strict_host_key_checking": "no" if not ssh["host_key_checking"] else checking.replace("ask", "yes"),
            "ssh_config_file": self._config(ssh["host"] or name, settings, config),
        }
        return {key: value for key, value in data.items() if value is not None}

    def _ssh_words(self, name: str, ssh: Mapping[str, Any]) -> list[str]:
        options = " ".join(ssh[key] or "" for key in SSH_ARGUMENTS)
        try:
            return shlex.split(options)
        except ValueError as error:
            rule = f"must be words as a shell has them ({error})"
            raise Refused(f"{name}: ansible_ssh_common_args", rule, options) from None

    def _config(self, host: str, settings: Mapping[str, str], config: str | None) -> str:
        """A configuration of ssh with the settings, and what the user's own says of the host."""
        file = tempfile.NamedTemporaryFile("w", prefix="dls-ssh-")  # noqa: SIM115 - goes with this object
        self._files.append(file)
        lines = [f"Host {host}", *(f"  {key} {value}" for key, value in settings.items())]
        own = Path(config or "~/.ssh/config").expanduser()
        if own.exists():
            lines += ["Host *", f"  Include {own}"]
        file.write("\n".join(lines) + "\n")
        file.flush()
        return file.name


def distinct(hosts: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """The hosts themselves. Raises Refused for two that are the same machine, of which pyinfra would take one."""
    names: dict[str, str] = {}
    for name, data in hosts:
        if name in names:
            both = f"{names[name]} and {data['kit_name']}, which are both {name}"
            raise Refused("hosts", "must each be a machine of its own", both, "leave one out with --limit")
        names[name] = data["kit_name"]
    return hosts


SSH_ARGUMENTS = ("ssh_args", "ssh_common_args", "ssh_extra_args")


def ssh_options(words: list[str]) -> Iterator[tuple[str, str]]:
    """The settings that options of ssh come to, by their names in lower case; -F as it is.

    >>> dict(ssh_options(["-o", "User=kit", "-oPort=22", "-J", "gate"]))
    {'user': 'kit', 'port': '22', 'proxyjump': 'gate'}
    """
    rest = iter(words)
    for word in rest:
        flag, value = word[1:2], word[2:]
        if not word.startswith("-") or flag not in {"o", "F", *SSH_FLAGS}:
            continue  # what changes nothing in where the connection goes, as -C or -4
        value = value or next(rest, "")
        if flag == "F":
            yield "-F", value
        elif flag == "o":
            key, setting = [*re.split(r"\s*=\s*|\s+", value.strip(), maxsplit=1), ""][:2]
            if not key.lower().startswith(NOT_FOR_PARAMIKO):
                yield key.lower(), setting.strip().strip('"')
        else:
            yield SSH_FLAGS[flag].lower(), value


# By method of becoming root: what pyinfra calls it by, and the options that change nothing in how it does.
METHODS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "sudo": ({"_sudo": True}, ["-H", "-S", "-n"]),
    "su": ({}, []),
    "doas": ({"_doas": True}, ["-n"]),
}


def become(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How commands become root: as the playbooks do, unless the inventory says otherwise."""
    if str(settings["become"]).lower() in ("false", "no", "off", "0", "n", "f"):
        return {}
    method = settings["method"].rsplit(".", 1)[-1]
    if method not in METHODS:
        raise Refused("ansible_become_method", "must be sudo, su or doas for pyinfra", method, "use the playbook")
    data, harmless = METHODS[method]
    if settings.get("exe") not in (None, method, f"/bin/{method}", f"/usr/bin/{method}"):
        rule = f"must be {method} for pyinfra"
        raise Refused("ansible_become_exe", rule, settings["exe"], "leave it out, or use the playbook")
    if not set(str(settings.get("flags") or "").split()) <= {*harmless}:
        rule = f"must be {' '.join(harmless) or 'left out'} for pyinfra, which has options of its own"
        raise Refused("ansible_become_flags", rule, settings["flags"], "leave it out, or use the playbook")
    user, password = settings.get("user") or "root", settings.get("pass")
    if method == "su" or user != "root":  # for another user than root, pyinfra wants access control lists on the host
        data = {**data, f"_{method}_user": user}
    return {**data, **({f"_{method}_password": password} if password and method != "doas" else {})}


def unresolved(problems: Mapping[str, Mapping[str, str]]) -> str:
    """Which variables of which hosts cannot be made out, and why, a line each."""
    lines = (f"{host}, {name}: {reason}" for host, found in problems.items() for name, reason in found.items())
    return "\n  ".join(["", *lines])
