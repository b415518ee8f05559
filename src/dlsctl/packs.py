"""Packs: tar streams, compressed and, for a recipient, encrypted, by the distribution's own programs.

Nothing of a pack is held in memory or written to disk on the way. Tar in the POSIX (pax) form, whose names may be of
any length; compressed by zstd(1) where the host has it and by gzip(1) otherwise; encrypted by age(1) or gpg(1).
"""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
from typing import IO, Any, BinaryIO, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, cast

from dlsctl.files import Entry, native, open_regular, portable
from dlsctl.host import run
from dlsctl.problems import Problem, Refused, shown


class Tool(NamedTuple):
    """A program that packs, and how it is called to pack and to unpack a stream."""

    suffix: str
    pack: List[str]
    unpack: List[str]


COMPRESSIONS = {
    "zstd": Tool(".zst", ["zstd", "--quiet", "-9", "--threads=0", "--stdout"], ["zstd", "--quiet", "-d", "--stdout"]),
    "gzip": Tool(".gz", ["gzip", "--stdout"], ["gzip", "-d", "--stdout"]),
}
# {} is who can open the pack, or for unpacking the file with the private key.
ENCRYPTIONS = {
    "age": Tool(".age", ["age", "--encrypt", "--recipient", "{}"], ["age", "--decrypt", "--identity", "{}"]),
    "gpg": Tool(
        ".gpg",
        ["gpg", "--batch", "--no-tty", "--quiet", "--trust-model=always", "--recipient-file", "{}", "--encrypt"],
        ["gpg", "--batch", "--no-tty", "--quiet", "--trust-model=always", "--decrypt"],
    ),
}
AGE_RECIPIENT = r"age1[0-9a-z]{58}|ssh-(rsa|ed25519) [A-Za-z0-9+/=]+( \S+)?"
RECIPIENT_HINT = "print one with: age-keygen -y FILE, or export a key with: gpg --export"
RECIPIENT_RULE = "must be an age recipient (age1...), or the absolute path of a file with an OpenPGP public key"


def encryption_for(recipient: Optional[str]) -> Optional[str]:
    """Which of ENCRYPTIONS takes this recipient; None without one. Raises Refused."""
    if not recipient:
        return None
    if not is_recipient(recipient):
        raise Refused("dls_server_backup_recipient", RECIPIENT_RULE, shown(recipient), RECIPIENT_HINT)
    return "gpg" if os.path.isabs(recipient) else "age"


def is_recipient(text: str) -> bool:
    return bool(re.fullmatch(AGE_RECIPIENT, text)) or os.path.isabs(text)


def best_compression() -> str:
    return "zstd" if shutil.which("zstd") else "gzip"


def require_tool(name: str) -> None:
    if not shutil.which(name):
        raise Refused(name, "must be installed on this host, since the backup needs it", "none", "install " + name)


def pack_name(compression: str, encryption: Optional[str]) -> str:
    return "state.tar" + COMPRESSIONS[compression].suffix + (ENCRYPTIONS[encryption].suffix if encryption else "")


def write_pack(
    path: str, parts: Iterable[Tuple[str, Entry, str]], compression: str, encryption: Optional[str], recipient: str
) -> None:
    """Write a pack that must not exist yet, and flush it; each part is its name in the pack, its entry and its file."""
    commands = [COMPRESSIONS[compression].pack]
    if encryption:
        commands.append([word.format(recipient) for word in ENCRYPTIONS[encryption].pack])
    with private_home() as env:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file, through(commands, env, output=file) as stream:  # noqa: SIM117 - Python 3.6
            with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
                for name, entry, full in parts:
                    add(tar, name, entry, full)
        with open(path, "rb") as written:
            os.fsync(written.fileno())


def add(tar: tarfile.TarFile, name: str, entry: Entry, full: str) -> None:
    member = tarfile.TarInfo(portable(name))
    member.mode, member.uid, member.gid = int(entry["mode"], 8), entry["uid"], entry["gid"]
    member.mtime = entry["mtime_ns"] // 10**9
    if entry["kind"] == "file":
        member.size = entry["size"]
        with os.fdopen(open_regular(full), "rb") as file:
            tar.addfile(member, file)
    else:
        member.type = tarfile.DIRTYPE if entry["kind"] == "dir" else tarfile.SYMTYPE
        member.linkname = portable(entry.get("link", ""))
        tar.addfile(member)


# What tarfile raises where a pack is none.
BROKEN = (tarfile.TarError, EOFError, ValueError, OverflowError)
LONGEST_HEADER = 1 << 20  # bytes of what tarfile reads as a whole: a name, or a member's further attributes


