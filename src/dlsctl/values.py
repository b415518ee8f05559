"""The inventory's variables: names, types and rules."""

import difflib
import ipaddress
import os
import re
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple, Union

from dlsctl import sftp
from dlsctl.archives import VERSION_FORM
from dlsctl.deployment import Spec
from dlsctl.licenses import LICENSE_NAME
from dlsctl.packs import RECIPIENT_HINT, RECIPIENT_RULE, is_recipient
from dlsctl.pair import url_parts
from dlsctl.problems import Problem, Refused

IPNetwork = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def variable_problems(spec: Spec) -> Iterator[Problem]:
    """Misspelt names, missing and wrongly typed values, from the variables' own specification.

    `spec` holds `options` (an argument specification), `values`, `known` (every name of every role) and `prefix`.
    """
    options, values = spec["options"], spec["values"]
    for name in sorted(set(spec["names"]) - set(spec["known"])):
        near = nearest(name, spec["known"], spec["prefix"])
        if near or name.startswith(spec["prefix"]):
            hint = "did you mean {}?".format(near) if near else "the variables are listed in docs/variables.md"
            yield Refused(name, "is not a variable of this role", None, hint)
    given = set(values)
    for name, option in sorted(options.items()):
        value = values.get(name)
        if value is None or value == "":
            values[name] = None
            if option.get("required"):
                yield Refused(name, "is required", "nothing", set_hint(name))
            elif name in given and option.get("default") is not None:
                yield Refused(name, "must not be empty", repr(value), set_hint(name) + ", or leave it out")
            continue
        got = "a secret of another form" if option.get("no_log") else repr(value)
        try:
            values[name] = coerce(option.get("type", "str"), value, option.get("elements", "str"))
        except (ValueError, TypeError):
            yield Refused(name, "must be of type {}".format(option.get("type", "str")), got, set_hint(name))
            values[name] = None
            continue
        chosen = values[name] if isinstance(values[name], list) else [values[name]]
        if option.get("choices") and not all(item in option["choices"] for item in chosen):
            yield Refused(name, "must be one of {}".format(", ".join(option["choices"])), got, set_hint(name))


def nearest(name: str, known: Iterable[str], prefix: str) -> Optional[str]:
    """The known name that was probably meant, or None; a shared prefix does not count as likeness."""
    short = name[len(prefix) :] if name.startswith(prefix) else name
    shorts = {other[len(prefix) :] if short != name and other.startswith(prefix) else other: other for other in known}
    near = difflib.get_close_matches(short, shorts, 1, 0.7 if short != name else 0.8)
    return shorts[near[0]] if near else None


def set_hint(name: str) -> str:
    return "set {} in the inventory, for example in group_vars/dls.yml".format(name)


def coerce(kind: str, value: Any, elements: str = "str") -> Any:
    """A value as the type of an argument specification, also from text as -e gives it; raises ValueError."""
    if kind == "int" and not isinstance(value, (bool, float)):
        return int(value)
    if kind == "bool":
        if str(value).lower() in ("true", "yes", "on", "1"):
            return True
        if str(value).lower() in ("false", "no", "off", "0"):
            return False
    if kind == "list" and isinstance(value, list):
        element = dict if elements == "dict" else str
        if all(isinstance(item, element) for item in value):
            return value
    if kind in ("str", "path") and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    raise ValueError(value)


SYSTEM_NAME = r"[a-z_][a-z0-9_-]{0,30}"
POSITIVE = ("health_timeout", "stop_timeout", "max_clock_skew")

# Without these there is no telling what to look at.
SHAPING = ("home", "config_dir", "data_dir", "backup_dir", "bin_dir", "launch", "supervisor", "service_name", "user")
PATHS = ("home", "config_dir", "data_dir", "backup_dir", "bin_dir")


def value_rule(prefix: str, values: Dict[str, Any]) -> Callable[..., Iterator[Problem]]:
    """What checks one value: rule(name without prefix, test, text, hint) yields a problem where the test is false."""

    def rule(short: str, test: Callable[[Any], Any], text: str, hint: Optional[str] = None) -> Iterator[Problem]:
        value = values.get(prefix + short)
        if value is not None and not test(value):
            yield Refused(prefix + short, text, repr(value), hint or set_hint(prefix + short))

    return rule


