"""Command line of the stand-in: build an archive, fetch the Java runtime, compile the kept jar."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from dlsctl.problems import Problem
from tests.standin import build, jre, server


@click.group()
def main() -> None:
    """Stand-in archives for tests and demo. They hold no licence server."""


@main.command("build")
@click.option("--version", required=True, help="Version to build, such as 2.4.11.")
@click.option("--platform", type=click.Choice([build.LINUX, build.WINDOWS]), default=build.LINUX, show_default=True)
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Misbehaviour; tests/standin/README.md.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
def build_command(version: str, platform: str, pairs: tuple[str, ...], out: Path) -> None:
    """Build an archive and print its path."""
    settings = dict(_pair(pair) for pair in pairs)
    with _problems_told():
        click.echo(build.build_archive(version, out, platform, settings))


@contextmanager
def _problems_told() -> Iterator[None]:
    """Turn a Problem into its message and exit code (see dlsctl)."""
    try:
        yield
    except Problem as problem:
        click.echo(problem, err=True)
        raise SystemExit(problem.code) from problem


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set: must be KEY=VALUE, got {text}")
    return key, value


@main.command("fetch")
def fetch_command() -> None:
    """Download the Java runtimes into .cache/, so that later builds work offline."""
    with _problems_told():
        for runtime in (jre.LINUX, jre.WINDOWS):
            click.echo(jre.wheel(runtime))


@main.command("compile")
def compile_command() -> None:
    """Compile server/src/ into server/standin.jar; needs javac 17."""
    server.compile_jar(server.JAR)
    click.echo(server.JAR)


if __name__ == "__main__":
    main(prog_name="python -m tests.standin")
