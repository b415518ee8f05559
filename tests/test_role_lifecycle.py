"""The life cycle as the playbooks go through it: two installations on this machine, without supervisor."""

import filecmp
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlskit import minisign
from tests.checkout import play
from tests.checkout.paths import ROOT
from tests.dlsctl import tiny
from tests.test_role_pair import Pair, pair  # noqa: F401 - the fixture

pytestmark = pytest.mark.slow

# Clients of a standby get error 100 while its main answers, as the vendor documents.
STANDBY = """
import json, urllib.error, urllib.request
main, standby = json.loads(pathlib.Path("dls.json").read_text())["servers"]
class Answer:
    def __int__(self):
        try:
            urllib.request.urlopen(main + "auth/", timeout=1)
        except urllib.error.HTTPError:
            return 100
        except (OSError, ValueError):
            pass
        return 101
error = 101 if main == "self" else Answer()
"""


class Life:
    """A pair with the ways of its life."""

    def __init__(self, pair: Pair, before: str = STANDBY) -> None:  # noqa: F811
        self.pair, self.before = pair, before
        self.use("2.4.11")
        pair.shared |= {"dls_server_upgrade_acknowledged": True, "dls_server_backup_min_age_hours": 0}

    def use(self, version: str, **archive: Any) -> None:
        """Let the inventory name a release; `before` is Python that its server runs first."""
        archive["before"] = self.before + archive.get("before", "")
        path = tiny.build(self.pair.root, version, **archive)
        self.pair.shared |= {
            "dls_server_version": version,
            "dls_server_archive": str(path),
            "dls_server_archive_checksum": "sha256:" + tiny.sha256(path),
        }

    def run(self, name: str, *options: str) -> play.Result:
        done = self.pair.play(name, *options, environment={"ANSIBLE_DISPLAY_OK_HOSTS": "true"})
        print(done.output)
        return done

    def succeed(self, name: str, *options: str) -> play.Result:
        done = self.run(name, *options)
        assert done.code == 0, done.output
        return done

    def refuse(self, name: str, *options: str) -> str:
        """Run a playbook that must fail; returns its output in one line."""
        done = self.run(name, *options)
        assert done.code != 0, done.output
        return " ".join(done.output.split())

    def versions(self) -> list[str]:
        return [(self.home(mode) / "current").readlink().name for mode in ("main", "standby")]

    def home(self, mode: str) -> Path:
        return self.pair.root / mode / "opt"

    def store(self, mode: str) -> str:
        return (self.home(mode) / "current/data/store.log").read_text()

    def backups(self, mode: str) -> list[str]:
        return sorted(path.name for path in (self.pair.root / mode / "backups").iterdir())


class Client:
    """A client that asks the main, then the standby, all the time; it keeps when nobody had an answer for it."""

    def __init__(self, life: Life) -> None:
        self.urls = [life.pair.shared[f"dls_server_{mode}_url"] + "auth/" for mode in ("main", "standby")]
        self.calls, self.unanswered, self.ended = 0, list[str](), threading.Event()
        self.thread = threading.Thread(target=self.ask_on)

    def __enter__(self) -> "Client":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def ask_on(self) -> None:
        while not self.ended.wait(0.05):
            self.calls += 1
            # Once more, as clients do: the main may come up between the two questions, and the standby stands back.
            got = [answer_of(url) for url in self.urls * 2]
            if "101" not in got:
                self.unanswered.append(f"call {self.calls}: {', '.join(got)}")


def answer_of(url: str) -> str:
    """The error code of a server's answer to a client: 101 is its own, 100 a standby's beside its main."""
    try:
        urllib.request.urlopen(url, timeout=5)  # noqa: S310 - http of this machine
    except urllib.error.HTTPError as answer:
        body = answer.read()
        try:
            return str(json.loads(body)["errorCode"])
        except ValueError:
            return f"status {answer.code}, no JSON: {body!r}"
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    return "no error code"


@pytest.fixture
def life(pair: Pair) -> Life:  # noqa: F811
    life = Life(pair)
    life.succeed("install")
    return life


