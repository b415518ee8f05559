"""Put nginx in front of a Dynamsoft License Server on this host, and say first what keeps it from working.

Two verbs: `look` changes nothing and tells everything at once; `apply` does what `look` has told. The deployment
engines pipe this file, dlsfirewall and dlsctl, whose helpers it uses, through the host's Python; none has to be there.
What they ask arrives on standard input, since it may hold a private key. Standard library only, Python 3.6 and later.
"""

import argparse
import contextlib
import http.client
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import stat
import tempfile
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import dlsfirewall
from dlsctl.cli import perform
from dlsctl.deployment import Spec, is_as_expected
from dlsctl.files import existing_parent, read_bytes, read_tail, write_atomic
from dlsctl.host import (
    has_systemd,
    parent_of,
    port_owner,
    process_ages,
    process_name,
    read_proc,
    run,
    systemctl,
    unit_properties,
    wait_until,
)
from dlsctl.packages import look_at_packages, os_family
from dlsctl.pair import url_parts
from dlsctl.preflight import family_problems, taken_port
from dlsctl.problems import EXIT_OK, EXIT_REFUSED, Answer, Problem, Refused, one_line
from dlsctl.values import PATH_RULE, is_plain_path, network_of, set_hint, value_rule, variable_problems

PREFIX = "dls_proxy_"
SERVER_PORTS = ("dls_server_port", "dls_server_data_port")
SERVICE = "nginx"
ERROR_LOG = "/var/log/nginx/error.log"
RELOAD_SECONDS = 10  # within which nginx must have replaced its workers
DAY = 86400.0

# --- Values: what a variable may say ---

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
    yield from dlsfirewall.value_problems(values)
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


# --- Certificates: read with OpenSSL as Python has it, in memory ---

PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# Flags of OpenSSL's X509_VERIFY_PARAM: any trusted certificate ends a chain; dates are compared here instead.
PARTIAL_CHAIN, NO_CHECK_TIME = 0x80000, 0x200000
CHAIN_HINT = "put the server's own certificate first, then that of its issuer and so on, as fullchain.pem has them"


class Pair(NamedTuple):
    """A certificate with those of its issuers, and its private key, in PEM; and what to call each of them."""

    certificate: bytes
    key: bytes
    certificate_name: str
    key_name: str


class Verdict(NamedTuple):
    """What was found of a pair: problems, remarks that are none, whether nobody but itself has signed it.

    ending: the remark that it ends soon, where it does.
    """

    problems: List[Problem]
    notes: List[str]
    self_signed: bool = False
    ending: Optional[Problem] = None


@contextlib.contextmanager
def in_memory(data: bytes) -> Iterator[str]:
    """A path from which OpenSSL can read `data`: of a file in memory that has no name."""
    with tempfile.TemporaryFile(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as file:
        file.write(data)
        file.flush()
        yield "/proc/self/fd/{}".format(file.fileno())


def form_problems(pair: Pair) -> Iterator[Problem]:
    """What is wrong with the texts themselves."""
    if not PEM.search(pair.certificate):
        yield Refused(pair.certificate_name, "must hold a certificate in PEM form", "none", CHAIN_HINT)
    if b"PRIVATE KEY-----" in pair.certificate:
        hint = "take it out: everybody may read a certificate"
        yield Refused(pair.certificate_name, "must not hold a private key", "one", hint)
    if b"PRIVATE KEY-----" not in pair.key:
        yield Refused(pair.key_name, "must hold a private key in PEM form", "none", "it belongs to the certificate")
    elif b"ENCRYPTED" in pair.key:
        hint = "decrypt it with: openssl pkey -in FILE; keep it in Ansible Vault"
        yield Refused(pair.key_name, "must not be encrypted, since nginx has nobody to ask", "an encrypted key", hint)


def server_context(pair: Pair) -> ssl.SSLContext:
    """What answers with this pair. Raises Refused where the two do not belong together, or OpenSSL takes them not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with in_memory(pair.certificate) as certificate, in_memory(pair.key) as key:
            context.load_cert_chain(certificate, key, password=lambda: "")  # never asks at a terminal
    except ssl.SSLError as error:
        if "MISMATCH" not in (error.reason or ""):
            rule = "must be a certificate and key that OpenSSL takes"
            raise Refused(pair.certificate_name, rule, error.reason or "others", "look at them with: openssl") from None
        raise mismatch(pair) from None
    return context


def mismatch(pair: Pair) -> Refused:
    """The key is not that of the first certificate: is it that of a later one?"""
    for number, other in enumerate(PEM.findall(pair.certificate)[1:], start=2):
        with contextlib.suppress(Refused):
            server_context(pair._replace(certificate=other))
            got = "it at place {}".format(number)
            return Refused(pair.certificate_name, "must begin with the server's own certificate", got, CHAIN_HINT)
    rule = "must be the key of {}".format(pair.certificate_name)
    return Refused(pair.key_name, rule, "that of another certificate", "take both from one issue of the certificate")


def seen_by_client(server: ssl.SSLContext, trusted: bytes, name: Optional[str] = None) -> Dict[str, Any]:
    """The server's certificate, as a client sees it that trusts only `trusted`, whatever the date.

    With `name` the certificate must cover it. Raises ssl.SSLError, or ssl.CertificateError on Python 3.6.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = name is not None
    client.load_verify_locations(cadata=trusted.decode("ascii"))
    client.verify_flags |= PARTIAL_CHAIN | NO_CHECK_TIME
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs) * 4:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        if side is ours:
            break
    return dict(ours.getpeercert() or {})


