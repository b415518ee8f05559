"""The verbs that faults are injected into: how a host is made ready for each, what it does, and what must hold after.

A further verb is one more entry of VERBS: `ready` prepares a host once, `act` runs the verb.
"""

import shutil
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dlsctl.adopt import Takeover, adopt
from dlsctl.backup import back_up
from dlsctl.installation import Installation
from dlsctl.journal import locked
from dlsctl.restore import Wish, restore
from dlsctl.service import start, wait_healthy
from dlsctl.state import state
from dlsctl.store import backups, check, policy_of, prune
from dlsctl.upgrade import Order, roll_back, upgrade, upgrades
from tests.dlsctl import tiny
from tests.dlsctl.conftest import LINE, Site
from tests.dlsctl.test_backup import tree
from tests.faults.world import OTHER_DISK, World

OLD, NEW = "2.4.11", "2.4.12"
STATE = {("added", "data"), ("added", "data/store.log"), ("added", "licence.dat"), ("removed", "dls.json.sample")}


@dataclass
class Host:
    """A site with its world, and what was true of it when it was ready."""

    site: Site
    world: World
    pristine: Path
    store: dict[str, Any] = field(default_factory=dict)
    old_tree: dict[str, Any] = field(default_factory=dict)
    saved_as: str = ""  # the name of the backup that a restore is of
    saved: list[int] = field(default_factory=list)  # writes that are in the newest backup of the pristine host
    by_hand: Path | None = None  # the folder of a server that somebody has installed by hand

    @property
    def inst(self) -> Installation:
        return self.site.installation

    @property
    def journal(self) -> Path:
        return self.site.home / "kit/journal.json"

    @property
    def new_release(self) -> Path:
        return self.site.home / "releases" / NEW

    @property
    def parts(self) -> list[str]:
        return ["opt", "backups", "lib", "etc", "world", *([self.by_hand.parent.name] if self.by_hand else [])]

    def keep(self) -> None:
        """Keep everything as it is now, for `reset`."""
        for part in self.parts:
            (self.site.root / part).mkdir(exist_ok=True)
            copy(self.site.root / part, self.pristine / part)
        self.store = tree(self.site.root / "backups")
        self.old_tree = vendor_and_state(self.by_hand or self.site.release)

    def reset(self) -> None:
        for part in self.parts:
            shutil.rmtree(self.site.root / part)
            copy(self.pristine / part, self.site.root / part)
        acknowledged = self.world.folder / "acknowledged"  # the trees have other inodes now
        acknowledged.unlink(missing_ok=True)
        current = self.by_hand or Path(self.inst.current_link).resolve()
        for number in self.world.stored(current):
            with acknowledged.open("a") as stream:
                stream.write(f"{number} {current.stat().st_ino}\n")

    def archive(self, version: str) -> Path:
        return tiny.build(self.site.root, version)


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)


def vendor_and_state(release: Path) -> dict[str, Any]:
    """Everything of a release but what its running server writes."""
    found = tree(release)
    for path in ("data", "data/store.log"):
        found.pop(path, None)
    return found


# --- Ready ---


def ready_running(host: Host) -> None:
    """OLD runs, has state of every kind, and a backup; clients have written since."""
    site = host.site
    site.install()
    assert site.apply() == 0
    (site.release / "licence.dat").write_text("precious")
    (site.release / "dls.json.sample").unlink()
    for _ in range(3):
        host.world.write()
    with locked(host.inst):
        host.saved_as = back_up(host.inst).name
    host.saved = host.world.stored(site.release)
    for _ in range(2):
        host.world.write()


def ready_changed(host: Host) -> None:
    """As ready_running, and the licence has changed since the backup: for a restore of it."""
    ready_running(host)
    (host.site.release / "licence.dat").write_text("newer")


def ready_upgraded(host: Host) -> None:
    """NEW runs, upgraded from OLD; clients have written to it since."""
    ready_running(host)
    act_upgrade(host)
    host.saved = host.world.stored(host.site.release)
    for _ in range(2):
        host.world.write()


