"""A key and a bundle for each test."""

from pathlib import Path

import pytest

from tests.bundle import samples


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The file of the public key that signs the sample bundles."""
    return samples.public_file(tmp_path / "key.pub")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small signed bundle."""
    return samples.make(tmp_path / "bundle")