def authority(pem: bytes) -> Dict[str, Any]:
    """Subject, issuer and dates of an issuer's certificate; nothing where it may issue none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem.decode("ascii"))
    found = context.get_ca_certs()
    return dict(found[0]) if found else {}


def common_name(name: Iterable[Iterable[Tuple[str, str]]]) -> str:
    """The commonName of a subject or issuer, or all of it."""
    words = dict(pair for part in name for pair in part)
    return one_line(words.get("commonName") or ", ".join("=".join(pair) for pair in words.items()))


def check_pair(pair: Pair, names: Sequence[str], warn_days: int, now: float) -> Verdict:
    """Everything that is wrong with a pair for a server that is called by `names`."""
    problems = list(form_problems(pair))
    if problems:
        return Verdict(problems, [])
    pems = PEM.findall(pair.certificate)
    try:
        server = server_context(pair)
        alone = server_context(pair._replace(certificate=pems[0]))  # to see it whatever its issuers are
        own = seen_by_client(alone, pems[0])
        issuers = [authority(pem) for pem in pems[1:]]
        problems += chain_problems(pair, server, pems, [own, *issuers])
    except Refused as problem:
        return Verdict([problem], [])
    except (ssl.SSLError, ValueError) as error:
        rule = "must be a certificate that a client takes"
        return Verdict([Refused(pair.certificate_name, rule, reason(error), CHAIN_HINT)], [])
    problems += date_problems(pair, [own, *(issuer for issuer in issuers if issuer)], now)
    problems += name_problems(pair, alone, pems[0], own, names)
    self_signed = own["issuer"] == own["subject"]
    notes = []
    if len(pems) == 1 and not self_signed:  # which is right where that one is a root that clients know
        issuer = common_name(own["issuer"])
        text = "{}: holds no certificate of its issuer, {}: clients that do not know that one refuse it\nHINT: {}"
        notes.append(text.format(pair.certificate_name, issuer, CHAIN_HINT))
    left = (ssl.cert_time_to_seconds(own["notAfter"]) - now) / DAY
    ending = None
    if not problems and left < warn_days:
        ends = "ends on {}, in {:.0f} days".format(day(own["notAfter"]), left)
        ending = Problem(pair.certificate_name, ends, None, "renew it")
        notes.append(str(ending))
    return Verdict(problems, notes, self_signed, ending)


def reason(error: Exception) -> str:
    return str(getattr(error, "verify_message", "") or getattr(error, "reason", "") or error)


def day(date: str) -> str:
    """The day of a certificate's date, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(ssl.cert_time_to_seconds(date)))


def chain_problems(
    pair: Pair, server: ssl.SSLContext, pems: Sequence[bytes], chain: Sequence[Dict[str, Any]]
) -> Iterator[Problem]:
    """Whether each certificate is followed by that of its issuer, which has signed it."""
    for number, (one, issuer) in enumerate(zip(chain, chain[1:]), start=2):
        if issuer.get("subject") != one["issuer"]:
            rule = "must have behind each certificate that of its issuer"
            wanted = "another one than {} at place {}".format(common_name(one["issuer"]), number)
            yield Refused(pair.certificate_name, rule, wanted, CHAIN_HINT)
            return
    try:
        seen_by_client(server, pems[-1])
    except ssl.SSLError as error:
        rule = "must be signed by the issuers that follow it"
        yield Refused(pair.certificate_name, rule, reason(error), CHAIN_HINT)


def date_problems(pair: Pair, chain: Sequence[Dict[str, Any]], now: float) -> Iterator[Problem]:
    for one in chain:
        what = "{} of {}".format("that", common_name(one["subject"]))
        if now > ssl.cert_time_to_seconds(one["notAfter"]):
            got = "{}, which ended on {}".format(what, day(one["notAfter"]))
            yield Refused(pair.certificate_name, "must not be expired", got, "renew it")
        if now < ssl.cert_time_to_seconds(one["notBefore"]):
            got = "{}, which begins on {}".format(what, day(one["notBefore"]))
            yield Refused(pair.certificate_name, "must be valid by now", got, "compare the host's clock")


