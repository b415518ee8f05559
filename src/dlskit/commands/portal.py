"""``dlskit portal``: the steps that the vendor documents for a person at the portal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlskit.commands import F, json_option

if TYPE_CHECKING:
    from dlskit.portal.items import Item
    from dlskit.portal.pages import Portal
    from dlskit.portal.target import Target
    from dlskit.portal.verbs import Answer

MIB = 1 << 20


@click.group()
def portal() -> None:
    """Do the steps of the server's portal: password, UUID, license files, URLs, alerts, keys.

    A browser without a window does them, through ssh to the host's loopback. Each command looks first, does what is
    missing, and reads back. Give -i and --host for a host of an inventory, --url for a portal on this machine.
    """


@dataclass(frozen=True)
class Options:
    """The options that all commands of the group share, by their names."""

    inventory: str | None
    host: str | None
    url: str | None
    vault_password_file: str | None
    ask_vault_pass: bool
    release: str | None
    password_file: str | None = None
    browser: str | None = None
    timeout: float = 15
    evidence: str | None = None

    def target(self) -> Target:
        """Return the portal that they name."""
        from dlskit.portal.target import find  # noqa: PLC0415

        return find(self.inventory, self.host, self.url, self.vault_password_file, self.ask_vault_pass)


TARGET = (
    click.option("-i", "--inventory", metavar="PATH", help="Ansible inventory of the host."),
    click.option(
        "--host", metavar="NAME", help="Host of the inventory; may be left out if its group dls has one host."
    ),
    click.option("--url", metavar="URL", help="Portal on this machine, such as http://127.0.0.1:48080."),
    click.option("--vault-password-file", metavar="PATH", help="As Ansible's option; its configuration counts too."),
    click.option("-J", "--ask-vault-pass", is_flag=True, help="Ask for the vault's password."),
    click.option("--release", metavar="VERSION", help="Look for the words of this release, whatever the page says."),
)
VISIT = (
    click.option(
        "--password-file",
        metavar="PATH",
        help="File with admin's password, - for standard input; else dls_server_admin_password, else asked.",
    ),
    click.option("--browser", metavar="PROGRAM", help="Chromium or Edge to use; else the first usual one on PATH."),
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0.1),
        default=15,
        show_default=True,
        help="Wait so long for each element and each answer.",
    ),
    click.option("--evidence", metavar="FOLDER", help="Where a failure leaves its folder; else the temporary folder."),
)


def options(*wanted: Callable[[F], F]) -> Callable[[F], F]:
    """Add options in this order; those of TARGET and VISIT reach the command as `common`."""

    def add(command: F) -> F:
        def collected(**values: Any) -> Any:
            common = {name: values.pop(name) for name in list(values) if name in Options.__dataclass_fields__}
            return command(common=Options(**common), **values)

        collected.__doc__ = command.__doc__
        decorated: Any = json_option(collected)
        for option in reversed(wanted):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return add


DRY_RUN = click.option("--dry-run", is_flag=True, help="Only look, and say what would be done.")


@contextmanager
def visiting(common: Options, target: Target, secrets: list[str]) -> Iterator[Portal]:
    """Yield the portal of the target, not opened yet. `secrets`: what a failure must not show."""
    from dlskit.portal.session import visited  # noqa: PLC0415

    with visited(
        target,
        program=common.browser,
        timeout=common.timeout,
        release=common.release,
        keep=common.evidence,
        secrets=secrets,
    ) as found:
        yield found


@contextmanager
def signed_in(common: Options, target: Target, *secrets: str) -> Iterator[Portal]:
    """Yield the portal of the target with admin logged in. `secrets`: those beside admin's password."""
    from dlskit.portal import verbs  # noqa: PLC0415

    password = admin_password(common, target)
    with visiting(common, target, [password, *filter(None, secrets)]) as found:
        verbs.sign_in(found, password)
        yield found


def admin_password(common: Options, target: Target, confirm: bool = False) -> str:
    """Return admin's password: from the file, the host's variable, or a person at the terminal."""
    from dlsctl.problems import Refused  # noqa: PLC0415
    from dlskit.portal.target import PASSWORD, read_secret  # noqa: PLC0415

    if common.password_file is not None:
        return read_secret(common.password_file)
    if value := target.variable(PASSWORD):
        return str(value)
    if not sys.stdin.isatty():
        hint = f"give --password-file PATH, or {PASSWORD} in the host's vaulted variables"
        raise Refused("password of admin", "must be given where nobody can be asked", "none", hint)
    return str(click.prompt("Password of admin", hide_input=True, confirmation_prompt=confirm, err=True))


def show(answer: Answer, as_json: bool, dry_run: bool = False) -> None:
    """Print an answer."""
    from dlskit.portal.evidence import printable  # noqa: PLC0415

    if as_json:
        click.echo(json.dumps({"changed": answer.changed, "dry_run": dry_run, **answer.facts}))
    else:
        click.echo(printable(answer.text))


