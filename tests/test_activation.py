"""``dlskit license request`` and ``verify-request``: sheets, and signatures that minisign itself takes."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from dlsctl.problems import Refused
from dlskit import minisign
from dlskit.cli import main

UUID = "0A1B2C3D-0A1B-0A1B-0A1B-0A1B2C3D4E5F"
PASSWORD = "correct horse"
needs_minisign = pytest.mark.skipif(not shutil.which("minisign"), reason="minisign is not installed")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["license", *map(str, arguments)])


def request(folder: Path, *options: str | Path) -> list[Path]:
    """Write the sheets of one server; returns the files."""
    done = run("request", "--host", "dls1.example.com", "--uuid", UUID, "--out", folder, *options)
    assert done.exit_code == 0, done.output
    return [Path(line) for line in done.stdout.splitlines()]


def minisign_program(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["minisign", *map(str, words)], input=stdin, capture_output=True, text=True, check=False)


def test_sheet_says_what_to_enter_and_what_cannot_be_undone(tmp_path: Path) -> None:
    options = ("--mode", "main", "--version", "2.4.11", "--license-id", "100028117", "--date", "2026-03-28")
    files = request(tmp_path / "sheets", *options)
    assert [path.name for path in files] == [f"dls1.example.com.activation.{end}" for end in ("txt", "html", "json")]
    text = files[0].read_text()
    for words in (
        UUID,
        "DM_100028117_Date20260328_dls1_example_com",
        "main, version 2.4.11",
        '"Connect to My Self-Hosted License Server" cannot be changed',
        "bound to this UUID for good",
    ):
        assert words in text
    assert json.loads(files[2].read_text())["uuid"] == UUID
    assert "@page { size: A4" in files[1].read_text()


def test_same_request_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = request(tmp_path / "a"), request(tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_page_shows_what_comes_from_outside_as_text(tmp_path: Path) -> None:
    assert run("request", "--host", "<b>x", "--uuid", UUID, "--out", tmp_path).exit_code == 6
    assert "{License Id}" in request(tmp_path)[1].read_text()


def test_servers_come_from_a_file(tmp_path: Path) -> None:
    servers = tmp_path / "servers.json"
    other = UUID.replace("0A", "FF").lower()
    servers.write_text(json.dumps([{"host": "dls1", "uuid": UUID}, {"host": "dls2", "uuid": other, "mode": "standby"}]))
    done = run("request", servers, "--out", tmp_path / "sheets", "--json")
    assert [sheet["uuid"] for sheet in json.loads(done.stdout)["sheets"]] == [UUID, other.upper()]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "must name a server, got an empty list"),
        ("[5]", "server 1: must be an object with host and uuid, got "),
        ('{"host": "a"}', "server 1, uuid: must be as the portal's home page shows it, got nothing"),
        ('{"host": "../a", "uuid": "$UUID"}', "server 1, host: must be letters, digits"),
        ('{"host": "a", "uuid": "$UUID", "port": 1}', "server 1: must have no fields but host, uuid"),
        ('{"host": "a", "uuid": "$UUID", "mode": "both"}', "mode: must be one of standalone, main, standby"),
        (
            '[{"host": "a", "uuid": "$UUID"}, {"host": "b", "uuid": "$uuid"}]',
            "b: must have a UUID of its own, got the UUID of a\nHINT: one of them is a copy",
        ),
        ('[{"host": "a", "uuid": "$UUID"}, {"host": "A", "uuid": "$UUID"}]', "A: must be named once"),
        ('{"host": "a", "uuid": "$UUID", "uuid": "FF$UUID"}', "must be JSON, each name once"),
        ('{"host": "' + "a" * 221 + '", "uuid": "$UUID"}', "server 1, host: must be letters, digits"),
    ],
)
def test_servers_that_cannot_be_are_refused_and_nothing_is_written(content: str, message: str, tmp_path: Path) -> None:
    servers = tmp_path / "servers.json"
    servers.write_text(content.replace("$UUID", UUID).replace("$uuid", UUID.lower()))
    done = run("request", servers, "--out", tmp_path / "sheets")
    assert done.exit_code == 6
    assert message in done.stderr
    assert not (tmp_path / "sheets").exists()


def test_license_id_may_be_a_number_in_the_file(tmp_path: Path) -> None:
    servers = tmp_path / "servers.json"
    servers.write_text(json.dumps({"host": "dls1", "uuid": UUID, "license_id": 100028117}))
    done = run("request", servers, "--out", tmp_path / "sheets", "--json")
    assert [sheet["license_id"] for sheet in json.loads(done.stdout)["sheets"]] == ["100028117"]


def test_option_that_cannot_be_is_named_as_it_was_given(tmp_path: Path) -> None:
    done = run("request", "--host", "dls1", "--uuid", "0a1b", "--out", tmp_path / "sheets")
    assert done.exit_code == 6
    assert done.stderr == (
        "--uuid: must be as the portal's home page shows it, got '0a1b'\nHINT: see main license request --help\n"
    )
    done = run("request", "--host", "dls1", "--uuid", UUID, "--license-id", "1e8", "--out", tmp_path / "sheets")
    assert done.stderr.startswith("--license-id: must be digits, got '1e8'\n")


def test_request_without_a_server_is_wrong_usage(tmp_path: Path) -> None:
    assert run("request", "--out", tmp_path).exit_code == 2
    assert run("request", "--out", tmp_path, "--host", "dls1").exit_code == 2


class Pair:
    """A pair of keys that minisign has made."""

    def __init__(self, folder: Path, password: str) -> None:
        self.public, self.secret, self.password = folder / "minisign.pub", folder / "minisign.key", password
        self.password_file = folder / "password"
        self.password_file.write_text(password + "\n")
        words = [] if password else ["-W"]
        done = minisign_program("-G", *words, "-p", self.public, "-s", self.secret, stdin=f"{password}\n{password}\n")
        assert done.returncode == 0, done.stdout + done.stderr

    def sign_options(self) -> list[str | Path]:
        password: list[str | Path] = ["--password-file", self.password_file] if self.password else []
        return ["--sign-key", self.secret, *password]


@pytest.fixture(params=["", pytest.param(PASSWORD, marks=pytest.mark.slow)], ids=["without password", "with password"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    return Pair(tmp_path, request.param)


@needs_minisign
def test_minisign_takes_our_signatures(keys: Pair, tmp_path: Path) -> None:
    sheets = [path for path in request(tmp_path / "sheets", *keys.sign_options()) if path.suffix != ".minisig"]
    assert len(sheets) == 3
    for path in sheets:
        done = minisign_program("-V", "-p", keys.public, "-m", path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"Trusted comment: file:{path.name} host:dls1.example.com uuid:{UUID}" in done.stdout


@needs_minisign
@pytest.mark.parametrize("option", [[], ["-l"]], ids=["of the hash", "of the file itself"])
def test_we_take_the_signatures_of_minisign(keys: Pair, option: list[str], tmp_path: Path) -> None:
    sheet = request(tmp_path / "sheets")[0]
    done = minisign_program(
        "-S", *option, "-s", keys.secret, "-t", "by hand, ü", "-m", sheet, stdin=keys.password + "\n"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verified = run("verify-request", "--public-key", keys.public, sheet)
    assert verified.exit_code == 0, verified.output
    assert verified.stdout.endswith(", by hand, ü\n")


@needs_minisign
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("sheet", "must be as it was signed, got another content"),
        ("comment", "must have the comment that was signed, got another"),
        ("signature", "must be a signature of minisign"),
        ("missing", "must be a readable file, got No such file or directory"),
    ],
)
def test_what_was_changed_after_signing_is_refused(part: str, message: str, tmp_path: Path) -> None:
    keys = Pair(tmp_path, "")
    sheet = request(tmp_path / "sheets", *keys.sign_options())[0]
    signature = Path(f"{sheet}.minisig")
    if part == "sheet":
        sheet.write_text(sheet.read_text().replace(UUID, UUID.replace("0A", "0B")))
    elif part == "comment":
        signature.write_text(signature.read_text().replace(UUID, UUID.replace("0A", "0B")))
    elif part == "signature":
        signature.write_text(signature.read_text()[:60])
    else:
        signature.unlink()
    done = run("verify-request", "--public-key", keys.public, sheet)
    assert done.exit_code == 6
    assert message in done.stderr


@needs_minisign
@pytest.mark.parametrize("name", ["dls2.example.com.activation.txt", "dls1.example.com.activation.html"])
def test_sheet_that_was_signed_under_another_name_is_refused(name: str, tmp_path: Path) -> None:
    keys = Pair(tmp_path, "")
    sheet = request(tmp_path / "sheets", *keys.sign_options())[0]
    for end in ("", ".minisig"):
        Path(f"{sheet}{end}").rename(f"{sheet.with_name(name)}{end}")
    done = run("verify-request", "--public-key", keys.public, sheet.with_name(name))
    assert done.exit_code == 6
    message = f"{name}: must have the name under which it was signed, got one that was signed as {sheet.name}\nHINT: "
    assert message in done.stderr


def test_longest_host_gets_all_its_files(tmp_path: Path) -> None:
    keys = tmp_path / "minisign.key"
    if shutil.which("minisign"):
        minisign_program("-G", "-W", "-p", tmp_path / "minisign.pub", "-s", keys)
    signed: list[str | Path] = ["--sign-key", keys] if keys.exists() else []
    done = run("request", "--host", "a" * 220, "--uuid", UUID, "--out", tmp_path / "sheets", *signed)
    assert done.exit_code == 0, done.output


@needs_minisign
def test_signature_of_another_key_names_both_keys(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    ours, theirs = Pair(tmp_path / "ours", ""), Pair(tmp_path / "theirs", "")
    sheet = request(tmp_path / "sheets", *theirs.sign_options())[0]
    done = run("verify-request", "--public-key", ours.public, sheet)
    assert done.exit_code == 6
    # minisign leaves leading zeros out
    identifiers = [keys.public.read_text().split("\n")[0].split()[-1].zfill(16) for keys in (ours, theirs)]
    assert "must be a signature of the key {}, got one of the key {}".format(*identifiers) in done.stderr


@pytest.mark.slow  # a password costs minisign a second and a GiB
@needs_minisign
def test_wrong_password_is_refused_and_never_shown(tmp_path: Path) -> None:
    keys = Pair(tmp_path, PASSWORD)
    keys.password_file.write_text("wrong staple\n")
    done = run("request", "--host", "a", "--uuid", UUID, "--out", tmp_path / "sheets", *keys.sign_options())
    assert done.exit_code == 6
    assert "must be opened with its password, got another" in done.stderr
    assert "staple" not in done.output
    assert not (tmp_path / "sheets").exists()


@pytest.mark.slow  # a password costs minisign a second and a GiB
@needs_minisign
def test_password_is_not_asked_for_where_nobody_can_answer(tmp_path: Path) -> None:
    keys = Pair(tmp_path, PASSWORD)
    done = run("request", "--host", "a", "--uuid", UUID, "--out", tmp_path / "sheets", "--sign-key", keys.secret)
    assert done.exit_code == 6
    assert "--password-file: must be given where there is no terminal to ask on" in done.stderr


@needs_minisign
def test_sheet_that_is_written_anew_keeps_no_signature_of_the_old(tmp_path: Path) -> None:
    keys = Pair(tmp_path, "")
    request(tmp_path / "sheets", *keys.sign_options())
    request(tmp_path / "sheets")
    assert list((tmp_path / "sheets").glob("*.minisig")) == []


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_hostile_key_and_signature_files_are_refused(data: bytes) -> None:
    key = minisign.PublicKey(b"12345678", bytes(32))
    for parse in (
        lambda: minisign.parse_public_key(data, "x"),
        lambda: minisign.parse_secret_key(data, "x", lambda: ""),
        lambda: minisign.verify(b"", data, key, "x"),
        lambda: minisign.verify(b"", b"untrusted comment: x\n" + data, key, "x"),
    ):
        with pytest.raises(Refused):
            parse()