def name_problems(
    pair: Pair, server: ssl.SSLContext, pem: bytes, own: Dict[str, Any], names: Sequence[str]
) -> Iterator[Problem]:
    alternatives = [value for _, value in own.get("subjectAltName", ())]
    missing = [name for name in names if not alternatives or not covers(server, pem, name)]
    if missing:
        only = ", ".join(alternatives) or "no name at all"
        yield Refused(
            pair.certificate_name,
            "must cover every name of {}server_names".format(PREFIX),
            "{}, it covers only {}".format(", ".join(missing), one_line(only)),
            "have one issued for all names that clients use, as subjectAltName",
        )


def covers(server: ssl.SSLContext, pem: bytes, name: str) -> bool:
    try:
        seen_by_client(server, pem, name)
    except (ssl.SSLError, ssl.CertificateError):
        return False
    return True


# --- nginx: what is there, and whose ---


class Site(NamedTuple):
    """One `server` of nginx's configuration: its file, names, and (port, for all addresses, default_server)."""

    file: str
    names: Tuple[str, ...]
    listens: Tuple[Tuple[int, bool, bool], ...]

    def is_on(self, port: int) -> bool:
        return any(port == listen[0] for listen in self.listens)


TOKEN = re.compile(r"#[^\n]*|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[;{}]|(?:\\.|\$\{|[^\s;{}\\])+", re.DOTALL)


def sites_of(dump: str) -> List[Site]:
    """The servers of a configuration, from the output of `nginx -T`, in nginx's order."""
    parts = re.split(r"^# configuration file (.*):$", dump, flags=re.MULTILINE)[1:]
    return [site for file, text in zip(parts[::2], parts[1::2]) for site in sites_of_file(file, text)]


def sites_of_file(file: str, text: str) -> Iterator[Site]:
    blocks: List[str] = []
    words: List[str] = []
    found: Dict[str, List[List[str]]] = {}
    for word in TOKEN.findall(text):
        if word == "{":
            blocks.append(words[0] if words else "")
            if blocks[-1] == "server":
                found = {"listen": [], "server_name": []}
        elif word == "}":
            if blocks and blocks.pop() == "server" and "stream" not in blocks:
                yield site(file, found)
        elif word == ";" and blocks[-1:] == ["server"] and words and words[0] in found:
            found[words[0]].append(words[1:])
        if word in ("{", "}", ";"):
            words = []
        elif not word.startswith("#"):
            words.append(word.strip("\"'"))


def site(file: str, found: Dict[str, List[List[str]]]) -> Site:
    listens = [listen for listen in map(listen_of, found["listen"] or [["80"]]) if listen]
    names = [name.lower() for line in found["server_name"] for name in line]
    return Site(file, tuple(names), tuple(listens))


EVERY_ADDRESS = ("", "*", "0.0.0.0", "[::]")  # noqa: S104 - read, not bound


def listen_of(words: Sequence[str]) -> Optional[Tuple[int, bool, bool]]:
    if not words or words[0].startswith("unix:"):
        return None
    host, _, port = words[0].rpartition(":")
    if not port.isdigit():
        host, port = words[0], "80"
    return int(port), host in EVERY_ADDRESS, "default_server" in words


def nginx_errors(output: str) -> str:
    """What nginx says is wrong, with file and line as it gives them."""
    said = re.findall(r"^(?:nginx:|[0-9/]+ [0-9:]+) \[emerg\] (?:\d+#\d+: )?(.*)$", output, re.MULTILINE)
    return "; ".join(dict.fromkeys(said)) or output.strip()[-300:]


# --- SELinux, where it is enforcing ---

HTTP_PORTS = frozenset((80, 81, 443, 488, 8008, 8009, 8443, 9000))  # http_port_t of the targeted policy


def is_enforcing() -> bool:
    return (read_proc("/sys/fs/selinux/enforce") or "").strip() == "1"


def selinux_ports(listing: str) -> Dict[int, str]:
    """The type of each single TCP port that `semanage port --list` names."""
    found: Dict[int, str] = {}
    for line in listing.splitlines():
        words = line.replace(",", " ").split()
        if len(words) > 2 and words[1] == "tcp":
            found.update({int(word): words[0] for word in words[2:] if word.isdigit()})
    return found


def selinux_commands(
    can_connect: bool, types: Dict[int, str], ports: Iterable[int], paths: Sequence[str]
) -> List[List[str]]:
    """The commands after which nginx may listen on `ports`, reach the server and read `paths`.

    can_connect: the boolean httpd_can_network_connect. types: the policy's type of each TCP port that has one.
    """
    commands = [] if can_connect else [["setsebool", "-P", "httpd_can_network_connect", "on"]]
    for port in sorted(ports):
        if types.get(port) != "http_port_t":
            how = "--modify" if port in types else "--add"
            commands.append(["semanage", "port", how, "--type", "http_port_t", "--proto", "tcp", str(port)])
    return commands + ([["restorecon", "-F", *paths]] if paths else [])


