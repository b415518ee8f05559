#!/usr/bin/env python3
"""Put an offline bundle of the DLS Kit together from the parts that came on one or more media, and mend media.

    python3 media.py join MEDIUM... --key PUBLIC_KEY --out FOLDER
    python3 media.py repair MEDIUM --key PUBLIC_KEY [--from OTHER]...

Standard library only, Python 3.6 and later; verify.py must be beside it. `join` takes what the media have, keeps it in
FOLDER.parts, and may be run again for each medium and after any failure; the parts go when the whole was verified.
`repair` names the parts that must be copied again, or takes good copies from other folders.

The parts are one tar archive that was cut; NAME.parts.json is the signed list of them.
Exit codes: 0 done, 1 failed, 2 wrong usage, 5 parts are missing or damaged, 6 refused.
"""

import sys

if __name__ == "__main__" and not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # this folder: a file that somebody added to the medium must not pass for a module

import argparse
import errno
import hashlib
import os
import re
import shutil
import stat

if __name__ != "__main__":
    from dlskit.bundle import verify
else:
    sys.dont_write_bytecode = True  # a medium stays as it is
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    try:
        import verify  # type: ignore[import-not-found,no-redef]
    except ImportError:
        sys.exit("verify.py: must be beside this program, got none\nHINT: copy it from where this program comes from")

from typing import Any, Dict, Iterator, List, Optional, Tuple

KIND, SCHEMA = "dlskit-parts", 1
LIST_SUFFIX = ".parts.json"
PARTIAL = ".partial"  # ends the name of a part until it is complete
MOST_PARTS = 9999
BLOCK = 512  # bytes, of tar
END = bytes(2 * BLOCK)
AGAIN_HINT = "copy it again from where the bundle was built, or give a medium that has it; then run the same again"

Key = Tuple[bytes, bytes]
Parts = Dict[str, Any]  # {name, size, sha256, head, parts}: head and parts are lists of {path, size, sha256}


# --- The tar archive ---


def tar_header(path: str, size: int) -> bytes:
    """What comes before a file in the archive: mode 644, no owner, no time; long names and sizes as in GNU tar."""
    name = path.encode()
    if len(name) <= 100:
        return _block(name, size, b"0")
    long_name = name + b"\0"
    return (
        _block(b"././@LongLink", len(long_name), b"L") + long_name + padding(len(long_name)) + _block(name, size, b"0")
    )


def _block(name: bytes, size: int, kind: bytes) -> bytes:
    octal = "{:011o}\0".format(size).encode() if size < 8 << 30 else b"\x80" + size.to_bytes(11, "big")
    before = name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + octal + b"00000000000\0"
    after = (kind + bytes(100) + b"ustar  \0").ljust(356, b"\0")
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + "{:06o}\0 ".format(checksum).encode() + after


def padding(size: int) -> bytes:
    """What follows a file of so many bytes in the archive."""
    return bytes(-size % BLOCK)


def archive_size(entries: List[verify.Entry]) -> int:
    """The bytes of an archive of these files."""
    total = len(END)
    for entry in entries:
        total += len(tar_header(entry["path"], entry["size"])) + entry["size"] + len(padding(entry["size"]))
    return total


# --- The list of parts ---


def part_name(bundle: str, number: int) -> str:
    """The file name of a part; numbers start at 1."""
    return "{}.{:04d}".format(bundle, number)


def parse_parts(data: bytes, name: str) -> Parts:
    """The list of parts in a signed text; raises verify.Problem for one that is none."""
    parts = verify.parse_document(data, name, KIND, SCHEMA)
    head, found = parts.get("head"), parts.get("parts")
    if not isinstance(found, list) or not isinstance(head, list) or not 1 <= len(found) <= MOST_PARTS:
        raise verify.Problem(name, "must list the parts of a bundle", "something else", verify.COPY_HINT)
    names = [part_name(parts["name"], number) for number in range(1, len(found) + 1)]
    for entries, paths in ((head, list(verify.SIGNED)), (found, names)):
        if [_path_of(entry) for entry in entries] != paths:
            raise verify.Problem(name, "must list the parts in their order", "others", verify.COPY_HINT)
    if not verify.is_text(parts.get("sha256"), verify.SHA256) or parts.get("size") != sum(p["size"] for p in found):
        raise verify.Problem(name, "must know the size and hash of the whole", "another", verify.COPY_HINT)
    return parts


