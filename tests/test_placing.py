"""Which licence files of an inventory may be placed: judged for all hosts of a play together."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlskit.placing import judge

TEXT = "LicenseId: 1\nOrganizationID: 216998\nLicenseStatus: Activated\nLicenseItems:\nx\n"
OTHER = TEXT.replace("LicenseId: 1", "LicenseId: 2")
HOSTS = {"a": [{"file": "/a.lic"}], "b": [{"file": "/b.lic"}]}


def test_each_host_gets_its_own_files_with_their_facts() -> None:
    answer = judge(HOSTS, {"/a.lic": TEXT, "/b.lic": OTHER})
    assert answer["problems"] == []
    assert answer["hosts"]["a"] == [
        {
            "name": "a.lic",
            "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
            "license_id": "1",
            "organization": "216998",
            "status": "Activated",
        }
    ]
    assert answer["hosts"]["b"][0]["license_id"] == "2"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (TEXT, "must have a license id that no other file has, got 1, as dls_server_licenses of a, /a.lic has\nHINT: "),
        (
            OTHER.replace("216998", "5"),
            "must be of the organization of dls_server_licenses of a, /a.lic, 216998, got 5",
        ),
        (OTHER.replace("Activated", "New"), "must be activated, got New\nHINT: activate it"),
        (OTHER[:13], "must have the line `LicenseItems:`, got none\nHINT: the file is cut short"),
        ("\udcff\udc80", "must be UTF-8 text, got another byte at 0\nHINT: "),
        (OTHER + "x" * (1 << 20), "must have at most 1048576 bytes, got 1048"),
        (None, "must be a readable file, got No such file or directory\nHINT: name a license file"),
    ],
)
def test_what_must_not_be_placed_is_refused_by_host_and_path(second: str | None, message: str) -> None:
    (problem,) = judge(HOSTS, {"/a.lic": TEXT, "/b.lic": second})["problems"]
    assert problem.startswith("dls_server_licenses of b, /b.lic: " + message), problem


def test_one_file_for_two_hosts_is_refused() -> None:
    hosts = {"a": [{"file": "/a.lic"}], "b": [{"file": "/a.lic"}]}
    (problem,) = judge(hosts, {"/a.lic": TEXT})["problems"]
    assert "must have a license id that no other file has" in problem


def test_file_that_is_there_and_that_ansible_could_not_read_is_told_from_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "a.lic"
    path.write_text("$ANSIBLE_VAULT;1.1;AES256\n")
    (problem,) = judge({"a": [{"file": str(path)}]}, {str(path): None})["problems"]
    assert "must be a file that Ansible can read or decrypt, got nothing\nHINT: where it is in Ansible Vault" in problem


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("~nobody-of-this-name/x.lic", "must be a readable file, got Could not determine home directory."),
        ("/a\0b.lic", "must be a readable file, got embedded null byte"),
        ("/", "must be a file, got a folder or device"),
        ("/dev/zero", "must be a file, got a folder or device"),
    ],
)
def test_path_that_is_no_file_is_named_like_a_missing_one(path: str, message: str) -> None:
    problems = judge({"a": [{"file": path}], "b": HOSTS["b"]}, {path: None, "/b.lic": TEXT.replace("d\n", "?\n")})
    first, second = problems["problems"]
    assert message + "\nHINT: name a license file on the control node" in first
    assert second.startswith("dls_server_licenses of b, /b.lic: ")


@pytest.mark.parametrize("value", ["text", 5, None, ["text"], [{}], [{"file": 5}], [{"file": ["/a"]}], {"file": "/a"}])
def test_values_of_another_form_are_left_to_the_preflight(value: Any) -> None:
    assert judge({"a": value}, {}) == {"problems": [], "hosts": {"a": []}}


def test_the_module_answers_in_json_and_never_with_a_content() -> None:
    secret = "seat-of-gold"
    document = {"hosts": HOSTS, "contents": {"/a.lic": TEXT + secret, "/b.lic": secret}}
    run = subprocess.run(
        [sys.executable, "-m", "dlskit.placing"], input=json.dumps(document), capture_output=True, text=True, check=True
    )
    assert len(json.loads(run.stdout)["problems"]) == 1
    assert secret not in run.stdout + run.stderr