# --- The proxy: what the variables want of this host, and what it lacks ---


# Text before the first line of a PEM is no part of it.
MARK = "# Written by role dls_proxy, which removes it together with the proxy.\n"


def is_marked(path: str, mark: str = MARK) -> bool:
    """Whether a file is there that this role has written; a link is none."""
    try:
        return (read_bytes(path) or b"").startswith(mark.encode())
    except Refused:
        return False


class Proxy:
    """What the variables say of one proxy, and the files it consists of."""

    def __init__(self, spec: Spec) -> None:
        values = {name[len(PREFIX) :]: value for name, value in spec["values"].items() if name.startswith(PREFIX)}
        self.entry: str = spec["entry"]
        self.values: Dict[str, Any] = spec["values"]
        self.names: List[str] = values.get("server_names") or []
        self.prefix: str = values["prefix"]
        self.is_default: bool = values["default_server"]
        self.ports: Dict[str, int] = {protocol: values[protocol + "_port"] for protocol in values["protocols"]}
        self.admin_networks: List[str] = values["admin_networks"]
        self.ipv6: bool = values["ipv6"]
        self.certificate_path: str = values["tls_certificate_path"]
        self.key_path: str = values["tls_key_path"]
        # Made by this role, so removed by it; any other folder is the operator's.
        self.own_folder: str = os.path.dirname(spec["options"][PREFIX + "tls_key_path"]["default"])
        self.warn_days: int = values["tls_warn_days"]
        self.self_signed: bool = values["tls_self_signed"]
        # As they are checked and written. OpenSSL takes an editor's byte order mark in the first line only.
        self.given: List[Optional[str]] = [
            text and MARK + text.replace("\ufeff", "").strip() + "\n"
            for text in (values.get("tls_certificate"), values.get("tls_key"))
        ]
        self.configuration: Dict[str, Any] = spec["configuration"]
        self.client_path: str = spec["client_paths"][0]["path"]
        self.family: Dict[str, Any] = spec["families"][os_family()]

    @property
    def tls(self) -> bool:
        return "https" in self.ports

    def files(self) -> List[Dict[str, Any]]:
        """The files this proxy owns, as they should be; content None: it should not be there.

        In an order in which a configuration is never there without its certificate and key.
        """
        if self.entry == "uninstall":
            configuration = [self.configuration["path"]] if self.is_configured() else []
            return [{"path": path, "content": None} for path in [*configuration, *self.written()]]
        given = zip((self.certificate_path, self.key_path), ("0644", "0600"), self.given) if self.tls else ()
        items = [{"path": path, "mode": mode, "content": text} for path, mode, text in given if text]
        return [*items, self.configuration]

    def written(self) -> List[str]:
        """The certificate and key on this host that this role has written, whatever the variables say by now."""
        paths = dict.fromkeys([self.certificate_path, self.key_path, *self.used()])
        return [path for path in paths if is_marked(path)]

    def is_configured(self) -> bool:
        """Whether this role has written the configuration on this host: its first line is always the same."""
        return is_marked(self.configuration["path"], self.configuration["content"].partition("\n")[0] + "\n")

    def used(self) -> List[str]:
        """The certificate and key that the configuration on this host names."""
        if not self.is_configured():
            return []
        configuration = (read_bytes(self.configuration["path"]) or b"").decode(errors="replace")
        return re.findall(r"^\s*ssl_certificate(?:_key)? (/\S+);$", configuration, re.MULTILINE)

    def firewall(self) -> dlsfirewall.Settings:
        """What the host's firewall shall let through. Raises Refused for a port of the server."""
        if self.entry == "uninstall":
            return dlsfirewall.NOTHING
        return dlsfirewall.settings(self.values, self.ports, [self.values[name] for name in SERVER_PORTS])

    def serves(self, url: str) -> bool:
        """Whether a server URL leads to this proxy, as far as its own names, ports and prefix tell."""
        parts = url_parts(url)
        if parts is None:
            return False
        scheme, host, port, path = parts
        names = {name.lower().strip("[]") for name in self.names}
        return host in names and self.ports.get(scheme) == port and path == self.prefix.rstrip("/")

    def inputs(self) -> List[str]:
        """The files that nginx has read at its last reload."""
        return [self.configuration["path"]] + ([self.certificate_path, self.key_path] if self.tls else [])

    def packages(self) -> List[str]:
        """The packages that bring the programs which are not there."""
        needed = [] if shutil.which("nginx") else list(self.family["packages"])
        if self.tls and self.self_signed and not shutil.which("openssl"):
            needed += self.family["tls_packages"]
        if is_enforcing() and set(self.ports.values()) - HTTP_PORTS and not shutil.which("semanage"):
            needed += self.family["selinux_packages"]
        return needed

    def pair(self) -> Pair:
        """The certificate and key that nginx shall use. Raises Refused where there is none."""
        if all(self.given):
            certificate, key = (str(text).encode() for text in self.given)
            return Pair(certificate, key, PREFIX + "tls_certificate", PREFIX + "tls_key")
        found = []
        for short, path in (("certificate", self.certificate_path), ("key", self.key_path)):
            name = "{}tls_{}".format(PREFIX, short)
            data = read_bytes(os.path.realpath(path))
            if data is None:
                hint = "give its text as {}, or have it put there first, for example by certbot".format(name)
                raise Refused(name + "_path", "must be a file on the host", path, hint)
            if short == "key" and stat.S_IMODE(os.stat(path).st_mode) & 0o007:
                raise Refused(name + "_path", "must not be readable by everybody", path, "chmod 0600 " + path)
            found.append(data)
        return Pair(found[0], found[1], self.certificate_path, self.key_path)

    def verdict(self) -> Verdict:
        """What is to be said of the certificate and key that are given, or on the host."""
        try:
            pair = self.pair()
        except Refused as problem:
            return Verdict([problem], [])
        return check_pair(pair, self.names, self.warn_days, time.time())

    def makes_certificate(self, verdict: Verdict) -> bool:
        """Whether a self-signed certificate is due: none is there, or one that was self-signed and is no more good."""
        if not (self.tls and self.self_signed):
            return False
        return not os.path.lexists(self.key_path) or (verdict.self_signed and bool(verdict.problems or verdict.notes))


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


