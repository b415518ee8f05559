"""Forged and damaged backups, and files of a hostile server's user: root writes, removes and opens nothing elsewhere."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dlsctl.backup import back_up, copy_all
from dlsctl.identity import identity
from dlsctl.journal import locked
from dlsctl.problems import Problem, Refused
from dlsctl.releases import pinned_archive, unpack_release
from dlsctl.restore import Wish, restore
from dlsctl.store import MANIFEST, Backup, contents, digest_of, open_backup, pack_facts
from dlsctl.switch import make_staged_dir, staged_dir
from dlsctl.upgrade import Order, place
from tests.dlsctl import tiny
from tests.dlsctl.conftest import LINE, Site
from tests.dlsctl.replacing import replace

DIGEST = hashlib.sha256(b"forged").hexdigest()


@pytest.fixture
def stored(no_server: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A server that is never started and counts as healthy, and its backup."""
    replace(monkeypatch, "wait_healthy", lambda *_, **__: 0.0)
    no_server.install()
    no_server.apply()
    (no_server.release / "licence.dat").write_text("precious")
    (no_server.root / "lib/licenses").mkdir(parents=True, exist_ok=True)
    with locked(no_server.installation):
        back_up(no_server.installation)
    return no_server


@pytest.fixture
def saved(tmp_path: Path) -> Backup:
    """A backup of no files, whose manifest is whole."""
    folder = tmp_path / "20260101T000000Z-2.4.11"
    folder.mkdir()
    pack = folder / "state.tar.gz"
    pack.write_bytes(gzip.compress(bytes(1024)))
    manifest = {
        "format": 1,
        **{"created": "2026-01-01T00:00:00Z", "host": "host", "version": "2.4.11", "archive_sha256": "0" * 64},
        **{"reason": "by hand", "method": "stopped", "outage": 0, "networks": ["localhost"], "line": LINE},
        "identity": dict(identity(), uuid=None),
        "sections": {"release": [], "kit": [], "licenses": []},
        "pack": dict(pack_facts(str(pack)), compression="gzip", encryption=None),
    }
    backup = Backup(folder.name, str(folder), manifest)
    rewrite(backup, manifest)
    return open_backup(str(folder))


def newest(site: Site) -> Backup:
    return open_backup(str(sorted((site.root / "backups").iterdir())[-1]))


def entry(path: str, kind: str = "file", **facts: Any) -> dict[str, Any]:
    made = {"path": path, "kind": kind, "change": "added", "mode": "0644", "uid": os.geteuid(), "gid": os.getegid()}
    made |= {"mtime_ns": 10**18, "size": 6 if kind == "file" else 0, "sha256": DIGEST if kind == "file" else None}
    return made | facts


def forge(backup: Backup, section: str = "release", entries: tuple[dict[str, Any], ...] = (), **changes: Any) -> None:
    """Add entries to a backup, whose files hold `forged`, and change its manifest; all hashes fit."""
    manifest = json.loads(json.dumps(backup.manifest))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        kept = [(f"{name}/{old['path']}", old, b"".join(data.pieces())) for name, old, data in contents(backup)]
        for name, old, data in kept + [(f"{section}/{new['path']}", new, b"forged") for new in entries]:
            if old["kind"] == "special" or old["change" if "change" in old else "kind"] == "removed":
                continue
            member = tarfile.TarInfo(name)
            member.type = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}[old["kind"]]
            member.linkname, member.size = old.get("link") or "", len(data) if old["kind"] == "file" else 0
            tar.addfile(member, io.BytesIO(data))
    manifest["sections"].setdefault(section, []).extend(entries)
    pack = Path(backup.folder) / "state.tar.gz"
    pack.write_bytes(gzip.compress(stream.getvalue()))
    manifest["pack"] = dict(pack_facts(str(pack)), compression="gzip", encryption=None)
    rewrite(backup, manifest, **changes)


def rewrite(backup: Backup, manifest: dict[str, Any], **changes: Any) -> None:
    manifest = manifest | changes
    manifest["digest"] = digest_of(manifest)
    (Path(backup.folder) / MANIFEST).write_text(json.dumps(manifest))


# --- Links ---


