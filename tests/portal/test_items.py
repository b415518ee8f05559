"""The Items page as data: what is read from its words, when monitoring is told, and in which form."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dlsctl.problems import Problem
from dlskit.cli import main
from dlskit.portal import items, verbs
from dlskit.portal.items import CRITICAL, OK, WARNING, Item
from dlskit.probe import sdk

TODAY = date(2026, 11, 25)
CELLS = {
    "id": "100955015\nView usage details >",
    "item": "1 * Barcode Reader",
    "product": "Dynamsoft  Barcode Reader",
    "quantity": "12 of 1,200 (1.00 %) devices used",
    "start": "2026-01-01",
    "expiry": "2026-12-25 23:59:59",
}
ITEM = items.item_of(CELLS, TODAY)


def test_item_is_read_from_the_words_of_its_row() -> None:
    assert Item("100955015", "1 * Barcode Reader", "Dynamsoft Barcode Reader", 1200, 12,
                "12 of 1,200 (1.00 %) devices used", "2026-01-01", "2026-12-25 23:59:59", 30) == ITEM  # fmt: skip


@pytest.mark.parametrize(
    ("text", "used", "quantity"),
    [
        ("12 (6.00 %) of 200", 12, 200),
        ("1,000,000 of 2,000,000 scans", 1_000_000, 2_000_000),
        ("0 of\n200", 0, 200),
        ("Unlimited", None, None),
        ("200", None, None),
        ("", None, None),
    ],
)
def test_quantity_is_known_only_where_the_page_shows_one(text: str, used: int | None, quantity: int | None) -> None:
    item = items.item_of(CELLS | {"quantity": text}, TODAY)
    assert (item.used, item.quantity) == (used, quantity)


@pytest.mark.parametrize(
    ("expiry", "days"),
    [
        ("2026-11-25", 0),
        ("2026-11-24", -1),
        ("2027-11-25T00:00:00Z", 365),
        ("never", None),
        ("", None),
        ("25.11.26", None),
    ],
)
def test_day_of_expiry_still_counts_and_no_date_is_no_number(expiry: str, days: int | None) -> None:
    assert items.days_left(expiry, TODAY) == days


@pytest.mark.parametrize(
    ("left", "warn", "critical", "expected"),
    [
        ([31], 30, 7, (OK, "the first expires in 31 days")),
        ([30, 400], 30, 7, (WARNING, "item 0: expires in 30 days")),
        ([30, 7], 30, 7, (CRITICAL, "item 1: expires in 7 days")),
        ([-2, 5], None, 7, (CRITICAL, "item 0: expired 2 days ago; item 1: expires in 5 days")),
        ([-2], 30, None, (WARNING, "item 0: expired 2 days ago")),
        ([0], 0, None, (WARNING, "item 0: expires in 0 days")),
        ([None, 400], 30, 7, (WARNING, "no date of expiry can be read for item 0")),
        ([None, 7], 30, 7, (CRITICAL, "item 1: expires in 7 days")),
        ([], 30, None, (CRITICAL, "no item is there")),
        ([-2], None, None, (OK, "no threshold given")),
    ],
)
def test_worst_item_decides(
    left: list[int | None], warn: int | None, critical: int | None, expected: tuple[str, str]
) -> None:
    found = [replace(ITEM, id=str(number), days_left=days) for number, days in enumerate(left)]
    assert items.state(found, warn, critical) == expected


def test_thresholds_of_which_one_could_never_warn_are_wrong_usage() -> None:
    arguments = ["portal", "items", "--url", "http://127.0.0.1:9", "--warn-days", "7", "--critical-days", "30"]
    done = CliRunner().invoke(main, arguments, prog_name="dlskit")
    assert done.exit_code == 2
    assert done.stderr == (
        "dlskit portal items: --critical-days must be at most --warn-days, 7, got 30\n"
        "HINT: see dlskit portal items --help\n"
    )


def test_metrics_leave_out_what_is_not_known_and_escape_what_would_end_a_label() -> None:
    odd = replace(ITEM, id="7", product='a "b" \\ c\nd', quantity=None, used=None, days_left=None)
    text = items.metrics("dls1", [ITEM, odd, replace(odd, days_left=-3)], 1_800_000_000.4)
    product = r'product="a \"b\" \\ c\nd"'
    assert text.splitlines() == [
        "# HELP dls_item_expiry_days Whole days until the item's day of expiry, by UTC.",
        "# TYPE dls_item_expiry_days gauge",
        'dls_item_expiry_days{host="dls1",item="100955015",product="Dynamsoft Barcode Reader"} 30',
        f'dls_item_expiry_days{{host="dls1",item="7",{product}}} -3',
        "# HELP dls_item_quantity Quota of the item.",
        "# TYPE dls_item_quantity gauge",
        'dls_item_quantity{host="dls1",item="100955015",product="Dynamsoft Barcode Reader"} 1200',
        "# HELP dls_item_used Used part of the quota.",
        "# TYPE dls_item_used gauge",
        'dls_item_used{host="dls1",item="100955015",product="Dynamsoft Barcode Reader"} 12',
        "# HELP dls_items_read_timestamp_seconds When the Items page was read.",
        "# TYPE dls_items_read_timestamp_seconds gauge",
        'dls_items_read_timestamp_seconds{host="dls1"} 1800000000',
    ]


def test_key_is_put_into_place_whole_with_its_mode_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = sdk.key(["https://dls.example/"])
    shown = verbs.Project("Scanners", "1", (), key)
    monkeypatch.setattr(verbs, "read_projects", lambda portal: [shown])
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "keys"
    target.write_text("old")
    target.chmod(0o644)
    portal: Any = None  # not asked: its projects are known
    assert verbs.keys(portal, "Scanners", Path("keys"), {}, dry_run=False).changed
    assert (target.read_text(), target.stat().st_mode & 0o777) == (key + "\n", 0o600)
    monkeypatch.setattr(verbs, "read_projects", lambda portal: [shown._replace(key="DLS2?")])
    with pytest.raises(Problem):
        verbs.keys(portal, "Scanners", Path("keys"), {}, dry_run=False)
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
    assert target.read_text() == key + "\n"
