#!/usr/bin/env python3
"""Check an offline bundle of the DLS Kit: its signature, and that it holds what was signed and nothing else.

    python3 verify.py [FOLDER] --key PUBLIC_KEY [--here]

Standard library only, Python 3.6 and later; it reads and writes nothing else. FOLDER is where this file is, unless it
is given. The key is one of minisign (https://jedisct1.github.io/minisign/), and never from the bundle.

Exit codes: 0 the bundle is as it was signed, 1 failed, 2 wrong usage, 5 files differ from what was signed, 6 refused:
signature, key, manifest or this machine.
"""

import sys

if __name__ == "__main__" and not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # this folder: a file that somebody added to the bundle must not pass for a module

import argparse
import base64
import binascii
import hashlib
import json
import os
import platform
import re
import stat


def say(text: str) -> None:  # an older Python shows this line: verify.py needs Python 3.6 or newer
    print(text)


if sys.version_info < (3, 6):
    sys.stderr.write("verify.py: must run on Python 3.6 or newer, got {}.{}\n".format(*sys.version_info))
    sys.stderr.write("HINT: name a newer one, such as python3.11 verify.py\n")
    sys.exit(6)

from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

EXIT_FAILED, EXIT_DIFFERS, EXIT_REFUSED = 1, 5, 6
MANIFEST, SIGNATURE_SUFFIX = "manifest.json", ".minisig"
SIGNED = (MANIFEST, MANIFEST + SIGNATURE_SUFFIX)
KIND, SCHEMA = "dlskit-bundle", 1
LARGEST_MANIFEST = 64 << 20  # bytes
LARGEST_TEXT = 1 << 14  # bytes of a key or signature; a trusted comment may have 8 KiB
PIECE = 1 << 20  # bytes read at once
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
VERSION = re.compile(r"[0-9]{1,9}(?:[.+-][0-9a-z]{1,9}){0,7}\Z")
SHA256 = re.compile(r"[0-9a-f]{64}\Z")
LONGEST_PATH = 240  # of letters, below the folder of the bundle
_RESERVED = r"(?!(?:con|nul|aux|prn|com\d|lpt\d)(?:\.|\Z))"  # on Windows
_PART = re.compile(_RESERVED + r"[A-Za-z0-9 _.,;!#$%&'()+=@^`{}~\[\]-]{1,200}\Z", re.IGNORECASE)  # of a path
_ENTRY = {"path": str, "size": int, "sha256": str, "origin": str}

COPY_HINT = "copy the bundle again from where it was built"
KEY_HINT = "give the public key of whoever built the bundle, from another source than the bundle"

Entry = Dict[str, Any]  # {path, size, sha256, origin}
Progress = Callable[[int], None]  # is told how many bytes were read since the last call


class Problem(Exception):
    """Something a person has to mend: what, the rule, the value received, the next action, and the exit code."""

    def __init__(self, what: str, rule: str, got: object, hint: str, code: int = EXIT_REFUSED) -> None:
        super().__init__(what, rule, got, hint)
        self.what, self.rule, self.got, self.hint, self.code = what, rule, got, hint, code

    def __str__(self) -> str:
        got = "" if self.got is None else ", got {}".format(self.got)
        return "{}: {}{}\nHINT: {}".format(self.what, self.rule, got, self.hint)


def shown(text: object) -> str:
    """Untrusted text as quoted ASCII of bounded length, harmless on a terminal."""
    quoted = ascii(text)
    return quoted if len(quoted) <= 120 else quoted[:100] + "..." + quoted[-15:]


# --- Ed25519, by RFC 8032, section 5.1, as strict as libsodium ---

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)  # of -1
_Point = Tuple[int, int, int, int]  # X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z
_NEUTRAL = (0, 1, 1, 0)