def nginx_problems(proxy: Proxy, dump: Tuple[int, str]) -> Iterator[Problem]:
    """Whether nginx finds something wrong that is not this proxy's own."""
    code, output = dump
    if code and not any(path in nginx_errors(output) for path in proxy.inputs() + proxy.used()):
        hint = "correct that file; nginx -t must find nothing wrong before the proxy joins or leaves it"
        yield Refused("nginx", "must accept its present configuration", nginx_errors(output), hint)


def overwriting_problems(proxy: Proxy, is_made: bool) -> Iterator[Problem]:
    """Files of somebody else where this role would write a certificate and key, given ones or those it makes."""
    paths = (("certificate", proxy.certificate_path), ("key", proxy.key_path)) if proxy.tls else ()
    for (short, path), text in zip(paths, proxy.given):
        if (text or is_made) and os.path.lexists(path) and not is_marked(path):
            name = "{}tls_{}".format(PREFIX, short)
            cause = "{} is given".format(name) if text else "{}tls_self_signed is true".format(PREFIX)
            rule = "must hold nothing but what this role has written, where " + cause
            yield Refused(name + "_path", rule, path, "name another path, or move that file away")


def site_problems(proxy: Proxy, sites: Sequence[Site]) -> Iterator[Problem]:
    """Other sites of this nginx that have one of the names, or whose requests the proxy would get."""
    own = proxy.configuration["path"]
    others = [site for site in sites if site.file != own]
    for port in sorted(proxy.ports.values()):
        there = [site for site in others if site.is_on(port)]
        for name in proxy.names:
            for other in there:
                if name.lower().strip("[]") in {known.strip("[]") for known in other.names}:
                    got = "{}, which {} serves".format(name, other.file)
                    rule = "must not be a name of another site on port {}".format(port)
                    yield Refused(PREFIX + "server_names", rule, got, "take the name out of that file")
        yield from default_problems(proxy, port, there)


def default_problems(proxy: Proxy, port: int, there: Sequence[Site]) -> Iterator[Problem]:
    """nginx gives names that no site has to the default_server of a port, or else to the first site it has read."""
    name, own = PREFIX + "default_server", proxy.configuration["path"]
    defaults = [site for site in there if any(listen[0] == port and listen[2] for listen in site.listens)]
    if proxy.is_default:
        if defaults:
            rule = "must be false where another site is the default of port {}".format(port)
            yield Refused(name, rule, "true, {} says default_server".format(defaults[0].file), set_hint(name))
        return
    open_sites = [
        site
        for site in there
        if site.file != proxy.family["welcome_site"] and any(listen[:2] == (port, True) for listen in site.listens)
    ]
    first = open_sites[0].file if open_sites else own
    if open_sites and not defaults and not (os.path.dirname(first) == os.path.dirname(own) and first < own):
        yield Refused(
            name,
            "must not take from another site what nobody else on port {} answers".format(port),
            "false, {} is the default only because it comes first".format(first),
            "write default_server behind its listen {}, or set {} to true".format(port, name),
        )


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


