"""The table of docs/faults.md is whole, and every invariant of this issue has a test that names it."""

import re

import pytest

from tests.checkout.paths import ROOT
from tests.faults import table
from tests.faults.cases import all_keys, required_keys


def test_table_has_a_row_for_every_verb_step_and_fault_of_the_default_run() -> None:
    assert table.missing(required_keys()) == [], "run ./dls test, then: python -m tests.faults.table"


def test_table_has_no_row_of_what_is_not_tried_any_more() -> None:
    assert set(table.written()) - set(all_keys()) == set()


@pytest.mark.parametrize("number", range(6, 21))
def test_invariant_has_a_test_that_names_it(number: int) -> None:
    named = re.compile(rf"def test_invariants?_(\d+_)*{number}_")
    assert [path for path in (ROOT / "tests").rglob("test_*.py") if named.search(path.read_text())]
