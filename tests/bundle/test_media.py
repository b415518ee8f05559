"""Parts on media: split, join and repair, and every way in which a part can be another one."""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dlsctl.problems import Refused
from dlskit.bundle import media, verify
from dlskit.bundle.build import write_signed
from dlskit.bundle.split import parse_size, split
from dlskit.cli import main
from tests.bundle import samples

SIZE = 1 << 16
LIST = "sample.parts.json"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["bundle", *map(str, words)])


@pytest.fixture
def parts(bundle: Path, tmp_path: Path) -> Path:
    """A medium with the sample bundle in four parts."""
    secret = samples.secret_file(tmp_path / "secret.key")
    done = run("split", bundle, "--size", "64KiB", "--out", tmp_path / "medium", "--sign-key", secret)
    assert done.exit_code == 0, done.output
    return tmp_path / "medium"


def join(key: Path, out: Path, *folders: Path) -> Result:
    return run("join", *folders, "--key", key, "--out", out)


def same(one: Path, other: Path) -> bool:
    """Whether two folders have the same files."""
    trees = [
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()} for top in (one, other)
    ]
    return trees[0] == trees[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_bundle_comes_back_from_its_parts(bundle: Path, parts: Path, key: Path, tmp_path: Path) -> None:
    assert names(parts) == ["media.py", *(f"sample.000{n}" for n in (1, 2, 3, 4)), LIST, LIST + ".minisig", "verify.py"]
    done = join(key, tmp_path / "out", parts)
    assert (done.exit_code, done.stderr) == (0, "")
    assert same(bundle, tmp_path / "out")
    assert not (tmp_path / "out.parts").exists()


def test_the_same_bundle_gives_the_same_parts(bundle: Path, parts: Path, tmp_path: Path) -> None:
    split(bundle, SIZE, tmp_path / "again", samples.KEY)
    assert same(parts, tmp_path / "again")


def test_tar_itself_unpacks_the_parts(bundle: Path, parts: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar"
    whole.write_bytes(b"".join(path.read_bytes() for path in sorted(parts.glob("sample.0*"))))
    with tarfile.open(whole) as archive:
        assert all(member.isfile() and not member.mtime and not member.uid for member in archive)
    (tmp_path / "tar").mkdir()
    subprocess.run(["tar", "-xf", whole, "-C", tmp_path / "tar"], check=True)
    assert same(bundle, tmp_path / "tar")
    listed = json.loads((parts / LIST).read_text())
    assert listed["size"] == whole.stat().st_size == media.archive_size(_entries(bundle))


def _entries(bundle: Path) -> list[verify.Entry]:
    files: list[verify.Entry] = json.loads((bundle / "manifest.json").read_text())["files"]
    return [{"path": name, "size": (bundle / name).stat().st_size} for name in verify.SIGNED] + files


def test_the_programs_on_the_medium_need_no_kit(bundle: Path, parts: Path, key: Path, tmp_path: Path) -> None:
    def program(*words: str | Path) -> tuple[int, str]:
        command = [sys.executable, "-S", parts / "media.py", *words, "--key", key]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={}, cwd="/")
        return done.returncode, done.stderr

    before = names(parts)
    assert program("join", parts, "--out", tmp_path / "out") == (0, "")
    assert same(bundle, tmp_path / "out")
    assert program("repair", parts) == (0, "")
    assert names(parts) == before


def test_each_medium_brings_its_part(bundle: Path, parts: Path, key: Path, tmp_path: Path) -> None:
    folders = []
    for number in (1, 2, 3, 4):
        folders.append(tmp_path / f"stick{number}")
        folders[-1].mkdir()
        (parts / f"sample.000{number}").rename(folders[-1] / f"sample.000{number}")
    for name in (LIST, LIST + ".minisig"):
        (parts / name).rename(folders[2] / name)
    out = tmp_path / "out"
    assert join(key, out, folders[0]).exit_code == verify.EXIT_REFUSED  # it has no list yet
    done = join(key, out, folders[2])
    assert [line.split(":")[0] for line in done.stderr.splitlines()[::2]] == [
        "sample.0001",
        "sample.0002",
        "sample.0004",
    ]
    assert done.exit_code == verify.EXIT_DIFFERS
    assert join(key, out, folders[0], folders[3]).exit_code == verify.EXIT_DIFFERS
    assert not out.exists()
    assert join(key, out, folders[1]).exit_code == 0
    assert same(bundle, out)


def _flip(parts: Path, place: int = 100, name: str = "sample.0002") -> None:
    path = parts / name
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def _swap(parts: Path) -> None:
    (parts / "sample.0002").rename(parts / "x")
    (parts / "sample.0003").rename(parts / "sample.0002")
    (parts / "x").rename(parts / "sample.0003")


WRONG: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "missing": (lambda parts: (parts / "sample.0002").unlink(), ["sample.0002"], "got nothing"),
    "damaged": (_flip, ["sample.0002"], "a damaged part, or one of another bundle"),
    "cut short": (lambda parts: (parts / "sample.0002").write_bytes(b"x"), ["sample.0002"], "1 bytes"),
    "duplicated": (
        lambda parts: shutil.copy(parts / "sample.0003", parts / "sample.0002"),
        ["sample.0002"],
        "the content of sample.0003",
    ),
    "swapped": (_swap, ["sample.0002", "sample.0003"], "the content of sample.0003"),
}


