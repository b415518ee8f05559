"""Each verb does its thing once, nothing the second time, and nothing at all with --dry-run."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.portal.conftest import (
    PASSWORD,
    SMTP_PASSWORD,
    Site,
    apply_settings,
    entry,
    item_ids,
    license_of,
    secret_in,
)

pytestmark = pytest.mark.slow
NEWEST = pytest.mark.parametrize("shared_site", ["2.4.11"], indirect=True)
MAIN, STANDBY = "https://main.example/dls/", "https://standby.example/dls/"


def test_uuid_is_read_with_the_version_where_the_page_shows_one(site: Site) -> None:
    found = re.search(r" UUID: (\S+)", site.instance.log)
    assert found
    newest = site.state()["labels"] == "2.3.5"
    assert site.answer("uuid") == {
        "changed": False, "dry_run": False, "uuid": found[1], "version": "2.4.11" if newest else None,
    }  # fmt: skip


def test_first_password_is_set_once_and_found_the_second_time(fresh: Site) -> None:
    assert fresh.answer("set-password", "--dry-run")["changed"] is True
    assert not fresh.state()["passwordSet"]
    assert fresh.answer("set-password")["changed"] is True
    assert fresh.instance.portal.call("login", user="admin", password=PASSWORD).status == 200
    written = fresh.store()
    assert fresh.answer("set-password")["changed"] is False
    assert fresh.store() == written


def test_license_is_imported_into_a_project_once(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "a.lic"
    file.write_text(license_of("1000002"))
    command = ["import", str(file), "--project", "First"]
    written = site.store()
    assert site.answer(*command, "--dry-run")["changed"] is True
    assert site.store() == written
    assert site.answer(*command) == {"changed": True, "dry_run": False, "items": ["1000002"]}
    first = next(project for project in site.state()["projects"] if project["name"] == "First")
    assert "1000002" in {item["id"] for item in first["items"]}
    written = site.store()
    assert site.answer(*command) == {"changed": False, "dry_run": False, "items": ["1000002"]}
    assert site.store() == written


def test_license_is_imported_into_a_project_that_it_makes(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "b.lic"
    file.write_text(license_of("1000003"))
    command = ["import", str(file), "--project", "Made by import", "--create"]
    written = site.store()
    assert site.answer(*command, "--dry-run")["changed"] is True
    assert site.store() == written
    assert site.answer(*command)["changed"] is True
    assert site.answer(*command)["changed"] is False
    (made,) = (each for each in site.state()["projects"] if each["name"] == "Made by import")
    assert [item["id"] for item in made["items"]] == ["1000003"]


@NEWEST
def test_file_with_new_dates_for_items_that_are_there_is_imported_with_again(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "renewed.lic"
    file.write_text(license_of("1000004").replace("LicenseId: 1000004", "LicenseId: 1000005"))
    old = license_of("1000004").replace("2036-01-01", "2027-01-01")
    site.instance.portal.call("login", user="admin", password=PASSWORD)
    assert site.instance.portal.call("import", text=old, newProject="Renewed").status == 200
    command = ["import", str(file), "--project", "Renewed"]
    assert site.answer(*command)["changed"] is False
    assert site.answer(*command, "--again")["changed"] is True
    assert {item["expirationDate"] for item in site.state()["items"] if item["id"] == "1000004"} == {
        "2027-01-01", "2036-01-01",
    }  # fmt: skip


def test_projects_are_listed_without_keys_and_made_once(site: Site) -> None:
    first = site.answer("projects")["projects"][0]
    assert (first["name"], first["id"][:7]) == ("First", "216998-")
    assert "1000001" in first["items"]
    assert not secret_in(site.run("projects").output + json.dumps(first))
    written = site.store()
    assert site.answer("projects", "--create", "Empty", "--dry-run")["changed"] is True
    assert site.store() == written
    assert site.answer("projects", "--create", "Empty")["changed"] is True
    assert site.answer("projects", "--create", "Empty")["changed"] is False
    assert [each["name"] for each in site.state()["projects"]].count("Empty") == 1


def test_server_urls_are_set_each_on_its_own_and_carried_by_the_keys(site: Site) -> None:
    both = ["set-server-url", "--main", MAIN, "--standby", STANDBY]
    written = site.store()
    assert site.answer(*both, "--dry-run")["changed"] is True
    assert site.store() == written
    assert site.answer(*both)["changed"] is True
    written = site.store()
    assert site.answer(*both) == {
        "changed": False, "dry_run": False, "server_urls": {"main": MAIN, "standby": STANDBY},
    }  # fmt: skip
    assert site.store() == written
    carried = json.loads(base64.b64decode(site.state()["projects"][0]["key"][4:]))
    assert (carried["mainServerURL"], carried["standbyServerURL"]) == (MAIN, STANDBY)
    assert site.answer("set-server-url", "--standby", "")["server_urls"] == {"main": MAIN, "standby": ""}
    assert site.state()["serverUrls"] == {"main": MAIN, "standby": ""}


def test_alerts_are_set_and_the_smtp_password_is_typed_again_only_when_told(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "smtp"
    secret.write_text(SMTP_PASSWORD + "\n")
    secret.chmod(0o600)
    values = {"host": "smtp.example", "port": "465", "ssl-trust": "smtp.example"}
    command = ["alerts", "--smtp-password-file", str(secret), "--address", "dls@example.com", "--to", "a@b.c; d@e.f"]
    command += [word for name, value in values.items() for word in (f"--smtp-{name}", value)]
    written = site.store()
    assert site.answer(*command, "--dry-run")["changed"] is True
    assert site.store() == written
    assert site.answer(*command)["changed"] is True
    state = site.state()
    assert state["alertSender"]["sslTrust"] == "smtp.example"
    assert state["alertReceiver"]["to"] == "a@b.c; d@e.f"
    assert SMTP_PASSWORD.encode() in site.store()
    written = site.store()
    assert site.answer(*command)["changed"] is False
    assert site.store() == written
    assert site.answer(*command, "--again")["changed"] is True
    assert site.answer("alerts", "--cc", "g@h.i")["changed"] is True
    assert (site.state()["alertReceiver"]["to"], site.state()["alertReceiver"]["cc"]) == ("a@b.c; d@e.f", "g@h.i")


def test_keys_are_written_to_a_file_of_the_owner_alone_and_nowhere_else(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "keys.json"
    assert site.answer("keys", "--out", str(out), "--dry-run")["changed"] is True
    assert not out.exists()
    done = site.run("keys", "--out", str(out))
    assert (done.exit_code, secret_in(done.output)) == (0, [])
    keys = {each["name"]: each["key"] for each in site.state()["projects"]}
    assert json.loads(out.read_text()) == keys
    assert out.stat().st_mode & 0o777 == 0o600
    before = out.stat().st_mtime_ns
    assert site.answer("keys", "--out", str(out))["changed"] is False
    assert out.stat().st_mtime_ns == before
    out.chmod(0o644)
    assert site.answer("keys", "--out", str(out))["changed"] is True
    assert out.stat().st_mode & 0o777 == 0o600


def test_items_are_read_expired_ones_too_and_tell_by_exit_code_what_runs_out(site: Site, tmp_path: Path) -> None:
    site.instance.portal.call("login", user="admin", password=PASSWORD)
    gone = license_of("1000006").replace("2036-01-01", "2020-01-01")
    site.instance.portal.call("import", text=gone, newProject="Gone")
    listed = {item["id"]: item for item in site.answer("items")["items"]}
    assert set(listed) == item_ids(site)
    assert (listed["1000001"]["quantity"], listed["1000001"]["used"]) == (200, 0)
    assert listed["1000006"]["days_left"] < -365
    textfile = tmp_path / "dls.prom"
    critical = site.run("items", "--warn-days", "30", "--critical-days", "7", "--textfile", str(textfile))
    assert critical.exit_code == 11
    assert "critical: item 1000006: expired " in critical.stdout
    assert 'item="1000006"' in textfile.read_text()
    assert textfile.stat().st_mode & 0o777 == 0o644
    assert site.run("items", "--warn-days", "30", "--ignore", "1000006", "--ignore", "1000004").exit_code == 0


def everything(site: Site, folder: Path) -> dict[str, Any]:
    return apply_settings(
        site,
        urls={"main": MAIN, "standby": STANDBY},
        keys_file=str(folder / "keys.json"),
        licenses=[entry("a.lic", license_of("1000007"), "Scanners")],
        alerts={
            "host": "smtp.example", "port": 465, "ssl_trust": "smtp.example", "address": "a@b.c",
            "password": SMTP_PASSWORD, "to": ["x@y.z", "u@v.w"],
        },
    )  # fmt: skip


def test_everything_is_applied_in_one_visit_and_nothing_the_second_time(fresh: Site, tmp_path: Path) -> None:
    wanted = everything(fresh, tmp_path)

    def apply(**values: Any) -> dict[str, Any]:
        return fresh.answer("apply", "--settings", "-", stdin=json.dumps(wanted | values))

    first_dry = apply(dry_run=True)
    assert [part["part"] for part in first_dry["parts"]] == ["password"]
    assert (first_dry["changed"], fresh.state()["passwordSet"]) == (True, False)
    done = apply()
    parts = {part["part"]: part["changed"] for part in done["parts"]}
    changed = {"password", "server_urls", "license", "alerts", "keys"}
    assert parts == {name: name in changed for name in (*changed, "uuid")}
    assert done["uuid"] in fresh.instance.log
    (key,) = json.loads((tmp_path / "keys.json").read_text()).values()
    assert json.loads(base64.b64decode(key[4:]))["mainServerURL"] == MAIN
    written = fresh.store()
    again = apply()
    assert (again["changed"], [part["changed"] for part in again["parts"]]) == (False, [False] * 6)
    dry = apply(dry_run=True, urls={"main": "https://other.example/dls/"})
    assert [part["part"] for part in dry["parts"] if part["changed"]] == ["server_urls"]
    assert fresh.store() == written


@NEWEST
def test_a_playbook_runs_it_in_a_process_with_a_browser_of_its_own(shared_site: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dlskit", "portal", "apply", "--settings", "-"],
        input=json.dumps(apply_settings(shared_site)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("password: the password is the one given\nuuid: ")
