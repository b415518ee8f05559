"""``dlskit key``: what a license key says, whether it is the right one, and that no secret of it is ever shown."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from dlsctl.problems import Refused
from dlskit import license_key
from dlskit.cli import main

MAIN, STANDBY = "https://dls1.example.com/dls/", "https://dls2.example.com/dls/"
PASSWORD = "hush-7f3a"
FIELDS = {
    "handshakeCode": "216998-101333049",
    "organizationID": "216998",
    "mainServerURL": "https://dls1.example.com/dls",
    "standbyServerURL": "https://dls2.example.com/dls",
}


def encoded(**changes: Any) -> str:
    """A key with the usual fields, changed; None takes a field away."""
    fields = {name: value for name, value in (FIELDS | changes).items() if value is not None}
    return "DLS2" + base64.b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode()


def run(*arguments: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["key", *map(str, arguments)], input=stdin)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(folder: Path, name: str = "project.key", **changes: Any) -> Path:
    path = folder / name
    path.write_text(encoded(**changes) + "\n")
    return path


def test_the_documented_key_is_read() -> None:
    text = (
        "DLS2eyJoYW5kc2hha2VDb2RlIjoiMjE2OTk4LTEwMTMzMzA0OSIsIm9yZ2FuaXphdGlvbklEIjoiMjE2OTk4Iiwi"
        "bWFpblNlcnZlclVSTCI6Imh0dHA6Ly8xOTIuMTY4LjguMi9kbHMifQ=="
    )
    found = license_key.decode(text, "key")
    assert (found.organization, found.handshake_code) == ("216998", "216998-101333049")
    assert (found.main_url, found.standby_url) == ("http://192.168.8.2/dls", "")
    assert license_key.calls(found) == ["http://192.168.8.2/dls/auth/"]


def test_inspect_says_what_a_client_calls_in_its_order(key: Path) -> None:
    done = run("inspect", key)
    assert "1. https://dls1.example.com/dls/auth/" in done.stdout
    assert "2. https://dls2.example.com/dls/auth/" in done.stdout
    assert json.loads(run("inspect", "--json", key).stdout)["calls"] == [MAIN + "auth/", STANDBY + "auth/"]


def test_key_without_a_server_is_said_to_lead_to_the_vendor(tmp_path: Path) -> None:
    path = write(tmp_path, mainServerURL=None, standbyServerURL=None, handshakeCode=None)
    assert "the vendor's public servers" in run("inspect", path).stdout
    done = run("check", path)
    assert done.exit_code == 6
    assert "must have a mainServerURL, got none: clients would ask the vendor's public servers\nHINT: " in done.stderr


def test_key_comes_from_standard_input_too() -> None:
    done = run("check", "-", stdin=encoded())
    assert (done.exit_code, done.stdout) == (0, "standard input: a valid license key of organization 216998\n")


@pytest.mark.parametrize("command", ["inspect", "check"])
@pytest.mark.parametrize("option", [(), ("--json",)], ids=["text", "json"])
def test_session_password_and_unknown_fields_are_never_shown(command: str, option: tuple[str], tmp_path: Path) -> None:
    path = write(tmp_path, sessionPassword=PASSWORD, sp=PASSWORD)
    done = run(command, *option, path)
    assert done.exit_code == 0
    assert PASSWORD not in done.output
    assert "set, not shown" in run("inspect", path).stdout


def test_diff_tells_that_a_password_differs_and_not_how(key: Path, tmp_path: Path) -> None:
    other = write(tmp_path, "other", sessionPassword=PASSWORD, mainServerURL="https://new.example.com/dls", x=PASSWORD)
    done = run("diff", key, other)
    assert done.exit_code == 5
    assert "https://dls1.example.com/dls -> https://new.example.com/dls" in done.stdout
    assert "none -> set" in done.stdout
    third = write(tmp_path, "third", sessionPassword="another-" + PASSWORD)
    assert "set -> set to another value" in run("diff", other, third).stdout
    assert PASSWORD not in done.output + run("diff", "--json", other, third).output


def test_diff_of_a_key_with_itself_is_none(key: Path) -> None:
    done = run("diff", key, key)
    assert (done.exit_code, done.stdout) == (0, "the two keys say the same\n")


def test_key_that_was_taken_for_a_file_name_is_not_repeated() -> None:
    text = encoded(sessionPassword=PASSWORD)
    for command in (["inspect", text], ["check", text], ["diff", text, text], ["inspect", "--json", text]):
        done = run(*command)
        assert done.exit_code == 6
        assert text[4:] not in done.output
        assert "a key as an argument is seen by everybody" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "{file}", "{key}"),
        ("{key}",),
        ("{key}", "--json"),
        ("inspect", "--{key}", "{file}"),
        ("check", "{file}", "--main-url", "{key}"),
        ("check", "{file}", "--json", "--main-url", "{key}"),
        ("check", "{file}", "-i", "{key}"),
        ("check", "{file}", "-i", "{file}", "--host", "{key}"),
    ],
)
def test_key_in_a_wrong_place_of_the_command_line_is_not_repeated(words: tuple[str, ...], key: Path) -> None:
    text = encoded(sessionPassword=PASSWORD)
    done = run(*(word.format(file=key, key=text) for word in words))
    assert done.exit_code != 0
    for start in range(4, len(text) - 12):
        assert text[start : start + 12] not in done.output


def test_letters_that_look_like_those_of_a_url_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path, mainServerURL="https://dls1.ex\u0430mple.com/dls")
    done = run("check", path, "--main-url", MAIN)
    assert done.exit_code == 5
    for told in (done.stderr, run("inspect", path).stdout, run("diff", path, write(tmp_path, "other")).stdout):
        assert "ex\\u0430mple" in told


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must hold one license key, DLS2..., got 0 other characters"),
        ("t0068MgAAA", "must hold one license key, DLS2..., got 10 other characters"),
        (encoded()[:-7], "must be whole Base64 behind DLS2"),
        ("DLS2####", "must be whole Base64 behind DLS2"),
        (encoded() + "\n" + encoded(), "must be whole Base64 behind DLS2"),
        ("DLS2" + base64.b64encode(b"[1]").decode(), "must hold a JSON object, got another value"),
        ("DLS2" + base64.b64encode(b'{"a":').decode(), "must hold a JSON object in UTF-8, each name once"),
        ("DLS2" + base64.b64encode(b'{"a":1,"a":2}').decode(), "must hold a JSON object in UTF-8, each name once"),
        ("DLS2" + base64.b64encode(b'{"a":NaN}').decode(), "must hold a JSON object in UTF-8, each name once"),
        (encoded(mainServerURL=5), "must have text as mainServerURL, got a JSON int"),
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(text: str, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    done = run("inspect", path)
    assert done.exit_code == 6
    assert rule in done.stderr
    assert not text or text not in done.stderr


def test_keys_by_project_are_told_from_a_key_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "dls1.json"
    path.write_text(json.dumps({"scanner": encoded(), "terminal": encoded()}))
    done = run("inspect", path)
    assert done.exit_code == 6
    assert "must hold one license key, DLS2..., got the keys of 2 projects\nHINT: hand over one of them" in done.stderr
    assert encoded() not in done.stderr


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"organizationID": "acme"}, "must have the digits of an organizationID, got 'acme'"),
        ({"handshakeCode": "5-1"}, "must have a handshakeCode of its organization"),
        ({"mainServerURL": "dls1.example.com"}, "must have an http(s) URL as mainServerURL"),
        ({"standbyServerURL": "https://dls1.example.com/dls/"}, "must have two servers as main and standby"),
    ],
)
def test_check_refuses_a_key_that_cannot_work(changes: dict[str, str], rule: str, tmp_path: Path) -> None:
    done = run("check", write(tmp_path, **changes))
    assert done.exit_code == 6
    assert rule in done.stderr


@pytest.mark.parametrize(
    ("given", "expected", "code"),
    [
        ("https://dls1.example.com/dls", "https://dls1.example.com/dls/", 0),
        ("https://DLS1.example.com:443/dls", "https://dls1.example.com/dls/", 0),
        ("http://dls1.example.com/dls", "https://dls1.example.com/dls/", 5),
        ("https://dls1.example.com/", "https://dls1.example.com/dls/", 5),
    ],
)
def test_urls_are_compared_as_a_client_understands_them(given: str, expected: str, code: int, tmp_path: Path) -> None:
    path = write(tmp_path, mainServerURL=given)
    assert run("check", path, "--main-url", expected).exit_code == code


def inventory(folder: Path, **variables: Any) -> Path:
    path = folder / "hosts.yml"
    hosts = {"dls1": {"dls_server_mode": "main"}, "dls2": {"dls_server_mode": "standby"}}
    path.write_text(yaml.safe_dump({"dls": {"hosts": hosts, "vars": variables}}))
    return path


def test_urls_come_from_the_inventory_with_its_templates(key: Path, tmp_path: Path) -> None:
    hosts = inventory(tmp_path, name="dls1", dls_server_main_url="https://{{ name }}.example.com/dls/",
                      dls_server_standby_url=STANDBY)  # fmt: skip
    done = run("check", key, "--inventory", hosts, "--host", "dls1")
    assert (done.exit_code, done.stdout) == (
        0,
        f"{key}: a valid license key of organization 216998 with the URLs expected\n",
    )
    inventory(tmp_path, dls_server_main_url=MAIN, dls_server_standby_url="https://dls3.example.com/dls/")
    done = run("check", key, "-i", hosts, "--host", "dls2")
    assert done.exit_code == 5
    assert f"{key}: must have the standbyServerURL https://dls3.example.com/dls/, got https://dls2" in done.stderr


def test_vault_that_cannot_be_opened_names_the_options_for_its_password(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE", raising=False)
    hosts = inventory(tmp_path, dls_server_main_url=MAIN, dls_server_standby_url=STANDBY)
    secrets = tmp_path / "group_vars" / "all.yml"
    secrets.parent.mkdir()
    secrets.write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    done = run("check", key, "-i", hosts, "--host", "dls1")
    assert done.exit_code == 1
    assert "HINT: name the file with the vault's password, --vault-password-file PATH" in done.stderr


def test_inventory_without_the_urls_is_refused(key: Path, tmp_path: Path) -> None:
    done = run("check", key, "-i", inventory(tmp_path), "--host", "dls1")
    assert done.exit_code == 6
    assert done.stderr.startswith(
        "dls_server_main_url of dls1: must be in the inventory, got nothing\nHINT: only hosts"
    )
    assert run("check", key, "-i", inventory(tmp_path), "--main-url", MAIN).exit_code == 2
    assert run("check", key, "--host", "dls1").exit_code == 2


TEXTS = st.one_of(
    st.text(max_size=60), st.binary(max_size=90).map(lambda data: "DLS2" + base64.b64encode(data).decode())
)
VALUES = st.recursive(st.none() | st.integers() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=3))
OBJECTS = st.dictionaries(st.sampled_from([*FIELDS, "sessionPassword", "x"]), VALUES)


@given(TEXTS | OBJECTS.map(lambda fields: "DLS2" + base64.b64encode(json.dumps(fields).encode()).decode()))
@settings(max_examples=500, deadline=None)
def test_hostile_text_is_read_or_refused(text: str) -> None:
    try:
        key = license_key.decode(text, "key")
    except Refused:
        return
    assert all(problem.hint for problem in license_key.problems(key, "key", MAIN))
    license_key.calls(key)
    license_key.differences(key, license_key.decode(encoded(), "key"))
