"""Build stand-in archives: the documented layout of the vendor's, around a server that is no licence server."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

from tests.standin import jre, server
from tests.standin.members import Member, executable, plain, write_tar_gz, write_zip
from tests.standin.settings import BuildRefused, checked

LINUX, WINDOWS = "linux_x64", "win_x64"
_NAMES = {LINUX: "dynamsoft_dls-linux_x64-v{}.tar.gz", WINDOWS: "dynamsoft_dls-win_x64-v{}.zip"}
_HERE = Path(__file__).parent
COMPILER = "x86_64-w64-mingw32-gcc"


def build_archive(
    version: str, out_dir: Path, platform: str = LINUX, settings: Mapping[str, str] | None = None
) -> Path:
    """Write the archive of `version` into `out_dir` (made if missing) and return its path.

    `version` is two or three numbers with dots, `platform` linux_x64 or win_x64, `settings` as in settings.KNOWN.
    Raises BuildRefused for anything else, jre.FetchFailed when the Java runtime cannot be had.
    """
    source = cached(version, platform, settings)
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir) as part:
        copy = Path(shutil.copyfile(source, Path(part) / source.name))
        return copy.replace(out_dir / source.name)


def cached(version: str, platform: str = LINUX, settings: Mapping[str, str] | None = None) -> Path:
    """Return the path of the archive below the checkout's .cache/standin/, built unless it is there.

    Takes the arguments of build_archive. The file is shared: copy it before changing it. A build removes archives that
    nobody asked for within a day.
    """
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?", version):
        raise BuildRefused("version", "must be numbers with dots", version, "for example 2.4.11")
    if platform not in _NAMES:
        raise BuildRefused("platform", f"must be {LINUX} or {WINDOWS}", platform, "pass one of them")
    told = checked(settings or {})
    folder = jre.CACHE / "standin" / _key(version, platform, told)
    path = folder / _NAMES[platform].format(version)
    if path.exists():
        os.utime(path)
    else:
        _prune(folder.parent)
        folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=folder)
        os.close(handle)
        _write(Path(part), version, platform, told)
        Path(part).chmod(0o644)
        Path(part).replace(path)
    return path


def _prune(cache: Path) -> None:
    too_old = time.time() - 24 * 3600
    for archive in cache.glob("*/dynamsoft_dls-*"):
        if archive.stat().st_mtime < too_old:
            shutil.rmtree(archive.parent, ignore_errors=True)  # another build may be at it


def _key(version: str, platform: str, settings: Mapping[str, str]) -> str:
    """Hash of all that decides the archive's bytes: the request, the builder's own files, and the zlib at hand."""
    digest = hashlib.sha256(repr((version, platform, settings, zlib.ZLIB_RUNTIME_VERSION)).encode())
    inputs = [
        server.JAR,
        *_HERE.glob("*.lock"),
        _HERE / "dls.json.sample",
        *_HERE.glob("*.py"),
        *_HERE.glob("server/*.py"),
    ]
    inputs += [*_HERE.glob("linux/*"), *_HERE.glob("windows/*")]
    for path in sorted(inputs):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _write(path: Path, version: str, platform: str, settings: Mapping[str, str]) -> None:
    jar = _jar(version, settings)
    if platform == LINUX:
        write_tar_gz(_linux(version, jar, settings.get("shutdown") == "yes"), path)
    else:
        write_zip(_windows(version, jar, settings.get("zip.top")), path, compressed=True)


def line(version: str) -> dict[str, str]:
    """What the stand-in differs in between the vendor's release lines: default data port and portal labels."""
    numbers = tuple(int(part) for part in version.split("."))
    return {
        "data.port": "30201" if numbers >= (2, 4) else "50201",
        "labels": "2.3.5" if numbers >= (2, 3, 5) else "2.2",
    }


def _jar(version: str, settings: Mapping[str, str]) -> bytes:
    baked = {"version": version, **line(version), **settings}
    properties = "".join(f"{key}={value}\n" for key, value in sorted(baked.items()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dls.jar"
        write_zip(server.members(properties), path, compressed=False)
        return path.read_bytes()


def _linux(version: str, jar: bytes, with_shutdown: bool) -> list[Member]:
    top = "dls-linux"
    members = [
        plain(f"{top}/dls-{version}.jar", jar),
        plain(f"{top}/dls.json.sample", _file("dls.json.sample")),
        executable(f"{top}/startup.sh", _script("linux/startup.sh", version)),
        executable(f"{top}/linux/bin/dynamsoftdlsx", _file("linux/dynamsoftdlsx")),
    ]
    if with_shutdown:
        members.append(executable(f"{top}/shutdown.sh", _file("linux/shutdown.sh")))
    return [*members, *jre.members(f"{top}/linux/jre")]


def _windows(version: str, jar: bytes, top: str | None) -> list[Member]:
    members = [
        plain(f"dls-{version}.jar", jar),
        plain("dls.json.sample", _file("dls.json.sample")),
        plain("startup.bat", _crlf(_script("windows/startup.bat", version))),
        plain("shutdown.bat", _crlf(_script("windows/shutdown.bat", version))),
        plain("win/bin/dynamsoftdlsx.exe", _launcher()),
        plain("win/bin/PsExec64.exe", _file("windows/placeholder.txt")),
        *jre.members("win/jre", jre.WINDOWS),
    ]
    return [Member(f"{top}/{m.name}", m.mode, m.content) for m in members] if top else members


def _launcher() -> bytes:
    """The launcher for Windows, compiled: the same bytes from the same compiler."""
    if not shutil.which(COMPILER):
        raise BuildRefused(
            COMPILER, "must be there to build for Windows", "none", "apt-get install gcc-mingw-w64-x86-64"
        )
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "dynamsoftdlsx.exe"
        options = ["-O2", "-s", "-Wall", "-Werror", "-Wl,--no-insert-timestamp"]
        subprocess.run([COMPILER, *options, "-o", program, _HERE / "windows/dynamsoftdlsx.c"], check=True)
        return program.read_bytes()


def _file(name: str) -> bytes:
    return (_HERE / name).read_bytes()


def _script(name: str, version: str) -> bytes:
    return _file(name).replace(b"@VERSION@", version.encode())


def _crlf(text: bytes) -> bytes:
    return text.replace(b"\n", b"\r\n")