def dump_of_nginx() -> Tuple[int, str]:
    return run(["nginx", "-T"]) if shutil.which("nginx") else (0, "")


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
    firewall = dlsfirewall.Look("none", [])
    try:
        firewall = dlsfirewall.look(proxy.firewall())
    except Refused as problem:
        if problem.what not in {known.what for known in problems}:  # each is said once
            problems.append(problem)
    steps += firewall.texts
    seen = {
        **look_at_packages(proxy.packages() if proxy.entry == "main" else [], os_family()),
        "differs": [item["path"] for item in proxy.files() if not is_as_expected(item)],
        "steps": steps,
        "firewall": firewall.firewall,
        "notes": notes,
    }
    if proxy.entry == "verify":
        seen["findings"] = [str(problem) for problem in findings(proxy, steps, verdict)]
    return seen


# --- Apply: write, let nginx judge, reload; or put everything back ---


def plan(proxy: Proxy) -> List[str]:
    """What is due but for the firewall, in words, in the order in which `apply` does it."""
    different = [item for item in proxy.files() if not is_as_expected(item)]
    steps = ["{} {}".format("write" if item["content"] is not None else "remove", item["path"]) for item in different]
    if proxy.entry == "uninstall":
        last = last_steps(proxy)
        return [step for step in steps if step not in last] + (["reload nginx"] if steps and is_active() else []) + last
    if proxy.makes_certificate(proxy.verdict() if proxy.self_signed else Verdict([], [])):
        steps.append("make a self-signed certificate")
    steps += [" ".join(command) for command in pending_selinux(proxy, steps)]
    if not is_active():
        steps.append("start nginx")
    elif steps or is_stale(proxy):
        steps.append("reload nginx")
    if unit_properties(SERVICE).get("UnitFileState") != "enabled":
        steps.append("start nginx at boot")
    return steps


def last_steps(proxy: Proxy) -> List[str]:
    """What waits until nginx has let go of it: it must never lack a key that it is told to read."""
    return ["remove " + path for path in proxy.written()] if proxy.entry == "uninstall" else []


def is_active() -> bool:
    return unit_properties(SERVICE).get("ActiveState") == "active"


def pending_selinux(proxy: Proxy, steps: Sequence[str]) -> List[List[str]]:
    if not is_enforcing():
        return []
    ports = list(proxy.ports.values())
    types = dict.fromkeys(HTTP_PORTS, "http_port_t")
    if set(ports) - HTTP_PORTS and shutil.which("semanage"):
        types.update(selinux_ports(run(["semanage", "port", "--list"])[1]))
    can_connect = run(["getsebool", "httpd_can_network_connect"])[1].strip().endswith("on")
    return selinux_commands(can_connect, types, ports, proxy.inputs() if steps else [])


def workers() -> List[int]:
    """The process ids of nginx's workers that take requests, not of those that a reload has sent away."""
    main = int(unit_properties(SERVICE).get("MainPID", "0"))
    children = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if main and parent_of(pid) == main]
    titles = {pid: read_proc("/proc/{}/cmdline".format(pid)) or "" for pid in children}
    return [pid for pid, title in titles.items() if title.strip("\0 ") == "nginx: worker process"]


def is_stale(proxy: Proxy) -> bool:
    """Whether nginx has read other files than are there now: a run may have died in between."""
    now = time.time()
    times = [os.stat(path).st_mtime for path in proxy.inputs() if os.path.exists(path)]
    started = now - max(process_ages(workers()), default=0)
    return started + 0.05 < max((at for at in times if at < now), default=0)  # both clocks tick in hundredths


def apply(spec: Spec, check: bool) -> List[str]:
    """Do what is due and return it; with `check` only tell. What nginx does not accept is put back. Raises Problem."""
    for problem in variable_problems(spec):  # also gives each value its type
        raise problem
    proxy = Proxy(spec)
    steps = plan(proxy)
    welcome = proxy.family["welcome_site"]
    if spec.get("is_new") and proxy.family["welcome_site_is_removable"] and os.path.lexists(welcome):
        steps.insert(0, "remove " + welcome)
    firewall = dlsfirewall.look(proxy.firewall())
    if check or not steps + firewall.texts:
        return steps + firewall.texts
    before = unit_properties(SERVICE)
    undo = Undo()
    try:
        change(proxy, steps, undo)
        dlsfirewall.apply(firewall)  # a port is open only while nginx serves it
    except BaseException as error:
        lost = undo.run()
        with contextlib.suppress(Problem):
            if before.get("UnitFileState") != "enabled" and "start nginx at boot" in steps:
                systemctl("disable", SERVICE)
            if steps and is_active():
                systemctl("reload" if before.get("ActiveState") == "active" else "stop", SERVICE)
        if lost:
            hint = "it could not be put back: {}; mend that, then run the same again".format("; ".join(map(str, lost)))
            raise Problem("proxy", "must be changed as a whole", str(error).partition("\n")[0], hint) from None
        raise
    return steps + firewall.texts


