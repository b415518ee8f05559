"""Build a bundle: made beside its place and put there in the end, so that a failed build leaves nothing."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlsctl.problems import Refused
from dlskit import __version__, archive, minisign
from dlskit.bundle import ansible, debian, kit, redhat, sbom, verify, wheels
from dlskit.bundle.content import Content, Source, changed
from dlskit.bundle.spec import DEBIAN, Given, Spec

PROGRAMS = ("install.py", "verify.py", "verify.ps1")
Progress = Callable[[int, int], None]  # is told what was written, and what is to be written, in bytes


def build(spec: Spec, out: Path, key: minisign.SecretKey, progress: Progress | None = None) -> dict[str, Any]:
    """Make the new folder `out` a signed bundle, and return its manifest. Same inputs give the same bytes.

    Raises Refused before anything is written for a given file that is not as pinned or no archive of the vendor's, and
    Problem when a download fails.
    """
    for given in spec.given:
        _check(given)
    for given in spec.archives:
        _check_release(given)
    with new_folder(out) as (folder, scratch):
        content = Content()
        _collect(spec, content, scratch)
        entries = content.write(folder, progress)
        manifest = _manifest(spec, sorted([*entries, *_add_sbom(spec, folder, entries)], key=lambda e: str(e["path"])))
        write_signed(folder / verify.MANIFEST, manifest, key, f"bundle {spec.name}")
        verify.parse_manifest((folder / verify.MANIFEST).read_bytes())
    return manifest


@contextmanager
def new_folder(out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a folder that becomes `out` in the end, and one for what is fetched; without an end, both go again."""
    out = out.absolute()
    if out.exists() or out.is_symlink():
        raise Refused(str(out), "must not be there yet", "something", "give another --out, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder, scratch = Path(temporary, "new"), Path(temporary, "scratch")
        folder.mkdir()
        scratch.mkdir()
        yield folder, scratch
        folder.rename(out)


def write_signed(path: Path, document: dict[str, Any], key: minisign.SecretKey, comment: str) -> None:
    """Write a document as JSON, and its signature beside it."""
    data = (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
    path.write_bytes(data)
    path.with_name(path.name + minisign.SUFFIX).write_text(minisign.sign(data, key, comment), encoding="utf-8")


def _check(given: Given) -> None:
    """Raise Refused unless a given file has its pinned hash."""
    try:
        with verify.open_regular(os.path.realpath(given.path)) as file:
            found = verify.digest_of(file)
    except OSError as error:
        hint = "put it there, or mend its path in the specification"
        raise Refused(str(given.path), "must be a readable file", error.strerror or error, hint) from None
    if found != given.sha256:
        raise changed(given.path, given.sha256, found)


def _check_release(given: Given) -> None:
    """Raise Refused unless a given archive is the vendor's, of the version that the specification says."""
    found = archive.inspect(given.path).version
    if found != given.version:
        hint = "mend its version in the specification, or take the archive of that version"
        raise Refused(str(given.path), f"must hold release {given.version}", found, hint)


def _collect(spec: Spec, content: Content, scratch: Path) -> None:
    kit.add(content, spec.docs)
    for name in PROGRAMS:
        content.add(name, Source(kit.ORIGIN, Path(__file__).with_name(name)))
    for given in spec.archives:
        content.add(f"archives/{given.path.name}", _source("dynamsoft-dls", given))
    for name, given in spec.windows.items():
        content.add(f"windows/{given.path.name}", _source(name, given))
    wheels.add(content, kit.LOCK, spec.pythons, spec.platforms, scratch / "wheels")
    ansible.add(content, spec.collections, scratch / "collections")
    for name, target in spec.targets.items():
        if name in DEBIAN:
            debian.add(content, name, target, spec.mirror, scratch)
        else:
            redhat.add(content, name, target, scratch)


def _source(name: str, given: Given) -> Source:
    version = f"@{given.version}" if given.version else ""
    file = given.path.resolve()  # it may be a link
    return Source(f"pkg:generic/{name}{version}?checksum=sha256:{given.sha256}", file, sha256=given.sha256)


def _add_sbom(spec: Spec, folder: Path, entries: list[verify.Entry]) -> list[verify.Entry]:
    data = sbom.render(spec.name, entries)
    (folder / sbom.NAME).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return [{"path": sbom.NAME, "size": len(data), "sha256": digest, "origin": "made by dlskit"}]


def _manifest(spec: Spec, entries: list[verify.Entry]) -> dict[str, Any]:
    return {
        "kind": verify.KIND,
        "schema": verify.SCHEMA,
        "name": spec.name,
        "kit": __version__,
        "kit_from": kit.FOLLOWS,
        "vendor": sorted({given.version for given in spec.archives}),
        "pythons": list(spec.pythons),
        "platforms": list(spec.platforms),
        "targets": list(spec.targets),
        "files": entries,
    }
