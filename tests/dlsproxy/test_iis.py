"""The rendered web.config: what IIS would let through, by a simulator, over the requests that nginx's tests use."""

import re
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dlskit.windows import patterns
from tests.dlsproxy import attacks
from tests.dlsproxy.conftest import DEFAULTS, LINE, SETTINGS
from tests.dlsproxy.iis import READINGS, Outcome, Request, answered, rules_of
from tests.dlsproxy.webconfig import faults
from tests.test_templates import render

BACKEND = "http://127.0.0.1:48080"
ADMIN, STRANGER = "10.20.3.4", "192.0.2.9"
NETWORKS = ["127.0.0.1/32", "::1/128", "10.20.0.0/16", "2001:db8:7::/48"]
INSIDE = ["127.0.0.1", "::1", "10.20.0.0", "10.20.255.255", "2001:db8:7::", "2001:db8:7:1::5", "2001:db8:7:1:2:3:4:5"]
OUTSIDE = ["127.0.0.2", "::2", "10.21.0.1", "110.20.0.1", "10.20.0.1.5", "2001:db8:70::1", "2001:db8::7", "", "unknown"]


def web_config(**changes: Any) -> str:
    """The configuration, with both protocols and an open portal unless changed."""
    variables = {
        **DEFAULTS,
        "dls_proxy_protocols": ["http", "https"],
        "__dls_proxy_hosts": ["dls.example.com"],
        "__dls_proxy_default_server": False,
        "__dls_proxy_portal_open": True,
        "__dls_proxy_networks": NETWORKS,
        "__dls_proxy_client_paths": LINE["client_paths"],
        "__dls_proxy_upstream": BACKEND.removeprefix("http://"),
        **changes,
    }
    variables["__dls_proxy_network_pattern"] = patterns.addresses(variables["__dls_proxy_networks"])
    variables["__dls_proxy_imported"] = ""
    variables["__dls_proxy_body_limit"] = 16 << 20
    variables["__dls_proxy_body_pattern"] = patterns.up_to(int(variables["dls_proxy_max_body"]) << 20)
    return render("dls-proxy.web.config.j2", **variables)


def client_violations(text: str) -> Iterator[str]:
    for (method, target), arrived in attacks.CLIENTS.items():
        for tls in (True, False):
            for address in (STRANGER, ADMIN):
                got = answered(text, Request(method, target, address, tls))
                if got.url != BACKEND + arrived:
                    yield f"{method} {target} of {address} became {got}"


def stranger_violations(text: str) -> Iterator[str]:
    for method, target in [*attacks.METHODS, *(("GET", target) for target in attacks.PORTAL)]:
        for tls in (True, False):
            for reading in READINGS:
                got = answered(text, Request(method, target, tls=tls), reading)
                if got.status not in attacks.REFUSED:
                    yield f"{method} {target} of a stranger, read {reading}, became {got}"


def portal_violations(text: str) -> Iterator[str]:
    page, other = "/dls/page/index.html?a=%2F", f"{BACKEND}/page/index.html?a=%2F"
    for address in INSIDE:
        got = answered(text, Request("GET", page, address))
        if got.url != other:
            yield f"{address}: no portal, but {got}"
    for address in OUTSIDE:
        got = answered(text, Request("GET", page, address, headers={"X-Forwarded-For": ADMIN}))
        if got.status != 403:
            yield f"{address}: became {got}"
    got = answered(text, Request("GET", page, ADMIN, tls=False))
    if got.status != 403:
        yield f"the portal over http became {got}"


def other_violations(text: str) -> Iterator[str]:
    limit = DEFAULTS["dls_proxy_max_body"] << 20
    for length, wanted in ((limit, 0), (limit + 1, 413), (10 * limit, 413)):
        got = answered(text, Request("POST", "/dls/verify/v2", length=length))
        if got.status != wanted:
            yield f"a body of {length} became {got}"
    if answered(text, Request("POST", "/dls/page/import", ADMIN, length=16 << 20)).status:
        yield "a portal's body of 16 MiB was refused"
    if answered(text, Request("GET", "/dls/auth/?ext=" + "a" * 6000)).status:
        yield "a long request of a client was refused"
    for host in (
        "DLS.example.com:8443",
        "other.example",
        "dlsxexample.com",
        "dls.example.com.x",
        "x.dls.example.com",
        "",
    ):
        got = answered(text, Request("GET", "/dls/auth/", host=host))
        if got.status != (0 if "8443" in host else 404):
            yield f"name {host} became {got}"


