"""The installation in a temporary folder that the tests of dlsctl have."""

from tests.dlsctl.conftest import site

__all__ = ["site"]