def test_invariant_19_a_pair_is_upgraded_standby_first_and_rolled_back_main_first_and_always_answers(
    life: Life,
) -> None:
    for mode in ("main", "standby"):
        (life.home(mode) / "current/data/store.log").open("a").write("a client\n")
    life.use("2.4.12", before="time.sleep(2)")  # so that nobody can overlook that both are away
    predicted = life.succeed("upgrade", "--check")
    assert "would upgrade 2.4.11 to 2.4.12" in predicted.output
    assert predicted.changed >= 2
    assert life.versions() == ["2.4.11", "2.4.11"]
    with Client(life) as client:
        life.succeed("upgrade")
    assert client.calls > 50
    assert client.unanswered == []
    assert life.versions() == ["2.4.12", "2.4.12"]
    assert "a client" in life.store("main") and "a client" in life.store("standby")
    assert life.succeed("upgrade").changed == 0
    assert life.succeed("install").changed == 0
    assert life.succeed("verify").changed == 0
    for mode in ("main", "standby"):
        (life.home(mode) / "current/data/store.log").open("a").write("a later client\n")
    assert "must name the release to go back to, which was in use before 2.4.12: 2.4.11" in life.refuse("rollback")
    life.use("2.4.11")
    assert "version: must not be older than 2.4.12, got 2.4.11 HINT: go back with" in life.refuse("upgrade")
    with Client(life) as client:
        life.succeed("rollback")
    assert client.unanswered == []
    assert life.versions() == ["2.4.11", "2.4.11"]
    assert "a later client" not in life.store("main")
    assert life.succeed("rollback").changed == 0
    life.succeed("verify")


BROKEN = "if main == 'self': sys.exit(3)"


def test_invariant_19_where_the_main_does_not_come_up_both_hosts_stay_on_one_version(life: Life) -> None:
    life.use("2.4.12", before=BROKEN)
    life.pair.shared["dls_server_health_timeout"] = 3
    text = life.refuse("upgrade")
    assert "health: must answer http://127.0.0.1:" in text
    assert "dls-standby: must have the version of dls-main, where the new one failed, and went back to 2.4.11" in text
    assert life.versions() == ["2.4.11", "2.4.11"]
    life.use("2.4.11")
    life.pair.shared["dls_server_health_timeout"] = 20  # the earlier configuration is back, too
    life.succeed("verify")

    # Not without the other host, not without a word, and not while clients would have nobody.
    life.use("2.4.12")
    assert "dls-standby: must be upgraded in one run with dls-main, got one without" in life.refuse(
        "upgrade", "--limit", "dls-main"
    )
    life.pair.shared["dls_server_upgrade_acknowledged"] = False
    text = life.refuse("upgrade")
    assert "upgrade: must be acknowledged: the vendor advises not to upgrade unless it is necessary" in text
    life.pair.shared["dls_server_upgrade_acknowledged"] = True
    life.pair.dlsctl("standby", "stop")
    assert "before it is upgraded, got it is stopped" in life.refuse("upgrade")
    assert life.versions() == ["2.4.11", "2.4.11"]


def test_invariant_19_where_the_standby_does_not_come_up_the_main_is_not_touched(life: Life) -> None:
    before = life.store("main")
    life.use("2.4.12", before="if main != 'self': sys.exit(3)")
    life.pair.shared["dls_server_health_timeout"] = 3
    text = life.refuse("upgrade")
    assert "dls-standby: must be upgraded and healthy before its main dls-main, got a failure" in text
    assert life.versions() == ["2.4.11", "2.4.11"]
    assert life.store("main") == before, "each start writes a line"
    assert not (life.home("main") / "kit/upgrades.json").exists()


