"""What the readers say of a good archive: platform, version, members, checksum."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from dlsctl.archives import PLATFORM_FILES, ArchiveLimits, Member, installed_members
from dlsctl.problems import Refused
from dlskit.archive import inspect, pin
from tests.archives import rawtar as tar
from tests.archives import rawzip as zp

SCRIPT = b"#!/bin/sh\n"
SCRIPT_SHA256 = hashlib.sha256(SCRIPT).hexdigest()


def written(folder: Path, content: bytes, name: str = "archive") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("top", ["dls-linux", "", "another"])
def test_tells_platform_version_and_top_folder_from_the_content(top: str, tmp_path: Path) -> None:
    content = tar.packed(tar.linux_release(top.encode(), b"2.3.5"))
    found = inspect(written(tmp_path, content))
    assert (found.platform, found.version, found.top) == ("linux_x64", "2.3.5", top)
    assert (found.size, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("top", ["dynamsoft_dls-win_x64-v2.4.11", ""])
def test_reads_windows_releases_with_and_without_a_top_folder(top: str, tmp_path: Path) -> None:
    content = zp.packed(zp.windows_release(top.encode()))
    found = inspect(written(tmp_path, content, "dynamsoft_dls-win_x64-v2.4.11.zip"))
    assert (found.platform, found.version, found.top) == ("win_x64", "2.4.11", top)
    assert (found.size, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_lists_members_with_mode_size_checksum_and_target(tmp_path: Path) -> None:
    parts = [*tar.linux_release(b""), tar.link(b"linux/log", b"../dls.log")]
    members = {member.path: member for member in inspect(written(tmp_path, tar.packed(parts))).members}
    assert members["startup.sh"] == Member("startup.sh", "file", 0o755, len(SCRIPT), SCRIPT_SHA256)
    assert members["linux/bin"] == Member("linux/bin", "dir", 0o755)
    assert members["linux/log"] == Member("linux/log", "link", 0o777, link="../dls.log")


def test_takes_a_hard_link_for_a_copy_of_its_file(tmp_path: Path) -> None:
    parts = [*tar.linux_release(b""), tar.link(b"again.sh", b"startup.sh", tar.HARD_LINK)]
    members = inspect(written(tmp_path, tar.packed(parts))).members
    assert members[-1] == Member("again.sh", "file", 0o755, len(SCRIPT), SCRIPT_SHA256)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("top", ["dls-linux", ".", "./dls-linux"])
def test_reads_what_ordinary_tools_write_as_tar(form: int, top: str, tmp_path: Path) -> None:
    long_name = "linux/jre/" + "/".join(["legal-and-other-notices"] * 6) + "/ADDITIONAL_LICENSE_INFO_Zürich"
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", format=form) as archive:
        folder = tarfile.TarInfo(top)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for name in (*PLATFORM_FILES["linux_x64"], "dls-2.4.11.jar", long_name):
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mtime = len(SCRIPT), 1_700_000_000
            archive.addfile(member, io.BytesIO(SCRIPT))
    found = inspect(written(tmp_path, target.getvalue()))
    assert (found.version, found.top) == ("2.4.11", "" if top == "." else "dls-linux")
    assert long_name in [member.path for member in installed_members(found)]


def test_reads_what_ordinary_tools_write_as_zip(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("win")
        for entry in zp.windows_release():
            if not entry.name.endswith(b"/"):
                archive.writestr(entry.name.decode(), entry.content)
        with archive.open("win/streamed", "w") as member:
            member.write(b"x" * 70_000)
    found = inspect(path)
    assert Member("win/streamed", "file", 0o600, 70_000, hashlib.sha256(b"x" * 70_000).hexdigest()) in found.members


def test_reads_zip_members_that_were_streamed_with_a_descriptor(tmp_path: Path) -> None:
    release = [*zp.windows_release(), zp.Entry(b"streamed", flags=zp.DESCRIPTOR)]
    assert inspect(written(tmp_path, zp.packed(release))).members[-1].path == "streamed"


def test_accepts_pax_records_that_change_nothing_on_disk(tmp_path: Path) -> None:
    parts = [
        tar.pax((b"comment", b"0123abc"), kind=tar.GLOBAL_PAX),
        *tar.linux_release(),
        tar.pax((b"mtime", b"1.5"), (b"SCHILY.xattr.user.x", b"\xff"), (b"path", b"dls-linux/longer")),
        tar.file(b"short"),
    ]
    assert inspect(written(tmp_path, tar.packed(parts))).members[-1].path == "dls-linux/longer"


def test_accepts_zeros_that_fill_up_a_tar(tmp_path: Path) -> None:
    assert inspect(written(tmp_path, tar.packed(tar.linux_release(), bytes(10_240)))).version == "2.4.11"


@pytest.mark.parametrize("name", ["dynamsoft_dls-linux_x64-v2.4.11 (1).tar.gz", "dls.tar.gz", "renamed"])
def test_a_renamed_file_says_nothing_and_the_content_decides(name: str, tmp_path: Path) -> None:
    assert inspect(written(tmp_path, tar.packed(tar.linux_release()), name)).version == "2.4.11"


def test_limits_may_be_raised_by_the_caller(tmp_path: Path) -> None:
    path = written(tmp_path, tar.packed([*tar.linux_release(), tar.file(b"dls-linux/zeros", bytes(2 << 20))]))
    assert inspect(path, ArchiveLimits(ratio=2000)).version == "2.4.11"


def test_reports_progress_up_to_the_size_of_the_file(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    for content in (tar.packed(tar.linux_release()), zp.packed(zp.windows_release())):
        inspect(written(tmp_path, content), progress=lambda done, total: seen.append((done, total)))
        assert seen[-1] == (len(content), len(content))


def test_memory_stays_bounded_while_a_large_member_is_read(tmp_path: Path) -> None:
    import tracemalloc  # noqa: PLC0415 - slows everything down while it is on

    large = tar.header(b"dls-linux/large", size=64 << 20) + bytes(64 << 20)
    path = written(tmp_path, gzip.compress(b"".join(tar.linux_release()) + large + tar.END, 1))
    del large
    tracemalloc.start()
    inspect(path, ArchiveLimits(ratio=2000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_pin_gives_version_absolute_path_and_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = tar.packed(tar.linux_release())
    written(tmp_path, content, "dls.tar.gz")
    monkeypatch.chdir(tmp_path)
    checksum = "sha256:" + hashlib.sha256(content).hexdigest()
    assert pin("dls.tar.gz") == ("2.4.11", str(tmp_path / "dls.tar.gz"), checksum)


@pytest.mark.parametrize(
    ("name", "rule", "got"),
    [
        ("missing", "must be a readable file", "No such file or directory"),
        ("folder", "must be a file", "a folder or device"),
        ("with\0nul", "must be a readable file", "embedded null byte"),
    ],
)
def test_refuses_what_is_no_file(name: str, rule: str, got: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Refused) as caught:
        inspect(tmp_path / name)
    assert (caught.value.rule, str(caught.value.got)) == (rule, got)
    assert caught.value.hint == "give the path of the vendor archive"


def test_a_directory_larger_than_any_release_needs_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    length = (64 << 20) + 1
    with path.open("wb") as file:
        file.write(b"PK\3\4")
        file.seek(length)
        file.write(zp.packed([], end={"length": length, "start": 0}))
    with pytest.raises(Refused) as caught:
        inspect(path)
    assert caught.value.rule == "must have a directory of at most 67108864 bytes"
    assert caught.value.got == length