def change(proxy: Proxy, steps: Sequence[str], undo: "Undo") -> None:
    """Do the steps; nginx judges, and serves, what has become of its configuration. Raises Problem."""
    last, is_there = last_steps(proxy), bool(shutil.which("nginx"))
    remove_files([step for step in steps if step not in last], undo)
    write_files(proxy, steps, undo)
    if steps and is_there:
        judge(proxy)
        serve(proxy, steps)
    if proxy.entry == "uninstall":
        remove_files(last, undo)
        remove_empty(proxy.own_folder)
        if last and is_there:
            judge(proxy)  # another site may have come to use that certificate


class Undo:
    """Remembers files and folders before they change, to put them back with content, mode and owner."""

    def __init__(self) -> None:
        self._actions: List[Callable[[], None]] = []

    def keep(self, path: str) -> None:
        """Remember what is at `path`: a file, a link or nothing; and which of the folders above are not there yet."""
        parent = existing_parent(path)
        folder = os.path.dirname(path)
        while len(folder) > len(parent):
            self._actions.insert(0, lambda folder=folder: remove_empty(folder))  # type: ignore[misc]
            folder = os.path.dirname(folder)
        if os.path.islink(path):
            target = os.readlink(path)
            self._actions.append(lambda: replace_by_link(path, target))
        elif os.path.exists(path):
            data, status, above = read_bytes(path) or b"", os.stat(path), os.stat(os.path.dirname(path))
            owner = (status.st_uid, status.st_gid)
            self._actions.append(lambda: put_back(path, data, stat.S_IMODE(status.st_mode), owner))
            self._actions.append(lambda: put_folder_back(os.path.dirname(path), above))
        else:
            self._actions.append(lambda: remove(path))

    def run(self) -> List[Exception]:
        """Put everything back that can be; returns why the rest cannot."""
        failed: List[Exception] = []
        for action in reversed(self._actions):
            try:
                action()
            except (OSError, Problem) as error:
                failed.append(error)
        return failed


