"""``dlskit probe``: what clients on this machine get from a license server, or a pair."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from dlskit.commands import json_option

if TYPE_CHECKING:
    import ssl


@click.command("probe")
@click.argument("main_url")
@click.argument("standby_url", required=False)
@click.option(
    "--ca-file", type=click.Path(exists=True, dir_okay=False), help="Trust these authorities, not the system's."
)
@click.option("--origin", default="https://app.example", show_default=True, help="Origin of the web page that asks.")
@click.option(
    "--timeout", type=click.FloatRange(0.1, 120), default=15, show_default=True, help="Seconds for one answer."
)
@click.option(
    "--warn-days", type=click.IntRange(0), default=30, show_default=True, help="Warn so long before a certificate ends."
)
@click.option("--admin", is_flag=True, help="This machine is an administrator's: it must reach the portal.")
@click.option(
    "--port",
    "ports",
    type=click.IntRange(1, 65535),
    multiple=True,
    help="Must not be reached; default: the ports of every release line.",
)
@click.option("--sdk", is_flag=True, help="Also ask with the vendor's SDK, which must be installed.")
@click.option("--sdk-python", default=sys.executable, metavar="PATH", help="The Python that has the SDK.")
@json_option
def probe(main_url: str, standby_url: str | None, as_json: bool, **options: Any) -> int:
    """Check MAIN_URL, and STANDBY_URL of a pair, as this machine sees them.

    TLS, the answer to a client, what a web page may read, and that neither the admin portal nor the server's own ports
    are reached. Exit code 0 if nothing failed, 4 if something did. Nothing is logged in, and no license is used.
    """
    from dlsctl.problems import EXIT_OK, EXIT_UNHEALTHY  # noqa: PLC0415
    from dlskit.probe import http  # noqa: PLC0415
    from dlskit.probe import sdk as vendor  # noqa: PLC0415

    settings = http.Settings(
        trust=trusting(options["ca_file"]),
        timeout=options["timeout"],
        warn_days=options["warn_days"],
        origin=options["origin"],
        portal_expected=options["admin"],
        ports=options["ports"] or own_ports(),
    )
    servers = [http.Server(url, settings) for url in (main_url, standby_url) if url]
    roles = ("main", "standby") if standby_url else ("standalone",)
    if options["sdk"]:
        vendor.require(options["sdk_python"])
    findings = []
    asked = vendor.look(servers, options["sdk_python"]) if options["sdk"] else ()
    for finding in chain(chain.from_iterable(map(http.look, servers, roles)), asked):
        findings.append(finding)
        show(finding, as_json)
    failed = [finding for finding in findings if finding.verdict == http.FAILED]
    if as_json:
        click.echo(json.dumps({"ok": not failed, "findings": [dataclasses.asdict(finding) for finding in findings]}))
    return EXIT_UNHEALTHY if failed else EXIT_OK


def trusting(file: str | None) -> Callable[[], ssl.SSLContext]:
    """What makes the TLS context that checks certificates: by the authorities in a file, or by the system's."""
    from pathlib import Path  # noqa: PLC0415

    from dlsctl.problems import Refused, words_of  # noqa: PLC0415
    from dlskit.probe.http import as_browsers  # noqa: PLC0415

    make = partial(as_browsers, cafile=file)
    if file:
        rule, hint = "must be a file with certificates in PEM", "give the certificate of your own authority"
        if not Path(file).is_file():  # opening a named pipe would wait for ever
            raise Refused("--ca-file", rule, "a device", hint)
        try:
            make()
        except OSError as error:
            raise Refused("--ca-file", rule, words_of(error), hint) from None
    return make


def own_ports() -> tuple[int, ...]:
    """The ports of the server itself in every release line."""
    from dlskit.lines import lines  # noqa: PLC0415

    return tuple(sorted({line.facts[port] for line in lines() for port in ("server_port", "data_port")}))


def show(finding: object, as_json: bool) -> None:
    """Print a line at once: the next one may take its time."""
    if not as_json:
        click.echo("{verdict:7}  {check:6}  {target}: {text}".format(**vars(finding)))
