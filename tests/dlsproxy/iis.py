"""IIS as far as it decides what becomes of a request: URLs as HTTP.sys makes them, request filtering, URL Rewrite.

Written from Microsoft's reference of the URL Rewrite module and of request filtering. Where these leave open what
happens to a URL, `Reading` names the possibilities, so that tests can hold under each of them.
"""

import functools
import re
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Reading:
    """What HTTP.sys may make of a URL before URL Rewrite sees it."""

    slashes_merge: bool = False
    fragment_ends: bool = False
    parameters_go: bool = False  # ;x of a segment

    def __str__(self) -> str:
        return "+".join(name for name, value in vars(self).items() if value) or "plain"


READINGS = [
    Reading(),
    Reading(slashes_merge=True),
    Reading(fragment_ends=True),
    Reading(parameters_go=True),
    Reading(slashes_merge=True, fragment_ends=True, parameters_go=True),
]


@dataclass(frozen=True)
class Request:
    """A request as it is sent; the target exactly so."""

    method: str
    target: str
    source: str = "192.0.2.9"
    tls: bool = True
    host: str = "dls.example.com"
    length: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


class Outcome(NamedTuple):
    """What becomes of a request: a status of IIS itself, or the URL that it asks a server for. And the rule."""

    status: int = 0
    url: str = ""
    rule: str = ""


@dataclass(frozen=True)
class Condition:
    source: str
    pattern: str
    ignore_case: bool
    negate: bool


@dataclass(frozen=True)
class Rule:
    name: str
    pattern: str
    ignore_case: bool
    negate: bool
    stops: bool
    match_any: bool
    conditions: tuple[Condition, ...]
    action: Mapping[str, str]


def flag(node: ET.Element | None, name: str, default: bool) -> bool:
    return (node.get(name, str(default)) if node is not None else str(default)).lower() == "true"


@functools.cache
def rules_of(text: str) -> list[Rule]:
    """The inbound rules of a web.config, in their order."""
    found = []
    for node in ET.fromstring(text).findall("./system.webServer/rewrite/rules/rule"):  # noqa: S314 - our own file
        match, action, conditions = node.find("match"), node.find("action"), node.find("conditions")
        assert match is not None
        assert action is not None
        checks = tuple(
            Condition(
                add.attrib["input"], add.attrib["pattern"], flag(add, "ignoreCase", True), flag(add, "negate", False)
            )
            for add in node.findall("./conditions/add")
        )
        match_any = conditions is not None and conditions.get("logicalGrouping") == "MatchAny"
        pattern, case, negate = match.attrib["url"], flag(match, "ignoreCase", True), flag(match, "negate", False)
        if flag(node, "enabled", True):
            stops = flag(node, "stopProcessing", False)
            found.append(Rule(node.attrib["name"], pattern, case, negate, stops, match_any, checks, action.attrib))
    return found


@functools.cache
def compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    ends = re.sub(r"\\.|\[[^\]]*\]|\$", lambda found: r"\Z" if found[0] == "$" else found[0], pattern)
    return re.compile(ends, re.ASCII | (re.IGNORECASE if ignore_case else 0))


def searched(pattern: str, text: str, ignore_case: bool) -> re.Match[str] | None:
    """What ECMAScript finds: `$` is the very end, and nothing is beyond ASCII."""
    return compiled(pattern, ignore_case).search(text)


class Refusal(Exception):
    """A status that IIS answers before any rule."""