def ed25519_fits(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the key's one of `message`; points of small order, or in another spelling, never fit."""
    if len(key) != 32 or len(signature) != 64:
        return False
    public, point = _point(key), _point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if public is None or point is None or scalar >= _L:
        return False
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    right = _sum(point, _times(int.from_bytes(digest, "little") % _L, public))
    return _equal(_times(scalar, _BASE), right)


def _point(data: bytes) -> Optional[_Point]:
    """The point in 32 bytes; None for none, for one that is spelt another way, and for one of small order."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    x = _x_of(y, sign) if y < _P else None
    if x is None:
        return None
    found = (x, y, 1, x * y % _P)
    return None if _equal(_times(8, found), _NEUTRAL) else found


def _x_of(y: int, sign: int) -> Optional[int]:
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    return _P - x if x & 1 != sign else x


def _sum(one: _Point, other: _Point) -> _Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c, d = 2 * one[3] * other[3] * _D % _P, 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(scalar: int, point: _Point) -> _Point:
    found = _NEUTRAL
    while scalar:
        if scalar & 1:
            found = _sum(found, point)
        point, scalar = _sum(point, point), scalar >> 1
    return found


def _equal(one: _Point, other: _Point) -> bool:
    return not (one[0] * other[2] - other[0] * one[2]) % _P and not (one[1] * other[2] - other[1] * one[2]) % _P


_BASE = _point(bytes([0x58] + [0x66] * 31)) or _NEUTRAL


# --- minisign ---


def read_key(path: str, *folders: str) -> Tuple[bytes, bytes]:
    """The id and the key of a public key file, which must not lie in one of `folders`: what it is to check."""
    for folder in folders:
        inside = os.path.join(os.path.realpath(folder), "")
        if os.path.realpath(path).startswith(inside):
            raise Problem(shown(path), "must not be a key of the bundle that it is to check", "one inside", KEY_HINT)
    record = _record(_read(os.path.realpath(path), LARGEST_TEXT, KEY_HINT), 1, 2)
    if record is None or len(record) != 42 or record[:2] != b"Ed":
        raise Problem(shown(path), "must be a public key of minisign", "something else", KEY_HINT)
    return record[2:10], record[10:]


def check_signature(message: bytes, signature: bytes, key: Tuple[bytes, bytes], name: str) -> None:
    """Raise Problem unless `signature`, the content of a file, is the key's one of `message`, the content of `name`."""
    what = name + SIGNATURE_SUFFIX
    lines, record, second = signature.splitlines(), _record(signature, 1, 4), _record(signature, 3, 4)
    start = b"trusted comment: "
    if record is None or second is None or len(record) != 74 or record[:2] != b"ED" or not lines[2].startswith(start):
        raise Problem(what, "must be a signature of minisign", "something else", COPY_HINT)
    if record[2:10] != key[0]:
        raise Problem(what, "must be a signature of the key {}".format(_id(key[0])), _id(record[2:10]), KEY_HINT)
    if not ed25519_fits(key[1], hashlib.blake2b(message).digest(), record[10:]):
        raise Problem(name, "must be as it was signed", "another content, or the signature of another key", COPY_HINT)
    if not ed25519_fits(key[1], record[10:] + lines[2][len(start) :], second):
        raise Problem(what, "must have the comment that was signed", "another", COPY_HINT)


def _record(data: bytes, line: int, lines: int) -> Optional[bytes]:
    """What is in Base64 in a line, counted from 0, of a text of so many lines; None for another text."""
    parts = data.splitlines()
    if len(parts) != lines or not parts[0].startswith(b"untrusted comment: "):
        return None
    try:
        record = base64.b64decode(parts[line], validate=True)
    except binascii.Error:
        return None
    return record if base64.b64encode(record) == parts[line] else None  # one spelling only


def _id(key_id: bytes) -> str:
    return "{:016X}".format(int.from_bytes(key_id, "little"))


# --- The manifest ---


def read_manifest(folder: str, key: Tuple[bytes, bytes]) -> Dict[str, Any]:
    """The manifest of the bundle in a folder, once its signature is the key's and every name in it is harmless."""
    return parse_manifest(*read_signed(folder, MANIFEST, key))


def read_signed(folder: str, name: str, key: Tuple[bytes, bytes]) -> Tuple[bytes, str]:
    """The content of the signed file `name` of a folder, and what to call it in messages."""
    data = _read(os.path.join(folder, name), LARGEST_MANIFEST, COPY_HINT)
    signature = _read(os.path.join(folder, name + SIGNATURE_SUFFIX), LARGEST_TEXT, COPY_HINT)
    check_signature(data, signature, key, name)
    return data, name


def parse_manifest(data: bytes, name: str = MANIFEST) -> Dict[str, Any]:
    """The manifest in a text; raises Problem for one that is none, or of another schema, or with a dangerous name."""
    manifest = parse_document(data, name, KIND, SCHEMA)
    if not isinstance(manifest.get("files"), list):
        raise _malformed(name, "made with a list of files", "none")
    for version in (manifest.get("kit"), manifest.get("kit_from", "0")):
        if not is_text(version, VERSION):
            raise _malformed(name, "made by a version of the kit", shown(version))
    for key in ("vendor", "pythons", "platforms", "targets"):
        values = manifest.get(key)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise _malformed(name, "made with a list of {}".format(key), shown(values))
    seen = {}  # type: Dict[str, str]
    for entry in manifest["files"]:
        _check_entry(entry, name)
        _check_path(entry["path"], seen, name)
    return manifest


def parse_document(data: bytes, name: str, kind: str, schema: int) -> Dict[str, Any]:
    """The JSON object of one kind in a signed text, whose `name` is that of a bundle."""
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _malformed(name, "JSON, each name once", "something else") from None
    if not isinstance(document, dict) or document.get("kind") != kind:
        raise _malformed(name, "of the kind {}".format(kind), "another")
    if document.get("schema") != schema:
        hint = "take verify.py, or the kit, from the version that built the bundle"
        raise Problem(name, "must have schema {}".format(schema), shown(document.get("schema")), hint)
    if not is_text(document.get("name"), NAME):
        raise _malformed(name, "named with letters, digits, dots and dashes", shown(document.get("name")))
    return document


def is_text(value: object, form: Any) -> bool:
    """Whether a value is a text of a form."""
    return isinstance(value, str) and bool(form.match(value))


def is_size(value: object) -> bool:
    """Whether a value is a number of bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _unique(pairs: List[Tuple[str, object]]) -> Dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _malformed(name: str, rule: str, got: str) -> Problem:
    return Problem(name, "must be {}".format(rule), got, COPY_HINT)


def _check_entry(entry: object, name: str) -> None:
    if not isinstance(entry, dict) or set(entry) != set(_ENTRY):
        raise _malformed(name, "a list of path, size, sha256 and origin", shown(entry))
    if not is_size(entry["size"]) or not is_text(entry["sha256"], SHA256) or not isinstance(entry["origin"], str):
        raise _malformed(name, "a list of path, size, sha256 and origin", shown(entry))


def _check_path(path: object, seen: Dict[str, str], name: str) -> None:
    """Raise Problem unless a path stays in the bundle, is spelt in one way, and names one file on any system."""
    what = "{}, {}".format(name, shown(path))
    parts = path.split("/") if isinstance(path, str) else []
    if not parts or not all(_PART.match(part) and part[-1] not in ". " and part[0] != " " for part in parts):
        raise Problem(what, "must be a path inside the bundle, of plain names with / between them", None, COPY_HINT)
    text = "/".join(parts)
    if len(text) > LONGEST_PATH or text.lower() in SIGNED:
        rule = "must be a path of at most {} letters, not the manifest's own".format(LONGEST_PATH)
        raise Problem(what, rule, None, COPY_HINT)
    folders = ["/".join(parts[:end]) + "/" for end in range(1, len(parts))]
    known = [seen.setdefault(folder.lower()[:-1], folder) for folder in folders]
    if known != folders or seen.setdefault(text.lower(), text) is not text:
        raise Problem(what, "must differ from every other name by more than case", "one that does not", COPY_HINT)


# --- The files ---


def check_files(folder: str, entries: List[Entry], progress: Optional[Progress] = None) -> Iterator[Problem]:
    """What is missing, too much, or not as its entry says, in a folder; every file is read to its end."""
    for problem in check_names(folder, entries):
        yield problem
    for problem in check_listed(folder, entries, progress):
        yield problem


def check_listed(folder: str, entries: List[Entry], progress: Optional[Progress] = None) -> Iterator[Problem]:
    """What is missing, or not as its entry says, in a folder that may have more."""
    for entry in sorted(entries, key=lambda entry: str(entry["path"])):
        got = _difference(os.path.join(folder, *entry["path"].split("/")), entry, progress)
        if got:
            yield differs(entry["path"], got)


def check_names(folder: str, entries: List[Entry]) -> Iterator[Problem]:
    """What is too much in a folder: whatever is no folder and has no entry."""
    for path in sorted(set(_names(folder)) - {entry["path"] for entry in entries} - set(SIGNED)):
        yield Problem(shown(path), "must not be there", "a file that was not signed", COPY_HINT, EXIT_DIFFERS)


def differs(path: str, got: str) -> Problem:
    """What to tell of a file that is not as its entry says."""
    return Problem(path, "must be as it was signed", got, COPY_HINT, EXIT_DIFFERS)


def _names(folder: str) -> Iterator[str]:
    """The path of everything in a folder but of folders; links are not followed."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(folder, below)) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(below + entry.name + "/")
                else:
                    yield below + entry.name


def _difference(path: str, entry: Entry, progress: Optional[Progress]) -> Optional[str]:
    """In what a file is not as its entry says, or None."""
    try:
        with open_regular(path) as file:
            facts = os.fstat(file.fileno())
            if facts.st_nlink > 1:
                return "a file that has another name, too"
            if facts.st_size != entry["size"]:
                return "{} bytes in place of {}".format(facts.st_size, entry["size"])
            found = digest_of(file, progress)
            return None if found == entry["sha256"] else "another content"
    except OSError as error:
        return "nothing" if isinstance(error, FileNotFoundError) else error.strerror or str(error)


def open_regular(path: str) -> Any:
    """A regular file, opened for reading: not what a link points to, and without waiting for a named pipe's writer."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(0, "something that is no regular file", path)
    return os.fdopen(handle, "rb", buffering=0)


def digest_of(file: Any, progress: Optional[Progress] = None) -> str:
    """The SHA-256 of what is left of an open file, which is read in pieces."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(PIECE))
    while True:
        count = file.readinto(piece)
        if not count:
            return digest.hexdigest()
        digest.update(piece[:count])
        if progress:
            progress(count)


def _read(path: str, limit: int, hint: str) -> bytes:
    """The content of a regular file of at most `limit` bytes."""
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)  # type: bytes
    except (OSError, ValueError) as error:
        got = "nothing" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or "an odd name"
        raise Problem(shown(path), "must be a readable file", got, hint) from None
    if len(data) > limit:
        raise Problem(shown(path), "must have at most {} bytes".format(limit), "more", hint)
    return data


