"""A PKCS #12 file (PFX): the certificate that IIS shows, those of its issuers, and the key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from dlsctl.problems import Refused


@dataclass(frozen=True)
class Pfx:
    """What a file holds, in PEM; thumbprints as Windows writes them."""

    thumbprint: str
    certificate: bytes
    key: bytes
    issuers: tuple[tuple[str, bytes], ...]

    @property
    def chain(self) -> bytes:
        return self.certificate + b"".join(pem for _, pem in self.issuers)


def read(path: str, password: str | None, name: str) -> Pfx:
    """Read a file; `name` is the variable that names it. Raises Refused, which never says the password."""
    file = Path(path).expanduser()
    if not file.is_file():
        hint = "write the path of the file, relative to where the playbook is called"
        raise Refused(name, "must be a file on the control node", repr(path), hint)
    data = file.read_bytes()
    try:
        store = pkcs12.load_pkcs12(data, password.encode() if password else None)
    except ValueError:
        hint = f"try it with: openssl pkcs12 -in {path} -noout; keep the password in Ansible Vault"
        raise Refused(name, f"must open with {name}_password", "another password, or no PFX file", hint) from None
    if store.key is None or store.cert is None:
        hint = "export it with its private key"
        raise Refused(name, "must hold a certificate and its private key", "one without the other", hint)
    key = store.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    issuers = in_order(store.cert.certificate, [item.certificate for item in store.additional_certs])
    return Pfx(
        thumbprint(store.cert.certificate),
        store.cert.certificate.public_bytes(Encoding.PEM),
        key,
        tuple((thumbprint(one), one.public_bytes(Encoding.PEM)) for one in issuers),
    )


def thumbprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - what Windows calls a certificate by


def in_order(own: x509.Certificate, others: list[x509.Certificate]) -> list[x509.Certificate]:
    """The issuers of a certificate, nearest first, without a root: in a PFX file they have no order."""
    found: list[x509.Certificate] = []
    last = own
    while last.issuer != last.subject:
        issuer = next((one for one in others if one.subject == last.issuer and one not in found), None)
        if issuer is None or issuer.issuer == issuer.subject:
            break
        found.append(issuer)
        last = issuer
    return found
