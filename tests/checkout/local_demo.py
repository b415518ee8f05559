"""`./dls demo`: the real playbook against this machine, everything below .demo/, no root and no container."""

import os
import pwd
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from dlsctl.problems import Problem, Refused
from tests.checkout import farewell, play, site
from tests.checkout.paths import ROOT

FOLDER = ROOT / ".demo"
INVENTORY = FOLDER / "inventory.yml"
PORTS = {"dls_server_port": 48080, "dls_server_data_port": 30201}


def up() -> None:
    """Install, configure and start the server, or find that there is nothing to change."""
    if set(str(ROOT)) & set(" %\t"):
        raise Refused("checkout", "must be at a path without blanks and % for the demo", ROOT, "clone it elsewhere")
    variables = site_variables()
    click.echo(f"Installing DLS {variables['dls_server_version']} (stand-in) below {FOLDER} ...")
    result = play.succeed(play.run("install", INVENTORY), "install")
    log = Path(variables["dls_server_home"], "current", "logs", "dls.log").read_text()
    farewell.say(result.changed, f"http://127.0.0.1:{variables['dls_server_port']}", log, "./dls demo", INVENTORY)


def down() -> None:
    """Stop and remove the server; nothing of the demo stays on this machine. Raise Problem if something runs on."""
    if not INVENTORY.exists():
        click.echo("No demo here: nothing to do.")
        return
    play.succeed(play.run("uninstall", INVENTORY, "--extra-vars", "dls_server_uninstall_purge=true"), "uninstall")
    if left := processes_below(FOLDER):
        raise Problem("demo", "must leave no process running", " ".join(map(str, left)), "end these processes")
    shutil.rmtree(FOLDER)
    click.echo("The server is stopped and .demo is removed.")


def site_variables() -> dict[str, Any]:
    """The variables of the demo's inventory: written on the first run, the same ones from then on."""
    archive = site.archive_variables()
    if INVENTORY.exists():
        stored: dict[str, Any] = yaml.safe_load(INVENTORY.read_text())["dls"]["hosts"]["localhost"]
        variables = {**stored, **archive}
    else:
        variables = {**local_variables(FOLDER), **free_ports(), **archive}
    write_inventory(INVENTORY, variables)
    return variables


def local_variables(folder: Path) -> dict[str, Any]:
    """Inventory variables that put a server below folder on this machine, without root and without systemd."""
    places = {"home": "opt/dls", "config_dir": "etc/dls", "data_dir": "var/lib/dls", "backup_dir": "var/backups/dls"}
    variables: dict[str, Any] = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_remote_tmp": str(folder / "tmp"),
        # The Python that .venv was made from: its path holds no spaces where the checkout's may.
        "ansible_python_interpreter": str(Path(sys.executable).resolve()),
        "dls_server_supervisor": "none",
        "dls_server_min_memory_mb": 512,
        "dls_server_min_free_mb": 512,
        **{f"dls_server_{name}": str(folder / place) for name, place in places.items()},
        "dls_server_bin_dir": str(folder / "usr/local/sbin"),
    }
    if os.geteuid() == 0:
        # Started by root, the vendor's way would create a system user, and the demo changes nothing outside .demo/.
        variables |= {"dls_server_launch": "direct", "dls_server_user": pwd.getpwuid(0).pw_name}
    return variables


def write_inventory(path: Path, variables: dict[str, Any]) -> None:
    """Write an inventory with this machine as the only host of group dls."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"dls": {"hosts": {"localhost": variables}}}, sort_keys=False))


def free_ports() -> dict[str, int]:
    """The default ports where they are free, others where they are not."""
    return {name: port if _is_free(port) else _any_free_port() for name, port in PORTS.items()}


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def processes_below(folder: Path) -> list[int]:
    """Processes that run from folder: their working directory or their program is below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for link in ("cwd", "exe"):
            try:
                target = (process / link).readlink()
            except OSError:
                continue
            if target.is_relative_to(folder):
                found.append(int(process.name))
                break
    return found
