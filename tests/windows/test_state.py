"""State on Windows: what lies in a release's folder minus what the record of its archive says."""

from typing import Any

from dlskit.windows.state import compare

FOLDER = r"C:\dls\releases\2.4.11"
RECORD = {
    "members": [
        ["startup.bat", "file", 0o644, 5, "aa", ""],
        ["win", "dir", 0o755, 0, "", ""],
        ["win/bin", "dir", 0o755, 0, "", ""],
        ["win/bin/PsExec64.exe", "file", 0o644, 5, "bb", ""],
        ["win/bin/server.exe", "file", 0o644, 5, "cc", ""],
    ]
}


def entry(path: str, checksum: str | None = None, **more: Any) -> dict[str, Any]:
    return {"path": f"{FOLDER}\\{path}", "isdir": checksum is None, "checksum": checksum, "size": 5, **more}


AS_UNPACKED = [
    entry("startup.bat", "aa"),
    entry("win"),
    entry(r"win\bin"),
    entry(r"win\bin\PsExec64.exe", "bb"),
    entry(r"win\bin\server.exe", "cc"),
]


def state(*found: dict[str, Any], **more: Any) -> dict[str, Any]:
    return compare(FOLDER, RECORD, list(found), **{"ours": {}, **more})


def test_a_release_as_it_was_unpacked_has_no_state() -> None:
    assert state(*AS_UNPACKED) == {"entries": [], "damage": [], "copies": [], "conflicts": [], "links": []}


def test_what_was_added_is_state_and_no_damage() -> None:
    answer = state(*AS_UNPACKED, entry("data"), entry(r"data\db", "dd"))
    assert [(each["path"], each["change"], each["sha256"]) for each in answer["entries"]] == [
        ("data", "added", ""),
        ("data/db", "added", "dd"),
    ]
    assert answer["damage"] == []


def test_a_vendor_file_that_is_another_or_gone_is_damage() -> None:
    changed = [*AS_UNPACKED[1:-1], entry(r"win\bin\server.exe", "xx")]
    assert state(*changed)["damage"] == ["modified win/bin/server.exe", "removed startup.bat"]


def test_a_file_that_may_be_missing_is_no_damage_where_it_is() -> None:
    without = [each for each in AS_UNPACKED if "PsExec" not in each["path"]]
    assert state(*without)["damage"] == ["removed win/bin/PsExec64.exe"]
    assert state(*without, spared=[r"win\bin\PsExec64.exe"])["entries"] == []


def test_names_mean_the_same_in_any_case() -> None:
    assert state(entry("STARTUP.BAT", "aa"), *AS_UNPACKED[1:])["entries"] == []


def test_what_the_kit_has_put_there_is_no_state_until_somebody_changes_it() -> None:
    def entries(checksum: str) -> list[dict[str, Any]]:
        found = state(*AS_UNPACKED, entry("dls.json", "ee"), ours={"dls.json": checksum})["entries"]
        return list(found)

    assert entries("ee") == entries("*") == []
    assert [each["change"] for each in entries("ff")] == ["added"]


def test_a_folder_that_the_archive_does_not_know_is_copied_whole() -> None:
    found = [
        entry("data"),
        entry(r"data\deep"),
        entry(r"data\deep\db", "dd"),
        entry("database", "11"),
        entry(r"win\bin\log", "22"),
    ]
    assert state(*AS_UNPACKED, *found)["copies"] == [
        {"path": "data", "into": "", "kind": "dir"},
        {"path": "database", "into": "", "kind": "file"},
        {"path": r"win\bin\log", "into": "win\\bin\\", "kind": "file"},
    ]


def test_what_was_removed_is_not_copied() -> None:
    answer = state(*AS_UNPACKED[1:])
    assert (len(answer["entries"]), answer["copies"]) == (1, [])


def test_links_are_named_for_they_lead_anywhere() -> None:
    assert state(*AS_UNPACKED, entry("out", isjunction=True))["links"] == ["out"]


def test_state_that_the_next_release_has_something_else_for_is_a_conflict() -> None:
    members = [["startup.bat", "file", 0o644, 5, "zz", ""], *RECORD["members"][1:], ["data", "dir", 0o755, 0, "", ""]]
    following = {"members": [*members, ["notes", "file", 0o644, 5, "nn", ""]]}

    def conflicts(*found: dict[str, Any]) -> list[str]:
        return list(state(*found, next=following)["conflicts"])

    assert conflicts(*AS_UNPACKED, entry("data"), entry(r"data\db", "dd")) == []
    assert conflicts(*AS_UNPACKED[:-1], entry(r"win\bin\server.exe", "xx")) == [], "both archives have the same there"
    assert conflicts(entry("STARTUP.bat", "xx"), *AS_UNPACKED[1:]) == ["STARTUP.bat"]
    assert conflicts(*AS_UNPACKED, entry("notes", "mine")) == ["notes"]
    assert conflicts(*AS_UNPACKED[1:]) == [], "what is gone is not carried"
