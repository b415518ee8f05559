"""The table of results in docs/faults.md: one row for each verb, step and fault.

A run keeps its rows below .cache/; `python -m tests.faults.table` writes what was kept into the document.
"""

import json
from collections.abc import Iterable

from tests.checkout.paths import CACHE, ROOT

ROWS = CACHE / "faults" / "rows.json"
DOCUMENT = ROOT / "docs" / "faults.md"
BEGIN, END = "<!-- rows: written by the run -->\n", "<!-- end of rows -->\n"
HEAD = "| verb | step | fault | level | outcome |\n| --- | --- | --- | --- | --- |\n"
Key = tuple[str, str, str, str]


def kept() -> dict[Key, str]:
    return {tuple(key): outcome for key, outcome in json.loads(ROWS.read_text())} if ROWS.exists() else {}


def keep(rows: dict[Key, str]) -> None:
    """Add the rows of a run to those that were kept."""
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    ROWS.write_text(json.dumps([[key, outcome] for key, outcome in (kept() | rows).items()], indent=1))


def written() -> dict[Key, str]:
    """The rows that the document has."""
    lines = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(verb, step, fault, level): outcome for verb, step, fault, level, outcome in cells}


def missing(wanted: Iterable[Key]) -> list[Key]:
    """The rows that the document must have and has not."""
    return sorted(set(wanted) - set(written()))


def write(order: Iterable[Key]) -> None:
    """Write the rows in this order: what was kept, or else what the document has already."""
    rows = written() | kept()
    lines = [f"| {' | '.join(key)} | {rows[key]} |\n" for key in dict.fromkeys(order) if key in rows]
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + HEAD + "".join(lines) + END + rest.partition(END)[2])


def main() -> None:
    from tests.faults.cases import all_keys  # noqa: PLC0415 - which needs this module

    write(all_keys())


if __name__ == "__main__":
    main()
