"""`./dls demo --containers`: the same into a systemd container, reached over SSH as any host is."""

import subprocess

import click
import yaml

from tests.checkout import farewell, play, site
from tests.lab import engine, hosts

LAB = hosts.Lab("demo")
HOST = "lab-demo"


def up() -> None:
    """Start the container if it is not there, and install into it."""
    client = engine.connect()
    if not (LAB.inventory / "lab.yml").exists() or not client.containers.list(filters={"name": LAB.identifier}):
        click.echo("Starting a Debian 12 container with systemd (the first time its image is made: about a minute) ...")
        hosts.up(client, LAB, {HOST: "debian12"})
    (host,) = hosts.read_hosts(LAB)
    gateway = host.address.rpartition(".")[0] + ".1"
    variables = {
        **site.archive_variables(),
        "dls_server_admin_password_set": True,
        "dls_server_allowed_networks": [gateway],
    }
    (LAB.inventory / "site.yml").write_text(yaml.safe_dump({"dls": {"vars": variables}}))
    click.echo(f"Installing DLS {variables['dls_server_version']} (stand-in) on {host.address} ...")
    closed = "dls_server_admin_password_set=false"  # as every new server is; a second run opens it
    first = play.succeed(play.run("install", LAB.inventory, "--extra-vars", closed), "install")
    result = play.succeed(play.run("install", LAB.inventory), "install")
    read_log = hosts.ssh_command(LAB, host, "sudo cat /opt/dls/current/logs/dls.log")
    log = subprocess.run(read_log, capture_output=True, text=True, check=True).stdout
    changed = first.changed + result.changed
    farewell.say(changed, f"http://{host.address}:48080", log, "./dls demo --containers", LAB.inventory)


def down() -> None:
    """Remove the container with everything in it."""
    hosts.down(engine.connect(), LAB)
    click.echo("The container is removed.")
