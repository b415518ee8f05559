"""Detached signatures in the form of minisign, so that the ordinary tool can make and check them too.

A key is two lines: a comment, and Base64 of a fixed record. A signature is four: comment, Base64 of the signature of
the file's BLAKE2b-512, a trusted comment, and Base64 of the signature of both. Format: https://jedisct1.github.io/minisign/,
and for a password libsodium's scrypt with the limits that the key names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dlsctl.problems import Refused
from dlskit.files import printable

SUFFIX = ".minisig"
LARGEST = 1 << 14  # bytes of a key or signature; a trusted comment may have 8 KiB
_PURE, _HASHED = b"Ed", b"ED"  # what is signed: the file itself, as by old versions, or its hash
_NO_PASSWORD, _SCRYPT = b"\0\0", b"Sc"
_PUBLIC = struct.Struct("<2s8s32s")  # algorithm, key id, public key
_SECRET = struct.Struct("<2s2s2s32sQQ104s")  # algorithm, derivation, checksum, salt, operations, memory, the rest:
_SECRET_REST = struct.Struct("<8s32s32s32s")  # key id, seed, public key, BLAKE2b-256 of what precedes
_SIGNATURE = struct.Struct("<2s8s64s")  # algorithm, key id, signature
_LARGEST_MEMORY = 1 << 30  # bytes; what minisign itself takes for a password
_BLOCK = 128 * 8  # bytes of scrypt's memory for each unit of its cost, with r = 8

KEY_HINT = "make a pair with `minisign -G`"
SIGNATURE_HINT = "copy the file and its signature again from where they were made"


@dataclass(frozen=True)
class PublicKey:
    """The half of a pair that checks signatures."""

    id: bytes
    key: bytes

    def __str__(self) -> str:
        return f"{int.from_bytes(self.id, 'little'):016X}"


@dataclass(frozen=True)
class SecretKey:
    """The half of a pair that makes signatures."""

    id: bytes
    seed: bytes = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """The other half."""
        return PublicKey(self.id, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())


def parse_public_key(data: bytes, name: str) -> PublicKey:
    """Return the public key in the content of a key file; `name` stands for the file in messages. Raises Refused."""
    record = _record(data, 1, 2)
    if record is None or len(record) != _PUBLIC.size or record[:2] != _PURE:
        raise Refused(name, "must be a public key of minisign", None, KEY_HINT)
    return PublicKey(*_PUBLIC.unpack(record)[1:])


def parse_secret_key(data: bytes, name: str, password: Callable[[], str]) -> SecretKey:
    """Return the secret key in the content of a key file; `password` is called if it is protected by one.

    Raises Refused when the file is no secret key, or the password is another.
    """
    record = _record(data, 1, 2)
    if record is None or len(record) != _SECRET.size or record[:2] != _PURE:
        raise Refused(name, "must be a secret key of minisign", None, KEY_HINT)
    _, derivation, checksum, salt, operations, memory, rest = _SECRET.unpack(record)
    if derivation not in (_NO_PASSWORD, _SCRYPT) or checksum != b"B2":
        raise Refused(name, "must be protected by scrypt or not at all", "another way", KEY_HINT)
    if derivation == _SCRYPT:
        n, p = _scrypt_cost(operations, memory, name)
        rest = _xor(rest, _scrypt(password(), salt, n, p, name))
    key_id, seed, public, checksum = _SECRET_REST.unpack(rest)
    if derivation == _SCRYPT and not hmac.compare_digest(checksum, _checksum(key_id + seed + public)):
        raise Refused(name, "must be opened with its password", "another", "try again; minisign cannot recover it")
    if Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() != public:
        raise Refused(name, "must hold the two halves of one key", "others", KEY_HINT)
    return SecretKey(key_id, seed)


def sign(message: bytes, key: SecretKey, trusted_comment: str) -> str:
    """Return the text of a signature file. `trusted_comment` is one line, signed too; the same input gives the same."""
    if not trusted_comment.isprintable():
        raise ValueError("a trusted comment is one printable line")
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    signature = private.sign(hashlib.blake2b(message).digest())
    lines = [
        "untrusted comment: signature from minisign secret key",
        base64.b64encode(_SIGNATURE.pack(_HASHED, key.id, signature)).decode(),
        f"trusted comment: {trusted_comment}",
        base64.b64encode(private.sign(signature + trusted_comment.encode())).decode(),
    ]
    return "\n".join(lines) + "\n"


def verify(message: bytes, signature: bytes, key: PublicKey, name: str) -> str:
    """Return the trusted comment of the content of a signature file, if it is the key's signature of `message`.

    `name` stands for the message's file in errors. Raises Refused for any other signature.
    """
    what = name + SUFFIX
    record, global_signature = _record(signature, 1, 4), _record(signature, 3, 4)
    comment = signature.splitlines()[2] if record else b""
    if record is None or len(record) != _SIGNATURE.size or not comment.startswith(b"trusted comment: "):
        raise Refused(what, "must be a signature of minisign", None, SIGNATURE_HINT)
    algorithm, key_id, raw = _SIGNATURE.unpack(record)
    if algorithm not in (_PURE, _HASHED):
        raise Refused(what, "must be a signature of minisign", "another algorithm", SIGNATURE_HINT)
    if key_id != key.id:
        got = f"one of the key {PublicKey(key_id, b'')}"
        raise Refused(what, f"must be a signature of the key {key}", got, "give the public key of whoever signed")
    comment = comment.removeprefix(b"trusted comment: ")
    if not _fits(key, raw, hashlib.blake2b(message).digest() if algorithm == _HASHED else message):
        raise Refused(name, "must be as it was signed", "another content", SIGNATURE_HINT)
    if global_signature is None or not _fits(key, global_signature, raw + comment):
        raise Refused(what, "must have the comment that was signed", "another", SIGNATURE_HINT)
    return printable(comment.decode("utf-8", "backslashreplace"))


def _record(data: bytes, line: int, lines: int) -> bytes | None:
    """Return what is in Base64 in a line, counted from 0, of a text of so many lines; None for another text."""
    parts = data.splitlines()
    if len(parts) != lines or not parts[0].startswith(b"untrusted comment: "):
        return None
    try:
        return base64.b64decode(parts[line], validate=True)
    except binascii.Error:
        return None


def _fits(key: PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key.key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _checksum(secret: bytes) -> bytes:
    return hashlib.blake2b(_PURE + secret, digest_size=32).digest()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _scrypt_cost(operations: int, memory: int, name: str) -> tuple[int, int]:
    """Return scrypt's N and p as libsodium derives them from its two limits (pickparams, with r = 8)."""
    operations = max(operations, 32768)
    bound = min(operations // 32, memory // _BLOCK)
    n = 2
    while n <= bound // 2:
        n *= 2
    p = 1 if operations < memory // 32 else min(operations // 4 // n, (1 << 30) - 1) // 8
    if n * _BLOCK > _LARGEST_MEMORY or not 1 <= p <= 64:
        raise Refused(name, "must need at most 1 GiB of memory for its password", "more", KEY_HINT)
    return n, p


def _scrypt(password: str, salt: bytes, n: int, p: int, name: str) -> bytes:
    try:
        limit = min((n + p + 4) * _BLOCK, (1 << 31) - 1)
        return hashlib.scrypt(password.encode(), salt=salt, n=n, r=8, p=p, maxmem=limit, dklen=_SECRET_REST.size)
    except (MemoryError, ValueError):
        hint = "free memory, or use a key without a password that only its user may read"
        raise Refused(name, f"must have {n * _BLOCK >> 20} MiB of memory for its password", "less", hint) from None
