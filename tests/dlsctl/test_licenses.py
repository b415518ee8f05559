"""Licence files on a host: kept for root alone, recorded, replaced without loss."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlsctl.licenses import license_findings, license_index, look_at_licenses, place_licenses
from dlsctl.problems import EXIT_DIFFERS, EXIT_REFUSED, Refused
from tests.dlsctl.conftest import Site
from tests.dlsctl.program import program
from tests.dlsctl.replacing import replace

UUID = "0A1B2C3D-0A1B-0A1B-0A1B-0A1B2C3D4E5F"
OTHER_UUID = UUID.replace("0A", "FF")
SECRET = "seat-of-gold"


@pytest.fixture
def home(site: Site) -> Site:
    (site.home / "kit").mkdir(parents=True)
    return site


def wanted(name: str = "a.lic", content: str = f"LicenseItems:\r\n{SECRET}\r\n", **changes: str) -> dict[str, str]:
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    facts = {"license_id": "1", "organization": "216998", "status": "Activated"}
    return {"name": name, "content": content, "sha256": sha256, **facts, **changes}


def place(site: Site, *files: dict[str, str]) -> list[str]:
    return place_licenses(site.installation, files)


def folder(site: Site) -> Path:
    return site.root / "lib/licenses"


def looked(site: Site) -> list[dict[str, Any]]:
    inst = site.installation
    found: list[dict[str, Any]] = look_at_licenses(inst, license_index(inst))
    return found


def faults(site: Site) -> dict[str, str | None]:
    return {file["name"]: file["fault"] for file in looked(site)}


def test_file_is_placed_byte_for_byte_for_its_owner_alone_and_recorded(home: Site) -> None:
    assert place(home, wanted()) == ["a.lic"]
    path = folder(home) / "a.lic"
    assert path.read_bytes() == f"LicenseItems:\r\n{SECRET}\r\n".encode()
    for entry, mode in ((path, 0o600), (folder(home), 0o700), (folder(home) / "index.json", 0o600)):
        assert entry.stat().st_mode & 0o777 == mode
    (record,) = looked(home)
    assert (record["license_id"], record["organization"], record["status"]) == ("1", "216998", "Activated")
    assert record["since"].endswith("Z")
    assert (record["uuid"], record["fault"]) == (None, None)


def test_placing_the_same_again_changes_nothing(home: Site) -> None:
    place(home, wanted())
    before = {path: path.stat() for path in folder(home).iterdir()}
    assert place(home, wanted()) == []
    assert {path: path.stat() for path in folder(home).iterdir()} == before


def test_replaced_file_is_kept_with_its_time_and_hash(home: Site) -> None:
    place(home, wanted())
    old = (folder(home) / "a.lic").read_bytes()
    assert place(home, wanted(content="new")) == ["a.lic"]
    (kept,) = (folder(home) / "history").iterdir()
    assert kept.read_bytes() == old
    assert hashlib.sha256(old).hexdigest() in kept.name
    assert kept.name.endswith("-a.lic")
    assert kept.stat().st_mode & 0o777 == 0o600


def test_file_that_somebody_else_put_there_is_kept_when_it_is_replaced(home: Site) -> None:
    folder(home).mkdir(parents=True)
    (folder(home) / "a.lic").write_text("by hand")
    assert faults(home) == {"a.lic": "not placed by the kit"}
    place(home, wanted())
    assert [kept.read_text() for kept in (folder(home) / "history").iterdir()] == ["by hand"]


@pytest.mark.parametrize("step", ["keep_license", "write_atomic", "write_license_index"])
def test_run_that_dies_at_any_step_loses_nothing_and_the_next_one_ends_it(
    step: str, home: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(home, wanted())
    old, new = wanted()["content"].encode(), wanted(content="new")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        replace(patched, step, die)
        with pytest.raises(KeyboardInterrupt):
            place(home, new)
    kept = [path.read_bytes() for path in (folder(home) / "history").glob("*")]
    assert old in [*kept, (folder(home) / "a.lic").read_bytes()]
    assert place(home, new) == ["a.lic"]
    assert faults(home) == {"a.lic": None}
    assert old in [path.read_bytes() for path in (folder(home) / "history").iterdir()]
    assert place(home, new) == []


def missing(path: Path) -> None:
    path.unlink()


def changed(path: Path) -> None:
    path.write_text("x")


def opened(path: Path) -> None:
    path.chmod(0o644)


def linked(path: Path) -> None:
    path.rename(path.with_name("moved.lic"))
    path.symlink_to("moved.lic")


@pytest.mark.parametrize(
    ("harm", "fault"),
    [(missing, "missing"), (changed, "other content"), (opened, "not its owner's alone"), (linked, "other content")],
)
def test_what_is_wrong_with_a_placed_file_is_named(harm: Any, fault: str, home: Site) -> None:
    place(home, wanted())
    harm(folder(home) / "a.lic")
    assert faults(home)["a.lic"] == fault
    done = home.call("licenses", check=False)
    assert done.returncode == EXIT_DIFFERS
    assert f"unknown: {fault}\n" in done.stdout


def test_mended_file_keeps_the_time_since_when_it_is_there(home: Site) -> None:
    place(home, wanted())
    index = folder(home) / "index.json"
    index.write_text(index.read_text().replace('"since": "2', '"since": "1'))
    (folder(home) / "a.lic").chmod(0o644)
    assert place(home, wanted()) == ["a.lic"]
    assert looked(home)[0]["since"].startswith("1")
    assert not (folder(home) / "history").exists()


def test_link_in_place_of_a_file_is_neither_followed_nor_replaced(home: Site) -> None:
    place(home)
    (home.root / "elsewhere").write_text("mine")
    (folder(home) / "a.lic").symlink_to(home.root / "elsewhere")
    with pytest.raises(Refused, match="must be a regular file"):
        place(home, wanted())
    assert (home.root / "elsewhere").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["../a.lic", "index.json", "history", ".a", "a/b", "", "a\nb", "a.lic.dlsctl-new", "x" * 128]
)
def test_name_that_could_harm_is_refused(name: str, home: Site) -> None:
    with pytest.raises(Refused, match="must arrive as it was checked"):
        place(home, wanted(name))
    assert list(folder(home).iterdir()) == []


def test_nothing_is_placed_where_one_of_several_is_refused(home: Site) -> None:
    with pytest.raises(Refused):
        place(home, wanted(), wanted("b.lic", sha256="0" * 64))
    assert list(folder(home).iterdir()) == []


def test_content_that_is_not_what_was_checked_is_refused(home: Site) -> None:
    with pytest.raises(Refused, match="must arrive as it was checked") as caught:
        place(home, wanted(sha256="0" * 64))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"files": []}', '{"files": {"a.lic": 5}}'])
def test_damaged_index_is_refused_with_what_to_do(text: str, home: Site) -> None:
    place(home, wanted())
    (folder(home) / "index.json").write_text(text)
    done = home.call("licenses", check=False)
    assert done.returncode == EXIT_REFUSED
    assert "HINT: " in done.stderr
    (folder(home) / "index.json").unlink()
    assert place(home, wanted()) == ["a.lic"]
    assert faults(home) == {"a.lic": None}


def test_file_goes_to_the_history_when_it_is_forgotten(home: Site) -> None:
    place(home, wanted(), wanted("b.lic", "b"))
    assert "; it is now " in home.call("licenses", "--forget", "a.lic").stdout
    assert faults(home) == {"b.lic": None}
    assert len(list((folder(home) / "history").iterdir())) == 1
    (folder(home) / "b.lic").unlink()
    assert home.call("licenses", "--forget", "b.lic").stdout == "b.lic: forgotten\n"
    assert home.call("licenses").stdout == "no licence file is placed\n"
    for name in ("a.lic", "../../etc/passwd", "index.json", "history"):
        assert home.call("licenses", "--forget", name, check=False).returncode == EXIT_REFUSED


def findings(site: Site, entries: list[dict[str, str]] | None = None) -> list[str]:
    spec = {"prefix": "dls_server_", "values": {"dls_server_licenses": entries}}
    seen = looked(site)
    return [str(problem) for problem in license_findings(spec, site.installation, seen)]


def test_server_s_uuid_is_recorded_also_where_it_becomes_known_later_and_another_one_is_found(home: Site) -> None:
    place(home, wanted())
    home.call("identity", "--uuid", UUID.lower(), check=False)
    assert [file["uuid"] for file in looked(home)] == [UUID]
    assert findings(home) == []
    place(home, wanted("b.lic", "b"))
    home.call("identity", "--accept", "--uuid", OTHER_UUID, check=False)
    place(home, wanted("c.lic", "c"))
    found = findings(home)
    assert [text.split(":")[0].rpartition("/")[2] for text in found] == ["a.lic", "b.lic"]
    assert f"must be of the server with the UUID {UUID}, for which it was placed, got {OTHER_UUID}" in found[0]


def test_findings_are_about_what_the_inventory_names_where_it_names_any(home: Site) -> None:
    place(home, wanted(), wanted("b.lic", "b"))
    (folder(home) / "a.lic").unlink()
    assert [text.split("\n")[0].rpartition(", ")[2] for text in findings(home)] == ["got missing"]
    assert findings(home, [{"file": "/x/b.lic"}]) == []
    (absent,) = findings(home, [{"file": "~/b.lic"}, {"file": "/c.lic"}])
    assert absent.startswith(f"{folder(home)}/c.lic: must be placed, as the inventory says, got nothing\nHINT: ")


def test_engine_places_files_through_standard_input_and_the_answer_holds_no_content(home: Site) -> None:
    document = json.dumps({"licenses": [wanted()]})
    command = [sys.executable, str(program()), "place", "--json", "--config", str(home.config)]
    for changed in (True, False):
        done = subprocess.run(command, input=document, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["changed"] is changed
        assert SECRET not in done.stdout + done.stderr
    assert sorted(path.name for path in folder(home).iterdir()) == ["a.lic", "index.json"]