def _path_of(entry: object) -> Optional[str]:
    if not isinstance(entry, dict) or set(entry) != {"path", "size", "sha256"}:
        return None
    right = verify.is_size(entry["size"]) and verify.is_text(entry["sha256"], verify.SHA256)
    return str(entry["path"]) if right else None


def find_list(folder: str) -> Optional[str]:
    """The name of the list of parts in a folder, if one is there; two bundles must not share a folder."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(LIST_SUFFIX) and not name.startswith("."))
    if len(names) > 1:
        hint = "keep each in a folder of its own"
        raise verify.Problem(verify.shown(folder), "must hold the parts of one bundle", ", ".join(names), hint)
    return names[0] if names else None


def read_parts(folders: List[str], key: Key) -> Tuple[Parts, str]:
    """The signed list of parts, and the folder that it is in; folders with lists of different bundles are refused."""
    found = {}  # type: Dict[bytes, Tuple[str, str]]
    for folder in folders:
        name = find_list(folder)
        if name:
            data, _ = verify.read_signed(folder, name, key)
            found.setdefault(data, (name, folder))
    if not found:
        hint = "give the medium that has NAME{} and its signature first".format(LIST_SUFFIX)
        raise verify.Problem(verify.shown(folders[0]), "must have a list of parts", "none", hint)
    if len(found) > 1:
        got = " and ".join(os.path.join(folder, name) for name, folder in found.values())
        raise verify.Problem("media", "must be of one bundle", got, "leave the other one out, or give another --out")
    ((data, (name, folder)),) = found.items()
    return parse_parts(data, name), folder


# --- Copying parts ---


class Damaged(Exception):
    """A part is not what the list says; its text says what it is."""


def collect(parts: Parts, media: List[str], folder: str) -> Iterator[verify.Problem]:
    """Copy the parts that the media have into a folder; yields what is still missing, by name and cause."""
    for part in parts["parts"]:
        target = os.path.join(folder, part["path"])
        if os.path.exists(target):  # it had its hash when it got this name, and is read again in the end
            continue
        causes = []  # type: List[str]
        for medium in media:
            source = os.path.join(medium, part["path"])
            if not os.path.lexists(source):
                continue
            try:
                fetch(parts, part, source, target)
                causes = []
                break
            except Damaged as error:
                causes.append("{} on {}".format(error, medium))
        if not os.path.exists(target):
            yield wrong(part, "; ".join(causes) or "nothing")


def wrong(part: verify.Entry, got: str) -> verify.Problem:
    """What to tell about a part that is not there as it should be."""
    return verify.Problem(part["path"], "must be there as it was signed", got, AGAIN_HINT, verify.EXIT_DIFFERS)


def fetch(parts: Parts, part: verify.Entry, source: str, target: str) -> None:
    """Copy one part, going on where an earlier copy was cut off; `target` has its name only once its hash is right."""
    partial = target + PARTIAL
    try:
        for start in sorted({0, _size(partial)}, reverse=True):
            digest = _copy(part, source, partial, start)
            if digest == part["sha256"]:
                os.replace(partial, target)
                return
    except OSError as error:
        if error.filename != source:
            raise
        raise Damaged(error.strerror) from None
    os.unlink(partial)
    raise Damaged(what_is(parts, digest))


def _size(path: str) -> int:
    """The bytes of what an earlier copy has left; 0 for what else a medium may have there, such as a link."""
    try:
        facts = os.lstat(path)
    except OSError:
        return 0
    return facts.st_size if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 else 0


def _remove(path: str) -> None:
    """Remove what is there, if anything: nothing is to be written to where a link leads."""
    if os.path.lexists(path):
        os.unlink(path)


def _copy(part: verify.Entry, source: str, partial: str, start: int) -> str:
    """Copy a part from byte `start` on; returns the SHA-256 of all of it."""
    if not start:
        _remove(partial)
    with verify.open_regular(source) as file, open(partial, "r+b" if start else "x+b") as copy:
        size = os.fstat(file.fileno()).st_size
        if size != part["size"]:
            raise Damaged("{} bytes in place of {}".format(size, part["size"]))
        copy.truncate(min(start, size))
        digest = hashlib.sha256()
        for piece in _pieces(copy):
            digest.update(piece)
        file.seek(copy.tell())
        while True:
            try:
                piece = file.read(verify.PIECE)
            except OSError as error:  # a bad sector
                raise Damaged(error.strerror) from None
            if not piece:
                break
            digest.update(piece)
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()


def _pieces(file: Any) -> Iterator[bytes]:
    piece = file.read(verify.PIECE)
    while piece:
        yield piece
        piece = file.read(verify.PIECE)


def what_is(parts: Parts, digest: str) -> str:
    """What a file with this hash is, in words."""
    for part in parts["parts"]:
        if part["sha256"] == digest:
            return "the content of {}".format(part["path"])
    return "a damaged part, or one of another bundle"


# --- The whole ---


_NOTHING = memoryview(b"")


class Stream:
    """The parts of a folder as one stream. Raises Damaged, with the part in `at`, where a part is not as listed."""

    def __init__(self, folder: str, parts: Parts) -> None:
        self._folder, self._parts = folder, parts
        self._bytes = self._read()
        self._rest = _NOTHING
        self.at = {}  # type: verify.Entry

    def _read(self) -> Iterator[memoryview]:
        for part in self._parts["parts"]:
            self.at = part
            digest, size = hashlib.sha256(), 0
            with verify.open_regular(os.path.join(self._folder, part["path"])) as file:
                for piece in _pieces(file):
                    digest.update(piece)
                    size += len(piece)
                    yield memoryview(piece)
            if (size, digest.hexdigest()) != (part["size"], part["sha256"]):
                raise Damaged(what_is(self._parts, digest.hexdigest()))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes, in pieces. Raises ValueError where the stream ends before."""
        while size:
            if not self._rest:
                self._rest = next(self._bytes, _NOTHING)
                if not self._rest:
                    raise ValueError("the archive ends too early")
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece

    def expect(self, data: bytes) -> None:
        """Read what must come next. Raises ValueError for anything else."""
        if b"".join(self.pieces(len(data))) != data:
            raise ValueError("the archive has another member than the manifest says")

    def end(self) -> None:
        """Read to the end of the last part, where nothing more may come."""
        if self._rest or any(True for _ in self._bytes):
            raise ValueError("the archive goes on after its end")

    def drain(self) -> None:
        """Read what is left, since only at a part's end it is known whether the part was damaged."""
        for _ in self._bytes:
            pass


