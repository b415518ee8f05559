"""Licence files as the role places them: two hosts on this machine, without supervisor."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.test_role_pair import Pair, pair

__all__ = ["pair"]  # the fixture
pytestmark = pytest.mark.slow

ROLE = str(Path(__file__).parents[1] / "roles/dls_server")
MARK = "seat-of-gold-5c1d"
TEXT = f"LicenseId: 1\r\nOrganizationID: 216998\r\nLicenseStatus: Activated\r\nLicenseItems:\r\n{MARK}\r\n"
SEEN = ("-vvv", "--diff")


class Hosts:
    """The pair, each host with a licence file on the control node."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.root = pair, pair.root
        self.pair.shared |= {"dls_server_mode": "standalone"}
        for host in pair.hosts.values():
            del host["dls_server_mode"]
        for name in ("dls_server_main_url", "dls_server_standby_url"):
            del pair.shared[name]
        for number, name in enumerate(pair.hosts, start=1):
            self.write(f"{name}.lic", TEXT.replace("LicenseId: 1", f"LicenseId: {number}"))
            pair.hosts[name]["dls_server_licenses"] = [{"file": str(self.root / f"{name}.lic"), "project": "scanner"}]

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_bytes(text.encode())
        return path

    def entries(self, host: str = "dls-main") -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.pair.hosts[host]["dls_server_licenses"]
        return entries

    def folder(self, mode: str = "main") -> Path:
        return self.root / mode / "lib/licenses"

    def index(self, mode: str = "main") -> dict[str, dict[str, str]]:
        files: dict[str, dict[str, str]] = json.loads((self.folder(mode) / "index.json").read_text())["files"]
        return files

    def run(self, name: str, *options: str) -> str:
        """Run a playbook that must succeed and say nothing of a file's content; returns the output in one line."""
        done = self.pair.play(name, *options, environment={"ANSIBLE_DISPLAY_OK_HOSTS": "true"})
        assert done.code == 0, done.output
        assert MARK not in done.output
        return " ".join(done.output.split())

    def changed(self, name: str, *options: str) -> int:
        done = self.pair.play(name, *options)
        assert done.code == 0, done.output
        assert MARK not in done.output
        return done.changed


@pytest.fixture
def hosts(pair: Pair) -> Hosts:
    return Hosts(pair)


def test_files_are_placed_for_root_alone_and_a_second_run_changes_nothing(hosts: Hosts) -> None:
    predicted = hosts.changed("site", "--check", *SEEN)
    assert not (hosts.root / "main").exists()
    assert hosts.changed("site", *SEEN) == predicted
    for mode in ("main", "standby"):
        (path,) = hosts.folder(mode).glob("*.lic")
        assert path.read_bytes() == (hosts.root / path.name).read_bytes()
        assert [oct(entry.stat().st_mode & 0o777) for entry in (path, path.parent)] == ["0o600", "0o700"]
    assert {record["license_id"] for record in hosts.index().values()} == {"1"}
    assert hosts.changed("site", *SEEN) == 0
    assert hosts.changed("verify", *SEEN) == 0


def test_replaced_file_is_kept_and_one_that_left_the_inventory_is_named_and_stays(hosts: Hosts) -> None:
    hosts.run("site")
    before = (hosts.folder() / "dls-main.lic").read_bytes()
    hosts.write("dls-main.lic", TEXT.replace(MARK, "other"))
    assert hosts.changed("site", "--check", *SEEN) == 1
    assert (hosts.folder() / "dls-main.lic").read_bytes() == before
    assert hosts.changed("site", *SEEN) == 1
    assert [kept.read_bytes() for kept in (hosts.folder() / "history").iterdir()] == [before]
    hosts.entries()[0]["file"] = str(hosts.write("new.lic", TEXT.replace("LicenseId: 1", "LicenseId: 3")))
    said = hosts.run("site")
    assert "licenses has dls-main.lic, which dls_server_licenses does not name" in said
    assert sorted(path.name for path in hosts.folder().glob("*.lic")) == ["dls-main.lic", "new.lic"]
    hosts.pair.dlsctl("main", "licenses", "--forget", "dls-main.lic")
    assert "does not name" not in hosts.run("site")


def test_vaulted_file_arrives_decrypted(hosts: Hosts) -> None:
    password = hosts.write("password", "vault\n")
    path = hosts.root / "dls-main.lic"
    before = path.read_bytes()
    vault = f"--vault-password-file={password}"
    subprocess.run(["ansible-vault", "encrypt", vault, str(path)], check=True, capture_output=True)
    refused = hosts.pair.play("site")
    assert refused.code != 0
    assert "must be a file that Ansible can read or decrypt, got nothing" in " ".join(refused.output.split())
    assert not (hosts.root / "main").exists()
    hosts.run("site", vault, *SEEN)
    assert (hosts.folder() / "dls-main.lic").read_bytes() == before
    assert hosts.changed("site", vault) == 0