def ready_by_hand(host: Host, disk: str) -> None:
    """OLD runs by hand, with state of every kind, modes of its own and a configuration that the kit adds to."""
    host.by_hand = host.site.root / disk / "dls-linux"
    with tarfile.open(host.archive(OLD)) as tar:
        tar.extractall(host.by_hand.parent, filter="data")
    for path in (host.by_hand / "startup.sh", *(host.by_hand / "linux").rglob("*")):
        path.chmod(0o700)
    script = host.by_hand / "startup.sh"
    script.write_text(script.read_text().replace("48080", str(host.site.settings["port"])))
    (host.by_hand / "dls.json").write_text('{"mine": 1}')
    (host.site.root / "etc/dls.json").write_text('{"servers": ["self", "http://standby/"]}')
    (host.by_hand / "licence.dat").write_text("precious")
    (host.by_hand / "licence.dat").chmod(0o600)
    (host.by_hand / "dls.json.sample").unlink()
    host.by_hand.chmod(0o711)
    host.world.start(host.by_hand)
    for _ in range(3):
        host.world.write()


# --- Act ---


def act_backup(host: Host) -> None:
    with locked(host.inst):
        back_up(host.inst)


def act_restore(host: Host) -> None:
    with locked(host.inst):
        restore(host.inst, Wish(backup=host.saved_as, replace=True))


def act_upgrade(host: Host) -> None:
    archive = host.site.root / f"dynamsoft_dls-linux_x64-v{NEW}.tar.gz"
    with locked(host.inst):
        upgrade(host.inst, Order(str(archive), tiny.sha256(archive), NEW, LINE, acknowledged=True))


def act_rollback(host: Host) -> None:
    with locked(host.inst):
        roll_back(host.inst)


def act_adopt(host: Host) -> None:
    folder, archive = str(host.by_hand), host.site.root / f"dynamsoft_dls-linux_x64-v{OLD}.tar.gz"
    with locked(host.inst):
        adopt(host.inst, Takeover(folder, folder, str(archive), tiny.sha256(archive), OLD, LINE))


def act_prune(host: Host) -> None:
    """As act_start, for a host that may have no release."""
    with locked(host.inst):
        prune(host.inst, policy_of(host.inst))


def act_start(host: Host) -> None:
    """Any other command that takes the lock: it finishes or undoes what a killed run has left."""
    with locked(host.inst):
        start(host.inst)
        wait_healthy(host.inst)


# --- Check ---


def check_whole(host: Host, wanted: set[tuple[str, str]] = STATE) -> str:
    """Invariants 6, 10, 14, 15 and 20, of any verb; returns whether the host is on the `old` or the `new` side."""
    world, inst, home = host.world, host.inst, host.site.home
    assert not host.journal.exists(), "15: nothing is left half done"
    current = home / "releases" / str(inst.current_version())
    assert world.tree == current, f"15: the server of the release in use runs, got {world.tree}"
    found = {(entry["change"], entry["path"]) for entry in state(inst, fresh=True)}
    assert found == wanted, "15: all vendor files are of one release, and all state is there"
    check_writes_kept(host)
    check_backups(host)
    leftovers = [path.name for path in (home / "kit").glob("copy-*")] + list((home / "releases").glob(".next"))
    assert leftovers == [], "15: nothing is left half done"
    assert set(inst.installed()) == {path.name for path in (home / "releases").glob("[0-9]*")}
    assert {path.stem for path in (home / "kit/releases").glob("*.json")} == set(inst.installed())
    return current.name


def check_writes_kept(host: Host) -> None:
    """20: each acknowledged write is in the tree that took it, and that tree is still there, in use or put aside."""
    places = [host.site.home / "releases", *([host.by_hand.parent] if host.by_hand else [])]
    trees = {path.stat().st_ino: path for place in places for path in place.glob("*") if path.is_dir()}
    for write in host.world.writes:
        assert write.tree in trees, f"20: the tree that took write {write.number} is kept"
        assert write.number in host.world.stored(trees[write.tree]), f"20: write {write.number} is kept"


def check_backups(host: Host) -> None:
    """6: whatever is listed is complete; 10, 11: what was in the store is there as it was."""
    folder = host.site.root / "backups"
    for backup in backups(host.inst):
        check(backup)
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert visible == {backup.name for backup in backups(host.inst)}, "6: nothing half-made has a backup's name"
    now = tree(folder)
    assert {path: now.get(path) for path in host.store} == host.store, "10: nothing in the store is lost or changed"


def check_old_tree(host: Host) -> None:
    """14: the old release is as it was; of its state only what its own server wrote has changed."""
    assert vendor_and_state(host.site.release) == host.old_tree