@portal.command("uuid")
@options(*TARGET, *VISIT)
def uuid_command(common: Options, as_json: bool) -> None:
    """Print the UUID that the vendor binds licences to."""
    from dlskit.portal import verbs  # noqa: PLC0415

    with signed_in(common, common.target()) as found:
        answer = verbs.uuid(found)
    show(answer, as_json)


@portal.command("set-password")
@options(*TARGET, *VISIT, DRY_RUN)
def set_password_command(common: Options, dry_run: bool, as_json: bool) -> None:
    """Set the first password of admin, before anybody else does.

    Nothing is done when the portal takes the password already. One that somebody else has set is not replaced.
    """
    from dlskit.portal import verbs  # noqa: PLC0415

    target = common.target()
    password = admin_password(common, target, confirm=True)
    with visiting(common, target, [password]) as found:
        answer = verbs.set_password(found, password, dry_run)
    show(answer, as_json, dry_run)


@portal.command("import")
@options(
    click.argument("file", type=click.Path()),
    click.option("--project", metavar="NAME", required=True, help="Project that the file's items are for."),
    click.option("--create", is_flag=True, help="Make the project where there is none of this name."),
    click.option(
        "--again", is_flag=True, help="Import though items of the file are there, such as one with new dates."
    ),
    click.option("--for-standby", is_flag=True, help="The server is a standby, and the file is bound to its own UUID."),
    *TARGET,
    *VISIT,
    DRY_RUN,
)
def import_command(  # noqa: PLR0913, PLR0917 - one parameter an option
    file: str,
    project: str,
    create: bool,
    again: bool,
    for_standby: bool,
    common: Options,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import the license file FILE, - for standard input, into a project.

    Nothing is done when the project has the file's items already. A file that the portal refuses, such as one that is
    bound to another UUID, changes nothing.
    """
    from dlskit.portal import verbs  # noqa: PLC0415
    from dlskit.portal.target import UUID  # noqa: PLC0415

    content = license_file(file, common)
    target = common.target()
    with signed_in(common, target) as found:
        if expected := target.variable(UUID):
            verbs.uuid(found, str(expected))
        if not for_standby:
            verbs.refuse_standby(found, str(target.variable("dls_server_mode") or ""))
        answer = verbs.import_license(found, content, project, create=create, again=again, dry_run=dry_run)
    show(answer, as_json, dry_run)


def license_file(path: str, common: Options) -> tuple[str, bytes]:
    """Return name and content of a license file. Raises Refused for what no portal can take."""
    from dlsctl.problems import Refused  # noqa: PLC0415
    from dlskit.license_file import parse  # noqa: PLC0415

    hint = "give the file that the vendor's customer portal made at the activation"
    if path == "-":
        if common.password_file == "-":  # noqa: S105
            raise Refused("standard input", "must be the license file or the password", "both", "give one as a file")
        name, content = "license.txt", sys.stdin.buffer.read(MIB + 1)
    else:
        with Path(path).open("rb") as opened:
            name, content = Path(path).name, opened.read(MIB + 1)
    if not content.strip() or len(content) > MIB:
        got = f"more than {MIB} bytes" if content.strip() else "an empty file"
        raise Refused(name, f"must be a license file of at most {MIB} bytes", got, hint)
    if content.startswith(b"$ANSIBLE_VAULT"):
        hint = f"ansible-vault view {path} | dlskit portal import - ..."
        raise Refused(name, "must be a license file", "one that is encrypted with ansible-vault", hint)
    parse(content, name)
    return name, content


@portal.command("projects")
@options(
    click.option("--create", metavar="NAME", help="Make a project of this name, unless there is one."),
    *TARGET,
    *VISIT,
    DRY_RUN,
)
def projects_command(create: str | None, common: Options, dry_run: bool, as_json: bool) -> None:
    """List the projects (2.2: handshake codes) with their items, or make one."""
    from dlskit.portal import verbs  # noqa: PLC0415

    with signed_in(common, common.target()) as found:
        answer = verbs.projects(found, create, dry_run)
    show(answer, as_json, dry_run)


@portal.command("keys")
@options(
    click.option("--project", metavar="NAME", help="Only the key of this project, as it is; else all, as JSON."),
    click.option("--out", metavar="FILE", required=True, help="File to write, readable for its owner only."),
    *TARGET,
    *VISIT,
    DRY_RUN,
)
def keys_command(project: str | None, out: str, common: Options, dry_run: bool, as_json: bool) -> None:
    """Write license keys to a file. They are secrets, and never printed."""
    from dlskit.portal import verbs  # noqa: PLC0415

    with signed_in(common, common.target()) as found:
        answer = verbs.keys(found, project, Path(out), {}, dry_run)
    show(answer, as_json, dry_run)


@portal.command("set-server-url")
@options(
    click.option(
        "--main", metavar="URL", help="URL of the server for clients; else dls_server_main_url, or dls_server_url."
    ),
    click.option("--standby", metavar="URL", help="URL of the standby; else dls_server_standby_url. '' removes it."),
    *TARGET,
    *VISIT,
    DRY_RUN,
)
def set_server_url_command(
    main: str | None, standby: str | None, common: Options, dry_run: bool, as_json: bool
) -> None:
    """Set the URLs that clients call. License keys carry them: set them before the first key is handed out."""
    from dlsctl.problems import Refused  # noqa: PLC0415
    from dlskit.portal import verbs  # noqa: PLC0415

    target = common.target()
    wanted = server_urls(target, main, standby)
    if not wanted:
        raise Refused("server URL", "must be given", "none", "give --main, or dls_server_url in the inventory")
    with signed_in(common, target) as found:
        answer = verbs.set_server_url(found, wanted, dry_run)
    show(answer, as_json, dry_run)


def server_urls(target: Target, main: str | None = None, standby: str | None = None) -> dict[str, str]:
    """Return the URLs to set: those of the options, else those of the host."""
    given = {"main": main, "standby": standby}
    if main is None and standby is None:
        main = target.variable("dls_server_main_url") or target.variable("dls_server_url")  # of a pair, or one alone
        given = {"main": main, "standby": target.variable("dls_server_standby_url")}
    return {which: str(url) for which, url in given.items() if url is not None}


@portal.command("alerts")
@options(
    click.option("--smtp-host", metavar="NAME", help="Mail Smtp Host."),  # `host` is the inventory's
    click.option("--smtp-port", metavar="PORT", help="Mail Smtp Port."),
    click.option("--smtp-ssl-trust", metavar="NAME", help="Mail Smtp SSL Trust."),
    click.option("--address", metavar="ADDRESS", help="Address that alerts come from."),
    click.option("--smtp-password-file", metavar="PATH", help="File with the password of that address."),
    click.option("--to", metavar="ADDRESSES", help="Receivers, parted by semicolons."),
    click.option("--cc", metavar="ADDRESSES", help="Receivers of copies."),
    click.option("--bcc", metavar="ADDRESSES", help="Receivers of blind copies."),
    click.option("--again", is_flag=True, help="Type the SMTP password anew though nothing else differs."),
    *TARGET,
    *VISIT,
    DRY_RUN,
)
def alerts_command(
    smtp_password_file: str | None, again: bool, common: Options, dry_run: bool, as_json: bool, **typed: str | None
) -> None:
    """Set sender and receivers of the mail alerts, by the options and dls_server_alerts of the host.

    The portal does not show the SMTP password: it is typed when another value of the sender differs, or with --again.
    """
    from dlsctl.problems import Refused  # noqa: PLC0415
    from dlskit.portal import verbs  # noqa: PLC0415
    from dlskit.portal.target import ALERTS, alerts, read_secret  # noqa: PLC0415

    if smtp_password_file == "-" == common.password_file:  # noqa: S105 - standard input
        raise Refused("standard input", "must be one password", "two", "give one as a file")
    target = common.target()
    given = {name.removeprefix("smtp_"): value for name, value in typed.items() if value is not None}
    values = alerts(target.variable(ALERTS)) | given
    password = read_secret(smtp_password_file) if smtp_password_file else values.pop("password", "")
    sender, receiver = verbs.split_alerts(values)
    if not sender and not receiver:
        hint = "give --to or --smtp-host, or dls_server_alerts in the inventory"
        raise Refused("alerts", "must have a sender or a receiver", "none", hint)
    with signed_in(common, target, password) as found:
        answer = verbs.alerts(found, sender, receiver, password, again, dry_run)
    show(answer, as_json, dry_run)


@portal.command("apply")
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


@portal.command("browser")
@click.argument("program", required=False)
def browser_command(program: str | None) -> None:
    """Print the browser that would be used, and fail where portals cannot be driven from this machine."""
    from dlskit.portal import browser  # noqa: PLC0415

    browser.require_playwright()
    click.echo(browser.find(program or None))


@portal.command("items")
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


@portal.command("checklist")
@options(
    click.option("--file", metavar="PATH", help="License file to name in the list."),
    click.option("--project", metavar="NAME", help="Project to name in the list."),
    *TARGET,
)
def checklist_command(file: str | None, project: str | None, common: Options, as_json: bool) -> None:
    """Print the steps for a person, with the exact values to type. Needs no browser; secrets are named, not shown."""
    from dlskit.portal import checklist  # noqa: PLC0415
    from dlskit.portal.target import ALERTS, alerts  # noqa: PLC0415

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