def put_folder_back(folder: str, status: os.stat_result) -> None:
    """Make a folder again that is no longer there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        os.chown(folder, status.st_uid, status.st_gid)
        os.chmod(folder, stat.S_IMODE(status.st_mode))


def put_back(path: str, data: bytes, mode: int, owner: Tuple[int, int]) -> None:
    """Give a file its content again, unless it still has it: a full disk has no room for another."""
    with contextlib.suppress(OSError, Problem):
        status = os.lstat(path)
        if read_bytes(path) == data and (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, *owner):
            return
    write_atomic(path, data, mode, owner)


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_empty(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def replace_by_link(path: str, target: str) -> None:
    remove(path)
    os.symlink(target, path)


def remove_files(steps: Sequence[str], undo: Undo) -> None:
    for verb, _, path in (step.partition(" ") for step in steps):
        if verb == "remove":
            undo.keep(path)
            remove(path)


def write_files(proxy: Proxy, steps: Sequence[str], undo: Undo) -> None:
    for item in proxy.files():
        if item["content"] is not None and not is_as_expected(item):
            undo.keep(item["path"])
            os.makedirs(os.path.dirname(item["path"]), 0o755, exist_ok=True)
            write_atomic(item["path"], item["content"].encode(), int(item["mode"], 8))
    if "make a self-signed certificate" in steps:
        make_certificate(proxy, undo)
    for command in pending_selinux(proxy, steps) if proxy.entry != "uninstall" else []:
        code, output = run(command)
        if code:
            raise Problem(" ".join(command), "must succeed", output.strip(), "see: ausearch -m avc")


def certificate_command(names: Sequence[str], certificate: str, key: str) -> List[str]:
    """How openssl makes a certificate for `names` that ends after 397 days, the longest that browsers take."""
    alternatives = ["IP:" + name if is_address(name) else "DNS:" + name for name in names]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "397"]
    subject = ["-subj", "/CN=" + names[0][:64], "-addext", "subjectAltName=" + ",".join(alternatives)]
    return [*command, *subject, "-keyout", key, "-out", certificate]


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def make_certificate(proxy: Proxy, undo: Undo) -> None:
    """Make a self-signed certificate and its key, which never leaves this host."""
    for path in (proxy.certificate_path, proxy.key_path):
        undo.keep(path)
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        made = [os.path.join(folder, name) for name in ("certificate.pem", "key.pem")]
        code, output = run(certificate_command(proxy.names, *made))
        if code:
            raise Problem("openssl", "must make a certificate", output.strip()[-300:], "give one instead")
        remove(proxy.key_path)  # a run that dies here leaves no pair of which one is new: the next run makes another
        for source, path, mode in zip(made, (proxy.certificate_path, proxy.key_path), (0o644, 0o600)):
            write_atomic(path, MARK.encode() + (read_bytes(source) or b""), mode)


def judge(proxy: Proxy) -> None:
    """Let nginx test the configuration. Raises Problem where it does not accept it, or would ignore our names."""
    code, output = run(["nginx", "-t"])
    ignored = [name for name in proxy.names if 'conflicting server name "{}"'.format(name.lower()) in output.lower()]
    if code or ignored:
        got = nginx_errors(output) if code else "{}, a name that another site has".format(ignored[0])
        raise Problem("nginx", "must accept the proxy's configuration", got, "the earlier files are back in place")


def serve(proxy: Proxy, steps: Sequence[str]) -> None:
    """Start or reload nginx, never restart it, and see that it has taken the new files. Raises Problem."""
    if "start nginx at boot" in steps:
        systemctl("enable", "--quiet", SERVICE)
    if is_active():
        systemctl("reload", SERVICE)
    elif proxy.entry != "uninstall":
        systemctl("start", SERVICE)
    if proxy.entry != "uninstall" and not wait_until(lambda: bool(workers()) and not is_stale(proxy), RELOAD_SECONDS):
        said = re.findall(r"\[emerg\] .*", read_tail(ERROR_LOG).decode(errors="replace"))
        got = said[-1] if said else "the earlier one after {} s".format(RELOAD_SECONDS)
        raise Problem("nginx", "must run with the new configuration", got, "see: journalctl -u nginx")


# --- Findings: does it work? ---


def findings(proxy: Proxy, steps: Sequence[str], verdict: Verdict) -> Iterator[Problem]:
    """What is not as it should be on a host where the proxy is installed."""
    if not shutil.which("nginx"):
        yield Problem("nginx", "must be installed", "no such program", "run the site playbook")
        return
    if steps:
        yield Problem("proxy", "must need no change", "due: " + "; ".join(steps), "run the site playbook")
    yield from verdict.problems
    if verdict.ending:
        yield verdict.ending
    if is_active():
        for protocol in sorted(proxy.ports):
            yield from answer_problems(proxy, protocol)


def answer_problems(proxy: Proxy, protocol: str) -> Iterator[Problem]:
    """Whether clients get an answer of the server, and a stranger none of the portal."""
    stranger = stranger_to(proxy.admin_networks)
    path = proxy.prefix + proxy.client_path
    status, body = ask(proxy, protocol, path, stranger)
    if status in (0, 403, 404, 405, 429, 502, 503, 504) and b'"errorCode"' not in body:
        what = "{}://{}{}".format(protocol, proxy.names[0], path)
        got = "status {}".format(status) if status else body.decode(errors="replace")
        yield Problem(what, "must be answered by the license server", got, "see /var/log/nginx/dls-access.log")
    status, _ = ask(proxy, protocol, proxy.prefix, stranger)
    if status != 403:
        what = "{}://{}{}".format(protocol, proxy.names[0], proxy.prefix)
        hint = "look at {}".format(proxy.configuration["path"])
        yield Problem(what, "must be refused outside {}admin_networks".format(PREFIX), "status {}".format(status), hint)


def stranger_to(networks: Sequence[str]) -> str:
    """An address of this host's own that is in none of the networks, or 127.0.0.1 where all of them are."""
    known = [ipaddress.ip_network(text) for text in networks]
    for number in range(2, 255):
        address = ipaddress.ip_address("127.0.0.{}".format(number))
        if not any(address in network for network in known):
            return str(address)
    return "127.0.0.1"


def ask(proxy: Proxy, protocol: str, path: str, source: str) -> Tuple[int, bytes]:
    """Status and body that the proxy answers to a GET from address `source`; (0, reason) where it answers nothing."""
    name, port = proxy.names[0], proxy.ports[protocol]
    connection = http.client.HTTPConnection(name, port, timeout=10)
    try:
        raw = socket.create_connection(("127.0.0.1", port), 10, (source, 0))
        if protocol == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the certificate is checked elsewhere
            raw = context.wrap_socket(raw, server_hostname=name)
        connection.sock = raw
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(65536)
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error).encode()
    finally:
        connection.close()


# --- Called by the engines ---


def verb_look(options: argparse.Namespace) -> Answer:
    answer = preflight(options.spec)
    text = "\n".join(problem["text"] for problem in answer["problems"])
    return (EXIT_REFUSED if text else EXIT_OK), answer, text or "ready"


def verb_apply(options: argparse.Namespace) -> Answer:
    steps = apply(options.spec, options.check)
    return EXIT_OK, {"changed": bool(steps), "steps": steps}, "\n".join(steps) or "nothing to do"


VERBS = {"look": verb_look, "apply": verb_apply}


def main(arguments: Sequence[str], spec: Spec) -> int:
    """Run a verb of VERBS, apply also with --check; prints its answer in JSON and returns the exit code of dlsctl."""
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    check = "--check" in arguments
    return perform(argparse.Namespace(verb=VERBS[arguments[0]], json=True, debug=False, spec=spec, check=check))
