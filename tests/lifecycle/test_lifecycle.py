"""The life of a pair in the lab, by its playbooks, under a client loop; each test leaves a healthy pair to the next.

Runs in the Molecule scenario lifecycle, on hosts with release 2.4.11: lab-main, lab-standby and lab-client.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from docker.models.containers import Container

from tests.checkout import play
from tests.checkout.site import archive_variables
from tests.lab import engine
from tests.pair.test_failover import RATE, Loop, Pair, loop
from tests.test_role_lifecycle import keys_of_age

pytestmark = pytest.mark.slow

SERVERS = ("lab-main", "lab-standby")
OLD, NEW, BAD = "2.4.11", "2.4.12", "2.4.13"
STORE = "/opt/dls/current/data/store.log"
FAR = "/home/kit/far"
DLSCTL = "/usr/local/sbin/dlsctl"


class Life(Pair):
    """The hosts of the scenario, with what an operator does to them."""

    def inventory(self, version: str) -> None:
        """Let the inventory name a release."""
        (self.lab.inventory / "archive.yml").write_text(yaml.safe_dump({"dls": {"vars": archive_variables(version)}}))

    def describe(self, file: str, name: str, variables: dict[str, str]) -> Path:
        """Give a host variables, and a place among the servers, in a file of the inventory."""
        path = self.lab.inventory / f"{file}.yml"
        path.write_text(yaml.safe_dump({"dls": {"hosts": {name: variables}}}))
        return path

    def run(self, name: str, *options: str) -> play.Result:
        shown = {"ANSIBLE_DISPLAY_OK_HOSTS": "true"}
        environment = {"ANSIBLE_NOCOLOR": "true", "ANSIBLE_FORCE_COLOR": "false", **shown}  # Molecule forces colours
        done = play.run(name, self.lab.inventory, *options, quiet=True, environment=environment)
        print(done.output)
        return done

    def succeed(self, name: str, *options: str) -> play.Result:
        done = self.run(name, *options)
        assert done.code == 0, done.output
        return done

    def upgrade(self, *options: str) -> play.Result:
        return self.run("upgrade", "-e", "dls_server_upgrade_acknowledged=true", *options)

    def versions(self) -> list[str]:
        return [self.shell(name, f"{DLSCTL} version").strip() for name in SERVERS]

    def stores(self) -> list[str]:
        """What the two servers keep, without what they are about to write."""
        return [self.shell(name, f"cat {STORE}") for name in SERVERS]

    def inside(self, name: str, command: str) -> tuple[int | None, str]:
        """Run a shell command on a host by its engine, whatever becomes of its network."""
        container = engine.connect().containers.get(self.hosts[name].container)
        code, output = container.exec_run(["sh", "-c", command])
        assert isinstance(output, bytes)
        return code, output.decode()


@pytest.fixture(scope="module")
def life() -> Life:
    """The pair; lab-client keeps copies of the standby's backups, as an operator prepares it."""
    life = Life()
    public = life.inside("lab-standby", "ssh-keygen -q -t ed25519 -N '' -f /root/saver && cat /root/saver.pub")[1]
    life.shell("lab-client", f"install -d -o kit {FAR} && echo '{public.strip()}' >> /home/kit/.ssh/authorized_keys")
    life.inside("lab-standby", "mkdir -p /root/.ssh && ssh-keyscan lab-client > /root/.ssh/known_hosts")
    variables = {"dls_server_backup_push": f"sftp://kit@lab-client{FAR}", "dls_server_backup_push_key": "/root/saver"}
    life.describe("push", "lab-standby", variables)
    life.succeed("install")
    return life


def assert_none_was_lost(running: Loop, began: float) -> None:
    """Every call was answered; a standby may refuse until it has noticed that its main is gone, or back."""
    print(running)
    assert len(running.calls) / (time.time() - began) > RATE / 2, "the loop must call often enough to prove something"
    assert [call for call in running.calls if call.who == "nobody"] == []
    refused = [call.began for call in running.calls if call.who == "refused"]
    assert not refused or max(refused) - min(refused) < 40, "only while the main restarts"


