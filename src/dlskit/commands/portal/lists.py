"""Lists: of the license items, and of the steps for a person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dlskit.commands.portal.visit import TARGET, VISIT, Options, options, show, signed_in

if TYPE_CHECKING:
    from dlskit.portal.items import Item


@click.command("items")
@options(
    click.option("--warn-days", type=int, metavar="N", help="Exit 10 when an item has at most N days left."),
    click.option("--critical-days", type=int, metavar="N", help="Exit 11 when an item has at most N days left."),
    click.option("--ignore", multiple=True, metavar="ID", help="Item that no threshold counts for; repeatable."),
    click.option("--textfile", metavar="PATH", help="Also write the items for Prometheus' textfile collector."),
    *TARGET,
    *VISIT,
)
def items_command(  # noqa: PLR0913, PLR0917 - one parameter an option
    warn_days: int | None,
    critical_days: int | None,
    ignore: tuple[str, ...],
    textfile: str | None,
    common: Options,
    as_json: bool,
) -> int:
    """List the items with quantity, use and days to expiry, for people and for monitoring.

    With a threshold the exit code tells the worst item: 0, 10 for a warning, 11 for critical, which no item at all is.
    Other codes mean that the portal could not be read.
    """
    import time  # noqa: PLC0415

    from dlsctl.files import write_atomic  # noqa: PLC0415
    from dlskit.portal import items, verbs  # noqa: PLC0415

    if warn_days is not None and critical_days is not None and critical_days > warn_days:
        rule = f"--critical-days must be at most --warn-days, {warn_days}, got {critical_days}"
        raise click.UsageError(rule, click.get_current_context())
    target = common.target()
    with signed_in(common, target) as found:
        read = verbs.read_items(found)
    counted = [item for item in read if item.id not in ignore]
    state, reason = items.state(counted, warn_days, critical_days)
    if textfile:
        metrics = items.metrics(target.name, read, time.time())
        write_atomic(str(Path(textfile).absolute()), metrics.encode(), 0o644)
    if as_json:
        click.echo(json.dumps({"changed": False, "state": state, "reason": reason, "items": items.as_dicts(read)}))
    else:
        print_items(read)
        show(verbs.Answer(False, f"{state}: {reason}"), False)
    return {items.OK: 0, items.WARNING: items.EXIT_WARNING, items.CRITICAL: items.EXIT_CRITICAL}[state]


def print_items(read: list[Item]) -> None:
    """Print the items as a table."""
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from dlskit.portal.evidence import printable  # noqa: PLC0415
    from dlskit.portal.items import in_words  # noqa: PLC0415

    table = Table(box=box.SIMPLE)
    for head in ("Item Id", "Product", "Quantity", "Start", "Expiry", ""):
        table.add_column(head)
    for item in read:
        row = (item.id, item.product, item.quantity_text, item.start, item.expiry, in_words(item))
        table.add_row(*(Text(printable(text)) for text in row))
    Console(highlight=False).print(table)


@click.command("checklist")
@options(
    click.option("--file", metavar="PATH", help="License file to name in the list."),
    click.option("--project", metavar="NAME", help="Project to name in the list."),
    *TARGET,
)
def checklist_command(file: str | None, project: str | None, common: Options, as_json: bool) -> None:
    """Print the steps for a person, with the exact values to type. Needs no browser; secrets are named, not shown."""
    from dlskit.portal import checklist  # noqa: PLC0415
    from dlskit.portal.target import ALERTS, alerts, server_urls  # noqa: PLC0415

    target = common.target()
    steps = checklist.steps(
        target,
        release=common.release,
        file=file,
        project=project,
        urls=server_urls(target),
        alerts=alerts(target.variable(ALERTS)),
    )
    if as_json:
        click.echo(json.dumps({"steps": [step._asdict() for step in steps]}))
    else:
        click.echo(checklist.in_words(steps))
