"""Values: what a variable may say."""

import contextlib
import ipaddress
import json
import re
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Set

from dlsctl.deployment import Spec
from dlsctl.problems import Problem, Refused
from dlsctl.values import PATH_RULE, is_plain_path, network_of, set_hint, value_rule
from dlsfirewall import settings

PREFIX = "dls_proxy_"
SERVER_PORTS = ("dls_server_port", "dls_server_data_port")
DAY = 86400.0

HOST_NAME = r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
PREFIX_FORM = r"/([A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*"
CLIENT_PATH = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def is_host(text: str) -> bool:
    """Whether a text is a host name or an address."""
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(text)) and "%" not in text  # a zone may be any text
    return bool(re.fullmatch(HOST_NAME, text, re.IGNORECASE | re.ASCII)) and not re.fullmatch(r"[0-9.]+", text)


def network_problem(text: str) -> Optional[str]:
    """The rule that a network of administrators breaks, or None."""
    try:
        network = network_of(text)
    except ValueError:
        try:
            meant = network_of(text, strict=False)
        except ValueError:
            return "must be networks such as 10.20.0.0/16"
        return "must have no bits set behind the length, as {} has".format(meant)
    if network.prefixlen == 0:
        return "must not be the whole internet"
    return None


def value_problems(spec: Spec) -> Iterator[Problem]:
    """Values of the right type that break a rule."""
    values = spec["values"]
    rule = value_rule(PREFIX, values)
    yield from rule("server_names", len, "must name the host as clients do")
    yield from each(values, "server_names", lambda name: None if is_host(name) else "must be host names or addresses")
    yield from rule(
        "prefix",
        lambda text: re.fullmatch(PREFIX_FORM, text),
        "must begin and end with a slash, with letters, digits, '.', '_', '~' and '-' in between",
        "write it as /dls/",
    )
    yield from rule("protocols", len, "must be http, https or both")
    for short in ("http_port", "https_port"):
        yield from rule(short, lambda port: 1 <= port <= 65535, "must be 1 to 65535")
    yield from port_clashes(values)
    yield from rule(
        "upstream_host", lambda name: is_host(name) and ":" not in name, "must be a host name or an address"
    )
    for short in ("tls_certificate_path", "tls_key_path"):
        yield from rule(short, is_plain_path, PATH_RULE)
    yield from tls_value_problems(values)
    yield from rule("tls_warn_days", lambda days: 0 <= days <= 3650, "must be 0 to 3650 days")
    yield from rule("hsts", lambda seconds: 0 <= seconds <= 10 * 365 * DAY, "must be 0 to 315360000 seconds")
    yield from rule("rate_limit", lambda rate: 0 <= rate <= 100000, "must be 0 to 100000 requests per second")
    yield from rule("max_body", lambda size: 1 <= size <= 1024, "must be 1 to 1024 MiB")
    yield from rule(
        "admin_networks",
        len,
        "must name a network, 127.0.0.1/32 at least",
        "name the networks of the administrators in CIDR form",
    )
    yield from each(values, "admin_networks", network_problem)
    yield from together_problems(values.get(PREFIX + "admin_networks") or [])
    yield from settings.value_problems(values)
    yield from client_path_problems(spec)
    if values.get(PREFIX + "kind") == "snippet":
        path = values.get(PREFIX + "snippet_dest")
        if not path or not re.match("[/~]", path):
            rule_text = "must be an absolute path on the control node, or begin with ~"
            yield Refused(PREFIX + "snippet_dest", rule_text, path or "nothing", set_hint(PREFIX + "snippet_dest"))


def each(values: Dict[str, Any], short: str, broken: Callable[[str], Optional[str]]) -> Iterator[Problem]:
    """A problem for each item of a list that breaks a rule, and for each that comes twice."""
    seen: Set[str] = set()
    for item in values.get(PREFIX + short) or []:
        text = broken(item) or ("must not hold one thing twice" if item.lower() in seen else None)
        if text:
            yield Refused(PREFIX + short, text, repr(item), set_hint(PREFIX + short))
        seen.add(item.lower())


def together_problems(networks: Sequence[str]) -> Iterator[Problem]:
    """Networks none of which is the whole internet, though all of them together are."""
    with contextlib.suppress(ValueError):  # said already
        known = [network_of(text) for text in networks]
        if any(network.prefixlen == 0 for network in known):
            return
        for version in (4, 6):
            merged = ipaddress.collapse_addresses(network for network in known if network.version == version)  # type: ignore[type-var]
            if any(network.prefixlen == 0 for network in merged):
                name = PREFIX + "admin_networks"
                yield Refused(name, "must not be the whole internet", ", ".join(networks), set_hint(name))


def port_clashes(values: Dict[str, Any]) -> Iterator[Problem]:
    """Ports that this proxy would use twice, or that the server itself has."""
    taken = {values.get(name): name for name in SERVER_PORTS}
    for protocol in values.get(PREFIX + "protocols") or []:
        name = "{}{}_port".format(PREFIX, protocol)
        port = values.get(name)
        if port in taken:
            yield Refused(name, "must differ from " + taken[port], port, set_hint(name))
        taken[port] = name


def tls_value_problems(values: Dict[str, Any]) -> Iterator[Problem]:
    certificate, key = PREFIX + "tls_certificate", PREFIX + "tls_key"
    if bool(values.get(certificate)) != bool(values.get(key)):
        given, missing = (certificate, key) if values.get(certificate) else (key, certificate)
        yield Refused(missing, "must be given with " + given, "nothing", set_hint(missing))
    if values.get(PREFIX + "tls_self_signed") and (values.get(certificate) or values.get(key)):
        name = PREFIX + "tls_self_signed"
        yield Refused(name, "must be false where a certificate is given", "true", "decide for one of them")


def client_path_problems(spec: Spec) -> Iterator[Problem]:
    name = PREFIX + "client_paths"
    portal = spec["health_path"].split("/")[1]
    seen = {item["path"] for item in spec["client_paths"]}
    for number, item in enumerate(spec["values"].get(name) or []):
        path, methods = item.get("path"), item.get("methods")
        text = None
        if set(item) != {"path", "methods"}:
            text = "must have path and methods, and nothing else"
        elif not isinstance(path, str) or not re.fullmatch(CLIENT_PATH, path):
            text = "must have a path below the prefix, without a slash before it, such as auth/"
        elif not isinstance(methods, list) or not methods or set(map(str, methods)) - set(METHODS):
            text = "must have methods out of " + ", ".join(METHODS)
        elif path.split("/")[0] == portal:
            text = "must not open the portal to everybody"
        elif path in seen:
            text = "must be a further path: the documented ones are always there"
        if text:
            yield Refused("{}/{}".format(name, number), text, json.dumps(item, sort_keys=True), set_hint(name))
        seen.add(str(path))