def unpack(folder: str, parts: Parts, key: Key, out: str) -> None:
    """Unpack the parts of a folder into a new one, which must then be a bundle with every file as it was signed.

    Only members that the signed manifest names are taken, in its order: any other archive is refused.
    """
    stream = Stream(folder, parts)
    try:
        try:
            manifest = _unpack_members(stream, parts, key, out)
        except (ValueError, verify.Problem):
            stream.drain()
            raise
    except Damaged as error:
        os.unlink(os.path.join(folder, stream.at["path"]))
        raise wrong(stream.at, str(error)) from None
    except ValueError as error:
        hint = "split the bundle again where it was built"
        raise verify.Problem(parts["name"] + LIST_SUFFIX, "must be of a whole bundle", error, hint) from None
    for problem in verify.check_files(out, manifest["files"]):
        raise problem


def _unpack_members(stream: Stream, parts: Parts, key: Key, out: str) -> Dict[str, Any]:
    for entry in parts["head"]:
        _unpack_file(stream, entry, out)
    manifest = verify.read_manifest(out, key)
    for entry in sorted(manifest["files"], key=lambda entry: str(entry["path"])):
        _unpack_file(stream, entry, out)
    stream.expect(END)
    stream.end()
    return manifest


def _unpack_file(stream: Stream, entry: verify.Entry, out: str) -> None:
    path = os.path.join(out, *entry["path"].split("/"))
    stream.expect(tar_header(entry["path"], entry["size"]))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        for piece in stream.pieces(entry["size"]):
            file.write(piece)
    stream.expect(padding(entry["size"]))


