"""What goes wrong at a portal is told in one message, leaves the portal as it was, and shows no secret."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dlskit import lines
from dlskit.cli import main
from tests.portal.conftest import (
    FAILED,
    PASSWORD,
    REFUSED,
    SMTP_PASSWORD,
    Site,
    apply_settings,
    entry,
    item_ids,
    left,
    license_of,
    running_site,
    secret_in,
    told,
    unchanged,
)
from tests.portal.faults import Proxy, proxied, write_ssh

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("shared_site", ["2.4.11"], indirect=True)]
OTHER_UUID = "00000000-0000-0000-0000-00000000000A"


# --- Passwords ---


def test_wrong_password_of_admin_is_told_and_leaves_a_picture_for_the_owner_only(
    faulty: Site, wrong: list[str], tmp_path: Path
) -> None:
    with unchanged(faulty):
        done = faulty.run("uuid", *wrong)
    told(done, REFUSED, "admin password: must be the portal's, got the portal says: login: must be", "--password-file")
    folder = left(tmp_path)
    assert f"screenshot are in {folder}" in done.stderr
    assert "a wrong one" not in done.output + (folder / "page.txt").read_text()
    assert (folder / "page.png").read_bytes().startswith(b"\x89PNG")


def test_password_that_somebody_else_has_set_is_not_replaced(site: Site, wrong: list[str]) -> None:
    with unchanged(site):
        done = site.run("set-password", *wrong)
    told(done, REFUSED, "admin password: must be unset, or the one given; somebody set another one before", "give the")


def test_somebody_who_sets_a_password_at_the_same_moment_is_told_of(
    one_browser: None, unpacked: Any, shared_site: Site
) -> None:
    with running_site(unpacked("2.4.11")) as fresh, proxied(fresh.url) as way:

        def overtaken(path: str, _: bytes) -> None:
            if path == "/api/first-visit":
                fresh.instance.portal.call("first-visit", password="theirs")

        way.fault = overtaken
        done = replace(fresh, url=way.url).run("set-password")
    told(done, REFUSED, "must be the one that was just set; somebody else has set another one", "give the right one")


def test_portal_without_a_password_is_not_logged_in_to(one_browser: None, unpacked: Any, shared_site: Site) -> None:
    with running_site(unpacked("2.4.11")) as fresh, unchanged(fresh):
        done = fresh.run("uuid")
    told(done, REFUSED, "admin password: must be set, got none yet", "dlskit portal set-password")


def test_password_file_with_a_byte_order_mark_holds_the_password_behind_it(site: Site, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\r\n", encoding="utf-8-sig")
    assert site.run("uuid", "--password-file", str(tmp_path / "password")).exit_code == 0


# --- License files and projects ---


@pytest.mark.parametrize(
    ("text", "reason", "project"),
    [
        (license_of("2000001", uuid=OTHER_UUID), "must be bound to this server's UUID", ["First"]),
        (license_of("2000001", uuid=OTHER_UUID), "must be bound to this server's UUID", ["New", "--create"]),
        (license_of("2000002", status="New"), "LicenseStatus must match Activated, got New", ["First"]),
    ],
    ids=["of another machine", "of another machine into a new project", "not activated"],
)
def test_file_that_the_portal_refuses_changes_nothing(
    site: Site, file: Path, text: str, reason: str, project: list[str]
) -> None:
    file.write_text(text)
    with unchanged(site):
        done = site.run("import", str(file), "--project", *project)
    told(
        done,
        REFUSED,
        f"a.lic: must be taken by the portal, got the portal says: license file: {reason}",
        "its own UUID",
    )


def test_same_file_imported_again_is_refused_by_the_portal(site: Site, file: Path) -> None:
    file.write_text(license_of("1000001"))
    with unchanged(site):
        done = site.run("import", str(file), "--project", "First", "--again")
    told(done, REFUSED, "must not be imported yet, got LicenseId 1000001 again", "nothing was imported")


def test_file_whose_items_are_in_another_project_is_not_imported_there_too(site: Site, file: Path) -> None:
    file.write_text(license_of("1000001"))
    with unchanged(site):
        done = site.run("import", str(file), "--project", "Second", "--create")
    told(done, REFUSED, "is already imported, got item 1000001 in First", "link the item")


def test_project_that_there_is_not_is_refused_before_the_file_is_sent(site: Site, file: Path) -> None:
    file.write_text(license_of("2000004"))
    with unchanged(site):
        done = site.run("import", str(file), "--project", "Fist")
    told(done, REFUSED, "project: must exist, got Fist", "name one of: First")
    told(site.run("keys", "--project", "Fist", "--out", str(file)), REFUSED, "project: must exist, got Fist", "First")
    assert "DLS2" not in file.read_text()


@pytest.mark.parametrize(
    ("content", "got", "hint"),
    [
        (b"", "an empty file", "give the file"),
        (b"a" * ((1 << 20) + 1), "more than 1048576 bytes", "give the file"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6162\n", "one that is encrypted with ansible-vault", "ansible-vault view"),
        (b"no license at all\n", "another line, number 1", "download it again"),
    ],
    ids=["empty", "huge", "vaulted", "another"],
)
def test_file_that_no_portal_takes_is_refused_before_the_portal_is_visited(
    shared_site: Site, file: Path, content: bytes, got: str, hint: str
) -> None:
    file.write_bytes(content)
    done = CliRunner().invoke(
        main, ["portal", "import", str(file), "--project", "First", "--url", "http://127.0.0.1:9"]
    )
    told(done, REFUSED, got, hint)


def test_standby_takes_no_license_of_its_main(faulty: Site, proxy: Proxy, file: Path) -> None:
    file.write_text(license_of("2000005"))
    refusing = (400, json.dumps({"errorCode": 100, "message": "standby"}).encode())
    proxy.fault = lambda path, body: refusing if path.startswith("/auth/") else None
    with unchanged(faulty):
        done = faulty.run("import", str(file), "--project", "First")
    told(done, REFUSED, "server: must be no standby", "--for-standby")
    assert faulty.answer("import", str(file), "--project", "First", "--for-standby")["changed"] is True


def test_license_that_is_refused_in_apply_leaves_the_rest_of_the_visit_undone(site: Site, tmp_path: Path) -> None:
    licenses = [entry("b.lic", license_of("2000006", uuid=OTHER_UUID), "Second")]
    keys = tmp_path / "keys.json"
    document = apply_settings(site, licenses=licenses, keys_file=str(keys))
    with unchanged(site):
        done = site.run("apply", "--settings", "-", "--json", stdin=json.dumps(document))
    told(done, REFUSED, "b.lic: must be taken by the portal", "nothing was imported")
    assert json.loads(done.stdout)["error"]["what"] == "b.lic"
    assert not keys.exists()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"licenses": [entry("b.lic", license_of("2000020"), "Fist") | {"create": False}]}, "project: must exist, got"),
        ({"licenses": [entry("c.lic", license_of("1000001"), "Second")]}, "c.lic: must be imported into the project"),
        ({"alerts": {"host": "other.example"}}, "SMTP password: must be given to change the sender"),
        ({"uuid": OTHER_UUID}, f"UUID: must be {OTHER_UUID}, to which the licence is bound, got "),
    ],
    ids=["project", "other project", "smtp password", "uuid"],
)
def test_part_that_is_refused_leaves_the_parts_before_it_undone(
    site: Site, wanted: dict[str, Any], message: str
) -> None:
    more = [entry("a.lic", license_of("2000021"), "Newly made")]
    document = apply_settings(site, urls={"main": "https://applied.example/"}, **wanted)
    document["licenses"] = more + wanted.get("licenses", [])
    with unchanged(site):
        done = site.run("apply", "--settings", "-", stdin=json.dumps(document))
    told(done, REFUSED, message, "")


def test_import_is_refused_where_the_inventory_names_another_uuid(
    site: Site, inventory: Path, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ssh(tmp_path / "bin", sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    inventory.write_text(inventory.read_text().replace("}}}", f", dls_server_uuid: {OTHER_UUID}}}}}}}"))
    file.write_text(license_of("2000022"))
    with unchanged(site):
        done = through_ssh(inventory, "import", str(file), "--project", "First")
    told(done, REFUSED, f"UUID: must be {OTHER_UUID}", "dlsctl identity")


# --- A portal that is slow, or has other words ---


def test_portal_that_is_slow_is_waited_for(faulty: Site, proxy: Proxy) -> None:
    proxy.fault = lambda path, body: time.sleep(0.7) if path.startswith("/api/") else None
    assert faulty.answer("uuid")["uuid"]


def test_portal_that_is_too_slow_is_told_of(faulty: Site, proxy: Proxy, tmp_path: Path) -> None:
    proxy.fault = lambda path, body: time.sleep(3) if path == "/api/state" else None
    told(
        faulty.run("uuid"),
        FAILED,
        "must show License Tracking Service or Dynamsoft License Server within 1.5 s",
        "--timeout",
    )
    proxy.fault = lambda path, body: time.sleep(3) if path.endswith(".html") else None
    told(faulty.run("uuid"), FAILED, "must answer within 1.5 s, got nothing", "--timeout")


def test_answer_that_comes_too_late_is_no_success_and_the_next_run_finds_what_it_did(
    faulty: Site, proxy: Proxy, file: Path
) -> None:
    file.write_text(license_of("2000007"))
    command = ["import", str(file), "--project", "First"]
    proxy.fault = lambda path, body: time.sleep(2.5) if path == "/api/import" else None
    told(faulty.run(*command), FAILED, "must answer within 1.5 s what 'Import' sent", "it looks first")
    faulty.instance.wait_for(lambda: "2000007" in item_ids(faulty))
    with unchanged(faulty):
        assert faulty.answer(*command)["changed"] is False


def test_portal_that_does_not_answer_is_told_of(one_browser: None, shared_site: Site) -> None:
    done = replace(shared_site, url="http://127.0.0.1:9").run("uuid")
    told(done, FAILED, "http://127.0.0.1:9/page/index.html#/: must answer, got ", "dlsctl status")


def test_page_of_another_program_is_no_portal(faulty: Site, proxy: Proxy) -> None:
    proxy.fault = lambda path, body: (200, b'"Welcome to nginx"')
    told(
        faulty.run("uuid"), FAILED, "must show License Tracking Service or Dynamsoft License Server", "portal: product"
    )


@pytest.mark.parametrize(
    ("old", "new", "command", "message"),
    [
        ("Select File", "Choose File", "import", "'Select File': must be on the portal's page 'Items' within 1.5 s"),
        ('"Project name"', '"Name"', "import", "'Project name': must be on the portal's page 'Create a new project"),
        ("Linked Items", "Items of it", "keys", "'Linked Items': must be on the portal's page 'Projects'"),
        ("Usage Alert", "Alerts", "alerts", "'Usage Alert': must be on the portal's page 'Usage Alert'"),
        ("Confirm Pass", "Repeat Pass", "uuid", ""),
        ("UUID: ", "Machine: ", "uuid", "'UUID': must be on the portal's page 'Home Page'"),
        (
            "Main Server URL",
            "Main URL",
            "set-server-url",
            "'Main Server URL': must be on the portal's page 'Set Server",
        ),
    ],
)
def test_word_that_a_release_has_changed_is_named_with_the_place_to_correct_it(  # noqa: PLR0913, PLR0917
    faulty: Site, proxy: Proxy, file: Path, tmp_path: Path, old: str, new: str, command: str, message: str
) -> None:
    proxy.words = {old: new}
    file.write_text(license_of("2000008"))
    options = {
        "import": [str(file), "--project", "Newly made", "--create"],
        "keys": ["--out", str(tmp_path / "keys")],
        "alerts": ["--to", "a@b.c"],
        "set-server-url": ["--main", "https://a.example/"],
    }
    with unchanged(faulty):
        done = faulty.run(command, *options.get(command, []))
    if not message:  # the word is on a page that this command has no need of
        assert done.exit_code == 0
        return
    told(done, FAILED, message, "correct `portal: ")
    assert f"in {lines.FOLDER / '2.4.yml'}" in done.stderr
    left(tmp_path)
    assert not (tmp_path / "keys").exists()


def test_word_that_is_corrected_in_the_file_is_found(
    faulty: Site, proxy: Proxy, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.words = {"Select File": "Choose File"}
    file.write_text(license_of("2000009"))
    shutil.copytree(lines.FOLDER, tmp_path / "vendor")
    mended = tmp_path / "vendor" / "2.4.yml"
    mended.write_text(mended.read_text().replace("select_file: Select File", "select_file: Choose File"))
    monkeypatch.setattr(lines, "FOLDER", tmp_path / "vendor")
    lines.lines.cache_clear()
    try:
        assert faulty.answer("import", str(file), "--project", "First")["changed"] is True
    finally:
        lines.lines.cache_clear()


# --- Nothing half done, nothing shown ---


def test_server_urls_are_both_put_back_where_the_portal_refuses_one(faulty: Site, proxy: Proxy) -> None:
    before = faulty.answer("set-server-url", "--main", "https://old.example/", "--standby", "https://old2.example/")
    refusal = (400, json.dumps({"message": "standby: no"}).encode())
    proxy.fault = lambda path, body: refusal if b"new2.example" in body else None
    done = faulty.run("set-server-url", "--main", "https://new.example/", "--standby", "https://new2.example/")
    told(
        done,
        REFUSED,
        "main and standby server URL: must be taken by the portal, got the portal says: standby: no",
        "both",
    )
    assert faulty.state()["serverUrls"] == before["server_urls"]


def test_receivers_are_put_back_where_the_portal_refuses_the_sender_and_its_words_hide_the_password(
    faulty: Site, proxy: Proxy, tmp_path: Path
) -> None:
    smtp = tmp_path / "smtp"
    smtp.write_text(SMTP_PASSWORD)
    faulty.answer("alerts", "--to", "old@example.com")
    refusal = (400, json.dumps({"message": f"no login with {SMTP_PASSWORD}"}).encode())
    proxy.fault = lambda path, body: refusal if path == "/api/alert-sender" else None
    command = ["--to", "new@example.com", "--smtp-host", "smtp.example", "--smtp-password-file", str(smtp)]
    command += ["--smtp-port", "25", "--smtp-ssl-trust", "smtp.example", "--address", "a@b.c"]
    done = faulty.run("alerts", *command)
    told(
        done, REFUSED, "sender of alerts: must be taken by the portal, got the portal says: no login with ****", "keeps"
    )
    assert faulty.state()["alertReceiver"]["to"] == "old@example.com"
    assert SMTP_PASSWORD.encode() not in faulty.store()


def test_addresses_that_the_portal_parts_in_its_own_way_are_no_change(faulty: Site, proxy: Proxy) -> None:
    shown = "const receiver = (name) => ({ value: state.alertReceiver[name] ?? "
    proxy.words = {shown + '""': shown.replace("value: ", "value: (") + '"").replaceAll("; ", ";") + ";"'}
    command = ["alerts", "--to", "one@example.com; two@example.com"]
    assert [faulty.answer(*command)["changed"] for _ in range(2)] == [True, False]


def test_alerts_that_the_portal_takes_in_part_are_not_said_to_be_as_they_were(faulty: Site, proxy: Proxy) -> None:
    proxy.words = {
        'form("", [field("To Address"': 'form("", [field("To Address"',
        '"cc", "text", several("cc")': '"cc"',
    }
    done = faulty.run("alerts", "--to", "three@example.com", "--cc", "four@example.com")
    told(done, REFUSED, "receiver of alerts: must be taken by the portal", "some of it may be new")


def test_sender_is_not_changed_without_its_password(site: Site) -> None:
    with unchanged(site):
        done = site.run("alerts", "--smtp-host", "other.example")
    told(done, REFUSED, "SMTP password: must be given to change the sender", "--smtp-password-file")


def test_key_that_is_cut_off_on_the_page_is_not_written(faulty: Site, proxy: Proxy, tmp_path: Path) -> None:
    proxy.words = {'"code", {}, project.key': '"code", {}, project.key.slice(0, 40) + "..."'}
    done = faulty.run("keys", "--out", str(tmp_path / "keys"))
    told(done, REFUSED, "license key of project First: must ", "copy")
    assert not (tmp_path / "keys").exists()


def test_picture_of_a_page_with_keys_is_taken_only_once_they_are_masked(
    faulty: Site, proxy: Proxy, tmp_path: Path, shared_browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.sync_api import Page  # noqa: PLC0415

    seen = []
    take = Page.screenshot

    def screenshot(page: Page, **options: Any) -> bytes:
        seen.append(page.content())
        return take(page, **options)

    monkeypatch.setattr(Page, "screenshot", screenshot)
    proxy.words = {"Linked Items": "Items of it"}
    assert faulty.run("keys", "--out", str(tmp_path / "keys")).exit_code == FAILED
    assert (left(tmp_path) / "page.png").is_file()
    assert "First" in seen[0]
    assert not secret_in(seen[0])


# --- The machine that it runs on ---


def test_machine_without_a_browser_is_told_to_install_one(
    shared_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = shared_site.run("uuid")
    told(done, REFUSED, "browser: must be on this machine, Chromium or Edge, got none of chromium,", "portal checklist")
    done = shared_site.run("uuid", "--browser", "no-such-browser")
    told(done, REFUSED, "--browser: must be a program, got no-such-browser", "name a Chromium")


def test_machine_without_playwright_is_told_to_install_it(shared_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for done in (shared_site.run("uuid"), CliRunner().invoke(main, ["portal", "browser"])):
        told(done, REFUSED, "playwright: must be installed to drive a portal", "pip install 'playwright>=1.55,<2'")


def test_browser_that_does_not_start_is_told_of(shared_site: Site) -> None:
    words = ["portal", "uuid", "--url", shared_site.url, "--password-file", "-", "--browser", "false"]
    done = subprocess.run(
        [sys.executable, "-m", "dlskit", *words], input=PASSWORD, capture_output=True, text=True, check=False
    )
    assert done.returncode == FAILED
    assert re.match(r".+/false: must start without a window, got .+\nHINT: run it by hand", done.stderr), done.stderr


# --- The way by ssh ---


@pytest.fixture
def inventory(shared_site: Site, tmp_path: Path) -> Path:
    port = shared_site.instance.port
    text = f"dls: {{hosts: {{a-host: {{ansible_host: a-host.invalid, dls_server_port: {port}}}}}}}\n"
    (tmp_path / "hosts.yml").write_text(text)
    return tmp_path / "hosts.yml"


def through_ssh(inventory: Path, *words: str) -> Result:
    where = ["-i", str(inventory), "--password-file", "-", "--evidence", str(inventory.parent / "evidence")]
    (inventory.parent / "evidence").mkdir(exist_ok=True)
    return CliRunner().invoke(main, ["portal", *words, *where], input=PASSWORD)


def is_gone(pid: Path) -> bool:
    return not Path("/proc", pid.read_text()).exists()


def test_portal_of_a_host_is_reached_through_ssh_which_is_ended_with_the_visit(
    site: Site, inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = write_ssh(tmp_path / "bin", sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    done = through_ssh(inventory, "uuid")
    assert (done.exit_code, done.stdout.strip() in site.instance.log) == (0, True)
    assert is_gone(pid)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_way_to_the_portal_does_not_outlive_a_command_that_is_killed(
    site: Site, inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: signal.Signals
) -> None:
    pid = write_ssh(tmp_path / "bin", sys.executable, word=b"no request has this")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    words = ["portal", "uuid", "-i", str(inventory), "--password-file", "-"]
    with subprocess.Popen([sys.executable, "-m", "dlskit", *words], stdin=subprocess.PIPE) as command:
        assert command.stdin is not None
        command.stdin.write(PASSWORD.encode())
        command.stdin.close()
        site.instance.wait_for(pid.is_file)
        command.send_signal(sign)
    site.instance.wait_for(lambda: is_gone(pid), 5)


def test_tunnel_that_is_lost_in_the_middle_is_named_and_nothing_was_imported(
    site: Site, inventory: Path, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = write_ssh(tmp_path / "bin", sys.executable, word=b"POST /api/import")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    file.write_text(license_of("2000010"))
    with unchanged(site):
        done = through_ssh(inventory, "import", str(file), "--project", "First")
    told(
        done, FAILED, "tunnel: must stay open until the portal has answered, got Connection to a-host closed", "by ssh"
    )
    assert is_gone(pid)
    for text in (tmp_path / "evidence").rglob("page.txt"):  # the browser may have had no page any more
        assert not secret_in(text.read_text())


def test_ssh_that_does_not_get_in_is_told_with_its_own_words(
    site: Site, inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin" / "ssh"
    ssh.write_text("#!/bin/sh\necho 'kit@a-host.invalid: Permission denied (publickey).' >&2\nexit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    done = through_ssh(inventory, "uuid")
    told(done, FAILED, "tunnel to a-host.invalid: must open, got kit@a-host.invalid: Permission denied", "`ssh a-host")


def test_standby_of_an_inventory_takes_no_license_of_its_main(
    site: Site, inventory: Path, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ssh(tmp_path / "bin", sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    inventory.write_text(inventory.read_text().replace("}}}", ", dls_server_mode: standby}}}"))
    file.write_text(license_of("2000011"))
    with unchanged(site):
        done = through_ssh(inventory, "import", str(file), "--project", "First")
    told(done, REFUSED, "server: must be no standby, since a license file is bound to one server", "--for-standby")