# --- The command line ---


def check_machine(manifest: Dict[str, Any], python: Tuple[int, int], machine: str, glibc: Tuple[int, ...]) -> None:
    """Raise Problem unless a bundle has packages for this Python, such as (3, 11), machine and version of glibc."""
    hint = "build a bundle for it: pythons and platforms of its specification"
    version, pythons, platforms = "{}.{}".format(*python), manifest["pythons"], manifest["platforms"]
    if version not in pythons:
        raise Problem("python", "must be one of {}".format(shown(pythons)), version, "run another python3, or " + hint)
    for platform_tag in platforms:
        least = re.match(r"manylinux_(\d+)_(\d+)_(\w+)\Z", platform_tag)
        if least and least.group(3) == machine and (int(least.group(1)), int(least.group(2))) <= glibc:
            return
    got = "{} with glibc {}".format(machine, ".".join(map(str, glibc)) or "of no version")
    raise Problem("platform", "must be one of {}".format(shown(platforms)), got, hint)


def check_this_machine(manifest: Dict[str, Any]) -> None:
    """Raise Problem unless a bundle has packages for the Python and the machine that this runs on."""
    glibc = tuple(int(part) for part in platform.libc_ver()[1].split(".") if part.isdigit())
    check_machine(manifest, sys.version_info[:2], platform.machine(), glibc)