def join(media: List[str], key_path: str, out: str) -> Tuple[str, List[verify.Problem]]:
    """Put a bundle together in the new folder `out`; returns its name, and the parts that are still to come.

    What was copied stays in a folder beside it until the whole was verified. Raises verify.Problem.
    """
    out = os.path.abspath(out)
    kept = out + ".parts"
    new = kept + ".new"
    key = verify.read_key(key_path, *media, kept, out)
    if os.path.lexists(out):
        raise verify.Problem(out, "must not be there yet", "something", "give another --out, or remove it")
    if os.path.realpath(kept) in map(os.path.realpath, media):
        hint = "give another --out: that folder is where parts are kept, and they go in the end"
        raise verify.Problem(kept, "must not be a medium", "one", hint)
    earlier = [kept] if os.path.isdir(kept) and find_list(kept) else []
    parts, where = read_parts(earlier + media, key)
    try:
        _keep_list(parts, where, kept)
        _require_room(parts, kept, os.path.dirname(out))
        missing = list(collect(parts, media, kept))
        if not missing:
            shutil.rmtree(new, ignore_errors=True)
            unpack(kept, parts, key, new)
            os.rename(new, out)
            _let_go(parts, kept)
    except OSError as error:
        raise _told(error, kept) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return parts["name"], missing


def _keep_list(parts: Parts, where: str, kept: str) -> None:
    os.makedirs(kept, exist_ok=True)
    name = parts["name"] + LIST_SUFFIX
    for end in (verify.SIGNATURE_SUFFIX, ""):  # the list comes last: only then is the folder one of a bundle
        target = os.path.join(kept, name + end)
        if where != kept:
            _remove(target + PARTIAL)
            shutil.copyfile(os.path.join(where, name + end), target + PARTIAL)
            os.replace(target + PARTIAL, target)


def _require_room(parts: Parts, kept: str, place: str) -> None:
    """Raise Problem unless `kept` has room for the parts that are still to come, and `place` for the bundle."""
    size = sum(part["size"] for part in parts["parts"])
    there = sum(_size(os.path.join(kept, part["path"] + end)) for part in parts["parts"] for end in ("", PARTIAL))
    needed = {os.stat(kept).st_dev: (kept, size - there)}
    before = needed.get(os.stat(place).st_dev, (place, 0))[1]
    needed[os.stat(place).st_dev] = (place, before + size)
    for folder, room in needed.values():
        free = shutil.disk_usage(folder).free
        if free < room:
            rule = "must have {} MiB free for the parts and the bundle".format((room >> 20) + 1)
            hint = "free some, or give an --out on another disk; what was copied is kept"
            raise verify.Problem(folder, rule, "{} MiB".format(free >> 20), hint, verify.EXIT_FAILED)


def _let_go(parts: Parts, kept: str) -> None:
    """Remove the parts that were kept, and their folder unless something else is in it."""
    name = parts["name"] + LIST_SUFFIX
    for path in [name, name + verify.SIGNATURE_SUFFIX] + [part["path"] for part in parts["parts"]]:
        for end in ("", PARTIAL):
            _remove(os.path.join(kept, path + end))
    if not os.listdir(kept) and not os.path.islink(kept):
        os.rmdir(kept)