CHECKS: list[Callable[[str], Iterator[str]]] = [
    client_violations,
    stranger_violations,
    portal_violations,
    other_violations,
]


def violations(text: str) -> list[str]:
    return [violation for check in CHECKS for violation in check(text)]


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_web_config_is_one_that_iis_takes(changes: dict[str, Any]) -> None:
    assert faults(web_config(**changes)) == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_requests_are_let_through_and_refused_as_by_nginx(check: Callable[[str], Iterator[str]]) -> None:
    assert list(check(web_config())) == []


def test_vendor_s_rule_is_there_as_documented() -> None:
    (rule,) = [rule for rule in rules_of(web_config()) if rule.name == "DLS-rewrite-rule"]
    assert (rule.pattern, rule.ignore_case, rule.stops) == ("^dls/(.*)$", True, True)
    assert rule.action == {"type": "Rewrite", "url": f"{BACKEND}/{{R:1}}", "appendQueryString": "true"}


def test_portal_is_closed_to_all_until_its_password_is_set() -> None:
    text = web_config(__dls_proxy_portal_open=False)
    for address in INSIDE:
        assert answered(text, Request("GET", "/dls/page/index.html", address)).status == 403
    assert [*client_violations(text), *stranger_violations(text)] == []
    assert "{R:1}" not in text
    assert "10.20" not in text


def test_portal_is_served_over_http_where_there_is_nothing_else() -> None:
    text = web_config(dls_proxy_protocols=["http"])
    assert answered(text, Request("GET", "/dls/page/", ADMIN, tls=False)).url == f"{BACKEND}/page/"
    assert answered(text, Request("GET", "/dls/page/", STRANGER, tls=False)).status == 403


@pytest.mark.parametrize("prefix", ["/", "/a/b/"])
def test_another_prefix_holds_the_same_rules(prefix: str) -> None:
    text = web_config(dls_proxy_prefix=prefix)
    assert answered(text, Request("GET", f"{prefix}auth/?ext=a")).url == f"{BACKEND}/auth/?ext=a"
    assert answered(text, Request("GET", f"{prefix}page/index.html")).status == 403
    assert answered(text, Request("GET", f"{prefix}page/index.html", ADMIN)).url == f"{BACKEND}/page/index.html"
    assert answered(text, Request("GET", "/elsewhere", ADMIN)).status == (404 if prefix != "/" else 0)


def test_default_server_answers_every_name() -> None:
    text = web_config(__dls_proxy_default_server=True)
    assert answered(text, Request("GET", "/dls/auth/", host="other.example")).url == f"{BACKEND}/auth/"


def test_hsts_is_sent_over_https_only_and_only_when_asked() -> None:
    text = web_config(dls_proxy_hsts=600)
    rule = text.partition("<outboundRules>")[2].partition("</outboundRules>")[0]
    assert 'value="max-age=600"' in rule
    assert '<add input="{HTTPS}" pattern="^on$" />' in rule
    assert "outboundRules" not in web_config()
    assert "outboundRules" not in web_config(dls_proxy_hsts=600, dls_proxy_protocols=["http"])


def test_requests_of_clients_never_choose_what_the_server_is_asked_for() -> None:
    for rule in rules_of(web_config()):
        assert "{" not in rule.action.get("url", "") or rule.name == "DLS-rewrite-rule"


