"""The collection as a user gets it: built, installed elsewhere, and its playbook run from there."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from dlsctl.problems import Problem
from tests.checkout import local_demo, play, site
from tests.checkout.paths import CACHE, ROOT

EXAMPLES = ROOT / "docs/examples"


def check() -> None:
    """Build the collection, install it into an empty folder, and install and remove a server with it.

    Raise Problem when a step fails.
    """
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="collection-") as scratch:
        folder = Path(scratch)
        _galaxy("install", str(build(folder)), "--collections-path", str(folder / "collections"), "--offline")
        _install_a_server(folder)


def build(folder: Path) -> Path:
    """Build the collection into a folder, and return the tarball. Raise Problem when that fails."""
    _galaxy("build", str(ROOT), "--output-path", str(folder))
    (tarball,) = folder.glob("*.tar.gz")
    return tarball


def _install_a_server(folder: Path) -> None:
    """Run the playbooks from the installed collection against this machine; a second run must change nothing.

    The second run is that of the play which the role's README shows. The one of the proxy writes files for an nginx
    elsewhere, since there is none on this machine.
    """
    inventory = folder / "inventory.yml"
    variables = {
        **local_demo.local_variables(folder / "host"),
        **local_demo.free_ports(),
        **site.archive_variables(),
    }
    local_demo.write_inventory(inventory, variables)
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"), "ANSIBLE_ROLES_PATH": str(folder / "none")}

    def run(playbook: str | Path, *options: str) -> play.Result:
        result = play.run(playbook, inventory, *options, quiet=True, environment=environment)
        if result.code != 0:
            print(result.output)
        return play.succeed(result, str(playbook))

    try:
        run("dlskit.dls.install")
        if changed := run(EXAMPLES / "dls_server.yml").changed:
            raise Problem("the play of the role's README", "must change nothing after dlskit.dls.install", changed)
        snippet = {"dls_proxy_server_names": ["localhost"], "dls_proxy_kind": "snippet"}
        place = {"dls_proxy_snippet_dest": str(folder / "snippet")}
        run(EXAMPLES / "dls_proxy.yml", "--extra-vars", json.dumps(snippet | place))
        if not list((folder / "snippet").glob("*.conf")):
            raise Problem("the play of the proxy's README", "must write files for nginx", None)
    finally:
        run("dlskit.dls.uninstall", "--extra-vars", "dls_server_uninstall_purge=true")


def _galaxy(*arguments: str) -> None:
    command = [sys.executable, "-m", "ansible", "galaxy", "collection", *arguments]
    run = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise Problem(f"ansible-galaxy collection {arguments[0]}", "must succeed", run.stderr.strip()[-800:])
