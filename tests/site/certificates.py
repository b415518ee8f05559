"""Certificates for a test site, made by an authority of its own."""

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate, with its issuer's behind it, and its private key: both as PEM."""

    certificate: str
    key: str


class Authority:
    """Issues certificates for addresses."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Site authority")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self._root = self._sign(self._name, self._key, constraints, x509.SubjectAlternativeName([]))

    @property
    def root(self) -> str:
        """The authority's own certificate."""
        return self._root.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, address: str) -> Pair:
        """Return a certificate for an IP address, valid for 90 days."""
        key = rsa.generate_private_key(65537, 2048)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
        leaf = self._sign(subject, key, x509.BasicConstraints(ca=False, path_length=None), names)
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        return Pair(leaf.public_bytes(serialization.Encoding.PEM).decode() + self.root, text)

    def _sign(
        self,
        subject: x509.Name,
        key: rsa.RSAPrivateKey,
        constraints: x509.BasicConstraints,
        names: x509.SubjectAlternativeName,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=90))
            .add_extension(constraints, critical=True)
        )
        if list(names):
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())
