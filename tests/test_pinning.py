"""Pinning into odd files: what is there stays as it is to the byte, or the file is refused and left alone."""

import os
import stat
from pathlib import Path

import pytest
import yaml

from dlsctl.problems import Refused
from dlskit.pinning import pin_into

VALUES = {"dls_server_version": "2.4.12", "dls_server_archive_checksum": "sha256:" + "a" * 64}
RULE = "must be a YAML file of variables, each on a line of its own"


def test_a_file_is_named_as_in_a_shell_that_is_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dls.yml").write_text("dls_server_port: 48080\n")
    assert pin_into("dls.yml", VALUES)
    assert not pin_into("dls.yml", VALUES)
    assert yaml.safe_load(Path("dls.yml").read_text()) == {"dls_server_port": 48080, **VALUES}


def test_a_link_stays_one_and_what_it_points_to_is_changed(tmp_path: Path) -> None:
    (tmp_path / "shared.yml").write_text("dls_server_version: 2.4.11\n")
    (tmp_path / "dls.yml").symlink_to("shared.yml")
    pin_into(str(tmp_path / "dls.yml"), VALUES)
    assert (tmp_path / "dls.yml").is_symlink()
    assert yaml.safe_load((tmp_path / "shared.yml").read_text()) == VALUES


def test_the_line_ends_of_the_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "dls.yml"
    path.write_bytes(b"a: 1\r\ndls_server_version: 2.4.11\r\nb: 2\r\n")
    pin_into(str(path), VALUES)
    checksum = VALUES["dls_server_archive_checksum"].encode()
    assert path.read_bytes() == (
        b"a: 1\r\ndls_server_version: 2.4.12\r\nb: 2\r\ndls_server_archive_checksum: " + checksum + b"\r\n"
    )


@pytest.mark.parametrize(
    "content",
    [
        b'"dls_server_version": 2.4.11\n',
        b"dls_server_version : 2.4.11\n",
        b"\xef\xbb\xbfdls_server_version: 2.4.11\n",
        b"a: 1\rdls_server_version: 2.4.11\r",
        b"all:\n  hosts:\n    dls1.example.com:\n",
        b"all:\n  children:\n    dls:\n      hosts:\n        dls1.example.com:\n",
        b"dls:\n  hosts:\n    dls1.example.com:\n      dls_server_version: 2.4.11\n",
        b"$ANSIBLE_VAULT;1.1;AES256\n3133\n",
        b"dls_server_archive_checksum: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3133\n",
        b"a: " + b"[" * 5000,
    ],
)
def test_a_file_that_would_not_hold_the_values_once_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dls.yml"
    path.write_bytes(content)
    with pytest.raises(Refused, match=RULE):
        pin_into(str(path), VALUES)
    assert path.read_bytes() == content


def test_what_is_not_for_the_kit_to_read_stays(tmp_path: Path) -> None:
    path = tmp_path / "dls.yml"
    content = (
        b"? [a]\n: 1\na: 2001-99-99\nb: !!int x\nc: !!python/object:os.system x\n"
        b"password: !vault |\n  $ANSIBLE_VAULT;1.1\n"
    )
    path.write_bytes(content)
    pin_into(str(path), VALUES)
    assert path.read_bytes().startswith(content)


def test_a_file_in_another_encoding_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "dls.yml"
    path.write_bytes("# M\u00fcller\n".encode("latin-1"))
    with pytest.raises(Refused, match="must be in UTF-8, got another encoding"):
        pin_into(str(path), VALUES)
    assert path.read_bytes() == b"# M\xfcller\n"


def test_the_owner_and_mode_of_the_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "dls.yml"
    path.write_text("a: 1\n")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 1235)
    before = path.stat()
    pin_into(str(path), VALUES)
    after = path.stat()
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (before.st_uid, before.st_gid, 0o640)
