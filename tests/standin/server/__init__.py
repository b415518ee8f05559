"""The stand-in's server: Java source in src/, and the jar compiled from it, kept so that a build needs no javac."""

import re
import subprocess
import tempfile
from pathlib import Path

from tests.standin.members import Member, plain, read_zip, write_zip

SOURCE = Path(__file__).parent / "src"
JAR = Path(__file__).parent / "standin.jar"
RELEASE = 17
_MANIFEST = "META-INF/MANIFEST.MF"


def javac_major() -> int | None:
    """Return the major version of the javac on PATH, None without one."""
    try:
        run = subprocess.run(["javac", "-version"], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    found = re.search(r"javac (\d+)", run.stdout + run.stderr)
    return int(found[1]) if found else None


def compiled_by() -> int:
    """Return the major version of the javac that made the kept jar."""
    manifest = next(member.content.decode() for member in read_zip(JAR) if member.name == _MANIFEST)
    return int(manifest.split("Created-By: javac ")[1].split()[0])


def compile_jar(path: Path) -> None:
    """Compile the source with the javac on PATH and write the jar; the same javac always gives the same bytes."""
    with tempfile.TemporaryDirectory() as classes:
        sources = sorted(map(str, SOURCE.rglob("*.java")))
        options = ["--release", str(RELEASE), "-g:source,lines", "-Xlint:all", "-Werror"]
        subprocess.run(["javac", *options, "-d", classes, *sources], check=True)
        members = [plain(_MANIFEST, _manifest(javac_major()))]
        members += _files(Path(classes), "*.class")
    members += [member for pattern in ("*.html", "*.js", "*.css") for member in _files(SOURCE, pattern)]
    write_zip(members, path, compressed=False)


def _manifest(major: int | None) -> bytes:
    return f"Manifest-Version: 1.0\r\nCreated-By: javac {major}\r\nMain-Class: standin.Main\r\n\r\n".encode()


def _files(root: Path, pattern: str) -> list[Member]:
    return [plain(path.relative_to(root).as_posix(), path.read_bytes()) for path in root.rglob(pattern)]


def members(properties: str) -> list[Member]:
    """Return the files of the kept jar with `properties` as its settings."""
    return [*read_zip(JAR), plain("standin/settings.properties", properties.encode("latin-1"))]