WRONG = {
    "duplicate id": (
        TEXT.replace("LicenseId: 1", "LicenseId: 2"),
        "dls_server_licenses of dls-standby, {}/dls-standby.lic: must have a license id that no other file has, got 2",
    ),
    "not UTF-8": ("\udcff\udc80", "dls_server_licenses of dls-main, {}/dls-main.lic: must be UTF-8 text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_file_that_must_not_be_placed_is_refused_before_any_change(name: str, hosts: Hosts) -> None:
    text, message = WRONG[name]
    (hosts.root / "dls-main.lic").write_bytes(text.encode("utf-8", "surrogateescape"))
    done = hosts.pair.play("site", *SEEN)
    assert done.code != 0
    assert MARK not in done.output
    assert message.format(hosts.root) in " ".join(done.output.split())
    assert "HINT: " in done.output
    assert not [mode for mode in ("main", "standby") if (hosts.root / mode).exists()]


def test_missing_file_and_misspelt_entries_are_all_named(hosts: Hosts) -> None:
    hosts.entries()[0]["file"] = "/nowhere/x.lic"
    hosts.entries()[0]["projekt"] = hosts.entries()[0].pop("project")
    hosts.entries("dls-standby")[0]["create"] = "perhaps"
    done = hosts.pair.play("site")
    said = " ".join(done.output.split())
    for message in (
        "dls_server_licenses of dls-main, /nowhere/x.lic: must be a readable file, got No such file or directory HINT",
        "must have no keys but file, project and create in entry 1, got 'projekt' HINT: did you mean project?",
        "dls_server_licenses: must have a create of type bool in entry 1, got 'perhaps' HINT: ",
    ):
        assert message in said, done.output
    assert not (hosts.root / "main").exists()


def test_named_pipe_is_refused_unread(hosts: Hosts) -> None:  # which would wait for ever
    path = Path(hosts.entries()[0]["file"])
    path.unlink()
    os.mkfifo(path)
    done = hosts.pair.play("site")
    assert done.code != 0
    assert f"{path}: must be a file, got a folder or device HINT: name a license file" in " ".join(done.output.split())


@pytest.mark.parametrize("value", ["text", {"file": "/a"}, [{"file": ["/a"]}]])
def test_value_of_another_type_is_refused_in_the_form_of_the_other_variables(value: Any, hosts: Hosts) -> None:
    hosts.pair.hosts["dls-main"]["dls_server_licenses"] = value
    done = hosts.pair.play("site", "--limit", "dls-main")
    assert done.code != 0
    said = " ".join(done.output.split())
    assert "dls_server_licenses: must " in said
    assert "HINT: set dls_server_licenses in the inventory" in said


def test_verify_names_a_placed_file_that_is_missing_or_changed(hosts: Hosts) -> None:
    hosts.run("site")
    hosts.folder().joinpath("dls-main.lic").unlink()
    hosts.folder("standby").joinpath("dls-standby.lic").write_text("changed")
    for host, mode, fault in (("dls-main", "main", "missing"), ("dls-standby", "standby", "other content")):
        said = hosts.pair.finding(host)
        rule = f"{hosts.folder(mode)}/{host}.lic: must be the licence file that was placed, got {fault}"
        assert rule in said
    assert hosts.changed("site") == 2
    assert hosts.changed("verify") == 0
    assert [kept.read_text() for kept in (hosts.folder("standby") / "history").iterdir()] == ["changed"]


def test_entry_point_places_files_alone_and_only_where_a_server_is(hosts: Hosts, tmp_path: Path) -> None:
    playbook = tmp_path / "licences.yml"
    task = {"ansible.builtin.include_role": {"name": ROLE, "tasks_from": "licenses"}}
    playbook.write_text(json.dumps([{"hosts": "dls", "gather_facts": False, "tasks": [task]}]))
    done = hosts.pair.play(playbook)
    assert done.code != 0
    assert "must hold an installed release, got nothing HINT: " in " ".join(done.output.split())
    assert not (hosts.root / "main").exists()
    wanted = {name: host.pop("dls_server_licenses") for name, host in hosts.pair.hosts.items()}
    hosts.run("site")
    for name, entries in wanted.items():
        hosts.pair.hosts[name]["dls_server_licenses"] = entries
    for changed in (2, 0):
        done = hosts.pair.play(playbook)
        assert (done.code, done.changed) == (0, changed), done.output
    assert set(hosts.index("standby")) == {"dls-standby.lic"}


def test_files_that_a_play_names_instead_of_the_inventory_are_refused(hosts: Hosts, tmp_path: Path) -> None:
    playbook = tmp_path / "site.yml"
    variables = {"dls_server_licenses": hosts.entries()}
    role = {"ansible.builtin.include_role": {"name": ROLE}}
    for host in hosts.pair.hosts.values():
        del host["dls_server_licenses"]
    playbook.write_text(json.dumps([{"hosts": "dls", "gather_facts": False, "vars": variables, "tasks": [role]}]))
    done = hosts.pair.play(playbook)
    assert done.code != 0
    assert (
        "dls_server_licenses: must be a variable of the inventory, for the hosts of a play are compared" in done.output
    )
    assert not (hosts.root / "main").exists()


def test_uninstall_keeps_the_files_and_purge_names_them(hosts: Hosts) -> None:
    del hosts.pair.hosts["dls-main"]["dls_server_licenses"]  # the first host of the play has none
    hosts.run("site")
    assert not list(hosts.folder().iterdir())
    hosts.run("uninstall")
    assert (hosts.folder("standby") / "dls-standby.lic").exists()
    (hosts.folder("standby") / "index.json").write_text("damaged")
    said = hosts.run("uninstall", "-e", "dls_server_uninstall_purge=true")
    assert f"{hosts.folder('standby')}: dls-standby.lic" in said
    assert not (hosts.root / "standby/lib").exists()


def test_damaged_index_is_named_before_any_change(hosts: Hosts) -> None:
    hosts.run("site")
    (hosts.folder() / "index.json").write_text("damaged")
    for name in ("site", "verify"):
        done = hosts.pair.play(name)
        assert done.recap["dls-main"]["failed"] == 1
        said = " ".join(done.output.split())
        assert "index.json: must be JSON, got " in said, done.output
        assert "HINT: correct or remove the file" in said
