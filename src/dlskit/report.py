"""The report of a drill, kept on the control node and signed.

``python -m dlskit.report FOLDER HOST`` reads what ``dlsctl drill --json`` has printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from dlsctl.files import write_atomic
from dlsctl.problems import Problem, problem_of
from dlskit import minisign
from dlskit.commands.signing import secret_key, sign_options


def keep(report: dict[str, Any], folder: Path, host: str, key: minisign.SecretKey | None) -> list[Path]:
    """Write a report as <host>-<time>.json and, with a key, its signature beside it; returns the paths."""
    data = (json.dumps(dict(report, inventory_host=host), indent=2, sort_keys=True) + "\n").encode()
    path = folder / f"{host}-{report['at'].replace('-', '').replace(':', '')}.json"
    folder.mkdir(parents=True, exist_ok=True)
    written = [(path, data)]
    if key:
        comment = f"drill of {report['backup']} on {host}, {report['at']}"
        written.append((path.with_name(path.name + minisign.SUFFIX), minisign.sign(data, key, comment).encode()))
    for target, content in written:
        write_atomic(str(target), content)
    return [target for target, _ in written]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("host")
@sign_options
def main(folder: Path, host: str, sign_key: str | None, password_file: str | None) -> None:
    """Keep the report on standard input."""
    try:
        key = secret_key(sign_key, password_file) if sign_key else None
        for path in keep(json.load(sys.stdin), folder, host, key):
            click.echo(path)
    except (Problem, OSError) as error:
        problem = problem_of(error)
        click.echo(problem, err=True)
        raise SystemExit(problem.code) from None


if __name__ == "__main__":
    main()
