"""``dlskit bundle``: offline bundles, from their specification to the media and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dlskit.commands import F, json_option, print_rows, stop_for
from dlskit.commands.archive import progress_bar
from dlskit.commands.signing import secret_key, sign_options

if TYPE_CHECKING:
    from dlsctl.problems import Problem
    from dlskit.bundle import verify
    from dlskit.minisign import SecretKey


@click.group()
def bundle() -> None:
    """Make offline bundles, check them, and bring them over on media.

    Exit codes: 5 when files or parts are missing or not as they were signed, 6 when signature, key, specification or a
    file of it is refused.
    """


def key_option(command: F) -> F:
    """Add --key, passed to the command by name."""
    return click.option(
        "--key",
        type=click.Path(),
        required=True,
        envvar="DLSKIT_PUBLIC_KEY",
        show_envvar=True,
        help="Public key of minisign, from elsewhere than the bundle.",
    )(command)


def out_option(text: str) -> Callable[[F], F]:
    """Make --out an option of a command, passed by name."""
    return click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help=text)


@bundle.command("build")
@click.argument("spec", type=click.Path())
@out_option("New folder for the bundle.")
@sign_options
@json_option
def build_command(spec: str, out: Path, as_json: bool, **signing: str | None) -> None:
    """Build the bundle that the file SPEC describes, and sign it.

    Packages are fetched from the package index and the mirrors of the distributions; what they are is checked by hashes
    and by the distributions' own signatures.
    """
    from dlskit.bundle.build import build  # noqa: PLC0415
    from dlskit.bundle.spec import read  # noqa: PLC0415

    wanted = read(spec)
    key = _signing_key(**signing)
    with _told(), progress_bar(wanted.name) as progress:
        manifest = build(wanted, out, key, progress)
    if as_json:
        click.echo(json.dumps(manifest))
        return
    print_rows(_rows(manifest) | {"folder": str(out)})


@bundle.command("verify")
@click.argument("folder", type=click.Path())
@key_option
@click.option("--here", is_flag=True, help="Refuse a bundle that has no packages for this Python and machine.")
@json_option
def verify_command(folder: str, key: str, here: bool, as_json: bool) -> None:
    """Check that FOLDER is a bundle, every file as it was signed, and no other file in it. Nothing is written."""
    from dlskit.bundle import verify  # noqa: PLC0415

    with _told(), progress_bar(folder) as progress:
        manifest = verify.read_manifest(folder, verify.read_key(key, folder))
        if here:
            verify.check_this_machine(manifest)
        counter = _Counter(progress, sum(entry["size"] for entry in manifest["files"]))
        problems = list(verify.check_files(folder, manifest["files"], counter))
    _stop_if(problems)
    if as_json:
        click.echo(json.dumps(manifest))
        return
    print_rows(_rows(manifest))


@bundle.command("split")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--size", default="4G", show_default=True, help="Size of a part: 650M, 4G (4,000,000,000), 4GiB.")
@out_option("New folder for the parts.")
@sign_options
@json_option
def split_command(folder: Path, size: str, out: Path, as_json: bool, **signing: str | None) -> None:
    """Cut the bundle FOLDER into parts for media, with a signed list of them.

    The parts are one tar archive: where nothing else is at hand, `cat NAME.0* | tar -x` makes the bundle of them.
    """
    from dlskit.bundle.split import parse_size, split  # noqa: PLC0415

    limit = parse_size(size)
    key = _signing_key(**signing)
    with _told(), progress_bar(str(folder)) as progress:
        parts = split(folder, limit, out, key, progress)
    if as_json:
        click.echo(json.dumps(parts))
        return
    for part in parts["parts"]:
        click.echo(f"{part['sha256']}  {part['path']}")
    others = "the list of parts, its signature, media.py and verify.py"
    click.echo(f"Copy these from {out} to media, and {others} to the first medium at least", err=True)


@bundle.command("join")
@click.argument("media", nargs=-1, required=True, metavar="MEDIUM...", type=click.Path(exists=True, file_okay=False))
@out_option("New folder for the bundle.")
@key_option
@json_option
def join_command(media: tuple[str, ...], out: Path, key: str, as_json: bool) -> None:
    """Put a bundle together from the parts on each MEDIUM; run it again for each of them, and after any failure.

    Parts are kept in FOLDER.parts until the whole was verified; a copy that was cut off goes on where it was.
    """
    from dlskit.bundle.media import join  # noqa: PLC0415

    with _told():
        name, problems = join(list(media), key, str(out))
    _stop_if(problems)
    click.echo(json.dumps({"name": name, "folder": str(out)}) if as_json else f"{name}: complete, in {out}")


@bundle.command("repair")
@click.argument("medium", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--from",
    "others",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="Other copies.",
)
@key_option
@json_option
def repair_command(medium: str, others: tuple[str, ...], key: str, as_json: bool) -> None:
    """Name the parts on MEDIUM that must be copied again, and replace those of which another folder has a good copy."""
    from dlskit.bundle.media import repair  # noqa: PLC0415

    with _told():
        mended, problems = repair(medium, key, list(others))
    if as_json:
        click.echo(json.dumps({"replaced": mended, "wrong": [problem.what for problem in problems]}))
    else:
        for path in mended:
            click.echo(f"{path}: replaced by a good copy")
        if not problems:
            click.echo(f"{medium}: every part is there as it was signed")
    _stop_if(problems)


@bundle.command("install")
@click.argument("folder", type=click.Path())
@click.option("--into", type=click.Path(), required=True, metavar="FOLDER", help="Where kits go, such as /opt/dls-kit.")
@key_option
@json_option
def install_command(folder: str, into: str, key: str, as_json: bool) -> None:
    """Install the kit of the bundle FOLDER on this control node, without a network, as its install.py does."""
    from dlskit.bundle.install import install  # noqa: PLC0415

    with _told():
        place = install(folder, key, into)
    click.echo(json.dumps({"folder": place}) if as_json else f"{place}/kit: installed, and in use")


class _Counter:
    """Makes of the bytes since the last call, which verify.py tells, those in all."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(self._done, self._total)


def _signing_key(sign_key: str | None, password_file: str | None) -> SecretKey:
    from dlsctl.problems import Refused  # noqa: PLC0415

    if not sign_key:
        raise Refused("--sign-key", "must be given: a bundle is signed", "nothing", "make a pair with `minisign -G`")
    return secret_key(sign_key, password_file)


def _rows(manifest: verify.Entry) -> dict[str, str]:
    from rich.filesize import decimal  # noqa: PLC0415

    files = manifest["files"]
    return {
        "bundle": f"{manifest['name']}, of kit {manifest['kit']}",
        "releases": ", ".join(manifest["vendor"]) or "none",
        "Pythons": f"{', '.join(manifest['pythons'])} on {', '.join(manifest['platforms'])}",
        "targets": ", ".join(manifest["targets"]) or "none",
        "files": f"{len(files)}, {decimal(sum(entry['size'] for entry in files))}",
    }


def _problem(error: verify.Problem) -> Problem:
    """Return what the programs of a bundle raise, which know nothing of the kit, as the kit's own."""
    from dlsctl.problems import Problem  # noqa: PLC0415

    problem = Problem(error.what, error.rule, error.got, error.hint)
    problem.code = error.code
    return problem


@contextmanager
def _told() -> Iterator[None]:
    from dlskit.bundle import verify  # noqa: PLC0415

    try:
        yield
    except verify.Problem as error:
        raise _problem(error) from None


def _stop_if(problems: list[verify.Problem]) -> None:
    if problems:
        stop_for([_problem(problem) for problem in problems])
