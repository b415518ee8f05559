"""Everything that is wrong is said at once, in one form, before any change."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from dlsctl.deployment import as_it_is, prepare
from dlsctl.installation import Installation
from dlsctl.journal import locked
from dlsctl.packages import missing_packages, platform
from dlsctl.preflight import preflight
from dlsctl.releases import point_current
from tests.dlsctl import tiny
from tests.dlsctl.conftest import LINE, Site, free_port
from tests.dlsctl.program import program
from tests.dlsctl.replacing import replace

ROLE = Path(__file__).parents[2] / "roles" / "dls_server"
SOURCES = ROLE.parents[1] / "src"
OPTIONS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
UNINSTALL = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["uninstall"]["options"]
ADOPT = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["adopt"]["options"]
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())


@pytest.fixture
def spec(site: Site) -> dict[str, Any]:
    """What the engines ask about a host on which everything is right."""
    values = {name: value for name, value in DEFAULTS.items() if name in OPTIONS} | {
        f"dls_server_{name}": value for name, value in site.settings.items() if name != "proxy"
    }
    values |= {
        "dls_server_version": "2.4.11",
        "dls_server_archive": "/tmp/archive.tar.gz",
        "dls_server_archive_checksum": "sha256:" + "0" * 64,
        "dls_server_bin_dir": str(site.root / "bin"),
        "dls_server_min_free_mb": 1,
        "dls_server_data_port": free_port(),
    }
    return {
        "entry": "main",
        "prefix": "dls_server_",
        "options": OPTIONS,
        "names": sorted(values),
        "known": sorted(OPTIONS),
        "values": values,
        "epoch": time.time(),
    }


def texts(spec: dict[str, Any]) -> list[str]:
    return [problem["text"] for problem in preflight(spec)["problems"]]


def test_host_on_which_everything_is_right_has_no_problems(spec: dict[str, Any]) -> None:
    assert texts(spec) == []


@pytest.mark.parametrize("entry", ["main", "verify", "licenses"])
def test_damaged_index_of_the_licence_files_is_a_problem_like_others(
    spec: dict[str, Any], site: Site, entry: str
) -> None:
    path = site.root / "lib/licenses/index.json"
    path.parent.mkdir(parents=True)
    path.write_text("damaged")
    answer = json.loads(json.dumps(preflight(spec | {"entry": entry})))
    assert [problem["what"] for problem in answer["problems"]][:1] == [str(path)]
    assert preflight(spec | {"entry": "uninstall"})["problems"] == []


def test_a_server_without_a_password_is_refused_behind_a_proxy_whose_portal_is_open(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    spec["proxy"] = str(tmp_path / "dls.conf")
    assert texts(spec) == []
    Path(spec["proxy"]).write_text("    return 403;\n")
    assert texts(spec) == []
    Path(spec["proxy"]).write_text("    if ($dls_portal = 0) {\n")
    (text,) = texts(spec)
    assert text.startswith("dls_server_admin_password_set: must be true where a proxy on the host lets administrators")


def test_taking_over_tells_what_is_wrong_with_the_folder_and_what_shuts_clients_out(
    spec: dict[str, Any], site: Site
) -> None:
    values = spec["values"] | {"dls_server_adopt_from": str(site.root / "gone")}
    adopting = spec | {"entry": "adopt", "options": ADOPT, "values": values, "line": LINE, "known": sorted(ADOPT)}
    password, folder = texts(adopting | {"names": sorted(values)})
    assert password.startswith("dls_server_admin_password_set: must be true for a server that is taken over")
    assert folder.startswith(f"{site.root}/gone: must be a folder of this host")
    values["dls_server_adopt_from"] = "dls-linux"
    assert "dls_server_adopt_from: must be an absolute path on the host, got 'dls-linux'" in "\n".join(texts(adopting))


PATH_RULE = "must be an absolute path, without spaces, percent signs, quotes, braces, ';', $, '..' or a trailing slash"
FILE_RULE = "must have a file, an absolute path on the control node or one that begins with ~,"
NAME_RULE = "must have a file named with letters, digits, blanks and ._()+@-, 127 at most,"
URL_RULE = "must be an http(s) URL such as https://dls1.example.com/dls/"
VALUES = [
    ("port", 99999, "must be 1 to 65535, got 99999"),
    ("port", 0, "must be 1 to 65535, got 0"),
    ("port", "x", "must be of type int, got 'x'"),
    ("port", True, "must be of type int, got True"),
    ("port", [1], "must be of type int, got [1]"),
    ("data_port", "0", "must be 1 to 65535, got 0"),
    ("health_timeout", 0, "must be 1 to 86400 seconds, got 0"),
    ("stop_timeout", -1, "must be 1 to 86400 seconds, got -1"),
    ("memory_max_mb", 100, "must be 0, for no limit, or 512 and more, got 100"),
    ("hardening", "off", "must be one of full, none, got 'off'"),
    ("max_clock_skew", 0, "must be 1 to 86400 seconds, got 0"),
    ("home", "opt/dls", f"{PATH_RULE}, got 'opt/dls'"),
    ("home", "/", f"{PATH_RULE}, got '/'"),
    ("config_dir", "/etc/../dls", f"{PATH_RULE}, got '/etc/../dls'"),
    ("backup_dir", "/var/b ackups", f"{PATH_RULE}, got '/var/b ackups'"),
    ("data_dir", "/var/%n", f"{PATH_RULE}, got '/var/%n'"),
    ("bin_dir", "/usr/local/", f"{PATH_RULE}, got '/usr/local/'"),
    ("home", "", "must not be empty, got ''"),
    ("home", None, "must not be empty, got None"),
    ("min_free_mb", None, "must not be empty, got None"),
    ("allowed_networks", None, "must not be empty, got None"),
    ("backup_dir", "//backups", f"{PATH_RULE}, got '//backups'"),
    ("home", "/opt/d$HOME", f"{PATH_RULE}, got '/opt/d$HOME'"),
    ("bin_dir", "/opt/a'b", f'{PATH_RULE}, got "/opt/a\'b"'),
    ("service_name", "-x", "must be a unit name without .service, got '-x'"),
    ("service_name", "dls@", "must be a unit name without .service, got 'dls@'"),
    (
        "allowed_networks",
        [],
        "must name a network, localhost at least: the server's health is asked from there, got []",
    ),
    ("version", "latest", "must be a version such as 2.4.11, got 'latest'"),
    ("version", "2.4.11\nx", "must be a version such as 2.4.11, got '2.4.11\\nx'"),
    ("version", "2.4.11\n", "must be a version such as 2.4.11, got '2.4.11\\n'"),
    ("home", "/opt/dls\n", f"{PATH_RULE}, got '/opt/dls\\n'"),
    ("version", "", "is required, got nothing"),
    ("archive", "dls.tar.gz", "must be an absolute path on the control node, or begin with ~, got 'dls.tar.gz'"),
    ("archive_checksum", "md5:1", "must be sha256: and 64 lower-case hexadecimal digits, got 'md5:1'"),
    ("launch", "docker", "must be one of vendor, direct, got 'docker'"),
    ("service_name", "dls server", "must be a unit name without .service, got 'dls server'"),
    ("user", "Robert'); DROP", 'must be a system user name, got "Robert\'); DROP"'),
    ("licenses", "a.lic", "must be of type list, got 'a.lic'"),
    ("licenses", ["a.lic"], "must be of type list, got ['a.lic']"),
    (
        "licenses",
        [{"file": "/a", "flie": "/a"}],
        "must have no keys but file, project and create in entry 1, got 'flie'",
    ),
    ("licenses", [{"project": "x"}], f"{FILE_RULE} in entry 1, got nothing"),
    ("licenses", [{"file": "files/a.lic"}], f"{FILE_RULE} in entry 1, got 'files/a.lic'"),
    ("licenses", [{"file": ["/a"]}], "must have a file of type path in entry 1, got ['/a']"),
    ("licenses", [{"file": "/a", "create": "perhaps"}], "must have a create of type bool in entry 1, got 'perhaps'"),
    ("licenses", [{"file": "/a", "project": {}}], "must have a project of type str in entry 1, got {}"),
    ("licenses", [{"file": "/a", "project": None}], "must have a project of type str in entry 1, got None"),
    (
        "licenses",
        [{"file": "/a/ü.lic"}],
        f"{NAME_RULE} in entry 1, got 'ü.lic'",
    ),
    ("licenses", [{"file": "/a/"}], f"{NAME_RULE} in entry 1, got ''"),
    ("licenses", [{"file": "/a"}, {"file": "/b/a"}], "must have files of different names in entry 2, got 'a'"),
    ("mode", "primary", "must be one of standalone, main, standby, got 'primary'"),
    ("mode", "", "must not be empty, got ''"),
    ("main_url", "ftp://b/", f"{URL_RULE}, got 'ftp://b/'"),
    ("main_url", "dls1.example.com", f"{URL_RULE}, got 'dls1.example.com'"),
    ("main_url", "http://b/\n", f"{URL_RULE}, got 'http://b/\\n'"),
    ("main_url", "http://", f"{URL_RULE}, got 'http://'"),
    ("standby_url", "http://b:99999/", f"{URL_RULE}, got 'http://b:99999/'"),
    ("standby_url", "http://[b/", f"{URL_RULE}, got 'http://[b/'"),
    ("standby_url", "http://user:word@b/", f"{URL_RULE}, got 'http://user:word@b/'"),
    ("standby_url", "http://b/?a=1", f"{URL_RULE}, got 'http://b/?a=1'"),
    ("standby_url", ["http://b/"], "must be of type str, got ['http://b/']"),
    ("allowed_networks", ["10.0.0.0/33"], "must be localhost, any, an address or a network, got '10.0.0.0/33'"),
    (
        "allowed_networks",
        ["::5%1\nUser=root"],
        "must be localhost, any, an address or a network, got '::5%1\\nUser=root'",
    ),
    ("allowed_networks", ["any\nUser=root"], "must be localhost, any, an address or a network, got 'any\\nUser=root'"),
]


@pytest.mark.parametrize(("name", "value", "message"), VALUES)
def test_value_that_breaks_a_rule_is_refused(spec: dict[str, Any], name: str, value: Any, message: str) -> None:
    spec["values"]["dls_server_" + name] = value
    found = texts(spec)
    assert len(found) == 1
    what, _, rest = found[0].partition(": ")
    assert what.startswith("dls_server_" + name)
    assert rest.startswith(message + "\nHINT: ")


@pytest.mark.parametrize("mode", ["main", "standby"])
def test_server_of_a_pair_needs_both_urls(spec: dict[str, Any], mode: str) -> None:
    spec["values"] |= {"dls_server_mode": mode, "dls_server_main_url": ""}
    assert [text.splitlines()[0] for text in texts(spec)] == [
        f"dls_server_{short}_url: is required where dls_server_mode is {mode}, got nothing"
        for short in ("main", "standby")
    ]
    spec["values"] |= {"dls_server_main_url": "http://a/", "dls_server_standby_url": "http://b/"}
    assert texts(spec) == []


@pytest.mark.parametrize(
    "standby",
    ["https://a.example/dls/", "https://a.example/dls", "https://A.Example/dls/", "https://a.example:443/dls"],
)
def test_urls_of_a_pair_that_mean_the_same_server_are_refused(spec: dict[str, Any], standby: str) -> None:
    spec["values"] |= {
        "dls_server_mode": "main",
        "dls_server_main_url": "https://a.example/dls/",
        "dls_server_standby_url": standby,
    }
    assert [text.splitlines()[0] for text in texts(spec)] == [
        f"dls_server_standby_url: must differ from dls_server_main_url, got '{standby}'"
    ]


@pytest.mark.parametrize("standby", ["https://b.example/dls/", "https://a.example:8443/dls/", "https://a.example/DLS/"])
def test_urls_of_a_pair_may_differ_in_any_part(spec: dict[str, Any], standby: str) -> None:
    spec["values"] |= {
        "dls_server_mode": "main",
        "dls_server_main_url": "https://a.example/dls/",
        "dls_server_standby_url": standby,
    }
    assert texts(spec) == []


def test_numbers_may_come_as_text(spec: dict[str, Any]) -> None:
    spec["values"]["dls_server_health_timeout"] = "30"
    assert texts(spec) == []


def test_equal_ports_are_refused(spec: dict[str, Any]) -> None:
    spec["values"]["dls_server_data_port"] = spec["values"]["dls_server_port"]
    assert texts(spec)[0].startswith("dls_server_data_port: must differ from dls_server_port")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dls_server_prot", "did you mean dls_server_port?"),
        ("dls_sever_version", "did you mean dls_server_version?"),
        ("dls_server_colour", "the variables are listed in docs/variables.md"),
    ],
)
def test_misspelt_variable_is_refused_with_the_nearest_name(spec: dict[str, Any], name: str, hint: str) -> None:
    spec["names"].append(name)
    assert texts(spec) == [f"{name}: is not a variable of this role\nHINT: {hint}"]


def test_variable_of_the_site_s_own_is_left_alone(spec: dict[str, Any]) -> None:
    spec["names"].append("dls_site")
    assert texts(spec) == []


def test_all_problems_are_reported_at_once(spec: dict[str, Any]) -> None:
    spec["values"] |= {"dls_server_port": "x", "dls_server_version": "v2", "dls_server_user": "A"}
    spec["names"].append("dls_server_prot")
    assert len(texts(spec)) == 4


def test_host_is_looked_at_though_a_variable_is_wrong(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "memory_mb", lambda: 512)
    spec["values"]["dls_server_port"] = "x"
    assert [text.split(":")[0] for text in texts(spec)] == ["dls_server_port", "memory"]


HOST = [
    (
        "os_release",
        {"ID": "arch", "PRETTY_NAME": "Arch Linux"},
        "operating system: must be of the family debian or redhat, got Arch Linux\nHINT: supported are Debian 11",
    ),
    ("memory_mb", 512, "memory: must be dls_server_min_memory_mb = 1800 MiB or more, got 512 MiB"),
    ("free_bytes", 0, "must have dls_server_min_free_mb = 1 MiB free, got 0 MiB"),
]


@pytest.mark.parametrize(("name", "value", "message"), HOST)
def test_host_that_is_not_fit_is_refused(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str, value: Any, message: str
) -> None:
    replace(monkeypatch, name, lambda *words: value)
    found = texts(spec)
    assert len(found) == 1
    assert message in found[0]
    assert "\nHINT: " in found[0]


@pytest.mark.parametrize("entry", ["main", "restore", "adopt"])
def test_folder_that_is_gone_after_a_boot_is_refused(
    spec: dict[str, Any], site: Site, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    spec["values"]["dls_server_supervisor"] = "systemd"
    replace(monkeypatch, "mounts", lambda: [("/", "ext4"), (f"{site.root}", "ext4"), (f"{site.root}", "tmpfs")])
    found = texts({**spec, "entry": entry, "line": {}})
    home = spec["values"]["dls_server_home"]
    assert any(text.startswith(f"dls_server_home: must be on a disk, got {home} in tmpfs\nHINT: ") for text in found)
    assert sum("must be on a disk" in text for text in found) == 4


@pytest.mark.parametrize(
    ("identifier", "like", "family"),
    [
        ("debian", "", "debian"),
        ("ubuntu", "debian", "debian"),
        ("linuxmint", "ubuntu debian", "debian"),
        ("rhel", "fedora", "redhat"),
        ("rocky", "rhel centos fedora", "redhat"),
        ("almalinux", "rhel centos fedora", "redhat"),
        ("ol", "fedora", "redhat"),
        ("centos", "rhel fedora", "redhat"),
    ],
)
def test_distribution_is_taken_for_one_of_its_family(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch, identifier: str, like: str, family: str
) -> None:
    replace(monkeypatch, "os_release", lambda: {"ID": identifier, "ID_LIKE": like})
    assert texts(spec) == []
    assert preflight(spec)["look"]["family"] == family


def test_host_of_an_unknown_family_is_asked_for_no_package(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "os_release", lambda: {"ID": "arch"})
    spec["packages"] = ["net-tools"]
    look = preflight(spec)["look"]
    assert (look["family"], look["missing_packages"]) == (None, [])


def test_clock_that_is_too_far_off_is_refused(spec: dict[str, Any]) -> None:
    spec["epoch"] -= 3600
    assert texts(spec)[0].startswith("clock: must be within 60 s of the control node's, got +3600 s")


def test_systemd_is_refused_where_it_does_not_run(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "has_systemd", lambda: False)
    spec["values"]["dls_server_supervisor"] = "systemd"
    assert texts(spec)[0].startswith("dls_server_supervisor: must be none on a host that systemd did not boot")


def test_plain_user_cannot_use_systemd_nor_become_another(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    replace(monkeypatch, "has_systemd", lambda: True)
    spec["values"]["dls_server_supervisor"] = "systemd"
    assert any(
        text.startswith("user: must be root for dls_server_supervisor: systemd, got nobody") for text in texts(spec)
    )
    spec["values"] |= {"dls_server_supervisor": "none", "dls_server_launch": "direct", "dls_server_user": "dls"}
    assert any(text.startswith("dls_server_user: must be the user who runs the playbook") for text in texts(spec))


def test_port_in_use_names_its_process(spec: dict[str, Any]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        spec["values"]["dls_server_port"] = port = other.getsockname()[1]
        found = texts(spec)
    assert len(found) == 1
    assert found[0].startswith(f"dls_server_port: must be a free TCP port, got {port}, which ")
    assert f"(process {os.getpid()}) listens on" in found[0]


def test_folder_with_somebody_s_files_is_refused(site: Site, spec: dict[str, Any]) -> None:
    site.home.mkdir()
    (site.home / "dls-linux").mkdir()
    assert "dls_server_home: must be empty or made by the kit, got" in texts(spec)[0]


def test_other_version_than_the_installed_one_is_refused(site: Site, spec: dict[str, Any]) -> None:
    site.install()
    point_current(site.installation, "2.4.11")
    spec["values"]["dls_server_version"] = "2.4.12"
    assert texts(spec)[0] == (
        "dls_server_version: must stay 2.4.11 on this host until it is upgraded, got 2.4.12\n"
        "HINT: upgrade it with playbooks/upgrade.yml, or set dls_server_version to 2.4.11"
    )
    spec["values"]["dls_server_version"] = "2.4.9"
    assert "HINT: restore a backup of it with playbooks/restore.yml, or" in texts(spec)[0]
    site.install(version="2.4.9")
    assert "HINT: go back with playbooks/rollback.yml, or" in texts(spec)[0]


def test_other_checksum_than_the_installed_one_s_is_refused(site: Site, spec: dict[str, Any]) -> None:
    site.install()
    assert texts(spec)[0].startswith(
        "dls_server_archive_checksum: must be that of the archive release 2.4.11 was installed from, got " + "0" * 64
    )


def test_look_says_what_differs_from_what_is_expected(site: Site, spec: dict[str, Any]) -> None:
    archive = tiny.build(site.root)
    site.install(archive)
    spec["values"]["dls_server_archive_checksum"] = "sha256:" + tiny.sha256(archive)
    fine, other = site.root / "fine", site.root / "other"
    fine.write_text("fine")
    fine.chmod(0o644)
    other.write_text("old")
    spec["files"] = [
        {"path": str(fine), "mode": "0644", "content": "fine"},
        {"path": str(other), "mode": "0644", "content": "new"},
        {"path": str(site.root / "unwanted"), "mode": "0644", "content": None},
    ]
    look = preflight(spec)["look"]
    assert look["differs"] == [str(other)]
    assert [item["content"] for item in look["files"]] == ["fine", "old", None]
    assert (look["installed"], look["current"], look["healthy"]) == (["2.4.11"], None, False)
    fine.chmod(0o666)
    assert preflight(spec)["look"]["differs"] == [str(fine), str(other)]


def test_look_at_a_blank_host_finds_that_the_user_is_missing(site: Site, spec: dict[str, Any]) -> None:
    spec["values"] |= {"dls_server_launch": "direct", "dls_server_user": "nobody-yet"}
    assert preflight(spec)["look"]["missing_user"]


PACKAGE_MANAGERS = [("debian", "dpkg-query", "dpkg"), ("redhat", "rpm", "bash")]


@pytest.mark.parametrize(("family", "program", "there"), PACKAGE_MANAGERS)
def test_missing_packages_are_those_that_the_package_manager_does_not_know_as_installed(
    family: str, program: str, there: str
) -> None:
    if not shutil.which(program) or missing_packages([there], family):
        pytest.skip(f"no packages of {program} are on this machine")
    assert missing_packages([there, "no-such-package"], family) == ["no-such-package"]


def test_answers_of_rpm_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "bash installed\npackage net-tools is not installed\npackage package is not installed\n"
    replace(monkeypatch, "run", lambda argv: (2, answer))
    assert missing_packages(["bash", "net-tools", "package"], "redhat") == ["net-tools", "package"]


def test_preflight_changes_nothing(site: Site, spec: dict[str, Any]) -> None:
    preflight(spec)
    assert not site.home.exists()


def test_prepare_writes_what_differs_and_itself_and_can_put_it_back(site: Site, tmp_path: Path) -> None:
    target, text, gone = tmp_path / "bin/dlsctl", tmp_path / "etc/new.json", tmp_path / "etc/gone"
    gone.write_text("old")
    spec: dict[str, Any] = {
        "folders": [str(tmp_path / "bin")],
        "files": [
            {"path": str(target), "mode": "0755", "self": True},
            {"path": str(text), "mode": "0644", "content": "{}\n"},
            {"path": str(gone), "mode": "0644", "content": None},
        ],
    }
    before = [as_it_is(item) for item in spec["files"] if isinstance(item, dict) and not item.get("self")]
    assert prepare(spec, check=True) == [str(path) for path in (target.parent, target, text, gone)]
    assert not target.exists()
    prepare(spec, check=False)
    assert target.read_bytes() == program().read_bytes()
    assert target.stat().st_mode & 0o777 == 0o755
    assert (text.read_text(), gone.exists()) == ("{}\n", False)
    assert prepare(spec, check=False) == []
    prepare({"files": before}, check=False)
    assert (text.exists(), gone.read_text()) == (False, "old")


def test_program_piped_through_python_can_write_itself_and_takes_no_module_of_the_folder(
    tmp_path: Path,
) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit('taken')\n")
    document = {
        "modules": {str(path.relative_to(SOURCES)): path.read_text() for path in (SOURCES / "dlsctl").glob("*.py")},
        "program": "dlsctl.cli",
        "arguments": ["prepare", "--json"],
        "spec": {"files": [{"path": str(tmp_path / "dlsctl"), "mode": "0755", "self": True}]},
    }
    command = ["python3", "-I", "-c", (SOURCES / "piped.py").read_text()]
    subprocess.run(command, input=json.dumps(document).encode(), check=True, cwd=tmp_path)
    assert (tmp_path / "dlsctl").read_bytes() == program().read_bytes()


def test_unit_that_would_run_the_server_as_root_is_refused(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "has_systemd", lambda: True)
    spec["values"] |= {"dls_server_supervisor": "systemd", "dls_server_launch": "direct", "dls_server_user": "root"}
    assert "dls_server_user: must not be root, got root" in "\n".join(texts(spec))


def test_foreign_program_named_dlsctl_is_neither_replaced_nor_removed(site: Site, spec: dict[str, Any]) -> None:
    (site.root / "bin").mkdir()
    target = site.root / "bin/dlsctl"
    target.write_text("#!/bin/sh\n")
    for spec["entry"] in ("main", "uninstall"):
        assert f"{target}: must be the kit's dlsctl or not be there" in texts(spec)[0]
    target.write_bytes(program().read_bytes())
    assert texts(spec) == []


class Unit(NamedTuple):
    """What systemd has loaded under the service's name, what is in the kit's place for it, and whether that is bad."""

    fragment: str
    content: str | None
    foreign: bool


UNITS = {
    "the kit's": Unit("/etc/systemd/system/ssh.service", "WorkingDirectory={home}/current\n", False),
    "removed, not yet forgotten": Unit("/etc/systemd/system/ssh.service", None, False),
    "unknown": Unit("", None, False),
    "the distribution's": Unit("/lib/systemd/system/ssh.service", None, True),
    "the administrator's": Unit("/etc/systemd/system/ssh.service", "[Service]\n", True),
    "of another installation": Unit("/etc/systemd/system/ssh.service", "WorkingDirectory=/srv/dls/current\n", True),
}


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("entry", ["main", "uninstall"])
def test_unit_of_another_service_is_neither_replaced_nor_removed(
    site: Site, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch, entry: str, unit: Unit
) -> None:
    path = site.root / "ssh.service"
    if unit.content is not None:
        path.write_text(unit.content.format(home=site.home))
    monkeypatch.setattr(Installation, "unit_path", lambda _: str(path))
    replace(monkeypatch, "has_systemd", lambda: True)
    properties = {"FragmentPath": unit.fragment.replace("/etc/systemd/system", str(site.root))}
    replace(monkeypatch, "unit_properties", lambda _: properties)
    spec["values"] |= {"dls_server_supervisor": "systemd"}
    spec["entry"] = entry
    assert any("must not be the name of another service's unit" in text for text in texts(spec)) is unit.foreign


@pytest.mark.parametrize("name", ["config_dir", "data_dir", "backup_dir"])
def test_purge_refuses_folders_that_hold_more_than_the_kit_s_files(site: Site, spec: dict[str, Any], name: str) -> None:
    spec["entry"], spec["options"] = "uninstall", UNINSTALL
    spec["names"] = spec["known"] = sorted(UNINSTALL)
    spec["values"]["dls_server_uninstall_purge"] = "yes"
    for path in (
        "etc/dlsctl.json",
        "etc/dls.json",
        "lib/licenses",
        "backups/20260101T000000Z-2.4.11",
    ):
        (site.root / path).parent.mkdir(exist_ok=True)
        (site.root / path).touch()
    assert texts(spec) == []
    folder = Path(spec["values"][f"dls_server_{name}"])
    (folder / "passwd").touch()
    assert [text.splitlines()[0] for text in texts(spec)] == [
        f"dls_server_{name}: must hold only the kit's files to be purged, got {folder} with passwd"
    ]
    spec["values"]["dls_server_uninstall_purge"] = False
    assert texts(spec) == []


def test_host_that_another_dlsctl_is_changing_is_refused(site: Site, spec: dict[str, Any]) -> None:
    with locked(site.installation):
        found = texts(spec)
    assert len(found) == 1
    assert found[0].startswith(f"{site.home}: must not be changed by two at a time, got held by process {os.getpid()}")


def test_new_server_is_refused_where_the_inventory_says_that_it_has_a_password(spec: dict[str, Any]) -> None:
    spec["values"]["dls_server_admin_password_set"] = True
    (text,) = texts(spec)
    assert text.startswith("dls_server_admin_password_set: must be false for a server that is not installed yet")
    assert "host_vars" in text


def test_host_of_a_pair_that_has_lost_its_mode_is_refused(spec: dict[str, Any]) -> None:
    spec["values"]["dls_server_main_url"] = "https://a.example/dls/"
    spec["values"]["dls_server_standby_url"] = "https://b.example/dls/"
    (text,) = texts(spec)
    assert text.startswith("dls_server_mode: must be main or standby where dls_server_main_url is set, got standalone")


@pytest.mark.parametrize("short", ["backup_dir", "data_dir", "config_dir"])
def test_folders_outlive_the_releases(spec: dict[str, Any], short: str) -> None:
    spec["values"][f"dls_server_{short}"] = spec["values"]["dls_server_home"] + "/kit/backups"
    assert any(text.startswith(f"dls_server_{short}: must not be inside dls_server_home") for text in texts(spec))


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "debian12"),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "ubuntu2404"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n', "rhel9"),
        ("ID=debian\n", "debian"),
        ("ID=arch\n", None),
    ],
)
def test_a_platform_is_named_as_its_repository_in_a_bundle(
    monkeypatch: pytest.MonkeyPatch, release: str, name: str | None
) -> None:
    monkeypatch.setattr("dlsctl.host.read_proc", lambda path: release)
    assert platform() == name


def test_a_platform_that_the_given_repositories_have_not_is_refused(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlsctl.preflight.platform", lambda: "debian12")
    spec["repositories"] = ["debian12", "rhel9"]
    assert texts(spec) == []
    spec["repositories"] = ["debian11", "rhel9"]
    assert texts(spec) == [
        "dls_server_package_repositories: must hold a repository called debian12, got debian11, rhel9\n"
        "HINT: build the bundle with debian12 among its targets, or leave the variable out where the host has sources"
    ]
    spec["repositories"] = []
    assert "got none" in texts(spec)[0]
