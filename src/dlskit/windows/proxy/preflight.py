"""Preflight: what keeps IIS from becoming what the variables say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlsctl.problems import Problem, Refused, one_line
from dlsctl.values import variable_problems
from dlskit.windows.proxy.look import NOTHING, look
from dlskit.windows.proxy.values import LINUX_ONLY, own_value_problems, read_certificate
from dlskit.windows.proxy.wanted import MODULES, Wanted
from dlsproxy.certificates import Verdict
from dlsproxy.values import PREFIX, value_problems

OLDEST_BUILD = 14393  # Windows Server 2016
OLDEST_POWERSHELL = 5
HTTP_SYS = 4  # the process that listens for IIS: the kernel


def preflight(document: dict[str, Any]) -> dict[str, Any]:
    """All that is wrong at once, and the look at the host: {problems, look}."""
    spec = document["spec"]
    problems = list(variable_problems(spec))
    if spec["entry"] == "uninstall":
        problems = [problem for problem in problems if problem.what in {PREFIX + "iis_site", PREFIX + "iis_folder"}]
    else:
        alike = {name: value for name, value in spec["values"].items() if name[len(PREFIX) :] not in LINUX_ONLY}
        problems += value_problems({**spec, "values": alike})
    problems += own_value_problems(spec["values"], spec["entry"])
    bad = {problem.what.split("/")[0] for problem in problems} & set(spec["options"])
    spec["values"].update({name: spec["options"][name].get("default") for name in bad})
    certificate, verdict = None, Verdict([], [])
    if spec["entry"] != "uninstall" and "https" in (spec["values"][PREFIX + "protocols"] or []):
        certificate, verdict = read_certificate(spec["values"])
    wanted = Wanted(document, certificate)
    if spec["entry"] == "main":
        problems += verdict.problems
        problems += [problem for check in CHECKS for problem in check(wanted)]
    seen = look(wanted) if not problems else {**NOTHING, "notes": []}
    seen["notes"] += verdict.notes + (notes(wanted) if spec["entry"] == "main" else [])
    if spec["entry"] == "verify":
        seen["findings"] = [str(problem) for problem in findings(wanted, seen, verdict)]
    return {"problems": [dict(problem.as_dict(), text=str(problem)) for problem in problems], "look": seen}


def machine_problems(wanted: Wanted) -> Iterator[Problem]:
    """What keeps this host from running IIS with its modules."""
    facts = wanted.facts
    version = str(facts.get("ansible_distribution_version") or "0")
    build = version.split(".")[2] if version.count(".") > 1 else "0"
    if facts.get("ansible_os_installation_type") == "Client" or int(build) < OLDEST_BUILD:
        got = f"{facts.get('ansible_distribution') or 'an unknown one'} ({version})"
        yield Refused("operating system", "must be Windows Server 2016 or later", got, "use another host")
    powershell = facts.get("ansible_powershell_version") or 0
    if powershell < OLDEST_POWERSHELL:
        rule, hint = "must be 5.1, which Ansible's modules need", "install Windows Management Framework 5.1"
        yield Refused("PowerShell", rule, powershell, hint)
    if facts.get("ansible_reboot_pending"):
        yield Refused("host", "must not wait for a reboot", "one that is pending", "reboot it, then run the same again")


def module_problems(wanted: Wanted) -> Iterator[Problem]:
    """Modules of IIS that are neither there nor given."""
    for short, (program, file) in MODULES.items():
        if not wanted.iis.has(file) and not wanted.values[short]:
            hint = f"download its MSI file for x64 from Microsoft, and name it in {PREFIX}{short}"
            yield Refused(program, "must be installed, or its installer given", "neither", hint)


def place_problems(wanted: Wanted) -> Iterator[Problem]:
    """Ports, names and files that are somebody else's."""
    iis = wanted.iis
    for protocol in wanted.protocols:
        port = wanted.values[protocol + "_port"]
        for listener in iis.seen.get("ports") or []:
            if listener["port"] == port and listener["pid"] != HTTP_SYS:
                got = f"{port}, which {listener.get('name') or 'a process'} ({listener['pid']}) listens on"
                hint = "stop that process or choose another port"
                yield Refused(f"{PREFIX}{protocol}_port", "must be a free TCP port, or one of IIS", got, hint)
                break
    for binding in wanted.bindings:
        for other in iis.others_at(binding.place):
            got = f"port {binding.port} of {binding.host or 'every name'}, which site {one_line(other)} has"
            hint = "take the binding off that site, or stop it; with names instead of addresses both can share a port"
            yield Refused(PREFIX + "server_names", "must be reached at a place that no other site has", got, hint)
    if iis.web_config is not None and not iis.is_ours:
        yield Refused(wanted.path, "must be a file that this role has written", "another one", "move it away")
    own = iis.own_site
    if own and str(own.get("physical_path") or "").rstrip("\\").lower() != iis.folder.lower() and not iis.is_ours:
        got = f"{iis.site}, a site in {one_line(str(own.get('physical_path')))}"
        hint = f"choose another name as {PREFIX}iis_site"
        yield Refused(PREFIX + "iis_site", "must be a site that this role has made", got, hint)


def server_rule_problems(wanted: Wanted) -> Iterator[Problem]:
    """Rules of the whole server, which IIS applies before those of a site: they would open the portal to all."""
    names = wanted.iis.server_rules(wanted.port)
    if names:
        rule = f"must have no rule of the whole server that leads to port {wanted.port}"
        hint = "remove it in IIS Manager: the server's own node, URL Rewrite"
        yield Refused("URL Rewrite", rule, ", ".join(map(one_line, names)), hint)


CHECKS = (machine_problems, module_problems, place_problems, server_rule_problems)


def notes(wanted: Wanted) -> list[str]:
    """What will need care."""
    found = []
    beside = [network for network in wanted.server.get("dls_server_allowed_networks") or [] if network != "localhost"]
    if beside:
        found.append(
            f"dls_server_allowed_networks: lets {', '.join(beside)} past the proxy to the server's port, portal"
            " included\nHINT: leave it at [localhost] on a host with a proxy"
        )
    if wanted.iis.seen.get("firewall_is_on") is False and wanted.values["firewall"] != "none":
        found.append(
            "Windows firewall: is off in a profile, so that its rules keep nobody out there\nHINT: switch it on"
        )
    return found


def findings(wanted: Wanted, seen: Mapping[str, Any], verdict: Verdict) -> Iterator[Problem]:
    """What is not as it should be on a host where the proxy is installed."""
    if seen["steps"]:
        yield Problem("proxy", "must need no change", "due: " + "; ".join(seen["steps"]), "run the site playbook")
    yield from verdict.problems
    if verdict.ending:
        yield verdict.ending
    yield from server_rule_problems(wanted)