def test_no_call_is_lost_while_the_pair_is_upgraded(life: Life) -> None:
    before = life.stores()
    assert all(before)
    life.inventory(NEW)
    assert "would upgrade 2.4.11 to 2.4.12" in life.upgrade("--check").output
    assert life.versions() == [OLD, OLD]
    with loop(life) as running:
        began = time.time()
        running.wait("main", 0, 10)
        done = life.upgrade()
        running.wait("main", time.time(), 20)
    assert done.code == 0, done.output
    assert_none_was_lost(running, began)
    assert running.count("standby") > 0
    assert life.versions() == [NEW, NEW]
    for old, new in zip(before, life.stores(), strict=True):
        assert new.startswith(old), "the state is carried over"
    assert life.upgrade().changed == 0
    assert life.succeed("install").changed == 0
    life.succeed("verify")


def test_a_backup_is_made_read_tried_and_restored(life: Life, tmp_path: Path) -> None:
    done = life.succeed("backup", "-e", f"dls_server_backup_fetch_dir={tmp_path}")
    assert done.recap["lab-main"]["changed"] >= 1
    for name in SERVERS:
        (copy,) = (tmp_path / name).iterdir()
        assert sorted(path.name for path in copy.iterdir())[0] == "manifest.json"
        assert "every byte is as it was written" in life.shell(name, f"{DLSCTL} verify-backup")
    done = life.succeed("drill", "-e", f"dls_server_drill_report_dir={tmp_path}/reports")
    assert "release 2.4.12 was healthy" in done.output
    reports = [json.loads(path.read_text()) for path in sorted((tmp_path / "reports").iterdir())]
    assert [report["inventory_host"] for report in reports] == list(SERVERS)
    life.succeed("verify")

    saved = life.stores()[0]
    life.inside("lab-main", f"echo lost >> {STORE}")
    refused = life.run("restore", "--limit", "lab-main")
    assert "must hold no server to be restored into" in " ".join(refused.output.split())
    life.succeed("restore", "--limit", "lab-main", "-e", "dls_server_restore_replace=true")
    assert "lost\n" not in life.stores()[0]
    assert life.stores()[0][:1000] == saved[:1000]
    life.succeed("verify")
    assert life.succeed("install").changed == 0


def test_the_timer_makes_backups_and_a_failed_one_is_seen(life: Life) -> None:
    unit = "dynamsoft-dls-backup"
    for name in SERVERS:
        before = json.loads(life.shell(name, f"{DLSCTL} backups --json"))["backups"]
        assert life.shell(name, f"systemctl is-active {unit}.timer").strip() == "active"
        assert life.shell(name, f"systemctl is-enabled {unit}.timer").strip() == "enabled"
        life.shell(name, f"systemctl start {unit}.service")
        after = json.loads(life.shell(name, f"{DLSCTL} backups --json"))["backups"]
        assert after[-1]["reason"] == "scheduled"
        assert len(after) == len(before) + 1
    copies = life.shell("lab-client", f"ls {FAR}/lab-standby").split()
    assert copies == [backup["name"] for backup in after if backup["reason"] in ("playbook", "scheduled")]
    life.inside("lab-standby", "mount -t tmpfs -o ro none /var/backups/dls")
    try:
        code, _ = life.inside("lab-standby", f"systemctl start {unit}.service")
        assert code
        assert life.inside("lab-standby", f"systemctl is-failed {unit}.service")[1].strip() == "failed"
        found = " ".join(life.run("verify").output.split())
        assert f"{unit}.service: must have made a backup the last time, got exit-code" in found
    finally:
        life.inside("lab-standby", "umount /var/backups/dls")
    life.shell("lab-standby", f"systemctl start {unit}.service")
    life.succeed("verify")


@contextmanager
def broken(life: Life, name: str, version: str) -> Iterator[None]:
    """A host on which a release does not start."""
    folder = "/etc/systemd/system/dynamsoft-dls.service.d"
    line = f"ExecStartPre=+/bin/sh -c '! readlink /opt/dls/current | grep -q {version}'"
    life.inside(name, f'printf "[Service]\\n%s\\n" "{line}" > {folder}/test.conf && systemctl daemon-reload')
    try:
        yield
    finally:
        life.inside(name, f"rm {folder}/test.conf && systemctl daemon-reload")


