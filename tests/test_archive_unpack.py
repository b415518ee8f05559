"""Unpacking what was read: the same bytes, nothing else, nowhere else."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from dlsctl.archives import Member
from dlsctl.problems import Problem, Refused
from dlsctl.tarballs import read_tar
from dlsctl.unpacking import unpack_tar
from tests.archives import rawtar as tar


def packed_release(folder: Path, *more: bytes, top: bytes = b"dls-linux") -> str:
    path = folder / "archive.tar.gz"
    path.write_bytes(tar.packed([*tar.linux_release(top), *more]))
    return str(path)


def unpacked(path: str, into: Path) -> list[Member]:
    into.mkdir()
    return unpack_tar(path, str(into), read_tar(path))


def on_disk(folder: Path) -> list[Member]:
    found = []
    for path in sorted(folder.rglob("*"), key=lambda path: str(path.relative_to(folder))):
        status, name = path.lstat(), str(path.relative_to(folder))
        mode = stat.S_IMODE(status.st_mode)
        if path.is_symlink():
            found.append(Member(name, "link", mode, link=str(path.readlink())))
        elif path.is_dir():
            found.append(Member(name, "dir", mode))
        else:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            found.append(Member(name, "file", mode, status.st_size, sha256))
    return found


@pytest.mark.parametrize("top", [b"dls-linux", b""])
def test_leaves_on_disk_exactly_what_it_returns(top: bytes, tmp_path: Path) -> None:
    at = top + b"/" if top else b""
    more = [
        tar.file(at + b"deep/below/secret", mode=0o666),
        tar.file(at + b"none", mode=0),
        tar.link(at + b"link", b"deep/below"),
        tar.link(at + b"dangling", b"nowhere"),
        tar.link(at + b"copy", at + b"startup.sh", tar.HARD_LINK),
    ]
    members = unpacked(packed_release(tmp_path, *more, top=top), tmp_path / "into")
    assert on_disk(tmp_path / "into") == members
    modes = {member.path: member.mode for member in members}
    assert modes["deep/below"] == 0o755
    assert modes["deep/below/secret"] == 0o644
    assert modes["none"] == 0o400
    assert not any(member.path.startswith("dls-linux") for member in members)


def test_a_copy_of_a_hard_link_is_a_file_of_its_own(tmp_path: Path) -> None:
    link = tar.link(b"dls-linux/copy", b"dls-linux/startup.sh", tar.HARD_LINK)
    unpacked(packed_release(tmp_path, link), tmp_path / "into")
    assert (tmp_path / "into/copy").read_bytes() == (tmp_path / "into/startup.sh").read_bytes()
    assert (tmp_path / "into/copy").stat().st_nlink == 1


def test_keeps_no_owner_from_the_archive(tmp_path: Path) -> None:
    path = packed_release(tmp_path)
    unpacked(path, tmp_path / "into")
    assert {entry.stat().st_uid for entry in (tmp_path / "into").rglob("*")} == {os.getuid()}


@pytest.mark.parametrize(
    "changed",
    [
        [*tar.linux_release(), tar.file(b"dls-linux/new")],
        tar.linux_release()[:-1],
        [*tar.linux_release()[:-1], tar.file(b"dls-linux/dls.json.sample", b"[]\n")],
        [*tar.linux_release()[:-1], tar.link(b"dls-linux/dls.json.sample", b"startup.sh")],
        [*tar.linux_release()[:-1], tar.link(b"dls-linux/dls.json.sample", b"/etc/hostname", tar.HARD_LINK)],
        [*tar.linux_release(), tar.file(b"../outside")],
        [tar.pax((b"comment", b"x")) + part for part in tar.linux_release()],
    ],
    ids=["more", "fewer", "another content", "a link", "a hard link out", "outside", "only other bytes of the file"],
)
def test_refuses_a_file_that_changed_since_it_was_read(changed: list[bytes], tmp_path: Path) -> None:
    path = packed_release(tmp_path)
    archive = read_tar(path)
    Path(path).write_bytes(tar.packed(changed))
    (tmp_path / "into").mkdir()
    with pytest.raises(Refused) as caught:
        unpack_tar(path, str(tmp_path / "into"), archive)
    assert caught.value.rule == "must not change while it is read"
    assert (caught.value.got, caught.value.hint) == ("another content", "run again")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["archive.tar.gz", "into"]


def test_refuses_a_folder_with_files_in_it(tmp_path: Path) -> None:
    path = packed_release(tmp_path)
    (tmp_path / "into").mkdir()
    (tmp_path / "into/kept").write_text("mine")
    with pytest.raises(Refused) as caught:
        unpack_tar(path, str(tmp_path / "into"), read_tar(path))
    assert (caught.value.rule, caught.value.got) == ("must be an empty folder", "files in it")
    assert caught.value.hint == "unpack into a new folder"
    assert [entry.name for entry in (tmp_path / "into").iterdir()] == ["kept"]


def test_says_which_folder_cannot_be_written(tmp_path: Path) -> None:
    path = packed_release(tmp_path)
    with pytest.raises(Problem) as caught:
        unpack_tar(path, str(tmp_path / "missing"), read_tar(path))
    assert caught.value.what == str(tmp_path / "missing")
    assert caught.value.rule == "must be a writable folder with room for the release"
    assert caught.value.got == "No such file or directory"
    assert caught.value.hint == "check free space and rights there, then run again"


def test_every_file_and_folder_is_flushed_after_its_mode_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: dict[str, int] = {}

    def note(descriptor: int) -> None:
        flushed[str(Path(f"/proc/self/fd/{descriptor}").readlink())] = stat.S_IMODE(os.fstat(descriptor).st_mode)

    monkeypatch.setattr(os, "fsync", note)
    into = tmp_path / "into"
    members = unpacked(packed_release(tmp_path), into)
    assert flushed.pop(str(into))
    assert flushed == {str(into / member.path): member.mode for member in members}
    assert list(flushed)[-1] != str(into / "startup.sh"), "folders come after the files in them"
