"""Replace a part of a host program wherever it is used."""

import sys
from typing import Any

import pytest

# Every module must be there: one that is imported later would keep what stands in for another's part.
import dlsproxy.cli  # noqa: F401


def replace(monkeypatch: pytest.MonkeyPatch, name: str, value: Any, program: str = "dlsctl") -> None:
    """Let `name`, defined in a module of `program`, be `value` in each that has it; the test fails where none does."""
    holders = [module for key, module in sys.modules.items() if key.startswith(program + ".") and hasattr(module, name)]
    assert holders, f"no part of {program} is called {name}"
    for module in holders:
        monkeypatch.setattr(module, name, value)
