"""The kit itself: its roles, playbooks and deploys as they are, and its Python package as a wheel."""

from __future__ import annotations

import base64
import hashlib
import io
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from dlsctl.problems import Refused
from dlskit import __version__
from dlskit.bundle.content import Content, Source
from dlskit.site import KINDS

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "requirements.lock"
FOLDER = "kit"
FOLLOWS = "0.1.0"  # the oldest version that this one may follow on a control node
# Of the inventories the examples alone: beside them is the site of whoever builds the bundle.
EXAMPLES = tuple(f"inventories/{kind}" for kind in KINDS)
FOLDERS = ("deploys", *EXAMPLES, "meta", "playbooks", "roles", "src", "templates")
FILES = ("LICENSE", "README.md", "ansible.cfg", "galaxy.yml", "pyproject.toml", "requirements.lock")
ORIGIN = f"pkg:generic/dlskit@{__version__}"
_BEGINNING = (1980, 1, 1, 0, 0, 0)  # of time, in a zip file


def add(content: Content, docs: bool) -> None:
    """Put the kit into a bundle. Raises Refused when this is not run from a whole checkout."""
    for name in (*FOLDERS, *FILES):
        if not (ROOT / name).exists():
            raise Refused(str(ROOT / name), "must be there: a bundle has all of the kit", "nothing", "run ./dls there")
    for name in (*FOLDERS, *(("docs",) if docs else ())):
        content.add_folder(f"{FOLDER}/{name}", ROOT / name, ORIGIN)
    for name in FILES:
        content.add(f"{FOLDER}/{name}", Source(ORIGIN, ROOT / name))
    name, data = wheel()
    content.add(f"{FOLDER}/{name}", Source(ORIGIN, data=data))


def wheel() -> tuple[str, bytes]:
    """Return the file name and content of the kit's wheel, as pyproject.toml describes it.

    Format: packaging.python.org, "Binary distribution format". Not compressed: another zlib would give other bytes.
    """
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sources = Content()
    for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        path = ROOT / package
        if path.is_dir():
            sources.add_folder(path.name, path, "")
        else:
            sources.add(path.name, Source("", path))
    project = settings["project"]
    start = f"{project['name']}-{project['version']}"
    info = f"{start}.dist-info"
    scripts = "".join(f"{name} = {place}\n" for name, place in project["scripts"].items())
    files = sources.read() | {
        f"{info}/METADATA": _metadata(project).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: dlskit\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{scripts}".encode(),
    }
    rows = [f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in sorted(files.items())]
    files[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"]).encode()
    return f"{start}-py3-none-any.whl", _zip(files)


def _metadata(project: dict[str, Any]) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Summary: {project['description']}", f"Requires-Python: {project['requires-python']}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in project["dependencies"]]
    for extra, requirements in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {requirement} ; extra == '{extra}'" for requirement in requirements]
    return "\n".join(lines) + "\n"


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, data in sorted(files.items(), key=lambda item: (".dist-info/" in item[0], item[0])):
            entry = zipfile.ZipInfo(path, _BEGINNING)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()
