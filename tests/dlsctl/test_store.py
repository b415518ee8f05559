"""Retention: which backups may go, and which never."""

import gzip
import io
import json
import os
import shutil
import tarfile
import time
from pathlib import Path

import pytest

from dlsctl.identity import identity
from dlsctl.problems import Refused
from dlsctl.store import MANIFEST, Policy, digest_of, find, pack_facts, prunable, prune
from tests.dlsctl.conftest import LINE, Site

NOW = time.time()
EVERY = Policy(keep=1, keep_days=0, min_age_hours=0)


def add(site: Site, days: float, name: str = "", machine: str | None = None) -> str:
    """Put a backup of no files into the store, made so many days ago."""
    made = time.gmtime(NOW - days * 86400)
    name = name or time.strftime("%Y%m%dT%H%M%SZ", made) + "-2.4.11"
    folder = site.root / "backups" / name
    folder.mkdir(parents=True)
    pack = folder / "state.tar.gz"
    pack.write_bytes(EMPTY)
    manifest = {
        "format": 1,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", made),
        "identity": {"machine_id_sha256": machine or identity()["machine_id_sha256"]},
        "sections": {"release": [], "kit": [], "licenses": []},
        **{"version": "2.4.11", "archive_sha256": "0" * 64, "line": LINE, "networks": ["localhost"]},
        **{"host": "host", "reason": "by hand", "method": "stopped", "outage": 0},
        "pack": dict(pack_facts(str(pack)), compression="gzip", encryption=None),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest | {"digest": digest_of(manifest)}))
    return name


def empty_pack() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w"):
        pass
    return gzip.compress(stream.getvalue())


EMPTY = empty_pack()


def left(site: Site, policy: Policy) -> list[str]:
    prune(site.installation, policy)
    return sorted(path.name for path in (site.root / "backups").iterdir())


def test_invariant_11_empty_policy_removes_nothing(site: Site) -> None:
    names = [add(site, days) for days in (400, 300, 1)]
    assert left(site, Policy(0, 0, 0)) == sorted(names)


def test_newest_so_many_are_kept(site: Site) -> None:
    names = [add(site, days) for days in (4, 3, 2, 1)]
    assert left(site, Policy(2, 0, 0)) == sorted(names[2:])


def test_days_are_kept_beside_the_newest(site: Site) -> None:
    names = [add(site, days) for days in (40, 20, 10, 1)]
    assert left(site, Policy(1, 15, 0)) == sorted(names[2:])


def test_invariant_11_none_younger_than_the_minimum_age_is_removed(site: Site) -> None:
    names = [add(site, hours / 24) for hours in (30, 20, 10)]
    assert left(site, Policy(1, 0, 24)) == sorted(names[1:])


def test_invariant_11_newest_good_backup_stays_though_newer_ones_are_damaged(site: Site) -> None:
    good, damaged, newest = (add(site, days) for days in (3, 2, 1))
    for name in (damaged, newest):
        (site.root / "backups" / name / "state.tar.gz").write_bytes(EMPTY[:-1])
    assert left(site, EVERY) == sorted([good, newest])


def test_invariant_11_nothing_is_removed_where_no_backup_is_good(site: Site) -> None:
    names = [add(site, days) for days in (3, 2)]
    for name in names:
        (site.root / "backups" / name / "state.tar.gz").unlink()
    assert prunable(site.installation, EVERY) == []


def test_backups_of_a_clock_that_was_wrong_push_no_others_out(site: Site) -> None:
    future, _, newest = (add(site, days) for days in (-400, 2, 1))
    assert left(site, Policy(1, 0, 0)) == sorted([future, newest])
    assert left(site, Policy(0, 1, 0)) == sorted([future, newest])


def test_a_backup_of_the_future_is_not_taken_for_the_newest(site: Site) -> None:
    future, newest = (add(site, days) for days in (-400, 1))
    with pytest.raises(Refused, match=f"{future}: must be made before now to be the newest, got 20"):
        find(site.installation, None)
    assert find(site.installation, future).name == future
    shutil.rmtree(site.root / "backups" / future)
    assert find(site.installation, None).name == newest
    add(site, -1 / 48)  # of a clock that was set back a little
    assert find(site.installation, None).name != newest


def test_another_host_s_backups_in_a_shared_folder_are_left_alone(site: Site) -> None:
    theirs = [add(site, days, f"theirs-{days}", machine="0" * 64) for days in (9, 8)]
    ours = [add(site, days) for days in (7, 6)]
    assert left(site, EVERY) == sorted([*theirs, ours[1]])


@pytest.mark.parametrize("name", ["notes.txt", "20260101T000000Z-2.4.11"])
def test_what_is_no_backup_is_left_alone(site: Site, name: str) -> None:
    (site.root / "backups" / name).mkdir(parents=True)
    add(site, 1)
    add(site, 2)
    assert name in left(site, EVERY)


def test_leftovers_of_a_killed_run_go_when_they_are_a_day_old(site: Site) -> None:
    add(site, 1)
    old, new = (site.root / "backups" / f".2026010{day}T000000Z-2.4.11.partial" for day in (1, 2))
    for path in (old, new):
        path.mkdir()
    os.utime(old, (NOW - 2 * 86400, NOW - 2 * 86400))
    assert old.name not in left(site, EVERY)
    assert Path(new).exists()


def test_prune_with_check_only_says_which(site: Site) -> None:
    site.install()
    names = [add(site, days) for days in (3, 2)]
    done = site.call("prune", "--check", "--keep=1", "--min-age-hours=0")
    assert done.stdout.split() == names[:1]
    assert (site.root / "backups" / names[0]).exists()
    site.call("prune", "--keep=1", "--min-age-hours=0")
    assert not (site.root / "backups" / names[0]).exists()
