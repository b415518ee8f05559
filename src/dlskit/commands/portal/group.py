"""The group of the portal's commands."""

from __future__ import annotations

import click

from dlskit.commands.portal.apply import apply_command, browser_command
from dlskit.commands.portal.licenses import import_command, keys_command, projects_command
from dlskit.commands.portal.lists import checklist_command, items_command
from dlskit.commands.portal.server import alerts_command, set_password_command, set_server_url_command, uuid_command


@click.group()
def portal() -> None:
    """Do the steps of the server's portal: password, UUID, license files, URLs, alerts, keys.

    A browser without a window does them, through ssh to the host's loopback. Each command looks first, does what is
    missing, and reads back. Give -i and --host for a host of an inventory, --url for a portal on this machine.
    """


portal.add_command(alerts_command)
portal.add_command(apply_command)
portal.add_command(browser_command)
portal.add_command(checklist_command)
portal.add_command(import_command)
portal.add_command(items_command)
portal.add_command(keys_command)
portal.add_command(projects_command)
portal.add_command(set_password_command)
portal.add_command(set_server_url_command)
portal.add_command(uuid_command)
