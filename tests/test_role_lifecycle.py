"""The life cycle as the playbooks go through it: two installations on this machine, without supervisor."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import play
from tests.dlsctl import tiny
from tests.dlsctl.conftest import free_port
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

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.use("2.4.11")
        pair.shared |= {"dls_server_upgrade_acknowledged": True, "dls_server_backup_min_age_hours": 0}

    def use(self, version: str, **archive: Any) -> None:
        """Let the inventory name a release; `before` is Python that its server runs first."""
        archive["before"] = STANDBY + archive.get("before", "")
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


@pytest.fixture
def life(pair: Pair) -> Iterator[Life]:  # noqa: F811
    life = Life(pair)
    life.succeed("install")
    yield life


def test_a_pair_is_upgraded_standby_first_and_rolled_back_main_first(life: Life) -> None:
    for mode in ("main", "standby"):
        (life.home(mode) / "current/data/store.log").open("a").write("a client\n")
    life.use("2.4.12")
    predicted = life.succeed("upgrade", "--check")
    assert "would upgrade 2.4.11 to 2.4.12" in predicted.output
    assert predicted.changed >= 2
    assert life.versions() == ["2.4.11", "2.4.11"]
    life.succeed("upgrade")
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
    life.succeed("rollback")
    assert life.versions() == ["2.4.11", "2.4.11"]
    assert "a later client" not in life.store("main")
    assert life.succeed("rollback").changed == 0
    life.succeed("verify")
