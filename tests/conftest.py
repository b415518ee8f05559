"""What a plain `pytest` runs: the quick tests. Slow ones by mark (`-m slow`) or by name, host checks with --hosts."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]


def pytest_configure(config: pytest.Config) -> None:
    """Leave slow tests out unless marks or single tests were asked for, and the operator's own vault out of the lab."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what runs in its background ignore it
    if not config.getoption("--hosts", default=None):
        os.environ.pop("ANSIBLE_VAULT_PASSWORD_FILE", None)
    if not config.option.markexpr and not any("::" in argument for argument in config.args):
        config.option.markexpr = "not slow"


class OneLabOneWorker(LoadFileScheduling):  # type: ignore[misc] # has no types
    """A file's tests go to one process, and so do all of a folder whose files share a lab."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return str(Path(file).parent) if file.startswith("tests/site/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneLabOneWorker:
    """Spread the tests over the processes of `pytest --numprocesses` so that no two start a lab of one name."""
    return OneLabOneWorker(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect only by name what a Molecule scenario runs, and tests of installed hosts only when hosts are named."""
    if collection_path.name in ("testinfra", "pair") and not config.getoption("--hosts", default=None):
        return True
    for name in ("refusals", "lifecycle", "winlife"):
        if collection_path.name == name and not any(name in argument for argument in config.args):
            return True
    for name in ("faults/test_lab", "engines/test_parity", "airgap/test_site"):  # steps of their own of ./dls test
        if str(collection_path.with_suffix("")).endswith(name) and not any(name in word for word in config.args):
            return True
    return None
