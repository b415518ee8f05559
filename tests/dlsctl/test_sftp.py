"""A backup copied by SFTP: the real client and the real server, without the ssh between them."""

import os
import re
import shutil
import socket
from pathlib import Path

import pytest

from dlsctl.problems import EXIT_FAILED, EXIT_REFUSED, Problem, Refused
from dlsctl.push import push, require_pushable
from dlsctl.sftp import parse
from dlsctl.store import Backup, backups
from tests.dlsctl.conftest import Site

SERVER = "/usr/lib/openssh/sftp-server"  # Debian's; RHEL has it elsewhere
pytestmark = pytest.mark.skipif(
    not shutil.which("sftp") or not os.access(SERVER, os.X_OK), reason="sftp or openssh-sftp-server is missing"
)
# ssh is asked for the words behind it; its server is the one of this machine.
CLIENT = r"""#!/bin/sh
echo "$*" >> {log}
[ ! -e {log}.down ] || {{ echo "Permission denied (publickey)." >&2; exit 255; }}
exec {real} -D {server} -b -
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every call of the client; where `<log>.down` is there, the server lets nobody in."""
    folder, log = tmp_path / "path", tmp_path / "calls"
    folder.mkdir()
    client = folder / "sftp"
    client.write_text(CLIENT.format(log=log, real=shutil.which("sftp"), server=SERVER))
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return log


@pytest.fixture
def backup(site: Site) -> Backup:
    site.install()
    (site.home / "current").symlink_to(site.release)
    (site.release / "licence.dat").write_text("precious")
    site.call("backup")
    (found,) = backups(site.installation)
    return found


@pytest.fixture
def far(tmp_path: Path, log: Path) -> Path:
    place = tmp_path / "far"
    place.mkdir()
    return place


def url(far: Path) -> str:
    return f"sftp://saver@nas.example.com:2222{far}"


def test_a_copy_is_complete_private_and_read_back(site: Site, far: Path, log: Path, backup: Backup) -> None:
    pushed = site.ask("backup", f"--push={url(far)}", "--push-key=/root/saver")["pushed"]
    newest = backups(site.installation)[-1]
    assert pushed == f"{url(far)}/{socket.gethostname()}/{newest.name}"
    copy = far / socket.gethostname() / newest.name
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {
        path.name: path.read_bytes() for path in Path(newest.folder).iterdir()
    }
    assert [oct(path.stat().st_mode & 0o777) for path in (copy, *copy.iterdir())] == ["0o700", "0o600", "0o600"]
    assert "every byte is as it was written" in site.call("verify-backup", str(copy)).stdout
    words = log.read_text().splitlines()[0]
    assert "-o BatchMode=yes -o StrictHostKeyChecking=yes" in words
    assert words.endswith("-P 2222 -i /root/saver -o IdentitiesOnly=yes saver@nas.example.com")
    assert [path.name for path in Path(site.installation.backup_dir).iterdir() if path.name.startswith(".")] == []


def test_a_server_that_lets_nobody_in_is_told_before_anything_is_done(site: Site, far: Path, log: Path) -> None:
    site.install()
    Path(f"{log}.down").touch()
    site.configure(backup_push=url(far))
    done = site.call("backup", check=False)
    assert done.returncode == EXIT_FAILED
    assert (
        f"{url(far)}: must let backups be written, by ssh without a question, got Permission denied (publickey).\n"
        f"HINT: try it on this host, as root: sftp {url(far)}\n"
    ) in done.stderr
    assert backups(site.installation) == []


def test_a_server_that_speaks_in_another_encoding_is_understood(far: Path, log: Path, backup: Backup) -> None:
    client = log.parent / "path/sftp"
    client.write_text(client.read_text().replace("exec ", "printf 'Gr\\374\\337e\\n' >&2; exec "))
    push(backup, url(far))
    assert [path.name for path in (far / socket.gethostname()).iterdir()] == [backup.name]


def test_the_reason_of_ssh_is_told(tmp_path: Path) -> None:
    with socket.socket() as closed:  # taken, and nobody listens
        closed.bind(("127.0.0.1", 0))
        place = f"sftp://127.0.0.1:{closed.getsockname()[1]}{tmp_path}"
        with pytest.raises(Problem, match=r"a question, got ssh: connect to host .*: Connection refused\nHINT"):
            require_pushable(place)


