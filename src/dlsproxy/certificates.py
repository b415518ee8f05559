"""Certificates: read with OpenSSL as Python has it, in memory; and how the program openssl makes one."""

import contextlib
import ipaddress
import os
import re
import ssl
import tempfile
import time
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from dlsctl.problems import Problem, Refused, one_line
from dlsproxy.values import DAY, PREFIX

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