def cooked(raw: str, reading: Reading) -> str:
    """The path of a target as URL Rewrite sees it: decoded once and without dot segments, with its first slash."""
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00|%0[ad]|[\x00-\x20]", raw, re.IGNORECASE):
        raise Refusal(400)
    path = urllib.parse.unquote(raw, errors="strict")
    if urllib.parse.unquote(path) != path or "+" in path:
        raise Refusal(404)  # 404.11: allowDoubleEscaping is false
    path = path.replace("\\", "/")
    if reading.fragment_ends:
        path = path.partition("#")[0]
    if reading.parameters_go:
        path = re.sub(r";[^/]*", "", path)
    if reading.slashes_merge:
        path = re.sub(r"/+", "/", path)
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == ".." and kept:
            kept.pop()
        elif segment not in (".", ".."):
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def answered(text: str, request: Request, reading: Reading = READINGS[0]) -> Outcome:
    """What a site with this web.config at its root does with a request."""
    try:
        host, raw, query = split(request)
        path = cooked(raw, reading)
    except (Refusal, UnicodeDecodeError) as error:
        return Outcome(status=error.args[0] if isinstance(error, Refusal) else 400)
    for status in filtered(text, raw, query, request):
        return Outcome(status=status)
    variables = {
        "REMOTE_ADDR": request.source,
        "REQUEST_METHOD": request.method,
        "HTTPS": "on" if request.tls else "off",
        "HTTP_HOST": host,
        "QUERY_STRING": query or "",
        "UNENCODED_URL": request.target,
        "CONTENT_LENGTH": str(request.length),
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in request.headers.items()},
    }
    url, by = path[1:], ""
    for rule in rules_of(text):
        applied = apply(rule, url, variables)
        if not applied:
            continue
        if "statusCode" in rule.action:
            return Outcome(status=int(rule.action["statusCode"]), rule=rule.name)
        url, by = applied, rule.name
        if flag_of(rule.action, "appendQueryString", True) and query is not None:
            url += ("&" if "?" in url else "?") + query
        if rule.stops:
            break
    return Outcome(url=url, rule=by) if re.match("https?://", url) else Outcome(status=404)


def flag_of(attributes: Mapping[str, str], name: str, default: bool) -> bool:
    return attributes.get(name, str(default)).lower() == "true"


def split(request: Request) -> tuple[str, str, str | None]:
    """The host, the raw path and the query of a request; an absolute URL names the host itself."""
    host, target = request.host, request.target
    if absolute := re.fullmatch(r"https?://([^/?]+)(.*)", target):
        host, target = absolute[1], absolute[2] or "/"
    if not target.startswith("/"):
        raise Refusal(400)
    raw, mark, query = target.partition("?")
    return host, raw, query if mark else None


@functools.cache
def limits_of(text: str) -> Mapping[str, str]:
    limits = ET.fromstring(text).find("./system.webServer/security/requestFiltering/requestLimits")  # noqa: S314
    assert limits is not None
    return limits.attrib


def filtered(text: str, raw: str, query: str | None, request: Request) -> Iterator[int]:
    limits = limits_of(text)
    if len(raw) > int(limits.get("maxUrl", 4096)) or len(query or "") > int(limits.get("maxQueryString", 2048)):
        yield 404
    if request.length > int(limits.get("maxAllowedContentLength", 30000000)):
        yield 413
    if set(raw.lower().split("/")) & {"web.config", "bin", "app_code", "app_data"}:
        yield 404  # the hidden segments of the server


def apply(rule: Rule, url: str, variables: Mapping[str, str]) -> str:
    """The URL or the text that a rule makes of a URL; nothing where it does not apply."""
    found = searched(rule.pattern, url, rule.ignore_case)
    if bool(found) == rule.negate:
        return ""
    references = groups("R", found)
    results = []
    for condition in rule.conditions:
        hit = searched(condition.pattern, filled(condition.source, variables, references), condition.ignore_case)
        results.append(bool(hit) != condition.negate)
        references.update(groups("C", hit) if hit and not condition.negate else {})
    if results and not (any(results) if rule.match_any else all(results)):
        return ""
    quoted = {name: urllib.parse.quote(value, safe="/;:@&=$,!*'()~") for name, value in references.items()}
    return filled(rule.action.get("url", "-"), variables, quoted)


def groups(letter: str, found: re.Match[str] | None) -> dict[str, str]:
    if not found:
        return {}
    return {f"{letter}:{n}": value or "" for n, value in enumerate((found[0], *found.groups()))}


def filled(text: str, variables: Mapping[str, str], references: Mapping[str, str]) -> str:
    return re.sub(r"\{([A-Z_]+|[RC]:\d)\}", lambda name: {**variables, **references}.get(name[1], ""), text)