def test_an_upgrade_whose_main_gets_no_health_leaves_both_on_the_old_release(life: Life) -> None:
    before = life.stores()
    life.inventory(BAD)
    with broken(life, "lab-main", BAD), loop(life) as running:
        began = time.time()
        done = life.upgrade("-e", "dls_server_health_timeout=20")
        running.wait("main", time.time(), 20)
    assert done.code != 0
    text = " ".join(done.output.split())
    assert "health: must answer http://127.0.0.1:48080/page/index.html within 20 s" in text
    assert "lab-standby: must have the version of lab-main, where the new one failed, and went back to 2.4.12" in text
    assert [call for call in running.calls if call.who == "nobody"] == []
    assert len(running.calls) / (time.time() - began) > RATE / 2
    assert life.versions() == [NEW, NEW]
    for old, new in zip(before, life.stores(), strict=True):
        assert new.startswith(old)
    life.inventory(NEW)
    life.succeed("verify")
    assert life.succeed("install").changed == 0


def test_no_call_is_lost_while_the_pair_is_rolled_back(life: Life) -> None:
    life.inventory(OLD)
    with loop(life) as running:
        began = time.time()
        done = life.run("rollback")
        running.wait("main", time.time(), 20)
    assert done.code == 0, done.output
    assert_none_was_lost(running, began)
    assert life.versions() == [OLD, OLD]
    assert life.run("rollback").changed == 0
    life.succeed("verify")


def test_a_lost_connection_neither_stops_nor_spoils_an_upgrade(life: Life) -> None:
    life.inventory(NEW)
    cut: list[str] = []

    def cut_off() -> None:
        """Cut every connection to the main as soon as it is stopped for the upgrade."""
        while not cut:
            _, journal = life.inside("lab-main", "cat /opt/dls/kit/journal.json")
            if '"upgrade"' in journal and '"step": "stage"' not in journal:
                cut.append(life.inside("lab-main", "pkill -f '^sshd: kit' && echo cut")[1])
            time.sleep(0.1)

    thread = threading.Thread(target=cut_off, daemon=True)
    thread.start()
    done = life.upgrade()
    assert cut, "the upgrade was not seen"
    assert done.code == 0, done.output
    assert "UNREACHABLE" in done.output
    assert "Wait until its work has ended" in done.output
    assert life.versions() == [NEW, NEW]
    life.succeed("verify")


def purge(life: Life, name: str) -> None:
    """Leave nothing of the kit and the server on a host."""
    life.succeed("uninstall", "--limit", name, "-e", "dls_server_uninstall_purge=true")
    life.inside(name, "rm -rf /opt/dls")
    assert life.inside(name, "ls -d /opt/dls /etc/dls /var/lib/dls /var/backups/dls 2> /dev/null")[1] == ""


def fetch_backup(life: Life, name: str, folder: Path) -> Path:
    """Make a backup of a host; returns its copy on the control node."""
    life.succeed("backup", "--limit", name, "-e", f"dls_server_backup_fetch_dir={folder}")
    (copy,) = (folder / name).iterdir()
    return copy


def test_a_main_that_lost_its_disk_is_restored_onto_a_host_that_has_nothing(life: Life, tmp_path: Path) -> None:
    copy = fetch_backup(life, "lab-main", tmp_path)
    saved = life.stores()[0]
    purge(life, "lab-main")
    life.succeed("restore", "--limit", "lab-main", "-e", f"dls_server_restore_upload={copy}")
    assert life.stores()[0].startswith(saved[:1000])
    for question in ("is-active", "is-enabled"):
        for unit in ("dynamsoft-dls.service", "dynamsoft-dls-backup.timer"):
            assert life.shell("lab-main", f"systemctl {question} {unit}").strip() in ("active", "enabled")
    life.succeed("verify")
    assert life.succeed("install").changed == 0