class Header(tarfile.TarInfo):
    """A member's header, which takes a bounded amount of memory: it may have been made for that alone."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if not self.isreg() and self.size > LONGEST_HEADER:
            raise tarfile.ReadError("a header of {} bytes".format(self.size))
        return super()._proc_member(tar)  # type: ignore[misc]


class Content:
    """The content of a file in a pack, to be read once; raises Problem where the pack is damaged."""

    def __init__(self, path: str, stream: IO[bytes], size: int) -> None:
        self.path, self.stream, self.size = path, stream, size

    def read(self, size: int) -> bytes:
        try:
            return self.stream.read(size)
        except BROKEN as error:
            raise damaged(self.path, error) from None


def require_key(path: str, encryption: Optional[str], key: Optional[str]) -> None:
    """Raise Refused where an encrypted pack could not be read."""
    if encryption and not key:
        raise Refused(path, "is encrypted and needs its private key", "none", "name the key's file with --key")
    if encryption and key and not os.path.isfile(key):
        raise Refused(key, "must be the file with the private key", "no file", "name the key's file with --key")
    if encryption:
        require_tool(encryption)


def read_pack(
    path: str, compression: str, encryption: Optional[str] = None, key: Optional[str] = None
) -> Iterator[Tuple[str, Optional[Content]]]:
    """Yield each member's name and, for a file, its content, to be read before the next. Raises Problem if damaged.

    `key` is the file with the private key, of age or exported by gpg without a passphrase.
    """
    commands = [COMPRESSIONS[compression].unpack]
    require_key(path, encryption, key)
    if encryption:
        commands.insert(0, [word.format(key) for word in ENCRYPTIONS[encryption].unpack])
    with private_home() as env, os.fdopen(open_regular(path), "rb") as file:
        if encryption == "gpg":
            import_key(str(key), env)
        yield from members(path, commands, env, file)


def import_key(key: str, env: Dict[str, str]) -> None:
    code, output = run(["gpg", "--batch", "--no-tty", "--quiet", "--import", key], env=env)
    if code:
        raise Refused(
            key, "must be a private key that gpg takes", output.strip(), "export it: gpg --export-secret-keys"
        )


def members(
    path: str, commands: Sequence[List[str]], env: Dict[str, str], file: BinaryIO
) -> Iterator[Tuple[str, Optional[Content]]]:
    with through(commands, env, source=file, what=path) as stream:
        is_empty = not cast(io.BufferedReader, stream).peek(1)  # the commands say why, when they have ended
        if not is_empty:
            try:
                with tarfile.open(fileobj=stream, mode="r|", tarinfo=Header, encoding="utf-8") as tar:
                    for member in tar:
                        file_of = tar.extractfile(member) if member.isreg() else None
                        yield native(member.name), Content(path, file_of, member.size) if file_of else None
                # tarfile may stop before the last record, and a command that still writes it would die of that.
                if len(stream.read(tarfile.RECORDSIZE + 1)) > tarfile.RECORDSIZE:
                    raise damaged(path, "more behind it")
            except BROKEN as error:
                raise damaged(path, error) from None
    if is_empty:
        raise damaged(path, "nothing")


def damaged(path: str, got: object) -> Problem:
    return Problem(
        path, "must be readable to its end", got, "use another backup; keep this one, it may help the vendor"
    )


@contextlib.contextmanager
def private_home() -> Iterator[Dict[str, str]]:
    """An environment in which gpg makes no folder in anybody's home."""
    with tempfile.TemporaryDirectory() as home:
        yield dict(os.environ, GNUPGHOME=home)


@contextlib.contextmanager
def through(
    commands: Sequence[List[str]],
    env: Dict[str, str],
    source: Optional[BinaryIO] = None,
    output: Optional[BinaryIO] = None,
    what: Optional[str] = None,
) -> Iterator[IO[bytes]]:
    """Run commands one behind the other, from `source` or to `output`; yields the other end.

    Raises Problem where one fails; `what` is the file that it is about, where it is read.
    """
    processes: List["subprocess.Popen[bytes]"] = []
    with contextlib.ExitStack() as files:
        errors = [files.enter_context(tempfile.TemporaryFile()) for _ in commands]
        for number, command in enumerate(commands):
            before = processes[-1].stdout if processes else source or subprocess.PIPE
            after = output if output and number == len(commands) - 1 else subprocess.PIPE
            processes.append(subprocess.Popen(command, stdin=before, stdout=after, stderr=errors[number], env=env))
            if len(processes) > 1 and processes[-2].stdout:
                processes[-2].stdout.close()  # so that the earlier one learns when this one ends
        end = processes[0].stdin or processes[-1].stdout
        if end is None:
            raise ValueError("either a source or an output")
        try:
            with contextlib.suppress(BrokenPipeError):  # the command's own words say why
                yield end
        finally:
            with contextlib.suppress(BrokenPipeError):
                end.close()
            codes = [process.wait() for process in processes]
        if any(code not in (0, -signal.SIGPIPE) for code in codes):
            codes = [0 if code == -signal.SIGPIPE else code for code in codes]  # ended since the next one had failed
        for command, code, error in zip(commands, codes, errors):
            error.seek(0)
            text = error.read(2000).decode(errors="replace").strip()
            got = text or "exit code {}".format(code)
            if code and what and command[0] in ENCRYPTIONS:
                hint = "name the private key that belongs to it with --key; with the right one, use another backup"
                raise Problem(what, "must be decrypted by " + command[0], got, hint)
            if code and what:
                raise damaged(what, got)
            if code:
                raise Problem(command[0], "must succeed", got, "look at the free space there, and at the key")
