"""An installed server: started at boot, healthy, owned and reachable as configured."""

import json
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

Expected = dict[str, Any]


def test_the_service_runs_and_starts_at_boot(host: Host, expected: Expected) -> None:
    service = host.service(expected["service_name"])
    assert service.is_running
    assert service.is_enabled


def test_systemd_finds_nothing_wrong_with_the_unit(host: Host, expected: Expected) -> None:
    unit = host.file(f"/etc/systemd/system/{expected['service_name']}.service")
    assert (unit.user, unit.group, unit.mode) == ("root", "root", 0o644)
    run = host.run(f"systemd-analyze verify {unit.path}")
    assert (run.rc, run.stderr) == (0, "")
    properties = host.service(expected["service_name"]).systemd_properties
    assert properties["Restart"] == "always"
    assert properties["NeedDaemonReload"] == "no"


def test_what_a_loss_of_power_has_interrupted_is_finished_or_undone_at_boot(host: Host, expected: Expected) -> None:
    unit = f"{expected['service_name']}-recovery.service"
    assert host.run(f"systemd-analyze verify /etc/systemd/system/{unit}").stderr == ""
    assert unit in host.check_output("systemctl show --property=Wants multi-user.target")
    assert "recover --config" in host.check_output(f"systemctl cat {unit}")


def test_backups_are_made_by_a_timer_only_where_they_are_scheduled(host: Host, expected: Expected) -> None:
    name = f"{expected['service_name']}-backup"
    units = [host.file(f"/etc/systemd/system/{name}.{kind}") for kind in ("service", "timer")]
    scheduled = "backup_schedule" in expected
    assert [unit.exists for unit in units] == [scheduled, scheduled]
    timer = host.service(f"{name}.timer")
    assert timer.is_running == scheduled
    if scheduled:
        assert timer.is_enabled
        assert host.run(f"systemd-analyze verify {units[1].path}").stderr == ""
        assert host.service(f"{name}.service").systemd_properties["Result"] == "success"


def test_the_portal_answers(host: Host, expected: Expected) -> None:
    script = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).status)"
    url = f"http://127.0.0.1:{expected['port']}/page/index.html"
    assert host.check_output(f"python3 -c '{script}' {url}") == "200"


def listening(host: Host, port: int) -> set[str]:
    """The addresses on which something listens to a TCP port."""
    lines = host.check_output("ss --no-header --listening --tcp --numeric").splitlines()
    local = [line.split()[3].rpartition(":") for line in lines]
    return {address.removeprefix("[::ffff:").strip("[]") for address, _, number in local if int(number) == port}


def test_the_server_port_listens_and_the_data_port_only_on_loopback(host: Host, expected: Expected) -> None:
    assert listening(host, expected["port"])
    assert listening(host, expected["data_port"]) <= {"127.0.0.1", "::1"}
    assert listening(host, expected["data_port"])


@pytest.mark.parametrize(
    ("path", "mode", "owner"),
    [
        ("{home}", 0o755, "root"),
        ("{home}/archives", 0o755, "root"),
        ("{home}/kit", 0o755, "root"),
        ("{config_dir}", 0o755, "root"),
        ("{config_dir}/dlsctl.json", 0o644, "root"),
        ("{data_dir}/licenses", 0o700, "root"),
        ("{backup_dir}", 0o700, "root"),
        ("{bin_dir}/dlsctl", 0o755, "root"),
    ],
)
def test_a_file_of_the_kit_has_its_owner_and_mode(
    host: Host, expected: Expected, path: str, mode: int, owner: str
) -> None:
    file = host.file(path.format(**expected))
    assert (file.exists, file.user, file.mode) == (True, owner, mode)


def test_the_vendor_archive_is_kept_under_its_checksum(host: Host, expected: Expected) -> None:
    checksum = expected["archive_checksum"].removeprefix("sha256:")
    assert host.file(f"{expected['home']}/archives/{checksum}.tar.gz").sha256sum == checksum


def test_current_points_to_the_release(host: Host, expected: Expected) -> None:
    current = host.file(f"{expected['home']}/current")
    assert current.is_symlink
    assert current.linked_to == f"{expected['home']}/releases/{expected['version']}"
    assert host.file(f"{current.path}/dls-{expected['version']}.jar").is_file


def test_the_server_runs_as_an_unprivileged_user(host: Host, expected: Expected) -> None:
    # /proc, not ps: ps cuts long names.
    home = host.file(f"{expected['home']}/current").linked_to
    find = f'for p in /proc/[0-9]*; do [ "$(readlink $p/cwd)" = {home} ] && stat -c %U $p; done; true'
    users = host.check_output(find).split()
    assert len(users) >= 2, "launcher and Java"
    if expected["launch"] == "direct":
        assert set(users) == {expected["user"]}
    else:
        assert all(user.startswith("dynamso") for user in users), users


def test_dlsctl_finds_the_server_healthy_and_its_files_unchanged(expected: Expected, dlsctl: Any) -> None:
    status = dlsctl("status")
    assert status["running"]
    assert status["healthy"]
    for name in ("version", "port", "data_port", "launch", "supervisor"):
        assert status[name] == expected[name], name
    assert status["role"] == expected["mode"]
    assert dlsctl("verify")["differs"] == []
    assert dlsctl("identity")["drift"] == []


def test_state_is_what_the_archive_does_not_hold(expected: Expected, dlsctl: Any) -> None:
    state = {entry["path"]: entry["change"] for entry in dlsctl("state")["state"]}
    assert state, "a started server has written something"
    assert not any(path.endswith(".jar") or path.startswith("linux/") for path in state)


def test_the_records_name_version_and_archive(host: Host, expected: Expected, dlsctl: Any) -> None:
    assert dlsctl("version")["version"] == expected["version"]
    assert dlsctl("version")["archive_sha256"] == expected["archive_checksum"].removeprefix("sha256:")
    release = host.file(f"{expected['home']}/kit/releases/{expected['version']}.json").content_string
    assert json.loads(release)


def test_the_servers_log_is_in_the_journal(host: Host, expected: Expected) -> None:
    # Lines of the unit's own processes, not systemd's about the unit.
    unit = f"{expected['service_name']}.service"
    assert host.check_output(f"journalctl --no-pager --output=cat --lines 5 _SYSTEMD_UNIT={unit}")
