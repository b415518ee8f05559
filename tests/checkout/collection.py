"""The collection as a user gets it: built, installed elsewhere, and its playbook run from there."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from dlsctl.problems import Problem
from tests.checkout import local_demo, play, site
from tests.checkout.paths import CACHE, ROOT


def check() -> None:
    """Build the collection, install it into an empty folder, and install and remove a server with it.

    Raise Problem when a step fails.
    """
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="collection-") as scratch:
        folder = Path(scratch)
        _galaxy("build", str(ROOT), "--output-path", str(folder))
        (tarball,) = folder.glob("*.tar.gz")
        _galaxy("install", str(tarball), "--collections-path", str(folder / "collections"), "--offline")
        _install_a_server(folder)


def _install_a_server(folder: Path) -> None:
    """Run the playbooks from the installed collection against this machine; a second run must change nothing."""
    inventory = folder / "inventory.yml"
    variables = {
        **local_demo.local_variables(folder / "host"),
        **local_demo.free_ports(),
        **site.archive_variables(),
    }
    local_demo.write_inventory(inventory, variables)
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"), "ANSIBLE_ROLES_PATH": str(folder / "none")}

    def run(name: str, *options: str) -> play.Result:
        result = play.run(f"dlskit.dls.{name}", inventory, *options, quiet=True, environment=environment)
        if result.code != 0:
            print(result.output)
        return play.succeed(result, f"dlskit.dls.{name}")

    try:
        run("install")
        if changed := run("install").changed:
            raise Problem("dlskit.dls.install", "must change nothing when run again", changed)
    finally:
        run("uninstall", "--extra-vars", "dls_server_uninstall_purge=true")


def _galaxy(*arguments: str) -> None:
    command = [sys.executable, "-m", "ansible", "galaxy", "collection", *arguments]
    run = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise Problem(f"ansible-galaxy collection {arguments[0]}", "must succeed", run.stderr.strip()[-800:])
