"""Hosts for the tests."""

from pathlib import Path
from typing import Any

import pytest

from tests.windows.iis_host import blank


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """What role dls_proxy asks about a Windows Server on which there is nothing of a proxy yet."""
    return blank(tmp_path)
