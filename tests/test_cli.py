"""The dlskit command as a person and a script meet it."""

import json
import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

import dlskit
from dlsctl.problems import EXIT_REFUSED
from dlskit import cli
from tests.archives import rawtar as tar
from tests.archives import rawzip as zp

ROOT = Path(__file__).parents[1]
SHA256_LENGTH = 64


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "dynamsoft_dls-linux_x64-v2.4.11.tar.gz"
    path.write_bytes(tar.packed(tar.linux_release()))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments], prog_name="dlskit")


def test_inspect_tells_a_person_what_the_archive_holds(archive: Path) -> None:
    result = run("archive", "inspect", archive)
    assert result.exit_code == 0
    rows = dict(line.split(maxsplit=1) for line in result.stdout.replace("top folder", "top").splitlines())
    assert rows["release"] == "2.4.11 for linux_x64"
    assert rows["top"] == "dls-linux"
    assert rows["unpacked"] == "35 bytes in 10 members"
    assert len(rows["SHA-256"]) == SHA256_LENGTH
    assert result.stderr == ""


def test_inspect_prints_json_for_scripts(archive: Path) -> None:
    answer = json.loads(run("archive", "inspect", "--json", archive).stdout)
    assert answer["version"] == "2.4.11"
    assert answer["platform"] == "linux_x64"
    assert answer["size"] == archive.stat().st_size
    assert (answer["member_count"], answer["unpacked_size"]) == (10, 35)
    assert "members" not in answer


def test_manifest_lists_every_member(archive: Path) -> None:
    lines = run("archive", "inspect", "--manifest", archive).stdout.split("\n\n")[1].splitlines()
    assert len(lines) == 10
    mode, kind, size, sha256, path = next(line for line in lines if line.endswith("startup.sh")).split()
    assert (mode, kind, size, path) == ("0755", "file", "10", "dls-linux/startup.sh")
    assert len(sha256) == SHA256_LENGTH


def test_manifest_is_in_the_json_when_asked_for(archive: Path) -> None:
    members = json.loads(run("archive", "inspect", "--json", "--manifest", archive).stdout)["members"]
    assert members[0] == {"path": "dls-linux", "kind": "dir", "mode": "0755", "size": 0, "sha256": "", "link": ""}


def test_pin_prints_lines_for_the_inventory(archive: Path) -> None:
    values = yaml.safe_load(run("archive", "pin", archive).stdout)
    assert list(values) == ["dls_server_version", "dls_server_archive", "dls_server_archive_checksum"]
    assert values["dls_server_version"] == "2.4.11"
    assert values["dls_server_archive"] == str(archive)
    assert values == json.loads(run("archive", "pin", "--json", archive).stdout)


def test_pin_replaces_what_an_inventory_file_has_pinned_and_keeps_the_rest(archive: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "dls.yml"
    inventory.write_text("# ours\ndls_server_version: '2.3.5'  # old\nsecret: !vault |\n  1\ndls_server_port: 48080")
    inventory.chmod(0o640)
    assert run("archive", "pin", archive, "--into", inventory).exit_code == 0
    once = inventory.read_text()
    assert run("archive", "pin", archive, "--into", inventory).exit_code == 0
    assert inventory.read_text() == once
    assert once.startswith(
        "# ours\ndls_server_version: 2.4.11\nsecret: !vault |\n  1\ndls_server_port: 48080\ndls_server_archive: "
    )
    assert inventory.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "text",
    ["[dls]\nhost\n", "dls_server_version: '1'\ndls_server_version: '2'\n", "dls_server_archive: >-\n  /a\n", "- a\n"],
)
def test_pin_leaves_a_file_that_it_cannot_set_variables_in(archive: Path, tmp_path: Path, text: str) -> None:
    inventory = tmp_path / "dls.yml"
    inventory.write_text(text)
    result = run("archive", "pin", archive, "--into", inventory)
    assert (result.exit_code, inventory.read_text()) == (EXIT_REFUSED, text), result.output
    assert "must be a YAML file of variables, each on a line of its own" in result.output


def test_pin_keeps_a_short_version_a_string(tmp_path: Path) -> None:
    path = tmp_path / "dls.zip"
    path.write_bytes(zp.packed(zp.windows_release(version=b"2.5")))
    assert yaml.safe_load(run("archive", "pin", path).stdout)["dls_server_version"] == "2.5"


