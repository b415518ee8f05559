"""The verifier's own Ed25519: RFC 8032's vectors, the library of the control node, and what libsodium refuses."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dlskit.bundle.verify import ed25519_fits

L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
# RFC 8032, section 7.1: public key, message, signature of TEST 1, 2 and 3.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
SMALL_ORDER = [  # libsodium's list: every point of small order, and spellings of them that are not canonical
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_vectors_of_the_standard_fit(key: str, message: str, signature: str) -> None:
    assert ed25519_fits(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_agrees_with_the_library_and_refuses_each_flipped_bit(seed: bytes, message: bytes, bit: int) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = private.public_key().public_bytes_raw(), private.sign(message)
    assert ed25519_fits(public, message, signature)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not ed25519_fits(public, message, bytes(flipped))
    assert not ed25519_fits(public, message + b"x", signature)


@pytest.mark.parametrize("times", [1, 2, 7])
def test_a_scalar_that_is_not_canonical_is_refused(times: int) -> None:
    key, message, signature = (bytes.fromhex(text) for text in VECTORS[1])
    scalar = int.from_bytes(signature[32:], "little") + times * L
    assert not ed25519_fits(key, message, signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("point", SMALL_ORDER)
def test_points_of_small_order_fit_nothing(point: str, sign: int) -> None:
    small = bytearray.fromhex(point)
    small[31] |= sign
    neutral = bytes([1]) + bytes(31)
    for other in (neutral, bytes(small), bytes.fromhex(VECTORS[0][0])):
        assert not ed25519_fits(bytes(small), b"message", other + bytes(32))
        assert not ed25519_fits(other, b"message", bytes(small) + bytes(32))


def test_a_point_in_another_spelling_is_refused() -> None:
    """The neutral point with y + p: a verifier that reduces it takes it for one."""
    for y in (1, 2, 18):
        spelt = (y + P).to_bytes(32, "little")
        assert not ed25519_fits(spelt, b"", spelt + bytes(32))


@pytest.mark.parametrize(("key", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)])
def test_other_lengths_are_refused(key: int, signature: int) -> None:
    assert not ed25519_fits(bytes(key), b"", bytes(signature))
