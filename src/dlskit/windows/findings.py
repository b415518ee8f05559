"""What is not as it should be on a Windows host where the server is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlsctl.problems import Problem
from dlskit.windows.host import Host


def findings(host: Host, seen: dict[str, Any]) -> Iterator[Problem]:
    """One problem for each thing that is not as it should be; `seen` is the look."""
    again = "run the install playbook"
    if host.current is None:
        yield Problem(host.paths["home"], "must hold an installed release", "nothing", again)
        return
    wanted = host.values.get("version")
    if wanted and wanted != host.current:
        got = f"{wanted}, {host.current} is installed"
        yield Problem(host.prefix + "version", "must be the installed one", got, "upgrade it, or correct the variable")
    yield from server_findings(host, seen)
    if not seen["enabled"]:
        yield Problem(host.service_name, "must be started at boot", seen["start_mode"] or "no service", again)
    if host.open_profiles:
        rule = "must be on, since it keeps the server's ports closed"
        yield Problem("Windows firewall", rule, "off for " + ", ".join(host.open_profiles), "switch it on")
    if host.journal:
        got = f"one at its step {host.journal.get('step', '?')}"
        yield Problem(host.kit("journal.json"), "must not tell of an unfinished change", got, "run that playbook again")
    for path in seen["differs"]:
        yield Problem(path, "must be as the inventory says", "other content", again)
    for file in seen["licenses"]:
        if file["sha256"] and file["fault"]:
            path = f"{host.paths['data_dir']}\\licenses\\{file['name']}"
            yield Problem(path, "must be the licence file that was placed", file["fault"], again)


def server_findings(host: Host, seen: dict[str, Any]) -> Iterator[Problem]:
    """Whether the server runs and answers."""
    if not host.running:
        hint = f"start it with: sc start {host.service_name}"
        yield Problem(host.service_name, "must be running", host.service.get("state") or "no service", hint)
    elif not seen["healthy"]:
        url = f"http://127.0.0.1:{host.values['port']}{host.line['health_path']}"
        hint = f"see its log, {host.kit('logs')}"
        yield Problem(host.service_name, f"must answer {url}", seen["error"], hint)