def test_a_refusal_goes_to_standard_error_in_the_projects_form(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(b"")
    result = run("archive", "pin", path)
    assert result.exit_code == 6
    assert result.stdout == ""
    assert result.stderr == (
        "x.tar.gz: must be a .tar.gz or a .zip, got an empty file\n"
        "HINT: the file is damaged or cut short: download it again with your vendor account\n"
    )


def test_with_json_a_refusal_is_json_too(tmp_path: Path) -> None:
    result = run("archive", "inspect", "--json", tmp_path / "missing")
    assert result.exit_code == 6
    error = json.loads(result.stdout)["error"]
    assert error["rule"] == "must be a readable file"
    assert error["got"] == "No such file or directory"
    assert error["hint"] == "give the path of the vendor archive"
    assert "must be a readable file" in result.stderr


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ("--max-ratio=1", "must unpack to at most 1 times its size"),
        ("--max-total=1", "must unpack to at most 1048576 bytes"),
        ("--max-members=3", "must hold at most 3 members"),
    ],
)
def test_limits_are_options(option: str, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(tar.packed([*tar.linux_release(), tar.file(b"dls-linux/x", os.urandom(1 << 20) + bytes(9999))]))
    assert run("archive", "inspect", path).exit_code == 0
    result = run("archive", "inspect", option, path)
    assert result.exit_code == 6
    assert rule in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["archive", "inspect"], "dlskit archive inspect: missing argument 'FILE'"),
        (["archive", "unknown"], "dlskit archive: no such command 'unknown'"),
        (["--unknown"], "dlskit: no such option '--unknown'"),
        (["archive", "inspect", "--max-ratio", "0", "x"], "dlskit archive inspect: invalid value for '--max-ratio'"),
    ],
)
def test_wrong_usage_names_the_command_and_its_help(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    first, hint = result.stderr.splitlines()
    assert first.startswith(message)
    assert hint == f"HINT: see {message.split(':', maxsplit=1)[0]} --help"


@pytest.mark.parametrize("error", [ValueError("odd"), PermissionError(13, "Permission denied", "/x")])
def test_an_unexpected_error_shows_a_traceback_only_with_debug(
    error: Exception, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("dlskit.archive.inspect", fail)
    result = run("archive", "inspect", archive)
    assert result.exit_code == 1
    assert result.stderr in (
        "dlskit: must not fail, got ValueError: odd\nHINT: run dlskit --debug ... and report what it prints\n",
        "/x: must be accessible, got Permission denied\nHINT: check the path and its rights\n",
    )
    assert run("--debug", "archive", "inspect", archive).exception is error


@pytest.mark.parametrize("option", ["", "--json"])
def test_a_full_disk_behind_standard_output_gives_no_traceback(option: str, archive: Path) -> None:
    command = f"{sys.executable} -m dlskit archive pin {option} {archive} >/dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 1
    assert "must have room for what it writes, got No space left on device\nHINT: make room " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:surrogateescape"])
def test_letters_that_standard_output_cannot_have_are_escaped(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.lic"
    head = "LicenseId: 1\nOrganizationID: 2\nLicenseStatus: Activated\n"
    path.write_text(f"{head}Alias: \u0141\u00f3d\u017a\nLicenseItems:\n\u0141\n")
    environment = ENVIRONMENT | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(module("license", "inspect", path), env=environment, capture_output=True, check=True)
    assert b"alias         \\u0141" in done.stdout


def test_closed_standard_input_is_told(tmp_path: Path) -> None:
    command = f"{sys.executable} -m dlskit license check - <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stderr.splitlines()[0]) == (6, "-: must be a readable file, got Bad file descriptor")


def test_an_interrupted_run_says_so_and_fails(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dlskit.archive.inspect", interrupt)
    result = run("archive", "inspect", archive)
    assert (result.exit_code, result.stderr.strip()) == (1, "interrupted")


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete -o"), ("zsh", "#compdef dlskit"), ("fish", "complete ")]
)
def test_prints_a_completion_script(shell: str, word: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert word in result.stdout
    assert "_DLSKIT_COMPLETE" in result.stdout


def test_completion_knows_the_commands() -> None:
    words = {"_DLSKIT_COMPLETE": "bash_complete", "COMP_WORDS": "dlskit archive ", "COMP_CWORD": "2"}
    result = CliRunner().invoke(cli.main, [], prog_name="dlskit", env=words)
    assert result.stdout.split() == ["plain,inspect", "plain,pin"]


def module(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "dlskit", *map(str, arguments)]


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src")}


def test_runs_as_a_module_and_tells_its_version(archive: Path) -> None:
    result = subprocess.run(module("--version"), env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert result.stdout == f"dlskit, version {dlskit.__version__}\n"
    command = module("archive", "pin", archive)
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert result.stderr == "", "no progress bar where standard error is no terminal"


def test_shows_a_progress_bar_on_a_terminal(archive: Path) -> None:
    ours, theirs = pty.openpty()
    environment = ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "160"}
    command = module("archive", "pin", archive)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=theirs) as process:
        assert process.stdout
        values = yaml.safe_load(process.stdout.read())
    os.close(theirs)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert archive.name.encode() in shown
    assert "━".encode() in shown
    assert values["dls_server_version"] == "2.4.11"


def test_starts_without_importing_what_only_commands_need() -> None:
    program = "import sys, dlskit.cli; print([name for name in ('rich', 'yaml', 'dlsctl') if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_version_is_the_same_in_package_project_and_collection() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    collection = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert {dlskit.__version__, project, collection} == {project}


def test_a_checkout_is_called_by_the_name_that_a_person_types() -> None:
    def checkout(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.checkout", *arguments]
        path = ENVIRONMENT | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=path | environment)

    assert checkout("license", "check").stderr.endswith("HINT: see ./dls license check --help\n")
    words = {"_DLS_COMPLETE": "bash_complete", "COMP_WORDS": "dls lic", "COMP_CWORD": "1"}
    assert checkout(**words).stdout == "plain,license\n"
