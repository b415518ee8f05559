"""Forged and damaged backups, and a hostile server's user: root writes, removes and opens nothing elsewhere."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from dlsctl.backup import back_up, copy_all
from dlsctl.identity import identity
from dlsctl.intake import pinned_archive, unpack_release
from dlsctl.journal import locked
from dlsctl.problems import EXIT_REFUSED, Problem, Refused
from dlsctl.restore import Wish, restore
from dlsctl.store import MANIFEST, Backup, check, contents, digest_of, open_backup, pack_facts
from dlsctl.switch import make_staged_dir, staged_dir
from dlsctl.upgrade import Order, place
from tests.dlsctl import test_backup, tiny
from tests.dlsctl.conftest import LINE, Site
from tests.dlsctl.replacing import replace

keys = test_backup.keys  # the fixture

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


def entry(path: str, kind: Any = "file", **facts: Any) -> dict[str, Any]:
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
    [{"path": "a", "change": "removed", "link": 7}, entry("a")],
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


# --- Packs ---


def repack(backup: Backup, data: bytes, **changes: Any) -> Backup:
    """Give a backup another pack, of gzip, and a manifest that fits it."""
    pack = Path(backup.folder) / "state.tar.gz"
    pack.write_bytes(data)
    facts = dict(pack_facts(str(pack)), compression="gzip", encryption=None)
    rewrite(backup, backup.manifest | {"pack": facts}, **changes)
    return open_backup(backup.folder)


def tar_of(*members: tuple[str, int, bytes], fill: bytes = b"\0") -> bytes:
    """A packed tar of members (name, size, type)."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as packed:
        for name, size, kind in members:
            member = tarfile.TarInfo(name)
            member.size, member.type = size, kind
            packed.write(member.tobuf())
            for _ in range(-(-size // 512)):
                packed.write(fill * 512)
        packed.write(bytes(1024))
    return stream.getvalue()


LISTED = {"release": [entry("a")], "kit": [], "licenses": []}
BAD_PACKS = {
    "no gzip": b"not compressed at all",
    "nothing": b"",
    "gzip of garbage": gzip.compress(os.urandom(2000)),
    "gzip cut short": gzip.compress(os.urandom(200000))[:5000],
    "tar cut short": gzip.compress(gzip.decompress(tar_of(("release/a", 4000, b"0")))[:700]),
    "more than is listed": tar_of(("release/a", 7, b"0")),
    "less than is listed": tar_of(("release/a", 5, b"0")),
    "folder": tar_of(("release/a", 0, b"5")),
    "link": tar_of(("release/a", 0, b"2")),
    "hard link": tar_of(("release/a", 0, b"1")),
    "device": tar_of(("release/a", 0, b"4")),
    "twice": tar_of(("release/a", 6, b"0"), ("release/a", 6, b"0"), fill=b"f"),
    "unlisted": tar_of(("release/b", 6, b"0")),
    "elsewhere": tar_of(("../b", 6, b"0")),
    "pax record of other form": tar_of(("x", 10, b"x"), ("release/a", 6, b"0"), fill=b"9"),
    "negative size": gzip.compress(bytes(100) + b"0000644\0" + bytes(16) + b"\xff" * 12 + bytes(376)),
}


@pytest.mark.parametrize("name", BAD_PACKS)
def test_pack_that_is_not_as_listed_is_named(saved: Backup, name: str) -> None:
    backup = repack(saved, BAD_PACKS[name], sections=LISTED)
    with pytest.raises(Problem, match=r"state\.tar\.gz: must be readable to its end"):
        check(backup)


def test_pack_that_unpacks_to_more_than_is_listed_is_not_unpacked(saved: Backup, tmp_path: Path) -> None:
    backup = repack(saved, tar_of(("release/a", 1 << 28, b"0")), sections=LISTED)
    written = 0
    with pytest.raises(Problem, match="release/a"):
        for _, _, reader in contents(backup):
            written += sum(map(len, reader.pieces()))
    assert written == 0


def test_names_that_unpack_to_hundreds_of_megabytes_are_not_held_in_memory(saved: Backup) -> None:
    for kind in (b"x", b"L", b"K", b"g"):
        backup = repack(saved, tar_of(("x", 1 << 26, kind)), sections=LISTED)
        tracemalloc.start()
        with pytest.raises(Problem, match=r"state\.tar\.gz: must be readable to its end"):
            check(backup)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 << 20


def test_key_that_does_not_fit_is_not_taken_for_a_damaged_backup(
    no_server: Site, keys: tuple[str, Path], tmp_path: Path
) -> None:
    site = no_server
    site.configure(backup_recipient=keys[0])
    site.install()
    site.apply()
    with locked(site.installation):
        backup = back_up(site.installation)
    shutil.rmtree(site.release)  # what a restore would make anew
    other = tmp_path / "other.key"
    subprocess.run(["age-keygen", "-o", str(other)], check=True, capture_output=True)
    for verb in ("restore", "drill"):
        for key, told in ((None, "needs its private key"), ("/none", "must be the file with the private key")):
            done = site.call(
                verb, *(["--replace"] if verb == "restore" else []), *([f"--key={key}"] if key else []), check=False
            )
            assert (done.returncode, told in done.stderr) == (EXIT_REFUSED, True), done.stderr
    done = site.call("verify-backup", f"--key={other}", check=False)
    assert done.returncode != 0
    assert "another backup; keep" not in done.stderr
    assert (backup.pack in done.stderr or str(other) in done.stderr) and "key" in done.stderr