# What a hand could do to the rules, and the check that finds it.
MUTATIONS: dict[str, Callable[[str], str]] = {
    "the portal for every address": lambda text: re.sub(r'pattern="\^\(\?:127[^"]*"', 'pattern="^.*$"', text),
    "networks that are not anchored in front": lambda text: text.replace('pattern="^(?:127', 'pattern="(?:127'),
    "networks that are not anchored behind": lambda text: re.sub(r'(pattern="\^\(\?:127[^"]*)\$"', r'\1"', text),
    "any of the portal's conditions": lambda text: text.replace('"MatchAll"', '"MatchAny"'),
    "the portal over http": lambda text: text.replace('<add input="{HTTPS}" pattern="^on$" />', ""),
    "methods of clients in any case": lambda text: text.replace('OPTIONS)$" ignoreCase="false"', 'OPTIONS)$"'),
    "methods of clients not anchored": lambda text: text.replace("OPTIONS)$", "OPTIONS)"),
    "no rule for methods": lambda text: text.replace('{REQUEST_METHOD}" pattern', '{QUERY_STRING}" pattern'),
    "a path of clients that is a prefix": lambda text: text.replace('url="^dls/auth/$"', 'url="^dls/auth/"').replace(
        r'pattern="^/dls/auth/(?:\?.*)?$"', 'pattern="^/dls/auth/"'
    ),
    "a path of clients that is a suffix": lambda text: text.replace('url="^dls/auth', 'url="dls/auth').replace(
        'pattern="^/dls/auth', 'pattern="/dls/auth'
    ),
    "a path of clients from the request": lambda text: text.replace("48080/auth/", "48080/{R:0}"),
    "a query that is lost": lambda text: text.replace(
        '/auth/" appendQueryString="true"', '/auth/" appendQueryString="false"'
    ),
    "a portal's query that is lost": lambda text: text.replace(
        '{R:1}" appendQueryString="true"', '{R:1}" appendQueryString="false"'
    ),
    "another group": lambda text: text.replace("{R:1}", "{R:0}"),
    "a group that there is not": lambda text: text.replace("{R:1}", "{R:2}"),
    "a backend without a host": lambda text: text.replace("http://127.0.0.1:48080/auth/", "auth/"),
    "a rule that goes on": lambda text: text.replace('"DLS-client-1" stopProcessing="true"', '"DLS-client-1"'),
    "no rule for names": lambda text: text.replace('negate="true"', "", 1),
    "names that are not anchored": lambda text: text.replace("(?::[0-9]+)?$", ""),
    "names whose points are any character": lambda text: text.replace(r"dls\.example\.com", "dls.example.com"),
    "no limit of a client's body": lambda text: re.sub(r'<add input="\{CONTENT_LENGTH\}" pattern="[^"]*"', "<add "
        'input="{CONTENT_LENGTH}" pattern=".*"', text),
    "a smaller limit of the portal's body": lambda text: re.sub(r'ContentLength="\d+"', 'ContentLength="1048"', text),
    "the default limit of a query": lambda text: text.replace(' maxQueryString="8192"', ""),
    "double escaping": lambda text: text.replace("allowDoubleEscaping", "allowDoubleEscapes"),
    "two rules of one name": lambda text: text.replace("DLS-client-2-size", "DLS-client-1-size"),
    "no last rule": lambda text: re.sub(r'<rule name="DLS-nothing-else".*?</rule>', "", text, flags=re.DOTALL),
    "a locked section": lambda text: text.replace("<security>", '<security><ipSecurity allowUnlisted="false" />'),
    "a pattern that does not compile": lambda text: text.replace("^dls/(.*)$", "^dls/(.*$"),
    "a pattern of another dialect": lambda text: text.replace("^dls/(.*)$", r"\Adls/(.*)$"),
    "a name with an ampersand": lambda text: text.replace(r"dls\.example\.com", "dls&example"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_damaged_web_config_is_found(name: str) -> None:
    text = web_config()
    damaged = MUTATIONS[name](text)
    assert damaged != text
    assert faults(damaged) or violations(damaged)


def test_simulator_follows_the_reference_of_url_rewrite() -> None:
    rule = '<rule name="{}" stopProcessing="{}"><match url="{}" />{}<action type="Rewrite" url="{}" /></rule>'

    def asked(rules: str, target: str, **how: Any) -> Outcome:
        limits = "<security><requestFiltering><requestLimits /></requestFiltering></security>"
        site = f"<system.webServer><rewrite><rules>{rules}</rules></rewrite>{limits}</system.webServer>"
        return answered(f"<configuration>{site}</configuration>", Request("GET", target, **how))

    chain = rule.format("one", "false", "^a/(.*)$", "", "b/{R:1}") + rule.format(
        "two", "true", "^b/", "", "http://x:1/{R:0}"
    )
    assert asked(chain, "/A/c").url == "http://x:1/b/", (
        "the second rule gets what the first made, in any case of letters"
    )
    assert asked(chain.replace("false", "true", 1), "/a/c") == Outcome(status=404), "stopped, and no backend"
    condition = '<conditions><add input="{QUERY_STRING}" pattern="x=([0-9]+)" /></conditions>'
    with_condition = rule.format("one", "true", "^(.*)$", condition, "http://x:1/{C:1}?y={R:1}")
    assert asked(with_condition, "/p%61th?x=5%20").url == "http://x:1/5?y=path&x=5%20", (
        "the path is decoded, the query not"
    )
    assert asked(with_condition, "/path").status == 404
    assert (
        urllib.parse.unquote(asked(rule.format("o", "true", "(.*)", "", "http://x:1/{R:1}"), "/a%20%3f").url)
        == "http://x:1/a ?"
    )
