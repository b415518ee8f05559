"""Replace a part of dlsctl wherever it is used."""

import sys
from typing import Any

import pytest

# Every module must be there: one that is imported later would keep what stands in for another's part.
import dlsctl.lifecycle
import dlsctl.preflight
import dlsctl.uninstall  # noqa: F401


def replace(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    """Let `name`, defined in one module of dlsctl, be `value` in each that has it; the test fails where none does."""
    holders = [module for key, module in sys.modules.items() if key.startswith("dlsctl.") and hasattr(module, name)]
    assert holders, f"no part of dlsctl is called {name}"
    for module in holders:
        monkeypatch.setattr(module, name, value)
