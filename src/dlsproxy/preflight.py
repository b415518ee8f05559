"""Preflight: what keeps the proxy from working, and what is due, before anything is changed."""

import os
from typing import Any, Dict, Iterator, List, Optional, Tuple

from dlsctl.deployment import Spec, is_as_expected
from dlsctl.host import has_systemd, port_owner, process_name, taken_port
from dlsctl.packages import family_problems, look_at_packages, os_family
from dlsctl.problems import Problem, Refused, one_line
from dlsctl.values import set_hint, variable_problems
from dlsfirewall import firewall
from dlsproxy.apply import plan
from dlsproxy.certificates import Verdict
from dlsproxy.findings import findings
from dlsproxy.nginx import dump_of_nginx, nginx_problems
from dlsproxy.proxy import Proxy, is_marked
from dlsproxy.sites import site_problems, sites_of
from dlsproxy.values import PREFIX, value_problems


def preflight(spec: Spec) -> Dict[str, Any]:
    """All that is wrong at once, and the look at the host: {problems, look}. Changes nothing."""
    problems = list(variable_problems(spec))
    needed = {PREFIX + "tls_certificate_path", PREFIX + "tls_key_path"} if spec["entry"] == "uninstall" else None
    problems += [problem for problem in value_problems(spec) if needed is None or problem.what in needed]
    bad = {problem.what.split("/")[0] for problem in problems} & set(spec["options"])
    # The host can still be looked at: for what is wrong, its default stands in.
    spec["values"].update({name: spec["options"][name].get("default") for name in bad})
    seen: Optional[Dict[str, Any]] = None
    if spec["entry"] == "uninstall" or spec["values"].get(PREFIX + "kind") != "snippet":
        unsupported = list(family_problems())
        problems += unsupported
        seen = None if unsupported else look(spec, problems)
    return {"problems": [dict(problem.as_dict(), text=str(problem)) for problem in problems], "look": seen}


def look(spec: Spec, problems: List[Problem]) -> Dict[str, Any]:
    """What the engine needs to know before it acts; what is wrong is added to `problems`."""
    proxy = Proxy(spec)
    verdict = proxy.verdict() if proxy.tls and proxy.entry != "uninstall" else Verdict([], [])
    notes = list(verdict.notes)
    is_made = proxy.makes_certificate(verdict)
    if is_made:
        verdict, notes = Verdict([], []), []
    steps = plan(proxy)
    if proxy.entry == "main":
        problems += verdict.problems
        problems += overwriting_problems(proxy, is_made)
        problems += host_problems(proxy, dump_of_nginx())
    elif proxy.entry == "uninstall" and steps:
        problems += nginx_problems(proxy, dump_of_nginx())
    if proxy.tls and proxy.self_signed and proxy.entry == "main":
        notes.append(
            "{}tls_self_signed: the certificate is worth nothing outside a test network: browsers refuse it\n"
            "HINT: have one issued, and give it as {}tls_certificate".format(PREFIX, PREFIX)
        )
    beside = [network for network in proxy.values.get("dls_server_allowed_networks") or [] if network != "localhost"]
    if beside and proxy.entry == "main":
        notes.append(
            "dls_server_allowed_networks: lets {} past the proxy to the server's port, portal included\n"
            "HINT: leave it at [localhost] on a host with a proxy".format(", ".join(beside))
        )
    variable = "dls_server_{}_url".format(proxy.values.get("dls_server_mode"))
    url = proxy.values.get(variable)
    if url and proxy.entry == "main" and not proxy.serves(str(url)):
        notes.append(
            "{}: is none that this proxy serves, {}: clients need something else that leads them to it\n"
            "HINT: set it to what the run tells as the server URL for clients, or leave it where a load balancer"
            " has it".format(variable, one_line(str(url)))
        )
    ports = firewall.Look("none", [])
    try:
        ports = firewall.look(proxy.firewall())
    except Refused as problem:
        if problem.what not in {known.what for known in problems}:  # each is said once
            problems.append(problem)
    steps += ports.texts
    seen = {
        **look_at_packages(proxy.packages() if proxy.entry == "main" else [], os_family()),
        "differs": [item["path"] for item in proxy.files() if not is_as_expected(item)],
        "steps": steps,
        "firewall": ports.firewall,
        "notes": notes,
    }
    if proxy.entry == "verify":
        seen["findings"] = [str(problem) for problem in findings(proxy, steps, verdict)]
    return seen


def host_problems(proxy: Proxy, dump: Tuple[int, str]) -> Iterator[Problem]:
    """What keeps this host from becoming what the variables say; `dump` is what `nginx -T` answered."""
    if os.geteuid() != 0:
        yield Refused("user", "must be root", "another user", "run the playbook with become: true")
    if not has_systemd():
        yield Refused("host", "must be run by systemd", "another init", "use dls_proxy_kind: snippet")
    if proxy.ipv6 and not os.path.exists("/proc/net/if_inet6"):
        yield Refused(PREFIX + "ipv6", "must be false on a host without IPv6", "true", set_hint(PREFIX + "ipv6"))
    for protocol, port in sorted(proxy.ports.items()):
        owner = port_owner(port)
        if owner is not None and not (owner and process_name(owner) == "nginx"):
            yield taken_port("{}{}_port".format(PREFIX, protocol), port, owner)
    path = proxy.configuration["path"]
    if os.path.lexists(path) and not proxy.is_configured():
        yield Refused(path, "must be a file that this role has written", "another one", "move it away")
    yield from nginx_problems(proxy, dump)
    yield from site_problems(proxy, sites_of(dump[1]))


def overwriting_problems(proxy: Proxy, is_made: bool) -> Iterator[Problem]:
    """Files of somebody else where this role would write a certificate and key, given ones or those it makes."""
    paths = (("certificate", proxy.certificate_path), ("key", proxy.key_path)) if proxy.tls else ()
    for (short, path), text in zip(paths, proxy.given):
        if (text or is_made) and os.path.lexists(path) and not is_marked(path):
            name = "{}tls_{}".format(PREFIX, short)
            cause = "{} is given".format(name) if text else "{}tls_self_signed is true".format(PREFIX)
            rule = "must hold nothing but what this role has written, where " + cause
            yield Refused(name + "_path", rule, path, "name another path, or move that file away")
