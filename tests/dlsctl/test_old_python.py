"""The whole life of a server on the oldest Python of a target."""

import json

import pytest

from tests.dlsctl import tiny
from tests.dlsctl.conftest import LINE, Site
from tests.test_archive_python36 import old_python


@pytest.mark.slow
def test_server_is_backed_up_upgraded_and_restored_on_an_old_python(site: Site) -> None:
    python = old_python()
    if python is None:
        pytest.skip("no Python older than 3.9 on this machine")
    site.python = python
    site.deploy()
    (site.release / "licence.dat").write_text("precious")
    site.call("backup")
    site.call("verify-backup", "--all")
    assert site.ask("drill")["version"] == "2.4.11"
    new = tiny.build(site.root, "2.4.12")
    facts = [f"--sha256={tiny.sha256(new)}", "--version=2.4.12", f"--line={json.dumps(LINE)}"]
    site.call("upgrade", str(new), *facts, "--acknowledge")
    assert (site.home / "releases/2.4.12/licence.dat").read_text() == "precious"
    site.call("rollback")
    (site.release / "licence.dat").unlink()
    backup = site.ask("backups")["backups"][0]["name"]
    site.call("restore", backup, "--replace")
    assert (site.release / "licence.dat").read_text() == "precious"
    assert site.ask("status")["healthy"]
    assert site.call("uninstall").stdout.startswith("removed; the server's state is in")
