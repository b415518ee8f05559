"""The server itself: its UUID, the password of admin, its URLs, its mail alerts."""

from __future__ import annotations

import click

from dlskit.commands.portal.visit import (
    DRY_RUN,
    TARGET,
    VISIT,
    Options,
    admin_password,
    options,
    show,
    signed_in,
    visiting,
)


@click.command("uuid")
@options(*TARGET, *VISIT)
def uuid_command(common: Options, as_json: bool) -> None:
    """Print the UUID that the vendor binds licences to."""
    from dlskit.portal import verbs  # noqa: PLC0415

    with signed_in(common, common.target()) as found:
        answer = verbs.uuid(found)
    show(answer, as_json)


@click.command("set-password")
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


@click.command("set-server-url")
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
    from dlskit.portal.target import server_urls  # noqa: PLC0415

    target = common.target()
    wanted = server_urls(target, main, standby)
    if not wanted:
        raise Refused("server URL", "must be given", "none", "give --main, or dls_server_url in the inventory")
    with signed_in(common, target) as found:
        answer = verbs.set_server_url(found, wanted, dry_run)
    show(answer, as_json, dry_run)


@click.command("alerts")
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
