"""The stand-in's server: process model, portal, clients' paths, state, and each way it can misbehave."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.standin import build
from tests.standin.portal import ORGANIZATION, Answer, Portal, license_text
from tests.standin.process import Instance, unpack

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the packed Java runtime is for x86_64")

PASSWORD = "correct horse"
NewInstance = Callable[[], Instance]
LAUNCHER = Path(build.__file__).parent / "linux" / "dynamsoftdlsx"


def can_hide_etc() -> bool:
    """True where a mount namespace can be made, so that no user is added to this machine."""
    try:
        return os.geteuid() == 0 and not subprocess.run(["unshare", "--mount", "true"], check=False).returncode
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def unpacked() -> Iterator[Path]:
    """An unpacked archive in a folder every user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="standin-"))
    folder.chmod(0o755)
    yield unpack(build.cached("2.4.11", settings={"shutdown": "yes"}), folder / "archive")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def running(unpacked: Path) -> Iterator[Instance]:
    """One server for the tests that leave it running, with password and one project with a license."""
    instance = Instance(unpacked, unpacked.parent.parent / "shared")
    instance.start_ready()
    instance.portal.call("first-visit", password=PASSWORD)
    instance.portal.call("import", text=license_text(), newProject="First")
    yield instance
    instance.stop()


@pytest.fixture
def new_instance(unpacked: Path) -> Iterator[NewInstance]:
    """Makes installations of the test's own, all stopped and removed at its end."""
    made: list[Instance] = []

    def make() -> Instance:
        made.append(Instance(unpacked, Path(tempfile.mkdtemp(dir=unpacked.parent.parent))))
        made[-1].home.parent.chmod(0o755)
        return made[-1]

    yield make
    for instance in made:
        instance.stop(signal.SIGKILL)
        shutil.rmtree(instance.home.parent)


def auth(portal: Portal, **fields: str) -> Answer:
    ext = base64.b64encode(json.dumps(fields).encode()).decode()
    return portal.get(f"/auth/?ext={quote(ext, safe='')}")


def project_of(instance: Instance, name: str = "First") -> dict[str, str]:
    (found,) = (p for p in instance.portal.state()["projects"] if p["name"] == name)
    return dict(found)


# --- Process model ---


def test_the_launcher_is_orphaned_and_java_is_its_child(running: Instance) -> None:
    launcher, java = running.launcher(), running.server()
    assert parent(java) == launcher
    assert parent(launcher) != os.getpid()
    assert Path(f"/proc/{java}/exe").readlink() == running.home / "linux/jre/bin/dynamsoftdls"


def test_it_runs_as_the_plain_user_who_started_it(running: Instance) -> None:
    expected = os.geteuid() or 65534
    assert Path(f"/proc/{running.server()}").stat().st_uid == expected


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1])


def test_it_listens_on_all_addresses_and_with_the_data_port_on_loopback(running: Instance) -> None:
    listening = {**listeners("tcp"), **listeners("tcp6")}
    assert set(listening[running.port]) <= {"0"}
    assert listening[running.data_port].endswith("0100007F")


def listeners(family: str) -> dict[int, str]:
    lines = Path(f"/proc/net/{family}").read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split() for line in lines]
    return {int(row[1].split(":")[1], 16): row[1].split(":")[0] for row in rows if row[3] == "0A"}


