"""Wine is tried once before the tests that need it: where it hangs, all of them fail at once and not one by one."""

from pathlib import Path

import pytest

from tests.winlab.prefix import is_possible, windows


@pytest.fixture(scope="session")
def wine_works(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A program of Windows ends, with what it was to print."""
    if is_possible():
        with windows(tmp_path_factory.mktemp("wine") / "prefix") as prefix:
            assert prefix.wine("cmd", "/c", "echo", "ready", timeout=60) == (0, "ready\n")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests here are those that need Wine."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(300))
            item.add_marker(pytest.mark.usefixtures("wine_works"))
