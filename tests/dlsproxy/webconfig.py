"""What a web.config must keep to, checked without IIS: elements, attributes, values, and what URL Rewrite demands.

The tables hold what Microsoft's reference of IIS 10 and of URL Rewrite 2.1 has of the sections that a site may set by
itself. A section that IIS keeps locked (ipSecurity, dynamicIpSecurity, proxy, httpLogging, handlers,
allowedServerVariables) is in none of them: a web.config with one of these takes the site down, with status 500.19.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

BOOL, NUMBER, TEXT = r"true|false", r"[0-9]+", r".+"
NAME = r"[A-Za-z0-9_ .-]+"
MATCH = {"url!": TEXT, "ignoreCase": BOOL, "negate": BOOL}
OUTBOUND_MATCH = {"serverVariable!": r"RESPONSE_[A-Za-z_]+", "pattern!": TEXT, "ignoreCase": BOOL, "negate": BOOL}
ACTION = {
    "type!": r"Rewrite|CustomResponse",
    "url": TEXT,
    "value": TEXT,
    "appendQueryString": BOOL,
    "statusCode": r"4[0-9][0-9]",
    "subStatusCode": NUMBER,
    "statusReason": TEXT,
    "statusDescription": TEXT,
}
CONDITION = {"input!": r"\{[A-Z_]+\}", "pattern!": TEXT, "ignoreCase": BOOL, "negate": BOOL, "matchType": "Pattern"}
LIMITS = {"maxAllowedContentLength": NUMBER, "maxUrl": NUMBER, "maxQueryString": NUMBER}
# Path of an element: its attributes. With an exclamation mark it must be there.
SITE = "configuration/system.webServer"
INBOUND, OUTBOUND = f"{SITE}/rewrite/rules/rule", f"{SITE}/rewrite/outboundRules/rule"
SCHEMA: dict[str, dict[str, str]] = {
    "configuration": {},
    SITE: {},
    f"{SITE}/rewrite": {},
    f"{SITE}/rewrite/rules": {},
    f"{SITE}/rewrite/rules/clear": {},
    INBOUND: {"name!": NAME, "stopProcessing": BOOL, "enabled": BOOL, "patternSyntax": "ECMAScript"},
    f"{INBOUND}/match": MATCH,
    f"{INBOUND}/conditions": {"logicalGrouping": "MatchAll|MatchAny"},
    f"{INBOUND}/conditions/add": CONDITION,
    f"{INBOUND}/action": ACTION,
    f"{SITE}/rewrite/outboundRules": {},
    f"{SITE}/rewrite/outboundRules/clear": {},
    OUTBOUND: {"name!": NAME, "enabled": BOOL, "stopProcessing": BOOL},
    f"{OUTBOUND}/match": OUTBOUND_MATCH,
    f"{OUTBOUND}/conditions": {"logicalGrouping": "MatchAll|MatchAny"},
    f"{OUTBOUND}/conditions/add": CONDITION,
    f"{OUTBOUND}/action": ACTION,
    f"{SITE}/security": {},
    f"{SITE}/security/requestFiltering": {"allowDoubleEscaping": BOOL, "allowHighBitCharacters": BOOL},
    f"{SITE}/security/requestFiltering/requestLimits": LIMITS,
    f"{SITE}/httpErrors": {"existingResponse": "PassThrough"},
    f"{SITE}/urlCompression": {"doStaticCompression": BOOL, "doDynamicCompression": BOOL},
    f"{SITE}/caching": {"enabled": BOOL, "enableKernelCache": BOOL},
    f"{SITE}/httpProtocol": {},
    f"{SITE}/httpProtocol/customHeaders": {},
    f"{SITE}/httpProtocol/customHeaders/remove": {"name!": r"[A-Za-z-]+"},
}
# What a pattern may use: of ECMAScript 3, and with one meaning everywhere.
TOKEN = re.compile(
    r"\\[.\[\]?/-]|\[(?:[A-Za-z0-9:._~%-]|\\[\].-])+\]|\(\?:|\(|\)|\||\.|[*+?]|\{[0-9]+(?:,[0-9]*)?\}|[\^$]|[A-Za-z0-9:/_~%-]"
)


def faults(text: str) -> list[str]:
    """What is wrong with a web.config: one line each."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - our own file
    except ET.ParseError as error:
        return [f"not well-formed: {error}"]
    found = list(schema_faults(root, root.tag))
    if found:
        return found
    rules = root.findall("./system.webServer/rewrite/rules/rule")
    names = [rule.get("name", "").lower() for rule in root.iter("rule")]
    found += [f"two rules are called {name}" for name in sorted(set(names)) if names.count(name) > 1]
    for rule in root.iter("rule"):
        found += [f"rule {rule.get('name')}: {fault}" for fault in rule_faults(rule)]
    if not rules or not is_final(rules[-1]):
        found.append("the last rule does not refuse everything that is left")
    found += [
        f"rule {rule.get('name')}: does not end the list" for rule in rules if rule.get("stopProcessing") != "true"
    ]
    return found