def test_startup_refuses_to_run_outside_its_folder(running: Instance, tmp_path: Path) -> None:
    script = running.home / "startup.sh"
    run = subprocess.run([script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "must be run from inside the folder" in run.stderr


def test_a_term_to_the_launcher_ends_java_in_order(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.start_ready()
    os.kill(instance.launcher(), signal.SIGTERM)
    instance.wait_for(lambda: instance.stopped() and " Stopped\n" in instance.log)


def test_the_death_of_java_ends_the_launcher(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.start_ready()
    os.kill(instance.server(), signal.SIGKILL)
    instance.wait_for(instance.stopped)


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
def test_the_launcher_ends_with_the_status_of_its_child(command: str, status: int) -> None:
    assert subprocess.run([LAUNCHER, "sh", "-c", command], check=False).returncode == status


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_launcher_passes_signals_on_and_waits_for_its_child(sign: signal.Signals) -> None:
    child = "trap 'sleep 0.2; echo ended; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    # A job that a shell put in the background ignores SIGINT, and no shell below it could trap it again.
    command = ["env", "--default-signal", str(LAUNCHER), "sh", "-c", child]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as launcher:
        try:
            assert launcher.stdout
            assert launcher.stdout.readline() == "ready\n"
            launcher.send_signal(sign)
            assert launcher.communicate(timeout=10)[0] == "ended\n"
        except BaseException:
            os.killpg(launcher.pid, signal.SIGKILL)
            raise
    assert launcher.returncode == 7


@pytest.mark.slow
@pytest.mark.skipif(not can_hide_etc(), reason="needs root and mount namespaces: it makes a user in a copy of /etc")
def test_started_by_root_it_runs_as_a_user_of_its_own(new_instance: NewInstance) -> None:
    instance = new_instance()
    for path in (instance.home, *instance.home.rglob("*")):
        os.lchown(path, 0, 0)
    script = (
        'cp -a /etc "$1/etc" && mount --bind "$1/etc" /etc && sed -i /^dynamsoft:/d /etc/passwd /etc/group &&'
        " ./startup.sh && id -u dynamsoft"
    )
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(instance.home.parent)]
    run = subprocess.run(command, cwd=instance.home, check=True, capture_output=True, text=True, timeout=30)
    instance.wait_for(instance.answers)
    user = int(run.stdout)
    assert user != 0
    assert Path(f"/proc/{instance.launcher()}").stat().st_uid == user
    assert Path(f"/proc/{instance.server()}").stat().st_uid == user
    assert (instance.home / "dls.json.sample").stat().st_uid == user


@pytest.mark.slow
def test_shutdown_script_stops_this_folder_only(running: Instance, new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.start_ready()
    subprocess.run(["./shutdown.sh"], cwd=instance.home, check=True, timeout=15)
    assert instance.stopped()
    assert running.answers()


def test_a_second_server_on_the_same_folder_refuses_to_start(running: Instance) -> None:
    running.start()
    running.wait_for(lambda: "must be used by one server" in running.log)
    running.wait_for(lambda: len(running.launchers()) == 1)
    assert running.answers()


def test_a_port_in_use_ends_the_start(new_instance: NewInstance) -> None:
    instance = new_instance()
    with socket.create_server(("", instance.port)):
        instance.start()
        instance.wait_for(lambda: "--server.port: must be a free port, got" in instance.log)
        instance.wait_for(instance.stopped)


# --- Portal ---


@pytest.mark.parametrize("path", ["/page/index.html", "/nowhere", "/", "/page/"])
def test_every_page_says_that_it_is_a_stand_in(running: Instance, path: str) -> None:
    answer = running.portal.get(path)
    assert answer.status == (200 if path == "/page/index.html" else 404)
    assert b"Stand-in, not a licence server" in answer.body


def test_the_page_and_its_script_carry_the_documented_labels(running: Instance) -> None:
    script = running.portal.get("/page/portal.js").body.decode()
    for label in (
        "Home Page", "License Items", "Items", "Handshake Codes", "Projects", "Usage Alert", "Change Password",
        "License Tracking Service", "Dynamsoft License Server", "Import the license file:", "Select File",
        "Activated Items:", "Item Id", "Start Date", "Expiration Date", "Chose a project to insert",
        "Create a new project to insert", "Project name", "New Project", "Select Project", "Cancel", "Import",
        "New a Project", "Set Server URL", "Main Server URL", "Standby Server URL", "Save", "Key String",
        "Linked Items", "Mail Smtp Host", "Mail Smtp Port", "Mail Smtp SSL Trust", "Edit Email Sender",
        "To Address", "CC Address", "BCC Address", "Edit Email Receiver",
    ):  # fmt: skip
        assert f'"{label}' in script, label


def test_the_first_visit_sets_the_password_and_no_later_one_does(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.start_ready()
    assert instance.portal.state()["passwordSet"] is False
    assert instance.portal.call("first-visit", password="").status == 400
    assert instance.portal.call("first-visit", password=PASSWORD).status == 200
    assert instance.portal.state()["loggedIn"] is True
    assert Portal(instance.url).call("first-visit", password="other").status == 400
    stored = (instance.home / "data" / "store.log").read_text(encoding="utf-8")
    assert PASSWORD not in stored + instance.log


def test_only_admin_with_the_right_password_gets_in(running: Instance) -> None:
    stranger = Portal(running.url)
    assert stranger.call("login", user="admin", password="wrong").status == 400
    assert stranger.call("login", user="root", password=PASSWORD).status == 400
    assert "uuid" not in stranger.state()
    assert stranger.call("new-project", name="Stranger").status == 401
    assert stranger.call("login", user="admin", password=PASSWORD).status == 200
    assert re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", stranger.state()["uuid"])
    stranger.call("logout")
    assert "uuid" not in stranger.state()


@pytest.mark.slow
def test_a_changed_password_replaces_the_old_one(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.start_ready()
    instance.portal.call("first-visit", password=PASSWORD)
    assert instance.portal.call("change-password", old="wrong", new="next").status == 400
    assert instance.portal.call("change-password", old=PASSWORD, new="next").status == 200
    assert Portal(instance.url).call("login", user="admin", password=PASSWORD).status == 400
    assert Portal(instance.url).call("login", user="admin", password="next").status == 200


def test_an_imported_license_shows_its_item_and_its_project(running: Instance) -> None:
    state = running.portal.state()
    assert {"id": "100955015", "product": "Dynamsoft Barcode Reader", "quantity": "200"}.items() <= state["items"][
        0
    ].items()
    assert project_of(running)["id"].startswith(f"{ORGANIZATION}-")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no license", "must have a line `LicenseItems:`"),
        (license_text("7", status="New"), "LicenseStatus must match Activated, got New"),
        (license_text("7", uuid="00000000-0000-0000-0000-000000000000"), "must be bound to this server's UUID"),
        (license_text("7", organization="1"), "must be of organization 216998, got 1"),
        (license_text("x"), "LicenseId must match"),
        (license_text("7").split("LicenseItems:")[0] + "LicenseItems:\n", "must have an item"),
        (license_text(), "must not be imported yet, got LicenseId 100028117 again"),
    ],
)
def test_a_license_file_out_of_the_rules_is_refused(running: Instance, text: str, message: str) -> None:
    before = (running.home / "data" / "store.log").read_bytes()
    answer = running.portal.call("import", text=text, newProject="Refused")
    assert answer.status == 400
    assert message in answer.json()["message"]
    assert (running.home / "data" / "store.log").read_bytes() == before


def test_a_license_goes_into_an_existing_project(running: Instance) -> None:
    running.portal.call("new-project", name="Second")
    project = project_of(running, "Second")
    answer = running.portal.call("import", text=license_text("100028118"), project=project["id"])
    assert answer.status == 200
    assert len(project_of(running, "Second")["items"]) == 1
    assert running.portal.call("import", text=license_text("9"), project="216998-1").status == 400
    assert running.portal.call("new-project", name="Second").status == 400


@pytest.mark.slow
def test_files_of_the_2_2_line_name_the_organization_otherwise(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.start_ready()
    instance.portal.call("first-visit", password=PASSWORD)
    text = license_text().replace("OrganizationID", "CustomerDynamId")
    assert instance.portal.call("import", text=text, newProject="Old").status == 200


def test_a_key_string_follows_the_server_urls(running: Instance) -> None:
    running.portal.call("server-url", which="main", url="https://main.example/dls")
    project = project_of(running)
    key = {
        "handshakeCode": project["id"],
        "organizationID": ORGANIZATION,
        "mainServerURL": "https://main.example/dls",
    }
    assert decoded(project["key"]) == key
    running.portal.call("server-url", which="standby", url="https://standby.example/dls")
    assert decoded(project_of(running)["key"]) == key | {"standbyServerURL": "https://standby.example/dls"}
    assert running.portal.call("server-url", which="main", url="main.example").status == 400


def decoded(key: str) -> object:
    assert key.startswith("DLS2")
    text = base64.b64decode(key[4:]).decode()
    assert " " not in text
    return json.loads(text)


def test_usage_alerts_are_kept_and_their_password_is_never_shown(running: Instance) -> None:
    sender = {"host": "mail.example", "port": "465", "sslTrust": "mail.example", "address": "a@example"}
    assert running.portal.call("alert-sender", **sender, password="mail secret", type="usage").status == 200
    assert running.portal.call("alert-receiver", to="b@example", cc="", bcc="").status == 200
    state = running.portal.state()
    assert sender.items() <= state["alertSender"].items()
    assert state["alertReceiver"]["to"] == "b@example"
    assert "mail secret" not in json.dumps(state) + running.log


# --- Clients ---


def test_no_request_is_ever_authorised(running: Instance) -> None:
    known = project_of(running)["id"]
    answers = {
        101: auth(running.portal, hs=f"{ORGANIZATION}-1", og=ORGANIZATION, sp="marked secret"),
        104: auth(running.portal, hs=known, og=ORGANIZATION),
        121: auth(running.portal, hs=known, og="1"),
        103: running.portal.get("/auth/?ext=%21"),
    }
    for code, answer in answers.items():
        assert answer.status == 400, code
        assert answer.json()["errorCode"] == code
        assert "Stand-in" in answer.json()["message"]
        assert answer.headers.get_all("Access-Control-Allow-Origin") == ["*"]


def test_the_log_has_no_query_strings(running: Instance) -> None:
    auth(running.portal, hs="x", og="y", sp="marked secret")
    running.wait_for(lambda: "GET /auth/ 400" in running.log)
    assert "ext=" not in running.log


@pytest.mark.parametrize("path", ["/auth/", "/verify/v2"])
def test_browsers_may_ask_before_they_send_their_header(running: Instance, path: str) -> None:
    answer = running.portal.request("OPTIONS", path, headers={"Access-Control-Request-Headers": "lts-time"})
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "lts-time" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("path", ["/auth", "/auth/x", "/verify/v1", "/verify/v2/", "/api/unknown"])
def test_other_paths_are_not_found(running: Instance, path: str) -> None:
    assert running.portal.get(path).status == 404


def test_a_usage_report_is_on_the_disk_when_it_is_answered(running: Instance) -> None:
    answer = running.portal.request("POST", "/verify/v2?ltstime=1", b"report 17")
    assert answer.status == 200
    stored = (running.home / "data" / "store.log").read_text(encoding="utf-8")
    assert base64.b64encode(b"report 17").decode() in stored
    assert answer.json()["report"] == stored.count('"usage"')


@pytest.mark.slow
def test_a_standby_refuses_clients_only_while_the_main_is_up(new_instance: NewInstance) -> None:
    main, standby = new_instance(), new_instance()
    for instance, servers in ((main, ["self", standby.url]), (standby, [f"{main.url}/", "self"])):
        config = {"serverMode": "main_standby", "servers": servers, "bDynamHost": False}
        (instance.home / "dls.json").write_text(json.dumps(config), encoding="utf-8")
        instance.start_ready()
    assert auth(main.portal, hs="x", og="y").json()["errorCode"] == 101
    assert auth(standby.portal, hs="x", og="y").json()["errorCode"] == 100
    main.stop()
    standby.wait_for(lambda: auth(standby.portal, hs="x", og="y").json()["errorCode"] == 101)
    main.start_ready()
    standby.wait_for(lambda: auth(standby.portal, hs="x", og="y").json()["errorCode"] == 100)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"serverMode": "main_standby", "servers": ["self", "self"]}', 'servers must be "self" and one URL'),
        ('{"serverMode": "other"}', "serverMode must be main_standby, got other"),
        ("{", "dls.json: must be a JSON object"),
    ],
)
def test_a_wrong_dls_json_ends_the_start(new_instance: NewInstance, config: str, message: str) -> None:
    instance = new_instance()
    (instance.home / "dls.json").write_text(config, encoding="utf-8")
    instance.start()
    instance.wait_for(lambda: message in instance.log)
    instance.wait_for(instance.stopped)


# --- State ---


def test_what_was_answered_survives_a_kill(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.start_ready()
    instance.portal.call("first-visit", password=PASSWORD)
    instance.portal.call("import", text=license_text(), newProject="Kept")
    before = instance.portal.state()
    instance.stop(signal.SIGKILL)
    with (instance.home / "data" / "store.log").open("a") as store:
        store.write('{"type":"usa')  # a write the kill cut off
    instance.start_ready()
    assert "drops 12 bytes" in instance.log
    assert instance.portal.call("login", user="admin", password=PASSWORD).status == 200
    assert instance.portal.state() == before


@pytest.mark.slow
def test_a_start_alone_does_not_change_the_store(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.start_ready()
    instance.stop()
    before = (instance.home / "data" / "store.log").read_bytes()
    instance.start_ready()
    assert (instance.home / "data" / "store.log").read_bytes() == before


def test_a_damaged_store_is_refused(new_instance: NewInstance) -> None:
    instance = new_instance()
    (instance.home / "data").mkdir()
    (instance.home / "data" / "store.log").write_text('{"format":1}\ndamaged\n', encoding="utf-8")
    instance.start()
    instance.wait_for(lambda: "data/store.log line 2: must be a JSON object" in instance.log)
    instance.wait_for(instance.stopped)


@pytest.mark.slow
def test_the_uuid_is_the_machines_and_changes_with_the_salt(new_instance: NewInstance) -> None:
    first, second, salted = new_instance(), new_instance(), new_instance()
    salted.tell(uuid_salt="other")
    for instance in (first, second, salted):
        instance.start_ready()
    assert uuid_of(first) == uuid_of(second) != uuid_of(salted)


def uuid_of(instance: Instance) -> str:
    found = re.search(r" UUID: (\S+)", instance.log)
    assert found, instance.log
    return found[1]


# --- Misbehaviour ---


@pytest.mark.slow
def test_a_slow_start_opens_the_port_late(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.tell(start_delay="1")
    instance.start_ready()
    assert seconds_between("starts in", "Ready", instance.log) >= 1


def seconds_between(first: str, second: str, log: str) -> float:
    times = [line.split()[0] for word in (first, second) for line in log.splitlines() if word in line]
    begin, end = map(datetime.fromisoformat, times)
    return (end - begin).total_seconds()


@pytest.mark.slow
def test_a_slow_stop_takes_its_time(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.tell(stop_delay="1")
    instance.start_ready()
    instance.stop()
    assert seconds_between("Stops", "Stopped", instance.log) >= 1


def test_an_unhealthy_portal_answers_with_the_status_it_was_told(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.tell(health_status="503")
    instance.start()
    instance.wait_for(lambda: "Ready" in instance.log)
    assert instance.portal.get("/page/index.html").status == 503
    assert auth(instance.portal, hs="x", og="y").status == 400


@pytest.mark.slow
def test_data_of_an_older_format_is_refused_by_a_version_that_needs_a_newer_one(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.start_ready()
    instance.stop()
    before = (instance.home / "data" / "store.log").read_bytes()
    instance.tell(store_min_format="2")
    instance.start()
    instance.wait_for(lambda: "must have format 2 or later" in instance.log)
    instance.wait_for(instance.stopped)
    assert (instance.home / "data" / "store.log").read_bytes() == before


def test_a_full_disk_confirms_nothing(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.tell(disk_full="yes")
    instance.start_ready()
    answer = instance.portal.request("POST", "/verify/v2", b"lost")
    assert answer.status == 500
    assert "No space left on device" in answer.json()["message"]
    assert b"usage" not in (instance.home / "data" / "store.log").read_bytes()
