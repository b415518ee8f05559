"""``dlskit deploy``: the deploys of the kit by pyinfra, for Linux hosts of an Ansible inventory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

DEPLOYS = ("site", "install", "verify", "licenses", "backup", "restore", "upgrade", "rollback", "uninstall")


@click.command("deploy")
@click.argument("deploy", metavar="DEPLOY", type=click.Choice(DEPLOYS))
@click.option("-i", "--inventory", required=True, metavar="PATH", help="The Ansible inventory: a folder or a file.")
@click.option("-l", "--limit", default="", metavar="PATTERN", help="Only these hosts, as Ansible's --limit.")
@click.option(
    "-e", "--extra-vars", "extra", multiple=True, metavar="NAME=VALUE", help="A variable that wins; or @FILE, or JSON."
)
@click.option("--vault-password-file", type=click.Path(), help="As Ansible's.")
@click.option("--ask-vault-pass", "ask_vault", is_flag=True, help="Ask for the vault's password.")
@click.option("-K", "--ask-become-pass", "become", is_flag=True, help="Ask for the password of sudo.")
@click.option("--dry", is_flag=True, help="Only say what would change; exits with 5 where something would.")
@click.option("--strict", is_flag=True, help="Change no host when one is refused or does not answer.")
def deploy_command(become: bool, **question: Any) -> None:
    """Do on Linux hosts what the playbook DEPLOY does, by pyinfra.

    Looks at every host first and says what would change. Exits with 0 when all is as wanted, 1 when a host failed or
    did not answer, 5 when --dry found something to change, 6 when a host was refused, where nothing was changed.
    """
    if become:
        password = click.prompt("BECOME password", hide_input=True)
        question["extra"] = [*question["extra"], json.dumps({"ansible_become_password": password})]
    root = Path(__file__).resolve().parents[3]
    path = os.pathsep.join([str(root / "src"), str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "deploys"],  # a process of its own: pyinfra changes how Python waits
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as child:
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())  # nobody would see it go on
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of which a terminal tells the child, too
        child.communicate(json.dumps(question))
    raise click.exceptions.Exit(child.returncode if child.returncode >= 0 else 128 - child.returncode)