def check_in_use(host: Host, *trees: Path, saved: Iterable[int] = ()) -> None:
    """20, and 15: the store in use holds `saved`, and what these trees have taken, each once and in order; no more."""
    assert host.world.tree
    inodes = {path.stat().st_ino for path in trees}
    taken = {write.number for write in host.world.writes if write.tree in inodes}
    stored = host.world.stored(host.world.tree)
    missing, foreign = taken.union(saved).difference(stored), set(stored).difference(taken, saved)
    assert not missing, f"20: no write may be missing, but {len(missing)} are: {sorted(missing)}"
    assert not foreign, f"15: never a mix of two states, but {sorted(foreign)} are of another"
    assert stored == sorted(stored), "20: each write is there once, in order"


def check_backup(host: Host) -> str:
    check_whole(host)
    check_old_tree(host)
    check_in_use(host, host.site.release)
    return "new backup" if len(backups(host.inst)) > 1 else "no backup"


def check_upgrade(host: Host) -> str:
    version = check_whole(host)
    check_old_tree(host)
    if version == OLD:
        check_in_use(host, host.site.release)
        return "old"
    check_in_use(host, host.site.release, host.new_release)
    done = upgrades(host.inst)[-1]
    assert (done["old"], done["new"]) == (OLD, NEW)
    saved = next(backup for backup in backups(host.inst) if backup.name == done["backup"])
    assert saved.manifest["version"] == OLD
    return "new"


def check_restore(host: Host) -> str:
    assert check_whole(host) == OLD
    is_old = (host.site.release / "licence.dat").read_text() == "newer"
    check_in_use(host, host.site.release, saved=() if is_old else host.saved)
    return "old" if is_old else "new"


def check_rollback(host: Host) -> str:
    version = check_whole(host)
    if version == NEW:
        check_in_use(host, host.new_release)
        return "old"
    check_in_use(host, host.site.release, saved=host.saved)
    done = upgrades(host.inst)[-1]
    assert (done["old"], done["new"]) == (NEW, OLD)
    return "new"


def check_adopt(host: Host) -> str:
    assert host.by_hand
    if host.inst.current_version() is None:
        check_given_back(host, host.by_hand)
        return "old"
    assert not host.by_hand.exists(), "20: nobody starts the server from its old place again"
    aside = list(host.by_hand.parent.glob("dls-linux.adopted-*"))
    check_whole(host, STATE | {("added", "dls.json")})
    for tree_now in (host.site.release, *aside):
        for path, text in (("licence.dat", "precious"), ("dls.json", '"mine": 1')):
            assert text in (tree_now / path).read_text(), f"15: {path} is there with what it had"
    if host.by_hand.parent.name == OTHER_DISK:
        (kept,) = aside
        assert vendor_and_state(kept) == host.old_tree, "the original is put aside as it was"
    check_in_use(host, host.site.release, *aside)
    return "new"


def check_given_back(host: Host, folder: Path) -> None:
    """15 and 20: the server runs where it was, as it was, and nothing of the kit's is in use or half done."""
    releases = host.site.home / "releases"
    assert not host.journal.exists(), "15: nothing is left half done"
    assert host.world.tree == folder, f"15: the server runs where it was, got {host.world.tree}"
    assert vendor_and_state(folder) == host.old_tree, "15: all that it had is as it was"
    assert [path.name for path in releases.glob("*") if not path.name.startswith(".failed-")] == []
    assert list((host.site.home / "kit/releases").glob("*.json")) == []
    assert list(folder.parent.iterdir()) == [folder]
    check_writes_kept(host)
    check_backups(host)
    check_in_use(host, folder)


@dataclass(frozen=True)
class Verb:
    """One verb under test: `check` returns on which side of it the host is, `steps` are those that must be seen."""

    name: str
    ready: Callable[[Host], None]
    act: Callable[[Host], None]
    check: Callable[[Host], str]
    steps: tuple[str, ...]
    next: Callable[[Host], None] = act_start  # another command, to be run after the fault


SWITCH = ("stage", "stop", "place", "switch", "start", "save")
VERBS = {
    verb.name: verb
    for verb in (
        Verb("backup", ready_running, act_backup, check_backup, ("begin", "copy", "start", "save", "remove")),
        Verb("restore", ready_changed, act_restore, check_restore, SWITCH),
        Verb("upgrade", ready_running, act_upgrade, check_upgrade, SWITCH),
        Verb("adopt by rename", partial(ready_by_hand, disk="disk"), act_adopt, check_adopt, SWITCH, act_prune),
        Verb("adopt by copy", partial(ready_by_hand, disk=OTHER_DISK), act_adopt, check_adopt, SWITCH, act_prune),
        Verb("rollback", ready_upgraded, act_rollback, check_rollback, ("stage", "stop", "start", "save")),
    )
}
