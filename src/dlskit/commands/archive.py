"""``dlskit archive``: look into vendor archives."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from dlskit.commands import F, json_option, print_rows

if TYPE_CHECKING:
    from dlsctl.archives import Archive, ArchiveLimits, Progress

MIB = 1 << 20


@click.group()
def archive() -> None:
    """Check vendor archives, and pin the one to install."""


def limit_options(command: F) -> F:
    """Add the options that raise or lower what an archive may grow to, passed to the command by name."""
    for name, unit, text in (
        ("--max-members", "N", "Refuse an archive with more members."),
        ("--max-ratio", "N", "Refuse an archive that unpacks to more than N times its size."),
        ("--max-total", "MIB", "Refuse an archive that unpacks to more than this many MiB."),
    ):
        command = click.option(name, type=click.IntRange(min=1), metavar=unit, help=text)(command)
    return command


@archive.command("inspect")
@click.argument("file", type=click.Path())
@click.option("--manifest", is_flag=True, help="Also list every member: mode, type, size, SHA-256, path.")
@limit_options
@json_option
def inspect_command(file: str, manifest: bool, as_json: bool, **limits: int | None) -> None:
    """Say what the vendor archive FILE holds, and refuse one that must not be unpacked.

    Platform and version are told from the content; a vendor file name must agree. Nothing is written.
    """
    from dlskit.archive import inspect  # noqa: PLC0415

    with progress_bar(file) as progress:
        found = inspect(file, limits_of(**limits), progress)
    if as_json:
        click.echo(json.dumps(as_dict(found, manifest)))
        return
    print_summary(found)
    if manifest:
        click.echo("\n" + "\n".join(manifest_lines(found)))


@archive.command("pin")
@click.argument("file", type=click.Path())
@click.option("--into", type=click.Path(), metavar="VARS", help="Set them in this file of the inventory as well.")
@limit_options
@json_option
def pin_command(file: str, into: str | None, as_json: bool, **limits: int | None) -> None:
    """Print the inventory lines that pin the vendor archive FILE, after the checks of `inspect`.

    The vendor publishes no checksum: pin the archive you received from the vendor, when you receive it.
    """
    from dlskit.archive import pin  # noqa: PLC0415
    from dlskit.pinning import lines_of, pin_into  # noqa: PLC0415

    with progress_bar(file) as progress:
        values = pin(file, limits_of(**limits), progress)._asdict()
    if into:
        pin_into(into, values)
    click.echo(json.dumps(values) if as_json else lines_of(values).rstrip())


def limits_of(max_total: int | None, max_ratio: int | None, max_members: int | None) -> ArchiveLimits:
    """Return the limits for the values of the options; without a value, the default. `max_total` is in MiB."""
    from dlsctl.archives import DEFAULT_LIMITS  # noqa: PLC0415

    given = {"total": max_total and max_total * MIB, "ratio": max_ratio, "members": max_members}
    return DEFAULT_LIMITS._replace(**{name: value for name, value in given.items() if value})


def unpacked_size(found: Archive) -> int:
    """Return the bytes of all files of an archive together."""
    return sum(member.size for member in found.members)


def as_dict(found: Archive, manifest: bool) -> dict[str, Any]:
    """Return what --json prints; `members` is there only with `manifest`."""
    answer = found._asdict() | {"unpacked_size": unpacked_size(found), "member_count": len(found.members)}
    members = [member._asdict() | {"mode": f"{member.mode:04o}"} for member in answer.pop("members")]
    return answer | ({"members": members} if manifest else {})


def print_summary(found: Archive) -> None:
    """Print what an archive holds for a person."""
    from rich.filesize import decimal  # noqa: PLC0415

    print_rows(
        {
            "release": f"{found.version} for {found.platform}",
            "top folder": found.top or "none",
            "size": decimal(found.size),
            "unpacked": f"{decimal(unpacked_size(found))} in {len(found.members)} members",
            "SHA-256": found.sha256,
        }
    )


def manifest_lines(found: Archive) -> Iterator[str]:
    """Yield one line a member, paths last so that the columns stay in place."""
    width = len(str(max((member.size for member in found.members), default=0)))
    for member in found.members:
        path = f"{member.path} -> {member.link}" if member.link else member.path
        yield f"{member.mode:04o} {member.kind:<4} {member.size:>{width}} {member.sha256 or '-':<64} {path}"


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """Show how far a file has been read on standard error; nothing is shown where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(ascii(label)[1:-1]), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