def test_invariant_19_a_pair_is_never_upgraded_out_of_order_however_ansible_is_set(life: Life) -> None:
    before = life.store("main")
    life.use("2.4.12", before="if main != 'self': sys.exit(3)")
    life.pair.shared["dls_server_health_timeout"] = 3
    for strategy in ("free", "host_pinned"):
        done = life.pair.play("upgrade", environment={"ANSIBLE_STRATEGY": strategy})
        assert done.code != 0, done.output
        assert "dls-standby: must be upgraded and healthy before its main dls-main" in done.output, done.output
    for setting in ("serial: 1", "strategy: free"):
        done = life.pair.play(own_play(life, setting), environment={"ANSIBLE_ROLES_PATH": str(ROOT / "roles")})
        assert done.code != 0, done.output
        assert life.versions() == ["2.4.11", "2.4.11"], setting
        assert life.store("main") == before, f"{setting}: each start writes a line"
        assert re.search("must be upgraded (in one run with|and healthy before)", done.output), done.output


def own_play(life: Life, setting: str) -> Path:
    """The kit's play of an upgrade with a setting of somebody's own."""
    path = life.pair.root / "own.yml"
    kit = yaml.safe_load((ROOT / "playbooks/upgrade.yml").read_text())
    kit[0].pop("strategy", None)
    path.write_text(yaml.safe_dump([kit[0] | yaml.safe_load(setting)]))
    return path


def test_invariant_19_where_the_second_host_cannot_be_rolled_back_the_first_returns(life: Life) -> None:
    life.use("2.4.12")
    life.succeed("upgrade")
    (life.home("main") / "current/data/store.log").open("a").write("a later client\n")
    startup = life.home("standby") / "releases/2.4.11/dls-2.4.11.jar"
    startup.write_text("import sys; sys.exit(3)")
    life.use("2.4.11")
    life.pair.shared["dls_server_health_timeout"] = 3
    text = life.refuse("rollback")
    assert "dls-main: must have the version of dls-standby, where the new one failed, and went back to 2.4.12" in text
    assert life.versions() == ["2.4.12", "2.4.12"]
    assert "a later client" in life.store("main")
    life.use("2.4.12")
    life.pair.shared["dls_server_health_timeout"] = 20
    life.succeed("verify")


def test_invariant_19_where_a_standby_that_was_rolled_back_does_not_do_its_part_both_return(life: Life) -> None:
    life.use("2.4.12")
    life.succeed("upgrade")
    program = life.home("standby") / "releases/2.4.11/dls-2.4.11.jar"
    program.write_text(program.read_text().replace("else Answer()", "else 101"))
    life.use("2.4.11")
    life.pair.shared["dls_server_health_timeout"] = 3
    text = life.refuse("rollback")
    assert "standby: must refuse clients" in text
    assert "Release 2.4.12 is in use again." in text
    assert "dls-main: must have the version of dls-standby, where the new one failed, and went back to 2.4.12" in text
    assert life.versions() == ["2.4.12", "2.4.12"]


@pytest.fixture
def alone(pair: Pair) -> Life:  # noqa: F811
    """An installation without a pair, whose backups are fetched and copied; its store holds a client's line."""
    del pair.hosts["dls-standby"], pair.shared["dls_server_main_url"], pair.shared["dls_server_standby_url"]
    pair.hosts["dls-main"]["dls_server_mode"] = "standalone"
    (pair.root / "mounted").mkdir()
    pair.shared["dls_server_backup_push"] = str(pair.root / "mounted")
    pair.shared["dls_server_backup_fetch_dir"] = relative(pair.root / "fetched")
    alone = Life(pair, before="")
    alone.succeed("install")
    (alone.home("main") / "current/data/store.log").open("a").write("a client\n")
    return alone


def fetched(life: Life) -> Path:
    """Make a backup; returns its copy on the control node."""
    life.succeed("backup")
    (name,) = life.backups("main")
    return life.pair.root / "fetched/dls-main" / name


