"""The Items page as data: days to expiry, thresholds for monitoring, and Prometheus' text format."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

EXIT_WARNING, EXIT_CRITICAL = 10, 11
OK, WARNING, CRITICAL = "ok", "warning", "critical"


@dataclass(frozen=True)
class Item:
    """One row of the Items page. Texts are the page's own.

    quantity and used: None where the page shows no "N of M"; days_left: whole days until the day of expiry, which still
    counts, by UTC, negative once it is over, None where the page shows no date.
    """

    id: str
    item: str
    product: str
    quantity: int | None
    used: int | None
    quantity_text: str
    start: str
    expiry: str
    days_left: int | None


def item_of(cells: Mapping[str, str], today: date) -> Item:
    """Return the item for the texts of a row's cells, by the keys of the columns."""
    text = " ".join(cells["quantity"].split())
    found = re.search(r"([\d,]+)\s*(?:\([^)]*\)\s*)?of\s+([\d,]+)", text)
    used, quantity = (int(number.replace(",", "")) for number in found.groups()) if found else (None, None)
    expiry = cells["expiry"].strip()
    return Item(
        id=cells["id"].split()[0] if cells["id"].split() else "",
        item=" ".join(cells["item"].split()),
        product=" ".join(cells["product"].split()),
        quantity=quantity,
        used=used,
        quantity_text=text,
        start=cells["start"].strip(),
        expiry=expiry,
        days_left=days_left(expiry, today),
    )


def days_left(expiry: str, today: date) -> int | None:
    """Return the days from `today` until a date as the page shows it, YYYY-MM-DD with or without a time."""
    try:
        return (date.fromisoformat(expiry[:10]) - today).days
    except ValueError:
        return None


def today() -> date:
    """Return the day by UTC, by which the vendor's pages count."""
    return datetime.now(UTC).date()


def state(items: Collection[Item], warn_days: int | None, critical_days: int | None) -> tuple[str, str]:
    """Return OK, WARNING or CRITICAL and the reason in words, by the item that is worst.

    An item with at most so many days left is one; None: no such threshold. No item at all is critical, an item whose
    date cannot be read a warning, since neither may look like a licence that holds.
    """
    if warn_days is None and critical_days is None:
        return OK, "no threshold given"
    if not items:
        return CRITICAL, "no item is there"
    dated = sorted((item for item in items if item.days_left is not None), key=lambda item: item.days_left or 0)
    for name, limit in ((CRITICAL, critical_days), (WARNING, warn_days)):
        worst = [item for item in dated if limit is not None and (item.days_left or 0) <= limit]
        if worst:
            return name, "; ".join(f"item {item.id}: {in_words(item)}" for item in worst)
    undated = [item.id for item in items if item.days_left is None]
    if undated:
        return WARNING, f"no date of expiry can be read for item {', '.join(undated)}"
    return OK, f"the first expires in {dated[0].days_left} days"


def in_words(item: Item) -> str:
    """Return the days left of an item for a person."""
    if item.days_left is None:
        return "no date"
    if item.days_left < 0:
        return f"expired {-item.days_left} days ago"
    return f"expires in {item.days_left} days"


def as_dicts(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Return the items for JSON."""
    return [asdict(item) for item in items]


def metrics(host: str, items: Iterable[Item], now: float) -> str:
    """Return the items in Prometheus' text format, version 0.0.4. `now`: when they were read, seconds since 1970."""
    families: dict[str, tuple[str, list[str]]] = {
        "dls_item_expiry_days": ("Whole days until the item's day of expiry, by UTC.", []),
        "dls_item_quantity": ("Quota of the item.", []),
        "dls_item_used": ("Used part of the quota.", []),
    }
    for item in items:
        labels = ",".join(
            f'{name}="{_escaped(text)}"'
            for name, text in (("host", host), ("item", item.id), ("product", item.product))
        )
        for name, value in zip(families, (item.days_left, item.quantity, item.used), strict=True):
            if value is not None:
                families[name][1].append(f"{name}{{{labels}}} {value}")
    families["dls_items_read_timestamp_seconds"] = (
        "When the Items page was read.",
        [f'dls_items_read_timestamp_seconds{{host="{_escaped(host)}"}} {now:.0f}'],
    )
    lines = []
    for name, (text, samples) in families.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", *samples]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