def test_what_grew_on_the_server_does_not_fill_this_disk(far: Path, log: Path, backup: Backup) -> None:
    client = log.parent / "path/sftp"
    grow = f"code=$?; [ ! -e {far}/*/.*.partial ] || truncate -s 1G {far}/*/.*.partial/state.tar*"
    end = "; [ $code -le 128 ] || kill -$((code - 128)) $$; exit $code"  # as the client itself ended
    client.write_text(client.read_text().replace("exec ", "") + grow + end)
    with pytest.raises(Problem, match=r"must give back what it was given, got more than \d{4} bytes"):
        push(backup, url(far))
    assert list((far / socket.gethostname()).iterdir()) == []


def test_a_folder_that_is_not_there_is_told_and_none_is_made(far: Path) -> None:
    with pytest.raises(Problem, match="No such file or directory"):
        require_pushable(url(far / "none"))
    require_pushable(url(far))
    assert list(far.iterdir()) == []


def test_invariant_6_a_copy_that_is_not_as_the_backup_leaves_nothing(far: Path, backup: Backup) -> None:
    place = far / socket.gethostname()
    leftover = place / f".{backup.name}.partial"
    leftover.mkdir(parents=True)
    (leftover / "state.tar.gz").write_text("half of a run that was killed")
    foreign = place / ".snapshots.partial"
    foreign.mkdir()
    damaged = backup._replace(manifest={**backup.manifest, "pack": {**backup.manifest["pack"], "sha256": "0" * 64}})
    with pytest.raises(Problem, match="sha256"):
        push(damaged, url(far))
    assert list(place.iterdir()) == [foreign]
    push(backup, url(far))
    assert sorted(path.name for path in place.iterdir()) == [foreign.name, backup.name]


def test_a_backup_that_is_there_is_never_replaced(far: Path, backup: Backup) -> None:
    push(backup, url(far))
    before = {path: path.stat().st_mtime_ns for path in far.rglob("*")}
    with pytest.raises(Refused, match="must not be there yet, got a backup of that name"):
        push(backup, url(far))
    assert {path: path.stat().st_mtime_ns for path in far.rglob("*")} == before


def test_a_server_that_is_full_leaves_no_part(far: Path, log: Path, backup: Backup) -> None:
    client = log.parent / "path/sftp"
    client.write_text(client.read_text().replace("exec ", "ulimit -f 1; exec "))
    with pytest.raises(Problem, match="must let backups be written"):
        push(backup, url(far))
    assert list((far / socket.gethostname()).iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "sftp://nas",
        "sftp://nas/",
        "sftp:///backups",
        "sftp://-oProxyCommand=x/backups",
        "sftp://u@-x/backups",
        "sftp://-u@nas/backups",
        "sftp://nas/a/../b",
        "sftp://nas/a b",
        'sftp://nas/a"b',
        "sftp://nas/a*",
        "sftp://nas/a\nrm b",
        "sftp://nas:22x/a",
        "sftp://user:password@nas/a",
        "sftp://nas//a",
    ],
)
def test_a_url_of_another_form_is_refused(text: str) -> None:
    assert parse(text) is None
    with pytest.raises(Refused, match=re.escape("must be sftp://[USER@]HOST[:PORT]/FOLDER")):
        require_pushable(text)


def test_a_url_names_user_port_and_folder_or_leaves_them_to_ssh() -> None:
    assert parse("sftp://nas/a") == (None, "nas", None, "/a", "")
    assert parse("sftp://u@[fe80::1]:22/a/b-c", "/k") == ("u", "[fe80::1]", "22", "/a/b-c", "/k")
    assert str(parse("sftp://u@nas:22/a")) == "sftp://u@nas:22/a"


def test_a_host_without_sftp_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match="needs sftp on this host, got none\nHINT: install"):
        require_pushable("sftp://nas/a")


def test_exit_code_of_a_form_is_that_of_a_refusal(site: Site) -> None:
    site.install()
    assert site.call("backup", "--push=sftp://nas", check=False).returncode == EXIT_REFUSED