def test_a_backup_is_fetched_copied_and_tried(alone: Life) -> None:
    root, shared = alone.pair.root, alone.pair.shared
    (root / "mounted").rmdir()
    assert f"{root}/mounted: must be a folder that is there, for the copy of a backup, got none" in alone.refuse(
        "backup"
    )
    (root / "mounted").mkdir()
    shared["dls_server_backup_recipient"] = "age1" + "q" * 58
    text = alone.refuse("backup")
    assert "dls_server_backup_recipient: must be the one that this host encrypts to, none, got" in text
    del shared["dls_server_backup_recipient"]
    assert alone.succeed("backup", "--check").changed == 1
    assert alone.backups("main") == []
    here = fetched(alone)
    for copy in (here, root / "mounted" / socket.gethostname() / here.name):
        assert filecmp.dircmp(root / "main/backups" / here.name, copy).diff_files == []
        assert {oct(path.stat().st_mode & 0o777) for path in copy.iterdir()} == {"0o600"}
        assert oct(copy.stat().st_mode & 0o777) == "0o700"

    shared["dls_server_drill_report_dir"] = relative(root / "reports")
    shared["dls_server_drill_sign_key"] = str(signing_key(root))
    before = drills(root)
    assert "release 2.4.11 was healthy" in alone.succeed("drill").output
    assert drills(root) == before
    report, signature = sorted((root / "reports").iterdir())
    key = minisign.parse_public_key((root / "key.pub").read_bytes(), "key")
    comment = minisign.verify(report.read_bytes(), signature.read_bytes(), key, "report")
    assert comment.startswith(f"drill of {here.name}")
    assert json.loads(report.read_text())["backup"] == here.name


@pytest.mark.parametrize("value", ["", 5])
def test_a_folder_on_the_control_node_that_is_empty_is_none_and_a_number_names_one(
    alone: Life, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    here = alone.pair.root / "here"
    here.mkdir()
    monkeypatch.setattr(play, "ROOT", here)  # where the playbook is called
    alone.pair.shared |= {"dls_server_backup_fetch_dir": value, "dls_server_drill_report_dir": value}
    config = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROOT / "roles")}
    for name in ("backup", "drill"):
        done = alone.pair.play(name, environment=config)
        assert done.code == 0, done.output
    assert [path.name for path in here.iterdir()] == [str(value)] * bool(value)


def drills(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "main").rglob("*") if "drill" in path.name)


def test_a_backup_of_the_control_node_is_restored_onto_a_host_that_has_nothing(alone: Life) -> None:
    copy = fetched(alone)
    assert "must hold no server to be restored into" in alone.refuse("restore")
    lose(alone.pair)
    alone.pair.shared["dls_server_restore_upload"] = relative(copy)
    text = alone.refuse("restore", "-e", "dls_server_restore_key=/none")
    assert "dls_server_restore_key: must be a file on the control node, got /none" in text
    pack = next(copy.glob("state.tar*"))
    whole = pack.read_bytes()
    pack.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert f"{pack}: must be readable to its end, got sha256" in alone.refuse("restore")
    pack.write_bytes(whole)
    assert list((alone.pair.root / "main").iterdir()) == []
    assert alone.succeed("restore", "--check").changed >= 1
    assert list((alone.pair.root / "main").iterdir()) == []
    alone.succeed("restore")
    assert "a client" in alone.store("main")
    assert not (alone.home("main") / ".sent-backup").exists()
    assert alone.backups("main") == []
    assert alone.succeed("install").changed == 0
    alone.succeed("verify")


def test_of_a_backup_only_its_own_files_are_sent_also_where_a_slash_ends_its_name(alone: Life) -> None:
    copy = fetched(alone)
    (alone.pair.root / "secret").write_text("of the control node\n")
    (copy / "notes.txt").symlink_to(alone.pair.root / "secret")
    os.mkfifo(copy / "pipe")
    lose(alone.pair)
    alone.pair.shared["dls_server_restore_upload"] = f"{copy}/"
    done = alone.succeed("restore", "--diff")
    assert "a client" in alone.store("main")
    assert f"restored {copy.name}, release 2.4.11" in done.output
    assert not re.search("notes.txt|of the control node|machine_id_sha256", done.output)


