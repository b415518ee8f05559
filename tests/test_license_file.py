"""``dlskit license inspect`` and ``check``: the documented form in all its spellings, and everything that is not it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlsctl.host import deadline
from dlsctl.problems import Refused
from dlskit import license_file
from dlskit.cli import main
from dlskit.commands.license import as_dict, rows

NEW_NAMES = """LicenseId: 100028117
Alias: DM_100028117_Date20220328
LicenseTextVersion: 2.0
OrganizationID: 216998
LicenseStatus: Activated
LicenseItems:
1 | Barcode Reader | 2026-01-01 | 2027-01-01
  Quantity: 5
"""
OLD_NAMES = NEW_NAMES.replace("OrganizationID", "CustomerDynamId")
BOM = b"\xef\xbb\xbf"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["license", *map(str, arguments)])


def write(folder: Path, name: str = "a.lic", text: str = NEW_NAMES) -> Path:
    path = folder / name
    path.write_text(text, newline="")
    return path


@pytest.mark.parametrize("text", [NEW_NAMES, OLD_NAMES], ids=["new names", "old names"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", [b"", BOM], ids=["plain", "BOM"])
def test_every_spelling_of_the_documented_form_says_the_same(text: str, ends: str, mark: bytes) -> None:
    found = license_file.parse(mark + text.replace("\n", ends).encode(), "a.lic")
    assert (found.id, found.organization, found.status) == ("100028117", "216998", "Activated")
    assert (found.alias, found.text_version) == ("DM_100028117_Date20220328", "2.0")
    assert found.items == f"1 | Barcode Reader | 2026-01-01 | 2027-01-01{ends}  Quantity: 5"
    assert found.dates == ("2022-03-28", "2026-01-01", "2027-01-01")
    assert found.unknown == ()


def test_lines_with_unknown_keys_are_kept_in_their_order() -> None:
    text = NEW_NAMES.replace("LicenseStatus", "Region: EU: west\nSeats: 5\nLicenseStatus")
    assert license_file.parse(text.encode(), "a.lic").unknown == (("Region", "EU: west"), ("Seats", "5"))


def test_what_is_below_the_items_is_never_taken_for_a_field() -> None:
    found = license_file.parse((NEW_NAMES + "LicenseId: 5\nnot a key at all\n").encode(), "a.lic")
    assert found.id == "100028117"
    assert found.items.endswith("LicenseId: 5\nnot a key at all")


def test_what_is_no_date_is_not_called_one() -> None:
    text = NEW_NAMES + "2026-13-45, 12026-01-01, 2026-1-1, 2026-02.03, Date20261301\n"
    assert license_file.parse(text.encode(), "a.lic").dates == ("2022-03-28", "2026-01-01", "2027-01-01")


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "must have the line `LicenseItems:`, got none"),
        (NEW_NAMES.partition("LicenseItems")[0].encode(), "must have the line `LicenseItems:`, got none"),
        (NEW_NAMES.partition("1 |")[0].encode(), "must have an item below `LicenseItems:`, got none"),
        (NEW_NAMES.replace("LicenseId", "Id").encode(), "must have the line `LicenseId: ...`, got none"),
        (
            NEW_NAMES.replace("OrganizationID: 216998\n", "").encode(),
            "must have the line `OrganizationID or CustomerDynamId: ...`, got none",
        ),
        (NEW_NAMES.replace("LicenseStatus: Activated\n", "").encode(), "must have the line `LicenseStatus: ...`"),
        (NEW_NAMES.replace("100028117\nA", "1e8\nA").encode(), "must have digits for LicenseId, got '1e8'"),
        (b"LicenseId: 1\n" + NEW_NAMES.encode(), "must have one value for LicenseId, got '1' and '100028117'"),
        (b"\x7fELF\x02\x01" + bytes(100), "must be text with line ends LF or CRLF, got the control character"),
        (b"\x89PNG\r\n\x1a\n", "must be UTF-8 text, got another byte at 0"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n3135\n", "must be a license file, got one that Ansible Vault has encrypted"),
        (NEW_NAMES.encode("utf-16"), "must be UTF-8 text, got UTF-16"),
        (NEW_NAMES.replace("\n", "\r").encode(), "must be text with line ends LF or CRLF"),
        (
            b"LicenseId: 1\n\n<body>Log in</body>\n",
            "must consist of `Key: value` lines before its items, got another line, number 3",
        ),
    ],
)
def test_what_is_not_of_the_documented_form_is_refused(data: bytes, rule: str) -> None:
    with pytest.raises(Refused, match=r"a\.lic: ") as caught:
        license_file.parse(data, "a.lic")
    assert rule in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("line", ["\n", "a:\n"], ids=["blank", "unknown"])
def test_largest_file_of_short_lines_is_read_in_seconds(line: str) -> None:
    head = line * ((license_file.LARGEST - len(NEW_NAMES)) // len(line))
    with deadline(10):
        assert license_file.parse((head + NEW_NAMES).encode(), "a.lic").id == "100028117"


def test_line_that_is_none_is_named_by_its_number_after_blank_and_crlf_lines() -> None:
    with pytest.raises(Refused, match="another line, number 5"):
        license_file.parse(b"LicenseId: 1\r\n\r\n\n\nnothing\n", "a.lic")


def test_every_cut_before_the_first_item_is_refused() -> None:
    data = NEW_NAMES.encode()
    for length in range(data.index(b"1 |") + 1):
        with pytest.raises(Refused):
            license_file.parse(data[:length], "a.lic")


def test_inspect_shows_everything_and_json_says_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, text=NEW_NAMES.replace("LicenseStatus", "Region: EU\nLicenseStatus"))
    shown = run("inspect", path)
    assert shown.exit_code == 0
    for text in ("100028117", "216998", "Activated", "2026-01-01", "Region: EU", "  Quantity: 5"):
        assert text in shown.stdout
    (file,) = json.loads(run("inspect", "--json", path).stdout)["files"]
    assert file["unknown"] == [{"key": "Region", "value": "EU"}]
    assert file["items"] == "1 | Barcode Reader | 2026-01-01 | 2027-01-01\n  Quantity: 5"


def test_inspect_lets_no_file_steer_the_terminal(tmp_path: Path) -> None:
    shown = run("inspect", write(tmp_path, text=NEW_NAMES.replace("Barcode", "\u202eBarcode\u2028")))
    assert shown.exit_code == 0
    assert shown.stdout.isascii() or not {"\u202e", "\u2028"} & set(shown.stdout)


def test_inspect_shows_the_whole_of_a_line_with_tabs(tmp_path: Path) -> None:
    line = "Barcode\t" + "x" * 300 + "\t2027-01-01"
    assert line.replace("\t", "\\t") in run("inspect", write(tmp_path, text=NEW_NAMES + line)).stdout


@pytest.mark.parametrize("status", ["\u0410ctivated", "A" * 100_000], ids=["lookalike", "long"])
def test_check_tells_a_status_apart_and_in_one_short_line(status: str, tmp_path: Path) -> None:
    done = run("check", write(tmp_path, text=NEW_NAMES.replace("Activated", status)))
    first = done.stderr.splitlines()[0]
    assert first.isascii()
    assert len(first) < 400


def test_check_takes_the_files_of_several_servers_of_one_organization(tmp_path: Path) -> None:
    files = [write(tmp_path), write(tmp_path, "b.lic", OLD_NAMES.replace("100028117\n", "100028118\n"))]
    done = run("check", *files)
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == [
        "license 100028117 of organization 216998, Activated",
        "license 100028118 of organization 216998, Activated",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Activated", "New"), "b.lic: must be activated, got New\nHINT: activate it in the vendor's customer portal"),
        (("Activated", "Expired"), "b.lic: must have the status Activated, got Expired\n"),
        (("", ""), "b.lic: must have a license id that no other file has, got 100028117, as "),
        (("216998", "216999"), "got 216999\nHINT: check together only the files of one organization"),
        (("LicenseItems:", ""), "b.lic: must"),
    ],
)
def test_check_refuses_what_must_not_be_imported(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    files = [write(tmp_path), write(tmp_path, "b.lic", NEW_NAMES.replace(*change))]
    done = run("check", *files)
    assert done.exit_code == 6
    assert message in done.stderr
    assert done.stdout == ""
    answer = json.loads(run("check", "--json", *files).stdout)
    assert answer["problems"]


def test_check_tells_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    files = [write(tmp_path, "a.lic", "x"), tmp_path / "missing", write(tmp_path, "c.lic", NEW_NAMES.replace("A", "B"))]
    done = run("check", *files)
    assert [line.split(":")[0].rpartition("/")[2] for line in done.stderr.splitlines()[::2]] == [
        "a.lic",
        "missing",
        "c.lic",
    ]


def test_limit_of_size_is_an_option(tmp_path: Path) -> None:
    path = write(tmp_path, text=NEW_NAMES + "x" * 2000)
    assert run("check", path).exit_code == 0
    done = run("check", "--max-size", "1", path)
    assert (done.exit_code, done.stderr.splitlines()[0]) == (6, f"{path}: must have at most 1024 bytes, got more")


def test_limit_that_no_memory_has_is_wrong_usage(tmp_path: Path) -> None:
    done = run("check", "--max-size", str(1 << 50), write(tmp_path))
    assert done.exit_code == 2
    assert "invalid value for '--max-size'" in done.stderr


def test_folder_and_device_are_refused_at_once(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        assert "must be a file, got a folder or device" in run("inspect", path).stderr


LINES = st.sampled_from([line + "\n" for line in NEW_NAMES.splitlines()] + [OLD_NAMES.splitlines()[3] + "\r\n"])
PIECES = st.one_of(LINES.map(str.encode), st.binary(max_size=30), st.text(max_size=30).map(str.encode), st.just(BOM))
HOSTILE = st.lists(PIECES, max_size=12).map(b"".join)


def parses_or_is_refused(data: bytes) -> None:
    try:
        found = license_file.parse(data, "a.lic")
    except Refused as problem:
        assert problem.hint
        return
    assert json.dumps(as_dict(found))
    assert all(line.isprintable() for text in rows(found).values() for line in text.split("\n"))
    text = data.decode("utf-8-sig")
    assert found.items in text
    assert found.id in text
    assert found.organization in text
    assert list(license_file.problems([found])) == [] or found.status.lower() != "activated"


@given(HOSTILE)
@settings(max_examples=400, deadline=None)
def test_hostile_bytes_are_parsed_or_refused(data: bytes) -> None:
    parses_or_is_refused(data)


@pytest.mark.slow
@given(HOSTILE)
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_ten_thousand_hostile_files_are_parsed_or_refused(data: bytes) -> None:
    parses_or_is_refused(data)
