"""The look at a host: what there is to do, as the role's tasks take it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from dlskit.windows import networks
from dlskit.windows.proxy.iis import LOG_FIELDS, RATE_SECONDS, Binding
from dlskit.windows.proxy.wanted import MODULES, Wanted

NOTHING: dict[str, Any] = {
    "steps": [],
    "due": [],
    "missing_features": [],
    "missing_modules": [],
    "missing_packages": [],
    "differs": [],
    "firewall": "none",
    "rules": None,
    "findings": [],
}


def look(wanted: Wanted) -> dict[str, Any]:
    """What the engine needs to know before it acts."""
    if wanted.entry == "uninstall":
        return removal(wanted)
    iis = wanted.iis
    text = wanted.web_config()
    steps = dict(due(wanted, text))
    before = iis.web_config if iis.is_ours else None
    certificate = wanted.certificate
    return {
        **NOTHING,
        "steps": list(steps.values()),
        "due": list(steps),
        "missing_features": iis.missing_features(wanted.features),
        "missing_modules": [short for short, (_, file) in MODULES.items() if not iis.has(file)],
        "differs": [wanted.path] if "web_config" in steps else [],
        "path": wanted.path,
        "web_config": text,
        "web_config_before": before,
        "difference": list(
            difflib.unified_diff((before or "").splitlines(), text.splitlines(), "before", "after", lineterm="")
        ),
        "has_site": iis.own_site is not None,
        "has_pool": iis.has_pool,
        "bindings": [binding.as_option() for binding in wanted.bindings],
        "bindings_before": before_bindings(wanted),
        "thumbprint": certificate.thumbprint if certificate else "",
        "issuers": missing_issuers(wanted),
        "replaced": iis.imported if iis.imported != wanted.imported else "",
        "log_fields": ",".join(LOG_FIELDS),
        "rate": {"requests": wanted.values["rate_limit"] * RATE_SECONDS, "milliseconds": RATE_SECONDS * 1000},
        "firewall": "none" if wanted.values["firewall"] == "none" else "Windows firewall",
        "rules": None if wanted.values["firewall"] == "none" else firewall_rules(wanted),
        "notes": [],
    }


def due(wanted: Wanted, text: str) -> Iterator[tuple[str, str]]:
    """What is to be done: a word for the engine, and one for people."""
    iis = wanted.iis
    features = iis.missing_features(wanted.features)
    if features:
        yield "features", f"install features of Windows: {', '.join(features)}"
    for short, (program, file) in MODULES.items():
        if not iis.has(file):
            yield short, f"install {program}"
    if wanted.certificate and (wanted.imports or missing_issuers(wanted)):
        yield "certificate", f"import certificate {wanted.certificate.thumbprint}"
    if iis.web_config != text:
        yield "web_config", f"write {wanted.path}"
    if not iis.pool_is_plain:
        yield "pool", f"make application pool {iis.site}, without .NET"
    yield from due_of_site(wanted)
    if not iis.proxies:
        yield "proxy", "switch on the proxy of Application Request Routing, which is one switch for all sites"


def due_of_site(wanted: Wanted) -> Iterator[tuple[str, str]]:
    iis, own = wanted.iis, wanted.iis.own_site
    want = {(*binding[:2], binding.host.lower(), binding.thumbprint, bool(binding.host) and binding.protocol == "https")
            for binding in wanted.bindings}  # fmt: skip
    folder = str((own or {}).get("physical_path") or "").rstrip("\\").lower()
    pool = str((own or {}).get("application_pool") or "").lower()
    if not own or folder != iis.folder.lower() or pool != iis.site.lower() or iis.bindings(own) != want:
        yield "site", f"make site {iis.site} answer {', '.join(places(wanted))}"
    elif own.get("state") != "Started":
        yield "site", f"start site {iis.site}"
    if not iis.logs_as_wanted:
        yield "log", f"log no query of a request to site {iis.site}"
    if not iis.limits_as_wanted(wanted.values["rate_limit"]):
        rate = wanted.values["rate_limit"]
        yield "rate", f"limit the requests of one address to {rate} a second" if rate else "lift the limit of requests"


def places(wanted: Wanted) -> list[str]:
    return [f"{binding.protocol}://{binding.host or '*'}:{binding.port}" for binding in wanted.bindings]


def before_bindings(wanted: Wanted) -> list[dict[str, Any]]:
    """The bindings that the site has, to put them back."""
    own = wanted.iis.own_site
    found = wanted.iis.bindings(own) if own else set()
    return [
        Binding(protocol, port, host, thumbprint).as_option() for protocol, port, host, thumbprint, _ in sorted(found)
    ]


def missing_issuers(wanted: Wanted) -> list[dict[str, str]]:
    """The issuers' certificates that the host does not know, without which IIS shows its own one alone."""
    there = wanted.iis.certificates("issuers")
    issuers = wanted.certificate.issuers if wanted.certificate else ()
    return [{"thumbprint": name, "pem": pem.decode()} for name, pem in issuers if name not in there]


def firewall_rules(wanted: Wanted) -> dict[str, str]:
    """The ports, and the addresses of the rule that allows and of the one that blocks: "" for no rule."""
    clients = wanted.values["client_networks"]
    ports = sorted({wanted.values[protocol + "_port"] for protocol in wanted.protocols})
    return {
        "ports": ",".join(map(str, ports)),
        "allowed": networks.allowed(clients),
        "blocked": networks.blocked(clients),
    }


def removal(wanted: Wanted) -> dict[str, Any]:
    """What there is to remove: only what the role has made, whatever the variables say by now."""
    iis = wanted.iis
    steps = {}
    if iis.is_ours:
        if iis.own_site:
            steps["site"] = f"remove site {iis.site}"
        if iis.has_pool:
            steps["pool"] = f"remove application pool {iis.site}"
        if iis.imported:
            steps["certificate"] = f"remove certificate {iis.imported} and its key"
        steps["web_config"] = f"remove {iis.folder}"
    return {**NOTHING, "steps": list(steps.values()), "due": list(steps), "path": wanted.path,
            "replaced": iis.imported, "notes": []}  # fmt: skip
