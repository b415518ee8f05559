"""Whether a server in a sandbox still sees what its licence is bound to: asked of real namespaces."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlsctl.apply import apply
from dlsctl.installation import Installation
from dlsctl.problems import Hidden
from dlsctl.sandbox import labels, labels_seen_by, recorded_sight, sandbox_announcement
from tests.dlsctl.conftest import Site
from tests.dlsctl.replacing import replace

ROOT = (0, 0)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can look into another process's namespaces")


@contextmanager
def process_in(*namespaces: str, script: str = "true") -> Iterator[int]:
    """A process in namespaces of its own, in which `script` was run."""
    command = ["unshare", *namespaces, "sh", "-c", f"({script}) && echo ready && exec sleep 60"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            pytest.skip("this machine gives no namespaces to root")
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_process_without_a_sandbox_sees_every_label() -> None:
    seen = labels_seen_by(os.getpid(), ROOT)
    assert seen == labels()
    assert "processor" in seen


def test_label_whose_file_is_hidden_or_replaced_is_not_in_sight() -> None:
    if "machine_id_sha256" not in labels():
        pytest.skip("this machine has no machine id")
    with process_in("--mount", script="mount --bind /dev/null /etc/machine-id") as pid:
        seen = labels_seen_by(pid, ROOT)
    assert labels().keys() - seen.keys() == {"machine_id_sha256"}
    with process_in("--mount", script="mount --bind /etc/hostname /etc/machine-id") as pid:
        seen = labels_seen_by(pid, ROOT)
    assert seen["machine_id_sha256"] != labels()["machine_id_sha256"]


def test_network_cards_are_out_of_sight_in_a_network_of_its_own() -> None:
    with process_in("--net") as pid:
        assert not [name for name in labels_seen_by(pid, ROOT) if name.startswith("mac ")]


def test_named_pipe_in_the_root_of_the_server_s_own_making_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "LOOK_SECONDS", 1)
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/machine-id")
    child = os.fork()
    if child == 0:
        os.chroot(tmp_path)
        signal.pause()
    try:
        time.sleep(0.2)
        assert labels_seen_by(child, ROOT) == {}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_label_that_only_root_reads_is_not_in_the_user_s_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "product_uuid"
    secret.write_text("board 1\n")
    secret.chmod(0o400)
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(folder.stat().st_mode | 0o055)
    replace(monkeypatch, "FURTHER_LABELS", (("system_uuid", str(secret)),))
    assert "system_uuid" in labels_seen_by(os.getpid(), ROOT)
    assert "system_uuid" not in labels_seen_by(os.getpid(), (65534, 65534))


def test_apply_records_what_the_server_sees_and_refuses_to_lose_a_label(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    inst = site.installation
    recorded = recorded_sight(inst)
    assert recorded["root"] == sorted(labels())
    assert apply(inst) == []
    everything = labels_seen_by
    replace(
        monkeypatch,
        "labels_seen_by",
        lambda pid, account: {name: value for name, value in everything(pid, account).items() if name != "processor"},
    )
    with pytest.raises(Hidden, match=r"hidden from it: processor \(as root\), processor \(as user\)\nHINT: "):
        apply(inst)
    assert recorded_sight(inst) == recorded


def test_label_that_the_host_itself_has_lost_is_not_blamed_on_the_sandbox(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    replace(monkeypatch, "identity", lambda: {"processor": "one", "mac": {"eth9": "02:00:00:00:00:01"}})
    apply(site.installation)
    replace(monkeypatch, "identity", lambda: {"processor": "another", "mac": {}})
    apply(site.installation)
    assert recorded_sight(site.installation)["root"] == ["processor"]


UNIT = """[Service]
ExecStart=/bin/true
UMask=0027
IPAddressAllow=localhost
{}"""


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", "PrivateDevices=yes\n", "+PrivateDevices=yes"),
        ("PrivateDevices=yes\nUser=dls\n", "User=dls\n", "-PrivateDevices=yes"),
        ("# PrivateDevices=yes\nMemoryMax=1G\n", "ExecStop=/bin/true\nLimitCORE=0\n", None),
    ],
)
def test_change_of_the_sandbox_is_announced_and_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch, before: str, after: str, said: str | None
) -> None:
    path = site.root / "dls.service"
    path.write_text(UNIT.format(before))
    monkeypatch.setattr(Installation, "unit_path", lambda _: str(path))
    spec = {"files": [{"path": str(path), "mode": "0644", "content": UNIT.format(after)}]}
    assert sandbox_announcement(spec, site.installation) is None, "nothing is installed"
    site.deploy()
    announcement = sandbox_announcement(spec, site.installation)
    if said is None:
        assert announcement is None
    else:
        assert announcement
        assert f"\n  {said}\n  it sees now: " in announcement
        assert "processor (as root)" in announcement
        assert "HINT: note the UUID" in announcement