def schema_faults(node: ET.Element, path: str) -> Iterator[str]:
    allowed = SCHEMA.get(path)
    if allowed is None:
        yield f"{path}: no element that a site may have"
        return
    known = {name.rstrip("!"): pattern for name, pattern in allowed.items()}
    for name, value in node.attrib.items():
        if name not in known:
            yield f"{path}: no attribute {name}"
        elif not re.fullmatch(known[name], value):
            yield f"{path}: {name} must not be {value!r}"
    yield from (
        f"{path}: {name[:-1]} is missing" for name in allowed if name[-1] == "!" and name[:-1] not in node.attrib
    )
    if (node.text or "").strip():
        yield f"{path}: text"
    for child in node:
        yield from schema_faults(child, f"{path}/{child.tag}")


def rule_faults(rule: ET.Element) -> Iterator[str]:
    for tag in ("match", "action"):
        if len(rule.findall(tag)) != 1:
            yield f"must have one {tag}"
            return
    match, action = rule.findall("match")[0], rule.findall("action")[0]
    pattern = match.get("url") or match.get("pattern") or ""
    for each in [pattern, *(add.get("pattern", "") for add in rule.iter("add"))]:
        yield from pattern_faults(each)
    if action.get("type") == "CustomResponse":
        if "statusCode" not in action.attrib or {"url", "value"} & set(action.attrib):
            yield "a response has a status, and no URL"
    elif "serverVariable" in match.attrib:
        if set(action.attrib) != {"type", "value"}:
            yield "a header is given a value"
    else:
        yield from backend_faults(action.get("url", ""), pattern)


def backend_faults(url: str, pattern: str) -> Iterator[str]:
    if not re.match(r"http://[a-z0-9.-]+:[0-9]+/", url):
        yield f"the backend must be an absolute URL with a port, and not {url!r}"
    for reference in re.findall(r"\{[^}]*\}", url):
        number = re.fullmatch(r"\{R:([0-9])\}", reference)
        if not number or int(number[1]) > captures(pattern):
            yield f"{reference} is no group of {pattern!r}"


def captures(pattern: str) -> int:
    return len(re.findall(r"\((?!\?)", re.sub(r"\\.", "", pattern)))


def pattern_faults(pattern: str) -> Iterator[str]:
    position = 0
    while position < len(pattern):
        token = TOKEN.match(pattern, position)
        if not token:
            yield f"{pattern!r} has {pattern[position : position + 3]!r}, which is not plain ECMAScript"
            return
        position = token.end()
    try:
        re.compile(pattern)
    except re.error as error:
        yield f"{pattern!r}: {error}"


def is_final(rule: ET.Element) -> bool:
    match, action = rule.find("match"), rule.find("action")
    refuses = action is not None and action.get("type") == "CustomResponse"
    return refuses and match is not None and match.get("url") == ".*" and rule.find("conditions") is None
