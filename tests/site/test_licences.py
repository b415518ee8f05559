"""From empty hosts to servers that give licences: what one run of the playbook `provision` leaves, and the next one."""

import json
import subprocess
import sys
from typing import Any

import pytest

from dlskit import license_key
from tests.checkout.paths import ROOT
from tests.site.conftest import ALERTS, MAIN, PASSWORD, PROJECT, STANDBY, Site

pytestmark = pytest.mark.slow
BOTH = pytest.mark.parametrize("name", [MAIN, STANDBY])


def portal(site: Site, name: str, verb: str, *options: str) -> Any:
    """What a verb of `dlskit portal` answers for a host of the inventory, through ssh, with its vaulted values."""
    command = [sys.executable, "-m", "dlskit", "portal", verb, "--json", "-i", str(site.lab.inventory), "--host", name]
    vault = f"--vault-password-file={site.folder / 'vault-password'}"
    run = subprocess.run([*command, vault, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    site.output += run.stdout + run.stderr
    return json.loads(run.stdout)


def test_the_second_run_changes_nothing(pair: Site) -> None:
    assert pair.first is not None
    assert pair.first.changed > 0
    assert pair.second is not None
    assert pair.second.recap.keys() == pair.first.recap.keys()
    assert pair.second.changed == 0


@BOTH
def test_the_password_is_set_and_the_server_s_uuid_is_told_and_recorded(pair: Site, name: str) -> None:
    uuid = portal(pair, name, "uuid")["uuid"]
    recorded = json.loads(pair.shell(name, "dlsctl identity --json --config /etc/dls/dlsctl.json"))["recorded"]
    assert recorded["uuid"] == uuid
    assert pair.first is not None
    assert uuid in pair.first.output


def test_a_look_at_a_portal_that_refuses_the_password_fails(pair: Site) -> None:
    wrong = pair.folder / "wrong.yml"
    wrong.write_text("dls_server_admin_password: another-31cf\n")
    look = pair.play("portal", "--check", "--limit", MAIN, "--extra-vars", f"@{wrong}")
    assert look.code != 0
    assert "admin password: must be unset, or the one given" in look.output


@BOTH
def test_the_licence_file_is_imported_into_its_project(pair: Site, name: str) -> None:
    (item,) = portal(pair, name, "items")["items"]
    (project,) = portal(pair, name, "projects")["projects"]
    assert (project["name"], project["items"]) == (PROJECT, [item["id"]])


@BOTH
def test_the_portal_has_the_alerts_and_the_server_urls_of_the_inventory(pair: Site, name: str) -> None:
    assert portal(pair, name, "alerts", "--dry-run") == {
        "changed": False,
        "dry_run": True,
        "alerts": {
            **{key: str(ALERTS[key]) for key in ("host", "port", "ssl_trust", "address")},
            "to": "; ".join(ALERTS["to"]),
            "cc": "",
            "bcc": "",
        },
    }
    urls = portal(pair, name, "set-server-url", "--dry-run")
    assert urls["changed"] is False
    assert urls["server_urls"] == {
        "main": f"http://{pair.hosts[MAIN].address}/dls/",
        "standby": f"http://{pair.hosts[STANDBY].address}/dls/",
    }


@BOTH
def test_the_keys_are_its_owner_s_alone_and_name_both_proxies(pair: Site, name: str) -> None:
    file = pair.folder / "keys" / f"{name}.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    key = license_key.decode(json.loads(file.read_text())[PROJECT], name)
    assert key.main_url == f"http://{pair.hosts[MAIN].address}/dls/"
    assert key.standby_url == f"http://{pair.hosts[STANDBY].address}/dls/"


def test_verify_tells_what_clients_get_from_both_servers(pair: Site) -> None:
    done = pair.play("verify", ANSIBLE_DISPLAY_OK_HOSTS="true")
    assert done.code == 0, done.output
    told = " ".join(done.output.split())  # lines are folded
    assert "a license server answers: error" in told
    assert "a license server answers as a standby whose main works: error 100" in told


@BOTH
def test_an_administrator_sees_the_portal_only_after_its_password_is_set_and_only_over_tls(
    pair: Site, name: str
) -> None:
    record = float(pair.shell(name, "stat -c %.9Y /opt/dls/kit/admin-password-set"))
    seen = {url: when for url, when in pair.portal_seen.items() if pair.hosts[name].address in url}
    assert list(seen) == [f"https://{pair.hosts[name].address}/dls/page/index.html"]
    assert min(seen.values()) > record


@BOTH
def test_the_first_visit_is_recorded_for_root_alone_and_without_the_password(pair: Site, name: str) -> None:
    record = pair.shell(name, "stat -c '%a %U %G' /opt/dls/kit/admin-password-set")
    assert record == "600 root root\n"
    assert PASSWORD not in pair.shell(name, "cat /opt/dls/kit/admin-password-set")