PATH_RULE = "must be an absolute path, without spaces, percent signs, quotes, braces, ';', $, '..' or a trailing slash"


def is_plain_path(path: str) -> bool:
    """Whether a path keeps PATH_RULE, and so means the same in a unit, a shell and a configuration file."""
    plain = re.fullmatch(r"/(?!/)[^\s%\"'\\$;{}]+", path) and path.isprintable()
    return bool(plain) and os.path.normpath(path) == path


def is_place(text: str) -> bool:
    """Whether a text names a place that backups can be copied to."""
    return sftp.parse(text) is not None if text.startswith(sftp.SCHEME) else is_plain_path(text)


CALENDAR_RULE = "must be an OnCalendar expression of systemd, such as daily or Mon..Fri 03:30"
CALENDAR_HINT = "try it with: systemd-analyze calendar EXPRESSION"


def is_calendar_text(text: str) -> bool:
    """Whether a text may be an OnCalendar expression, and cannot mean anything else in a unit."""
    return bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9:.,*/~_+ -]{0,199}|\*[0-9:.,*/~ -]{0,199}", text))


def value_problems(prefix: str, values: Dict[str, Any]) -> Iterator[Problem]:
    """Values of the right type that break a rule."""
    rule = value_rule(prefix, values)
    for short in ("port", "data_port"):
        yield from rule(short, lambda port: 1 <= port <= 65535, "must be 1 to 65535")
    yield from rule(
        "data_port", lambda port: port != values.get(prefix + "port"), "must differ from {}port".format(prefix)
    )
    for short in POSITIVE:
        yield from rule(short, lambda seconds: 1 <= seconds <= 86400, "must be 1 to 86400 seconds")
    yield from rule("memory_max_mb", lambda mib: mib == 0 or mib >= 512, "must be 0, for no limit, or 512 and more")
    for short in (*PATHS, "backup_metrics", "backup_push_key"):
        yield from rule(short, is_plain_path, PATH_RULE)
    home = str(values.get(prefix + "home")) + "/"
    for short in ("config_dir", "data_dir", "backup_dir"):
        yield from rule(
            short,
            lambda path: not (path + "/").startswith(home),
            "must not be inside {}home, whose folders an uninstall removes".format(prefix),
        )
    yield from rule("backup_schedule", is_calendar_text, CALENDAR_RULE, CALENDAR_HINT)
    if values.get(prefix + "backup_schedule") and values.get(prefix + "supervisor") != "systemd":
        rule_text = "must be systemd where {}backup_schedule is set".format(prefix)
        yield Refused(prefix + "supervisor", rule_text, values.get(prefix + "supervisor"), "call dlsctl from cron")
    yield from rule("backup_push", is_place, "{}; or {}".format(PATH_RULE, sftp.RULE))
    yield from rule("backup_delay", lambda seconds: 0 <= seconds <= 604800, "must be 0 to 604800 seconds")
    for short in ("backup_keep", "backup_keep_days", "backup_min_age_hours"):
        yield from rule(short, lambda number: 0 <= number <= 100000, "must be 0 to 100000")
    yield from rule("backup_recipient", is_recipient, RECIPIENT_RULE, RECIPIENT_HINT)
    yield from rule(
        "archive", lambda path: re.match("[/~]", path), "must be an absolute path on the control node, or begin with ~"
    )
    yield from rule("adopt_from", os.path.isabs, "must be an absolute path on the host")
    yield from rule("version", VERSION_FORM.match, "must be a version such as 2.4.11")
    yield from rule(
        "archive_checksum",
        lambda text: re.fullmatch("sha256:[0-9a-f]{64}", text),
        "must be sha256: and 64 lower-case hexadecimal digits",
        "print it with: ./dls archive pin FILE",
    )
    yield from rule(
        "service_name",
        lambda name: re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9:_.@-]{0,198}[A-Za-z0-9])?", name),
        "must be a unit name without .service",
    )
    yield from rule("user", lambda name: re.fullmatch(SYSTEM_NAME, name), "must be a system user name")
    yield from rule(
        "allowed_networks", len, "must name a network, localhost at least: the server's health is asked from there"
    )
    for network in values.get(prefix + "allowed_networks") or []:
        if not is_network(network):
            yield Refused(
                prefix + "allowed_networks",
                "must be localhost, any, an address or a network",
                repr(network),
                set_hint(prefix + "allowed_networks"),
            )
    yield from pair_value_problems(prefix, values)
    yield from license_value_problems(prefix, values)