def test_one_backup_is_not_restored_onto_two_hosts(pair: Pair) -> None:  # noqa: F811
    text = Life(pair).refuse("restore", "-e", "dls_server_restore_upload=/backups/20261126T033000Z-2.4.11")
    assert "dls_server_restore_upload: must be another one on each host, got the same on dls-main, dls-standby" in text
    assert not list(pair.root.glob("*/opt"))


def test_a_backup_is_restored_over_a_server_only_when_told_and_what_was_there_is_kept(alone: Life) -> None:
    name = fetched(alone).name
    (alone.home("main") / "current/data/store.log").open("a").write("another client\n")
    done = alone.succeed("restore", "-e", "dls_server_restore_replace=true")
    assert "another client" not in alone.store("main")
    kept = re.search(r"What was there is kept in (\S+)", done.output)
    assert kept and "another client" in (Path(kept[1].rstrip('"')) / "data/store.log").read_text()
    text = alone.refuse("restore", "-e", "dls_server_version=2.4.12")
    assert f"dls_server_version: must be the version that backup {name} holds, 2.4.11, got 2.4.12" in text


def test_an_encrypted_backup_is_restored_with_a_key_that_only_the_vault_has(alone: Life) -> None:
    root, shared = alone.pair.root, alone.pair.shared
    shared["dls_server_backup_recipient"], secret, vaulted = keys_of_age(root)
    alone.succeed("install")
    copy = fetched(alone)
    assert next(copy.glob("state.tar*")).suffix == ".age"
    lose(alone.pair)
    shared["dls_server_restore_upload"] = relative(copy)
    text = alone.refuse("restore")
    assert "dls_server_restore_key: must be set for a backup that is encrypted with age, got nothing" in text
    assert list((root / "main").iterdir()) == []
    shared["dls_server_restore_key"] = relative(vaulted)
    text = alone.refuse("restore")
    assert "Attempting to decrypt but no vault secrets found" in text
    assert not [path for path in (root / "main").rglob("*") if path.is_file()]
    done = alone.succeed("restore", "-vvv", f"--vault-password-file={root}/vault-password")
    assert "a client" in alone.store("main")
    for line in secret.splitlines():
        assert line not in done.output
    kept = [path for path in (root / "main").rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert kept == []
    assert not (alone.home("main") / ".dynamsoft-dls-key").exists()
    del shared["dls_server_restore_key"]
    assert alone.succeed("install").changed == 0
    alone.succeed("verify")


def keys_of_age(folder: Path) -> tuple[str, str, Path]:
    """A recipient, its private key, and the file that has it under Ansible Vault."""
    if not shutil.which("age-keygen"):
        pytest.skip("age is not installed")
    secret = subprocess.run(["age-keygen"], check=True, capture_output=True, text=True).stdout
    public = subprocess.run(["age-keygen", "-y"], input=secret, check=True, capture_output=True, text=True).stdout
    (folder / "vault-password").write_text("of the vault\n")
    (folder / "key.age").write_text(secret)
    vault = [sys.executable, "-m", "ansible", "vault", "encrypt", f"--vault-password-file={folder}/vault-password"]
    subprocess.run([*vault, str(folder / "key.age")], check=True, capture_output=True)
    return public.strip(), secret, folder / "key.age"


def relative(path: Path) -> str:
    """A path as somebody types it in the folder from which the playbook is called."""
    return os.path.relpath(path, ROOT)


def lose(pair: Pair) -> None:  # noqa: F811
    """Remove all that is on the main's host."""
    pair.dlsctl("main", "stop")
    for folder in ("opt", "etc", "lib", "backups", "bin"):
        shutil.rmtree(pair.root / "main" / folder)


def signing_key(folder: Path) -> Path:
    """A pair of minisign's keys without a password, key.pub and key.sec; returns the secret one."""
    if not shutil.which("minisign"):
        pytest.skip("minisign is not installed")
    command = ["minisign", "-G", "-W", "-p", str(folder / "key.pub"), "-s", str(folder / "key.sec")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "key.sec"