def test_an_encrypted_backup_is_restored_on_another_machine_when_that_is_wanted(life: Life, tmp_path: Path) -> None:
    public, secret, vaulted = keys_of_age(tmp_path)
    age = Path(str(shutil.which("age"))).read_bytes()  # it needs nothing else of a host
    for name in ("lab-standby", "lab-spare"):
        subprocess.run(life.ssh(name, "sudo install /dev/stdin /usr/bin/age"), input=age, check=True)
    encrypting = life.describe("encrypting", "lab-standby", {"dls_server_backup_recipient": public})
    life.succeed("install", "--limit", "lab-standby")
    copy = fetch_backup(life, "lab-standby", tmp_path)
    encrypting.unlink()
    life.succeed("install", "--limit", "lab-standby")
    alone = {"dls_server_mode": "standalone", "dls_server_main_url": "", "dls_server_standby_url": ""}
    spare = life.describe("spare", "lab-spare", {**alone, "dls_server_launch": "direct"})
    files = {"upload": copy, "key": vaulted}
    options = [word for name, path in files.items() for word in ("-e", f"dls_server_restore_{name}={path}")]
    options += ["--limit", "lab-spare", f"--vault-password-file={tmp_path}/vault-password"]
    try:
        text = " ".join(life.run("restore", *options).output.split())
        assert "must be of this host: " in text
        assert "with dls_server_restore_rehost: true it is restored all the same" in text
        assert life.inside("lab-spare", "ls -d /opt/dls")[0]
        done = life.succeed("restore", "-vvv", *options, "-e", "dls_server_restore_rehost=true")
        told = " ".join(done.output.split())
        assert "This is another machine: activate the licence anew for the UUID that its portal shows" in told
        assert secret.splitlines()[-1] not in done.output
        assert life.inside("lab-spare", "ls -d /run/.dynamsoft-dls-key /opt/dls/.sent-backup")[0]
        assert life.shell("lab-spare", f"cat {STORE}").startswith(life.stores()[1][:1000])
        assert json.loads(life.shell("lab-spare", f"{DLSCTL} identity --json"))["problems"] == []
        life.succeed("verify", "--limit", "lab-spare")
        assert life.succeed("install", "--limit", "lab-spare").changed == 0
    finally:
        purge(life, "lab-spare")
        spare.unlink()
    life.succeed("verify")


def end_at_once(container: Container) -> None:
    """End all processes of a host in one moment: dlsctl must not see its server or systemd go before itself."""
    container.pause()
    for process in container.top()["Processes"]:
        os.kill(int(process[1]), signal.SIGKILL)
    container.unpause()


@pytest.mark.parametrize(("step", "version"), [("stage", NEW), ("start", BAD)])
def test_a_reboot_in_the_middle_of_an_upgrade_is_told_as_undone_or_done(life: Life, step: str, version: str) -> None:
    """The standby goes first: where it is on the old release again, the main is left alone."""
    before = life.stores()
    life.inventory(BAD)
    container = engine.connect().containers.get(life.hosts["lab-standby"].container)
    lost: list[str] = []

    def lose_power() -> None:
        while not lost:
            _, journal = life.inside("lab-standby", "cat /opt/dls/kit/journal.json")
            if '"upgrade"' in journal and f'"step": "{step}"' in journal:
                end_at_once(container)
                lost.append(journal)
                container.start()
            time.sleep(0.1)

    thread = threading.Thread(target=lose_power, daemon=True)
    thread.start()
    done = life.upgrade()
    assert lost, "the upgrade was not seen"
    text = " ".join(done.output.split())
    assert "UNREACHABLE" in text
    assert life.versions() == [version, version]
    for old, new in zip(before, life.stores(), strict=True):
        assert new.startswith(old)
    if version == BAD:
        assert done.code == 0, done.output
        assert "the upgrade went on while nobody watched: it is done" in text
    else:
        assert done.code != 0, done.output
        assert "upgrade: must run to its end, got killed HINT: what it had begun is undone" in text
        assert "lab-standby: must be upgraded and healthy before its main lab-main, got a failure" in text
        life.inventory(NEW)
    life.succeed("verify")
    assert life.succeed("install").changed == 0
