"""A server in its sandbox: what systemd says of the unit, and what the kernel says of the server's processes."""

import re
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

Expected = dict[str, Any]
MOST_EXPOSED = {"vendor": 5.0, "direct": 2.0}  # of systemd-analyze security, 0 to 10


@pytest.fixture
def processes(host: Host, dlsctl: Any) -> dict[int, dict[str, str]]:
    """What /proc/<pid>/status says of each of the server's processes, launcher and Java."""
    found = {}
    for pid in dlsctl("status")["processes"]:
        lines = host.check_output(f"cat /proc/{pid}/status").splitlines()
        found[pid] = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert len(found) >= 2, "launcher and Java"
    return found


@pytest.fixture
def hardened(expected: Expected) -> None:
    if expected["hardening"] != "full" or expected["supervisor"] != "systemd":
        pytest.skip("the inventory asks for no sandbox")


@pytest.mark.usefixtures("hardened")
def test_the_unit_is_exposed_at_most_so_far(host: Host, expected: Expected) -> None:
    rating = host.check_output(f"systemd-analyze security --no-pager {expected['service_name']}.service")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", rating)
    assert found, rating
    assert float(found[1]) <= MOST_EXPOSED[expected["launch"]], rating


@pytest.mark.usefixtures("hardened")
def test_the_processes_have_no_rights_beyond_their_user_s(processes: dict[int, dict[str, str]]) -> None:
    for status in processes.values():
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2", "a filter of system calls"
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[name], 16) == 0, name


@pytest.mark.usefixtures("hardened")
def test_the_processes_can_regain_few_capabilities_or_none(
    expected: Expected, processes: dict[int, dict[str, str]]
) -> None:
    raw_io, admin, module = 1 << 17, 1 << 21, 1 << 16  # capabilities(7)
    for status in processes.values():
        bounding = int(status["CapBnd"], 16)
        assert not bounding & (raw_io | admin | module)
        assert expected["launch"] == "vendor" or bounding == 0


@pytest.mark.usefixtures("hardened")
def test_the_processes_write_only_where_they_have_to(
    host: Host, expected: Expected, processes: dict[int, dict[str, str]]
) -> None:
    pid = max(processes)
    mounts = host.check_output(f"cat /proc/{pid}/mounts").splitlines()
    root = next(line.split() for line in mounts if line.split()[1] == "/")
    assert "ro" in root[3].split(",")
    release = host.file(f"{expected['home']}/current").linked_to
    own = next(line.split() for line in mounts if line.split()[1] == release)
    assert "rw" in own[3].split(",")
    for path in (expected["data_dir"], expected["backup_dir"]):
        assert host.check_output(f"stat --format %a /proc/{pid}/root{path}") == "0"
    assert host.check_output(f"ls /proc/{pid}/root/dev") != host.check_output("ls /dev")


def test_a_crash_leaves_no_core_of_the_server_s_memory(host: Host, processes: dict[int, dict[str, str]]) -> None:
    for pid in processes:
        assert re.search(r"^Max core file size\s+0\s+", host.check_output(f"cat /proc/{pid}/limits"), re.MULTILINE)


def test_files_and_tasks_are_bounded(host: Host, expected: Expected, processes: dict[int, dict[str, str]]) -> None:
    most = int(re.search(r"Max open files\s+\d+\s+(\d+)", host.check_output("cat /proc/1/limits"))[1])  # type: ignore[index]
    for pid in processes:
        found = re.search(r"Max open files\s+(\d+)\s+(\d+)", host.check_output(f"cat /proc/{pid}/limits"))
        assert found
        assert int(found[2]) == min(65536, most), "a container's own limit may be lower"
    properties = host.service(expected["service_name"]).systemd_properties
    assert properties["TasksMax"] == "4096"
    assert (properties["MemoryMax"] == "infinity") == (expected["memory_max_mb"] == 0)


def test_what_the_server_has_written_is_not_for_everybody(host: Host, expected: Expected, dlsctl: Any) -> None:
    base = host.file(f"{expected['home']}/current").linked_to
    written = [entry for entry in dlsctl("state")["state"] if entry["change"] == "added" and entry["kind"] == "file"]
    assert written
    for entry in written:
        assert not int(entry["mode"], 8) & 0o007, f"{base}/{entry['path']}"


def test_the_server_sees_what_its_licence_is_bound_to(dlsctl: Any) -> None:
    identity = dlsctl("identity")
    assert identity["hidden"] == []
    wanted = {name for name, value in identity["labels"].items() if value and name != "mac"}
    wanted |= {f"mac {name}" for name in identity["labels"]["mac"]}
    assert wanted >= {"processor", "machine_id_sha256"}
    for seen in identity["in_sight"].values():
        assert set(seen) >= wanted - {"board_serial_sha256"}, "only root may read that one"
