"""What is wrong with a certificate or its key is said before nginx sees it."""

import re
import time
from pathlib import Path

import pytest

from dlsproxy.certificates import Pair, Verdict, check_pair, in_memory
from tests.dlsproxy.certificates import Issued, issue

NAME = "dls.example.com"
ROOT = issue("Root", authority=True, ends=900)
MIDDLE = issue("Middle", issuer=ROOT, authority=True, ends=500)
OTHER = issue("Other", authority=True)
LEAF = issue("leaf", NAME, "10.0.0.5", issuer=MIDDLE)
CHAIN = LEAF.pem + MIDDLE.pem


def verdict(certificate: str, key: str, *names: str, warn_days: int = 30) -> Verdict:
    pair = Pair(certificate.encode(), key.encode(), "dls_proxy_tls_certificate", "dls_proxy_tls_key")
    return check_pair(pair, names or (NAME,), warn_days, time.time())


def texts(certificate: str, key: str, *names: str) -> list[str]:
    found = verdict(certificate, key, *names)
    for problem in found.problems:
        assert problem.hint
        assert "PRIVATE" not in str(problem)
    return [str(problem).partition("\nHINT")[0] for problem in found.problems]


@pytest.mark.parametrize("chain", [CHAIN, CHAIN + ROOT.pem], ids=["without the root", "with the root"])
def test_good_chain_has_no_problem_and_no_note(chain: str) -> None:
    assert verdict(chain, LEAF.key, NAME, "10.0.0.5") == Verdict([], [])


def test_self_signed_certificate_is_known_as_such() -> None:
    own = issue(NAME, NAME)
    assert verdict(own.pem, own.key) == Verdict([], [], self_signed=True)


CERTIFICATE, KEY = "dls_proxy_tls_certificate: ", "dls_proxy_tls_key: "


def leaf(*names: str, ends: int = 90, begins: int = -1) -> Issued:
    return issue("leaf", *names, issuer=MIDDLE, ends=ends, begins=begins)


EXPIRED, EARLY, WILD, UNNAMED = leaf(NAME, ends=0), leaf(NAME, begins=5), leaf("*.other.example"), leaf()
BAD = {
    "no certificate": ("x", LEAF.key, CERTIFICATE + "must hold a certificate in PEM form, got none"),
    "no key": (CHAIN, "x", KEY + "must hold a private key in PEM form, got none"),
    "key in the certificate": (CHAIN + LEAF.key, LEAF.key, CERTIFICATE + "must not hold a private key, got one"),
    "encrypted key": (
        CHAIN,
        LEAF.encrypted_key,
        KEY + "must not be encrypted, since nginx has nobody to ask, got an encrypted key",
    ),
    "another key": (
        CHAIN,
        OTHER.key,
        KEY + "must be the key of dls_proxy_tls_certificate, got that of another certificate",
    ),
    "issuer first": (
        MIDDLE.pem + LEAF.pem,
        LEAF.key,
        CERTIFICATE + "must begin with the server's own certificate, got it at place 2",
    ),
    "another issuer": (
        LEAF.pem + OTHER.pem,
        LEAF.key,
        CERTIFICATE + "must have behind each certificate that of its issuer, got another one than Middle at place 2",
    ),
    "issuers in disorder": (
        LEAF.pem + ROOT.pem + MIDDLE.pem,
        LEAF.key,
        CERTIFICATE + "must have behind each certificate that of its issuer, got another one than Middle at place 2",
    ),
    "an issuer that only has the name": (
        LEAF.pem + issue("Middle", authority=True).pem,
        LEAF.key,
        CERTIFICATE + "must be signed by the issuers that follow it, got .+",
    ),
    "expired": (
        EXPIRED.pem + MIDDLE.pem,
        EXPIRED.key,
        CERTIFICATE + r"must not be expired, got that of leaf, which ended on \d{4}-\d\d-\d\d",
    ),
    "not valid yet": (
        EARLY.pem + MIDDLE.pem,
        EARLY.key,
        CERTIFICATE + r"must be valid by now, got that of leaf, which begins on \d{4}-\d\d-\d\d",
    ),
    "wrong name": (
        WILD.pem + MIDDLE.pem,
        WILD.key,
        CERTIFICATE
        + r"must cover every name of dls_proxy_server_names, got dls\.example\.com, it covers only \*\.other\.example",
    ),
    "name only in the subject": (
        UNNAMED.pem + MIDDLE.pem,
        UNNAMED.key,
        CERTIFICATE + r"must cover every name .*, got dls\.example\.com, it covers only no name at all",
    ),
    "not a certificate": (
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        LEAF.key,
        CERTIFICATE + "must be a certificate and key that OpenSSL takes, got .+",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_certificate_is_refused_with_one_message(name: str) -> None:
    certificate, key, message = BAD[name]
    (text,) = texts(certificate, key)
    assert re.fullmatch(message, text), text


def test_expired_issuer_is_refused() -> None:
    old = issue("Old", issuer=ROOT, authority=True, ends=0)
    own = issue("leaf", NAME, issuer=old)
    (text,) = texts(own.pem + old.pem, own.key)
    assert re.search("must not be expired, got that of Old, which ended on", text)


def test_wrong_name_and_expiry_are_told_at_once() -> None:
    own = leaf("other.example", ends=0)
    assert len(texts(own.pem + MIDDLE.pem, own.key)) == 2


def test_wildcard_covers_one_label() -> None:
    own = leaf("*.example.com")
    assert texts(own.pem + MIDDLE.pem, own.key) == []
    (text,) = texts(own.pem + MIDDLE.pem, own.key, "a.b.example.com")
    assert "got a.b.example.com" in text


def test_certificate_near_its_end_is_a_note_and_no_problem() -> None:
    own = leaf(NAME, ends=10)
    found = verdict(own.pem + MIDDLE.pem, own.key)
    assert found.problems == []
    assert re.match(r"dls_proxy_tls_certificate: ends on \d{4}-\d\d-\d\d, in 10 days\nHINT: renew it", found.notes[0])
    assert found.notes == [str(found.ending)]
    assert verdict(own.pem + MIDDLE.pem, own.key, warn_days=9).notes == []


def test_certificate_alone_may_lack_its_issuer() -> None:
    (note,) = verdict(LEAF.pem, LEAF.key).notes
    assert verdict(LEAF.pem, LEAF.key).ending is None, "which is no finding: a root that clients know need not be there"
    assert note.startswith("dls_proxy_tls_certificate: holds no certificate of its issuer, Middle: ")


def test_nothing_of_the_key_gets_a_name_on_disk() -> None:
    with in_memory(b"secret") as path:
        assert Path(path).read_text() == "secret"
        assert not Path(path).resolve().exists()