@pytest.mark.parametrize("case", WRONG)
def test_join_names_exactly_the_parts_to_copy_again(parts: Path, key: Path, tmp_path: Path, case: str) -> None:
    change, wrong, words = WRONG[case]
    good = shutil.copytree(parts, tmp_path / "good")
    change(parts)
    done = join(key, tmp_path / "out", parts)
    assert done.exit_code == verify.EXIT_DIFFERS
    assert [line.split(":")[0] for line in done.stderr.splitlines()[::2]] == wrong
    assert words in done.stderr
    assert not (tmp_path / "out").exists()
    assert join(key, tmp_path / "out", parts, good).exit_code == 0


@pytest.mark.parametrize("case", WRONG)
def test_repair_names_them_and_takes_good_copies(parts: Path, key: Path, tmp_path: Path, case: str) -> None:
    change, wrong, words = WRONG[case]
    good = shutil.copytree(parts, tmp_path / "good")
    change(parts)
    if case != "swapped":  # then the medium has all that it takes itself
        done = run("repair", parts, "--key", key)
        assert (done.exit_code, words in done.stderr) == (verify.EXIT_DIFFERS, True), done.stderr
        assert [line.split(":")[0] for line in done.stderr.splitlines()[::2]] == wrong
    done = run("repair", parts, "--from", good, "--key", key, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"replaced": wrong, "wrong": []})
    assert same(parts, good)


def test_repair_takes_good_copies_of_any_name(parts: Path, key: Path, tmp_path: Path) -> None:
    good = shutil.copytree(parts, tmp_path / "good")
    other = tmp_path / "other"
    other.mkdir()
    (parts / "sample.0002").rename(other / "SAMPLE~1.000")
    (parts / "sample.0003").rename(parts / "sample.0003.partial")  # a copy that was to be renamed
    (parts / "sample.0004").write_bytes(b"x")
    shutil.copy(good / "sample.0004", other / "sample (2).0004")
    (other / "folder").mkdir()
    done = run("repair", parts, "--from", other, "--key", key, "--json")
    assert json.loads(done.stdout)["replaced"] == ["sample.0002", "sample.0004"]
    assert "sample.0003: must be there" in done.stderr
    shutil.copy(good / "sample.0003", other / "third")
    assert run("repair", parts, "--from", other, "--key", key).exit_code == 0
    assert same(parts, good)


