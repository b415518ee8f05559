"""The lists of what a person has to check: that they name what there is."""

import re

import pytest

from tests.checkout.paths import ROOT


@pytest.mark.parametrize("page", ["docs/windows.md", "docs/proxy.md"])
def test_the_list_is_numbered_and_names_playbooks_that_there_are(page: str) -> None:
    rows = re.findall(r"^\| (\d+)\*? \| ([A-Z]) \| (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))
    assert {where for _, where, _ in rows} <= set("ACHO")
    named = {name for _, _, text in rows for name in re.findall(r"`(\w+\.yml)\b", text)}
    assert named
    assert [name for name in named if not (ROOT / "playbooks" / name).exists()] == []
