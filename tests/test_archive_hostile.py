"""No hostile archive passes and none crashes the readers; harmless ones of the same making do pass."""

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlsctl.problems import Refused
from dlskit.archive import inspect
from tests.archives import hostile
from tests.archives import rawtar as tar
from tests.archives import rawzip as zp

EXAMPLES = 200
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
few = settings(many, max_examples=50)


def inspected(content: bytes) -> str:
    """Return what became of an archive with this content: "passed" or "refused"; anything else is a crash."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive"
        path.write_bytes(content)
        try:
            inspect(path)
        except Refused as problem:
            assert str(problem).isprintable() or "\nHINT: " in str(problem)
            assert all(line.isprintable() and line.isascii() for line in str(problem).splitlines())
            return "refused"
        return "passed"


@pytest.mark.parametrize("archives", [hostile.hostile_tars(), hostile.hostile_zips()], ids=["tar.gz", "zip"])
def test_no_hostile_archive_passes_or_crashes(archives: st.SearchStrategy[bytes]) -> None:
    seen = []

    @many
    @given(archives)
    def refuses(content: bytes) -> None:
        seen.append(content)
        assert inspected(content) == "refused"

    refuses()
    assert len(seen) >= EXAMPLES


@pytest.mark.parametrize("archives", [hostile.harmless_tars(), hostile.harmless_zips()], ids=["tar.gz", "zip"])
def test_harmless_archives_of_the_same_making_pass(archives: st.SearchStrategy[bytes]) -> None:
    @few
    @given(archives)
    def passes(content: bytes) -> None:
        assert inspected(content) == "passed"

    passes()


TAR = b"".join(tar.linux_release()) + tar.END
ZIP = zp.packed(zp.windows_release())


@pytest.mark.parametrize(("whole", "wrap"), [(TAR, gzip.compress), (ZIP, bytes)], ids=["tar.gz", "zip"])
def test_bytes_changed_at_random_never_crash_the_reader(whole: bytes, wrap: Callable[[bytes], bytes]) -> None:
    change = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))

    @many
    @given(st.lists(change, min_size=1, max_size=6))
    def survives(changes: list[tuple[int, int]]) -> None:
        content = bytearray(whole)
        for at, value in changes:
            content[at] = value
        assert inspected(wrap(bytes(content))) in ("passed", "refused")

    survives()