def check(folder: str, key_path: str, progress: Optional[Progress] = None) -> Tuple[Dict[str, Any], List[Problem]]:
    """The manifest of a bundle, and what differs from it; raises Problem when it is not to be trusted."""
    manifest = read_manifest(folder, read_key(key_path, folder))
    return manifest, list(check_files(folder, manifest["files"], progress))


def main(arguments: Optional[List[str]] = None) -> int:
    """Check the bundle that the arguments name, and return the exit code."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Check an offline bundle of the DLS Kit.")
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("folder", nargs="?", default=here, metavar="FOLDER", help="the bundle; default: where this is")
    parser.add_argument("--key", required=True, help="file of the public key, from elsewhere than the bundle")
    parser.add_argument("--here", action="store_true", help="refuse a bundle that is for other machines or Pythons")
    options = parser.parse_args(arguments)
    try:
        manifest, problems = check(options.folder, options.key)
        if options.here:
            check_this_machine(manifest)
    except (Problem, OSError) as error:
        sys.stderr.write("{}\n".format(error))
        return error.code if isinstance(error, Problem) else EXIT_FAILED
    for problem in problems:
        sys.stderr.write("{}\n".format(problem))
    if problems:
        return EXIT_DIFFERS
    say("{}: {} files are as they were signed".format(manifest["name"], len(manifest["files"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