@pytest.mark.parametrize("section", ["release", "licenses"])
def test_file_below_a_link_is_not_restored(stored: Site, section: str) -> None:
    outside = stored.root / "outside"
    outside.mkdir()
    backup = newest(stored)
    forge(backup, section, (entry("way", "link", link=str(outside)), entry("way/forged")))
    with locked(stored.installation), pytest.raises(Problem, match="way"):
        restore(stored.installation, Wish(replace=True))
    assert list(outside.iterdir()) == []
    assert (stored.release / "licence.dat").read_text() == "precious"


def test_folder_that_becomes_a_link_while_it_is_copied_leads_nowhere(
    stored: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = stored.root / "outside"
    outside.mkdir()
    (outside / "file").write_text("as it was")
    source = stored.root / "file"
    source.write_text("forged")
    raced = [(entry("way", "link", link=str(outside)), ""), (entry("way/file"), str(source))]
    replace(monkeypatch, "scan", lambda *_: iter(raced))
    with pytest.raises(Problem, match="way"):
        copy_all(stored.installation, "x", "2.4.11", str(stored.root / "copy"))
    assert (outside / "file").read_text() == "as it was"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_upgrade_removes_nothing_behind_a_link_in_a_vendor_folder_s_place(stored: Site, kind: str) -> None:
    outside = stored.root / "outside"
    (outside / "bin").mkdir(parents=True)
    (outside / "bin/dynamsoftdls").write_text("as it was")
    (stored.release / "linux/jre").rename(stored.root / "gone")
    if kind == "link":
        (stored.release / "linux/jre").symlink_to(outside)
    else:
        (stored.release / "linux/jre").write_text("no folder")
    archive = tiny.build(stored.root, "2.4.12")
    order = Order(str(archive), tiny.sha256(archive), "2.4.12", LINE)
    with locked(stored.installation):
        make_staged_dir(stored.installation)
        read = pinned_archive(order.archive, order.sha256, order.version)
        unpack_release(stored.installation, order.archive, read, LINE, staged_dir(stored.installation))
        place(stored.installation, order)
    assert (outside / "bin/dynamsoftdls").read_text() == "as it was"


# --- Manifests ---


def without(manifest: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The manifest without what is below these keys."""
    copy = json.loads(json.dumps(manifest))
    inner = copy
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return copy  # type: ignore[no-any-return]


KEYS = [("version",), ("created",), ("line",), ("line", "argv"), ("pack",), ("pack", "sha256"), ("sections",)]
KEYS += [("sections", "kit"), ("identity",), ("networks",), ("archive_sha256",), ("outage",), ("format",)]


@pytest.mark.parametrize("keys", KEYS)
def test_manifest_without_a_key_is_refused_by_name(saved: Backup, keys: tuple[str, ...]) -> None:
    rewrite(saved, without(saved.manifest, *keys))
    with pytest.raises(Refused, match=rf"{MANIFEST}: must have .*{keys[-1]}"):
        open_backup(saved.folder)


BAD_FACTS: list[dict[str, Any]] = [
    {"created": "yesterday"},
    {"created": 7},
    {"version": "../2.4.11"},
    {"archive_sha256": "../../etc/passwd"},
    {"outage": None},
    {"format": "1"},
    {"format": True},
    {"networks": "any"},
    {"identity": []},
    {"identity": {"machine_id_sha256": {}}},
    {"identity": {"machine_id_sha256": "x", "mac": "02:00:00:00:00:01"}},
    {"sections": []},
    {"sections": {"release": [], "kit": [], "licenses": [], "/etc/cron.d": []}},
    {"sections": {"release": {}, "kit": [], "licenses": []}},
    {"line": LINE | {"argv": "sh"}},
    {"line": LINE | {"mode": "4755"}},
    {"line": LINE | {"server_port": "80"}},
    {"line": LINE | {"health_path": "/page\r\nHost: elsewhere"}},
    {"pack": {"file": "../x", "size": 1, "sha256": DIGEST, "compression": "gzip", "encryption": None}},
    {"pack": {"file": "x", "size": "1", "sha256": DIGEST, "compression": "gzip", "encryption": None}},
    {"pack": {"file": "x", "size": 1, "sha256": None, "compression": "gzip", "encryption": None}},
    {"pack": {"file": "x", "size": 1, "sha256": DIGEST, "compression": "lzma", "encryption": None}},
    {"pack": {"file": "x", "size": 1, "sha256": DIGEST, "compression": "gzip", "encryption": ["age"]}},
]


@pytest.mark.parametrize("facts", BAD_FACTS, ids=str)
def test_manifest_with_a_fact_of_another_form_is_refused_by_name(saved: Backup, facts: dict[str, Any]) -> None:
    rewrite(saved, saved.manifest, **facts)
    with pytest.raises(Refused, match=f"{MANIFEST}: must have"):
        open_backup(saved.folder)


BAD_ENTRIES: list[list[Any]] = [
    [None],
    [{}],
    [entry("../x")],
    [entry("/x")],
    [entry("a//b")],
    [entry("a\0b")],
    [entry("a"), entry("a", "link", link="/etc/shadow")],
    [entry("a", "link", link="/etc"), entry("a/b")],
    [entry("a", "device")],
    [entry("a", kind=None)],
    [entry("a", kind=[])],
    [entry("a", mode="rwx")],
    [entry("a", mode=0o644)],
    [entry("a", mode="99999")],
    [entry("a", uid=-1)],
    [entry("a", gid="0")],
    [entry("a", uid=2**32)],
    [entry("a", mtime_ns=1e9)],
    [entry("a", mtime_ns=10**40)],
    [entry("a", size=-(10**12))],
    [entry("a", sha256=7)],
    [entry("a", "link")],
    [entry("a", "link", link="")],
    [entry("a", "link", link="x" * 5000)],
    [entry("a", change="gone")],
    [entry("a", user=7)],
    [entry("a", group="a\0")],
    [{"path": "a", "change": []}],
]


@pytest.mark.parametrize("entries", BAD_ENTRIES, ids=str)
def test_manifest_with_an_entry_of_another_form_is_refused_by_name(saved: Backup, entries: list[Any]) -> None:
    sections = dict(saved.manifest["sections"], release=entries)
    rewrite(saved, saved.manifest, sections=sections)
    with pytest.raises(Refused, match=f"{MANIFEST}: must have"):
        open_backup(saved.folder)


def test_state_file_may_have_any_name_that_linux_takes(stored: Site) -> None:
    names = ["c:\\temp", "\u8bb8\u53ef\u8bc1" * 20, "a\nb", "-rf", "e" * 255, "\x1b[31m", os.fsdecode(b"\xff")]
    deep = "/".join(["d" * 200] * 8)
    for name in [*names, deep]:
        path = stored.release / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, errors="surrogateescape")
    with locked(stored.installation):
        backup = back_up(stored.installation)
        (stored.release / "data" / names[0]).unlink()
        restore(stored.installation, Wish(backup.name, replace=True))
    for name in [*names, deep]:
        assert (stored.release / "data" / name).read_text(errors="surrogateescape") == name


# --- The newest backup, and all ---


@pytest.fixture
def two(stored: Site) -> Site:
    """Two backups, the newer with a damaged manifest."""
    with locked(stored.installation):
        second = back_up(stored.installation)
    (Path(second.folder) / MANIFEST).write_text("{}")
    return stored


def test_older_backup_is_not_taken_for_the_newest_unsaid(two: Site) -> None:
    damaged = sorted((two.root / "backups").iterdir())[-1]
    for verb in ("restore", "drill", "verify-backup"):
        done = two.call(verb, check=False)
        assert (done.returncode != 0, str(damaged / MANIFEST) in done.stderr) == (True, True), verb
    two.call("verify-backup", sorted((two.root / "backups").iterdir())[0].name)


def test_verify_of_all_tells_of_each_that_is_damaged(two: Site) -> None:
    first, second = sorted((two.root / "backups").iterdir())
    pack = next(first.glob("state.tar*"))
    pack.write_bytes(pack.read_bytes()[:-1])
    with locked(two.installation):
        third = back_up(two.installation)
    done = two.call("verify-backup", "--all", check=False)
    assert done.returncode != 0
    assert str(pack) in done.stdout
    assert str(second / MANIFEST) in done.stdout
    assert f"{third.name}: every byte is as it was written" in done.stdout
