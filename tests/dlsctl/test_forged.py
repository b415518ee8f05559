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
from dlsctl.journal import locked
from dlsctl.problems import Problem
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
    with locked(stored.installation), pytest.raises(Problem, match="way/forged"):
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
