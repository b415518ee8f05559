"""Which portal a command is for: a host of an inventory with its variables, or a URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlsctl.pair import url_parts
from dlsctl.problems import Problem, Refused
from dlskit.inventory import Host, read_host
from dlskit.lines import line_of, lines

# The variables of a host that the portal's steps take values from.
PASSWORD, ALERTS, UUID = "dls_server_admin_password", "dls_server_alerts", "dls_server_uuid"
VARIABLES = (
    "dls_server_version", "dls_server_port", "dls_server_mode",
    "dls_server_url", "dls_server_main_url", "dls_server_standby_url", PASSWORD, ALERTS, UUID,
)  # fmt: skip
# The keys of dls_server_alerts and, for the receivers, what parts several addresses.
ALERT_KEYS = ("host", "port", "ssl_trust", "address", "password", "to", "cc", "bcc")


@dataclass(frozen=True)
class Target:
    """A portal.

    name: the host's, or the URL. url: where it answers on this machine; empty where ssh leads to it. ssh: Ansible's
    options for that. port: the server's own. variables: those of VARIABLES that the host has.
    """

    name: str
    url: str
    port: int
    ssh: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    unresolved: Mapping[str, str] = field(default_factory=dict)

    def variable(self, name: str) -> Any:
        """Return a variable of the host, None where it has none. Raises Problem when Ansible cannot make it out."""
        if name in self.unresolved:
            hint = "give the vault's password with --vault-password-file or --ask-vault-pass, or mend the variable"
            raise Problem(name, "must be resolvable", self.unresolved[name], hint)
        return self.variables.get(name)


def find(
    inventory: str | None, host: str | None, url: str | None, vault_password_file: str | None, ask_vault_pass: bool
) -> Target:
    """Return the portal that the options name. Raises Refused for options that name none or several."""
    if (inventory is None) == (url is None):
        got = "neither" if url is None else "both"
        raise Refused("portal", "must be named by --inventory or by --url", got, "-i inventories/mysite --host NAME")
    if url is not None:
        parts = url_parts(url)
        if parts is None:
            raise Refused("--url", "must be an http(s) URL", url, "for example http://127.0.0.1:48080")
        if host:
            raise Refused("--host", "must be a host of an inventory", f"--url {url}", "leave out one of them")
        return Target(url, url.rstrip("/"), parts[2])
    return _host(inventory or "", host, vault_password_file, ask_vault_pass)


def _host(inventory: str, name: str | None, vault_password_file: str | None, ask_vault_pass: bool) -> Target:
    found = read_host(inventory, name, VARIABLES, vault_password_file, ask_vault_pass)
    for what in ("ansible_host", "ansible_connection"):
        if what in found.unresolved:
            raise Problem(what, "must be resolvable", found.unresolved[what], "mend the variable")
    return of_host(found)


def of_host(host: Host) -> Target:
    """Return the portal of a host. Raises Refused for a way to the host that is neither ssh nor this machine itself."""
    version = host.variables.get("dls_server_version")
    line = line_of(str(version)) if version else lines()[-1]
    port = int(host.variables.get("dls_server_port") or line.facts["server_port"])
    kind = host.connection.rpartition(".")[2]
    if kind not in ("ssh", "smart", "local"):
        hint = "forward the portal's port to this machine by other means, and give --url http://127.0.0.1:PORT"
        raise Refused(f"ansible_connection of {host.name}", "must be ssh or local", host.connection, hint)
    url = f"http://127.0.0.1:{port}" if kind == "local" else ""
    return Target(host.name, url, port, host.ssh, host.variables, host.unresolved)


def server_urls(target: Target, main: str | None = None, standby: str | None = None) -> dict[str, str]:
    """Return the URLs to set: those of the options, else those of the host."""
    given = {"main": main, "standby": standby}
    if main is None and standby is None:
        main = target.variable("dls_server_main_url") or target.variable("dls_server_url")  # of a pair, or one alone
        given = {"main": main, "standby": target.variable("dls_server_standby_url")}
    return {which: str(url) for which, url in given.items() if url is not None}


def alerts(value: Any) -> dict[str, str]:
    """Return a value of dls_server_alerts as texts, lists of addresses joined as the page takes them; empty for None.

    Raises Refused for a key that there is not, and for what is no text, number or list of texts.
    """
    if value is None:
        return {}
    if not isinstance(value, dict) or set(value) - set(ALERT_KEYS):
        got = (
            ", ".join(sorted(map(str, set(value) - set(ALERT_KEYS))))
            if isinstance(value, dict)
            else type(value).__name__
        )
        raise Refused(ALERTS, f"must have the keys {', '.join(ALERT_KEYS)}", got, "see docs/portal.md")
    texts = [text for entry in value.values() for text in (entry if isinstance(entry, list) else [entry])]
    if wrong := [text for text in texts if not isinstance(text, (str, int)) or isinstance(text, bool)]:
        raise Refused(
            ALERTS, "must have texts, numbers and lists of them", type(wrong[0]).__name__, "see docs/portal.md"
        )
    return {key: "; ".join(map(str, entry)) if isinstance(entry, list) else str(entry) for key, entry in value.items()}


def read_secret(path: str) -> str:
    """Return the secret in the first line of a file, `-` for standard input. Raises Refused for more than a line."""
    if path == "-":
        import sys  # noqa: PLC0415

        text, name = sys.stdin.read(), "standard input"
    else:
        try:
            text, name = Path(path).read_text(encoding="utf-8-sig"), path
        except UnicodeDecodeError:
            raise Refused(path, "must hold a password in UTF-8", "other bytes", "write it as text") from None
    lines = text.splitlines()
    if len(lines) != 1 or not lines[0]:
        rule, got = "must hold one line, the password", f"{len(lines)} lines" if lines else "nothing"
        raise Refused(name, rule, got, "decrypt a vaulted file first: ansible-vault view FILE | dlskit portal ... -")
    return lines[0]
