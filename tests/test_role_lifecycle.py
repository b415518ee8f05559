"""The life cycle as the playbooks go through it: two installations on this machine, without supervisor."""

import filecmp
import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dlskit import minisign
from tests.checkout import play
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
        return str(json.loads(answer.read())["errorCode"])
    except OSError as error:
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


def test_a_backup_is_fetched_tried_and_restored_onto_a_host_that_has_nothing(pair: Pair) -> None:  # noqa: F811
    del pair.hosts["dls-standby"], pair.shared["dls_server_main_url"], pair.shared["dls_server_standby_url"]
    pair.hosts["dls-main"]["dls_server_mode"] = "standalone"
    life = Life(pair, before="")
    life.succeed("install")
    (life.home("main") / "current/data/store.log").open("a").write("a client\n")
    fetched, mounted, reports = (pair.root / name for name in ("fetched", "mounted", "reports"))
    pair.shared["dls_server_backup_push"] = str(mounted)
    assert f"{mounted}: must be a folder that is there, for the copy of a backup, got none" in life.refuse("backup")
    mounted.mkdir()
    pair.shared["dls_server_backup_fetch_dir"] = str(fetched)
    assert life.succeed("backup", "--check").changed == 1
    assert life.backups("main") == []
    life.succeed("backup")
    (name,) = life.backups("main")
    copies = [fetched / "dls-main" / name, mounted / socket.gethostname() / name]
    for copy in copies:
        assert filecmp.dircmp(pair.root / "main/backups" / name, copy).diff_files == []
        assert {oct(path.stat().st_mode & 0o777) for path in copy.iterdir()} == {"0o600"}
        assert oct(copy.stat().st_mode & 0o777) == "0o700"

    pair.shared["dls_server_drill_report_dir"] = str(reports)
    pair.shared["dls_server_drill_sign_key"] = str(signing_key(pair.root))
    before = sorted(path.name for path in (pair.root / "main").rglob("*") if "drill" in path.name)
    assert "can be restored: release 2.4.11 was healthy" in life.succeed("drill").output
    assert sorted(path.name for path in (pair.root / "main").rglob("*") if "drill" in path.name) == before
    report, signature = sorted(reports.iterdir())
    key = minisign.parse_public_key((pair.root / "key.pub").read_bytes(), "key")
    assert minisign.verify(report.read_bytes(), signature.read_bytes(), key, "report").startswith(f"drill of {name}")
    assert json.loads(report.read_text())["backup"] == name

    # The disk is lost. What the control node has is enough.
    assert "must hold no server to be restored into" in life.refuse("restore")
    lose(pair)
    pair.shared["dls_server_restore_upload"] = str(copies[0])
    pack = next(copies[0].glob("state.tar*"))
    whole = pack.read_bytes()
    pack.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert f"{pack}: must be readable to its end, got sha256" in life.refuse("restore")
    pack.write_bytes(whole)
    assert list((pair.root / "main").iterdir()) == []
    assert life.succeed("restore", "--check").changed >= 1
    assert list((pair.root / "main").iterdir()) == []
    life.succeed("restore")
    assert "a client" in life.store("main")
    assert not (life.home("main") / ".sent-backup").exists()
    assert life.backups("main") == []
    assert life.succeed("install").changed == 0
    life.succeed("verify")

    # Over a server, only when told; what is there is kept.
    (life.home("main") / "current/data/store.log").open("a").write("another client\n")
    done = life.succeed("restore", "-e", "dls_server_restore_replace=true")
    assert "another client" not in life.store("main")
    kept = re.search(r"What was there is kept in (\S+)", done.output)
    assert kept and "another client" in (Path(kept[1].rstrip('"')) / "data/store.log").read_text()
    assert "dls_server_version: must be the version that the backup holds, 2.4.11, got 2.4.12" in life.refuse(
        "restore", "-e", "dls_server_version=2.4.12"
    )


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