@pytest.mark.parametrize("region", [0, 1, 511, 1000, SIZE // 2, SIZE - 1])
def test_a_byte_flipped_anywhere_in_a_part_is_found(parts: Path, key: Path, tmp_path: Path, region: int) -> None:
    _flip(parts, region)
    assert "sample.0002: must be there as it was signed" in join(key, tmp_path / "out", parts).stderr


def test_parts_of_another_bundle_are_refused(parts: Path, key: Path, tmp_path: Path) -> None:
    other = samples.make(tmp_path / "b", {name: data[::-1] for name, data in samples.FILES.items()})
    split(other, SIZE, tmp_path / "other", samples.KEY)
    shutil.copy(tmp_path / "other/sample.0002", parts / "sample.0002")
    done = join(key, tmp_path / "out", parts)
    assert (done.exit_code, "sample.0002" in done.stderr) == (verify.EXIT_DIFFERS, True)
    done = join(key, tmp_path / "out", tmp_path / "other")
    assert (done.exit_code, "media: must be of one bundle" in done.stderr) == (verify.EXIT_REFUSED, True)


@pytest.mark.parametrize(("name", "place"), [("sample.0002", 3), ("sample.0001", 0)])  # in a file, and in a header
def test_a_kept_part_that_got_damaged_is_named_and_let_go(
    parts: Path, key: Path, tmp_path: Path, name: str, place: int
) -> None:
    shutil.move(parts / "sample.0004", tmp_path / "sample.0004")
    join(key, tmp_path / "out", parts)
    _flip(tmp_path / "out.parts", place, name)
    shutil.move(tmp_path / "sample.0004", parts / "sample.0004")
    done = join(key, tmp_path / "out", parts)
    assert (done.exit_code, done.stderr.startswith(f"{name}: ")) == (verify.EXIT_DIFFERS, True), done.stderr
    assert not (tmp_path / "out").exists()
    assert join(key, tmp_path / "out", parts).exit_code == 0


@pytest.mark.parametrize("rest", [b"", b"x" * 1000, b"x" * SIZE * 2])
def test_a_copy_that_was_cut_off_goes_on(parts: Path, key: Path, tmp_path: Path, rest: bytes) -> None:
    kept = tmp_path / "out.parts"
    kept.mkdir()
    (kept / "sample.0002.partial").write_bytes(rest or (parts / "sample.0002").read_bytes()[:5000])
    assert join(key, tmp_path / "out", parts).exit_code == 0


def test_only_the_rest_of_a_part_is_read_again(parts: Path, tmp_path: Path) -> None:
    listed, _ = media.read_parts([str(parts)], (samples.KEY.id, samples.KEY.public.key))
    partial = tmp_path / "p"
    partial.write_bytes((parts / "sample.0001").read_bytes()[:5000])
    digest = media._copy(listed["parts"][0], str(parts / "sample.0001"), str(partial), 5000)
    assert digest == listed["parts"][0]["sha256"]


class Full:
    """A disk that takes so many more bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        monkeypatch.setattr(media, "open", self.open, raising=False)

    def open(self, path: str, mode: str) -> Any:
        file = Path(path).open(mode)  # noqa: SIM115 - as open does
        write = file.write

        def limited(data: bytes) -> int:
            if len(data) > self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.room -= len(data)
            return int(write(data))

        file.write = limited  # type: ignore[method-assign,assignment]
        return file


@pytest.mark.parametrize("room", [0, SIZE, 3 * SIZE, 5 * SIZE])
def test_a_full_disk_is_told_and_a_later_run_goes_on(
    parts: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    with monkeypatch.context() as patch:
        Full(patch, room)
        done = join(key, tmp_path / "out", parts)
    assert done.exit_code == verify.EXIT_FAILED
    assert "must have room for the parts and the bundle, got No space left on device" in done.stderr
    assert "what was copied is kept" in done.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.parts.new").exists()
    assert len(list((tmp_path / "out.parts").glob("sample.000?"))) == min(room // SIZE, 4)
    for name in ("sample.0001", "sample.0002")[: room // SIZE]:
        (parts / name).unlink()
    assert join(key, tmp_path / "out", parts).exit_code == 0
    assert same(tmp_path / "bundle", tmp_path / "out")


def test_join_asks_for_room_before_it_copies_and_less_of_it_where_parts_are_there(
    parts: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(path.stat().st_size for path in parts.glob("sample.000?"))
    free = 2 * size - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    done = join(key, tmp_path / "out", parts)
    assert (done.exit_code, "must have" in done.stderr) == (verify.EXIT_FAILED, True), done.stderr
    assert not list((tmp_path / "out.parts").glob("sample.000?"))
    shutil.copy(parts / "sample.0001", tmp_path / "out.parts")
    assert join(key, tmp_path / "out", parts).exit_code == 0


def test_an_archive_that_is_not_the_manifests_is_refused(parts: Path, key: Path, tmp_path: Path) -> None:
    """Signed parts with another member, as a faulty splitter could make them: nothing is written outside."""
    listed = json.loads((parts / LIST).read_text())
    data = b"".join((parts / part["path"]).read_bytes() for part in listed["parts"])
    name = b"archives/dls.tar.gz"
    hostile = data.replace(media.tar_header(name.decode(), 210_000), media.tar_header("../../../outside.gz", 210_000))
    assert hostile != data
    for path in parts.glob("sample.*"):
        path.unlink()
    (parts / "sample.0001").write_bytes(hostile)
    digest = hashlib.sha256(hostile).hexdigest()
    listed["parts"] = [{"path": "sample.0001", "size": len(hostile), "sha256": digest}]
    write_signed(parts / LIST, listed | {"sha256": digest}, samples.KEY, "")
    done = join(key, tmp_path / "out", parts)
    assert (done.exit_code, "another member than the manifest says" in done.stderr) == (verify.EXIT_REFUSED, True)
    assert not list(tmp_path.rglob("outside.gz"))


@pytest.mark.parametrize(
    "change",
    [
        lambda listed: listed["parts"].reverse(),
        lambda listed: listed["parts"].pop(),
        lambda listed: listed["parts"].append(listed["parts"][0]),
        lambda listed: listed["parts"][0].update(path="../sample.0001"),
        lambda listed: listed["head"].pop(),
        lambda listed: listed.update(parts=[]),
        lambda listed: listed.update(kind="dlskit-bundle"),
        lambda listed: listed.update(name="../sample"),
        lambda listed: listed.update(size=1),
    ],
)
def test_a_signed_list_of_another_form_is_refused(
    parts: Path, key: Path, tmp_path: Path, change: Callable[[Any], object]
) -> None:
    listed = json.loads((parts / LIST).read_text())
    change(listed)
    write_signed(parts / LIST, listed, samples.KEY, "")
    assert join(key, tmp_path / "out", parts).exit_code == verify.EXIT_REFUSED


def test_an_edited_list_or_another_key_is_refused(parts: Path, key: Path, tmp_path: Path) -> None:
    other = samples.public_file(tmp_path / "other.pub", samples.OTHER_KEY)
    assert join(other, tmp_path / "out", parts).exit_code == verify.EXIT_REFUSED
    assert join(samples.public_file(parts / "key.pub"), tmp_path / "out", parts).exit_code == verify.EXIT_REFUSED
    (parts / LIST).write_bytes((parts / LIST).read_bytes() + b" ")
    assert join(key, tmp_path / "out", parts).exit_code == verify.EXIT_REFUSED
    assert run("repair", parts, "--key", key).exit_code == verify.EXIT_REFUSED


def test_a_bundle_that_is_not_as_signed_is_not_split(bundle: Path, tmp_path: Path) -> None:
    (bundle / "more").touch()
    with pytest.raises(verify.Problem, match="must not be there"):
        split(bundle, SIZE, tmp_path / "medium", samples.KEY)
    (bundle / "more").unlink()
    with pytest.raises(verify.Problem, match="must be a signature of the key"):
        split(bundle, SIZE, tmp_path / "medium", samples.OTHER_KEY)
    (bundle / "archives/dls.tar.gz").write_bytes(b"x" * 210_000)
    with pytest.raises(verify.Problem, match="must be as it was signed"):
        split(bundle, SIZE, tmp_path / "medium", samples.KEY)
    assert not (tmp_path / "medium").exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("4G", 4 * 10**9), ("4GiB", 4 << 30), ("650M", 650 * 10**6), ("1.5GB", 1_500_000_000), ("65536", 65536)],
)
def test_sizes_are_those_of_media(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-4G", "4 X", "10", "0"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="--size: must be 64KiB or more"):
        parse_size(text)


def test_the_folder_of_parts_that_goes_is_never_the_medium(parts: Path, key: Path, tmp_path: Path) -> None:
    medium = parts.rename(tmp_path / "out.parts")
    done = join(key, tmp_path / "out", medium)
    assert (done.exit_code, "must not be a medium" in done.output) == (verify.EXIT_REFUSED, True)
    assert "sample.0001" in names(medium)


def test_files_of_others_stay(parts: Path, key: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "out.parts", tmp_path / "out.new"):
        folder.mkdir()
        (folder / "mine").touch()
    done = join(key, tmp_path / "out", parts)
    assert done.exit_code == 0, done.output
    assert names(tmp_path / "out.parts") == ["mine"]
    assert names(tmp_path / "out.new") == ["mine"]


def test_parts_may_be_kept_where_a_link_leads(bundle: Path, parts: Path, key: Path, tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "out.parts").symlink_to(tmp_path / "large disk")
    done = join(key, tmp_path / "out", parts)
    assert done.exit_code == 0, done.output
    assert same(bundle, tmp_path / "out")
    assert names(tmp_path / "large disk") == []


@pytest.mark.parametrize("link", ["sample.0002.partial", "sample.parts.json.partial"])
@pytest.mark.parametrize("kind", ["link", "second name"])
def test_repair_writes_nowhere_but_on_the_medium(parts: Path, key: Path, tmp_path: Path, link: str, kind: str) -> None:
    medium, own = tmp_path / "other medium", tmp_path / "own"
    medium.mkdir()
    own.write_text("own")
    if kind == "link":
        (medium / link).symlink_to(own)
    else:
        (medium / link).hardlink_to(own)
    done = run("repair", medium, "--from", parts, "--key", key)
    assert done.exit_code == 0, done.output
    assert own.read_text() == "own"
    assert join(key, tmp_path / "out", medium).exit_code == 0


@pytest.mark.parametrize("program", ["media.py", "install.py"])
def test_a_program_that_was_copied_alone_says_what_it_misses(tmp_path: Path, program: str) -> None:
    shutil.copy(Path(media.__file__).with_name(program), tmp_path)
    done = subprocess.run([sys.executable, tmp_path / program], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stderr.startswith("verify.py: must be beside this program, got none\nHINT: ")


def test_a_medium_that_is_not_there_is_told_with_a_hint(parts: Path, key: Path, tmp_path: Path) -> None:
    words: list[str | Path] = ["join", tmp_path / "nowhere", "--key", key, "--out", tmp_path / "out"]
    command = [sys.executable, parts / "media.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "nowhere: must be accessible, got No such file" in done.stderr) == (1, True), done.stderr