def _told(error: OSError, folder: str) -> verify.Problem:
    """What a person is told of an error while files are written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        hint = "free some, or use another disk; what was copied is kept: run the same again"
        return verify.Problem(folder, "must have room for the parts and the bundle", error.strerror, hint, 1)
    what, hint = str(error.filename or folder), "look at it and its rights, then run the same again"
    return verify.Problem(what, "must be accessible", error.strerror, hint, 1)


# --- Repair ---


def repair(medium: str, key_path: str, others: List[str]) -> Tuple[List[str], List[verify.Problem]]:
    """Replace the parts of a medium that are missing or wrong by good copies of any name, from it or other folders.

    Returns the parts that were replaced, and what is still wrong. Raises verify.Problem.
    """
    folders = [medium, *others]
    parts, where = read_parts(folders, verify.read_key(key_path, *folders))
    found = _found(parts, folders)
    bad = [part for part in parts["parts"] if found.get(os.path.join(medium, part["path"])) != part["sha256"]]
    sources = {digest: path for path, digest in found.items()}
    mended = [part for part in bad if part["sha256"] in sources]
    targets = [os.path.join(medium, part["path"]) for part in mended]
    try:
        if where != medium:
            _keep_list(parts, where, medium)
        for part, target in zip(mended, targets):
            _copy(part, sources[part["sha256"]], target + PARTIAL, 0)
        for target in targets:  # only now: what is replaced may be the good copy of another part
            os.replace(target + PARTIAL, target)
    except OSError as error:
        raise _told(error, medium) from None
    left = [wrong(part, _cause(parts, part, medium, found)) for part in bad if part not in mended]
    return [part["path"] for part in mended], left


def _found(parts: Parts, folders: List[str]) -> Dict[str, str]:
    """The SHA-256 of each readable file of the folders that could be a part, by its name or its size, by path."""
    form = re.compile(re.escape(parts["name"]) + r"\.\d{4}\Z")
    sizes = {part["size"] for part in parts["parts"]}
    found = {}
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            if name.endswith(PARTIAL):  # may be written to
                continue
            path = os.path.join(folder, name)
            try:
                with verify.open_regular(path) as file:
                    if form.match(name) or os.fstat(file.fileno()).st_size in sizes:
                        found[path] = verify.digest_of(file)
            except OSError:  # a bad sector, or no file
                continue
    return found


def _cause(parts: Parts, part: verify.Entry, medium: str, found: Dict[str, str]) -> str:
    path = os.path.join(medium, part["path"])
    if path in found:
        size = os.path.getsize(path)
        return what_is(parts, found[path]) if size == part["size"] else "{} bytes of {}".format(size, part["size"])
    return "a file that cannot be read" if os.path.lexists(path) else "nothing"


# --- The command line ---


def main(arguments: Optional[List[str]] = None) -> int:
    """Do what the arguments say, and return the exit code."""
    parser = argparse.ArgumentParser(prog="media.py", description="Media with an offline bundle of the DLS Kit.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    joined = commands.add_parser("join", help="put the bundle together")
    joined.add_argument("media", nargs="+", metavar="MEDIUM", help="folder with parts")
    joined.add_argument("--out", required=True, help="new folder for the bundle")
    mended = commands.add_parser("repair", help="name the parts to copy again, or take good copies")
    mended.add_argument("medium", metavar="MEDIUM", help="folder with parts")
    mended.add_argument("--from", dest="others", action="append", default=[], help="folder with other copies")
    for command in (joined, mended):
        command.add_argument("--key", required=True, help="file of the public key, from elsewhere than the media")
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error("a command is needed: join or repair")
    try:
        return _run(options)
    except (verify.Problem, OSError) as error:
        problem = error if isinstance(error, verify.Problem) else _told(error, "media")
        sys.stderr.write("{}\n".format(problem))
        return problem.code


def _run(options: Any) -> int:
    if options.command == "join":
        name, problems = join(options.media, options.key, options.out)
        done = ["{}: every file is as it was signed, in {}".format(name, options.out)]
    else:
        mended, problems = repair(options.medium, options.key, options.others)
        done = ["{}: replaced by a good copy".format(path) for path in mended]
        done += [] if problems else ["{}: every part is there as it was signed".format(options.medium)]
    for line in done if options.command == "repair" or not problems else []:
        verify.say(line)
    for problem in problems:
        sys.stderr.write("{}\n".format(problem))
    return verify.EXIT_DIFFERS if problems else 0


if __name__ == "__main__":
    sys.exit(main())