def license_value_problems(prefix: str, values: Dict[str, Any]) -> Iterator[Problem]:
    """Entries of the list of licence files that are misspelt, incomplete, or of one name."""
    variable, names = prefix + "licenses", []
    for number, entry in enumerate(values.get(variable) or [], 1):
        faults = list(license_entry_faults(entry))
        name = os.path.basename(str(entry.get("file")))
        if not faults and name in names:
            faults.append(("must have files of different names", repr(name), "rename one of them"))
        names.append(name)
        for rule, got, hint in faults:
            yield Refused(variable, "{} in entry {}".format(rule, number), got, hint or set_hint(variable))


def license_entry_faults(entry: Dict[str, Any]) -> Iterator[Tuple[str, object, Optional[str]]]:
    """What is wrong with one entry of that list: the rule, the value, the next action."""
    kinds = {"file": "path", "project": "str", "create": "bool"}
    for key in sorted(map(str, set(entry) - set(kinds))):
        near = nearest(key, kinds, "")
        yield "must have no keys but file, project and create", repr(key), near and "did you mean {}?".format(near)
    for key, kind in kinds.items():
        try:
            coerce(kind, entry.get(key, True if key == "create" else ""))
        except ValueError:
            yield "must have a {} of type {}".format(key, kind), repr(entry[key]), None
            return
    path = str(entry.get("file", ""))
    if not re.match("[/~]", path):
        rule = "must have a file, an absolute path on the control node or one that begins with ~,"
        yield rule, repr(path) if path else "nothing", None
    elif not re.fullmatch(LICENSE_NAME, os.path.basename(path)):
        rule = "must have a file named with letters, digits, blanks and ._()+@-, 127 at most,"
        yield rule, repr(os.path.basename(path)), "rename the file"


def pair_value_problems(prefix: str, values: Dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with the two URLs of a pair, as far as one host's values tell."""
    mode = values.get(prefix + "mode")
    urls = {prefix + short: values.get(prefix + short) for short in ("main_url", "standby_url")}
    hint = "set both URLs of the pair, once for its two hosts, for example in group_vars/dls.yml"
    for name, url in urls.items():
        if url is None and mode in ("main", "standby"):
            yield Refused(name, "is required where {}mode is {}".format(prefix, mode), "nothing", hint)
        elif url is not None and url_parts(url) is None:
            yield Refused(name, "must be an http(s) URL such as https://dls1.example.com/dls/", repr(url), hint)
        elif url is not None and mode == "standalone":
            rule = "must be main or standby where {} is set".format(name)
            yield Refused(prefix + "mode", rule, mode, "a standby without its mode would serve clients beside its main")
            break
    main, standby = (url_parts(url) if url else None for url in urls.values())
    if main and main == standby:
        rule = "must differ from {}main_url".format(prefix)
        yield Refused(prefix + "standby_url", rule, repr(urls[prefix + "standby_url"]), hint)


def is_network(text: str) -> bool:
    """Whether systemd's IPAddressAllow and nftables take the text."""
    if text in ("any", "localhost"):
        return True
    try:
        network_of(text, strict=False)
    except ValueError:
        return False
    return True


def network_of(text: str, strict: bool = True) -> IPNetwork:
    """The network or address that a text names. Raises ValueError, also for the zone of an IPv6 address.

    From version 3.9 on Python takes any text for a zone, so quotes, semicolons and line breaks too.
    """
    if "%" in text:
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=strict)
