"""What the playbook `portal` calls: all steps in one visit, and first the look for a browser."""

from __future__ import annotations

import json

import click

from dlskit.commands import json_option


@click.command("apply")
@click.option(
    "--settings", metavar="FILE", required=True, help="What the portal is to hold, as JSON; - for standard input."
)
@click.option("--evidence", metavar="FOLDER", help="Where a failure leaves its folder; else the temporary folder.")
@json_option
def apply_command(settings: str, evidence: str | None, as_json: bool) -> None:
    """Take all steps of one portal that are still to be taken, in one visit: what the playbook `portal` calls.

    The settings hold passwords and license files. docs/portal.md has their form.
    """
    from dlskit.files import read_file  # noqa: PLC0415
    from dlskit.portal import settings as form  # noqa: PLC0415
    from dlskit.portal.evidence import printable  # noqa: PLC0415
    from dlskit.portal.session import visited  # noqa: PLC0415

    wanted = form.read(read_file(settings, form.LARGEST, "give the path of a JSON file, or - for standard input"))
    secrets = [wanted.password, *filter(None, [wanted.alerts.get("password")])]
    parts = []
    with visited(
        wanted.target,
        program=wanted.browser,
        timeout=wanted.timeout,
        release=None,
        keep=evidence,
        secrets=secrets,
    ) as found:
        from dlskit.portal.apply import apply  # noqa: PLC0415 - needs Playwright, whose absence was told before

        for part in apply(found, wanted):
            parts.append(part)
            if not as_json:
                click.echo(printable(f"{part.name}: {part.answer.text}"))
    if as_json:
        facts = {name: value for part in parts for name, value in part.answer.facts.items()}
        answer = {
            "changed": any(part.answer.changed for part in parts),
            "dry_run": wanted.dry_run,
            "text": [printable(f"{part.name}: {part.answer.text}") for part in parts],
            "uuid": facts.get("uuid"),
            "version": facts.get("version"),
            "parts": [{"part": part.name, "changed": part.answer.changed, **part.answer.facts} for part in parts],
        }
        click.echo(json.dumps(answer))


@click.command("browser")
@click.argument("program", required=False)
def browser_command(program: str | None) -> None:
    """Print the browser that would be used, and fail where portals cannot be driven from this machine."""
    from dlskit.portal import browser  # noqa: PLC0415

    browser.require_playwright()
    click.echo(browser.find(program or None))
