"""The beginning of a site: an inventory of its own, which names what an installed bundle brings."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from dlsctl.problems import Refused
from dlskit.files import printable
from dlskit.pinning import pin_into

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "inventories"
KINDS = ("single", "pair", "windows")
# The vendor's names of its archives: vendor contract, "Archives".
ARCHIVE = {kind: re.compile(r".*linux.*\.tar\.gz") for kind in KINDS} | {"windows": re.compile(r".*win.*\.zip")}


def bundle_of_this_kit() -> Path | None:
    """The bundle that this kit was installed from; None for a checkout."""
    bundle = ROOT.parent / "bundle"
    return bundle if (bundle / "manifest.json").is_file() else None


def make(folder: Path, kind: str, bundle: Path | None) -> dict[str, str]:
    """Make a new folder the inventory of a site, like an example of the kit; returns the variables that were set.

    kind: one of KINDS. bundle: an installed one, whose newest archive of the platform and repositories are named.
    Raises Refused for a folder that is there.
    """
    if not EXAMPLES.is_dir():
        raise Refused(str(EXAMPLES), "must hold the kit's example inventories", "nothing", "run it from a whole kit")
    if folder.exists() or folder.is_symlink():
        raise Refused(printable(str(folder)), "must not be there yet", "something", "give the path of a new folder")
    values = brought(bundle, kind) if bundle else {}
    folder.mkdir(parents=True)
    try:
        shutil.copytree(EXAMPLES / kind, folder, dirs_exist_ok=True)
        if values:
            pin_into(str(folder / "group_vars/dls.yml"), values)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return values


def brought(bundle: Path, kind: str) -> dict[str, str]:
    """The variables that name the newest archive in a bundle for the servers of a site, and its repositories."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    found: dict[tuple[int, ...], tuple[str, dict[str, str]]] = {}
    for entry in manifest["files"]:
        version = re.search(r"(\d+(?:\.\d+)+)\D*$", entry["path"])
        if entry["path"].startswith("archives/") and ARCHIVE[kind].fullmatch(entry["path"]) and version:
            found[tuple(map(int, version[1].split(".")))] = version[1], entry
    values = {}
    if found:
        newest, entry = found[max(found)]
        values = {
            "dls_server_version": newest,
            "dls_server_archive": str(bundle / entry["path"]),
            "dls_server_archive_checksum": f"sha256:{entry['sha256']}",
        }
    if kind != "windows" and (bundle / "repositories").is_dir():
        values["dls_server_package_repositories"] = str(in_use(bundle) / "repositories")
    return values


def in_use(bundle: Path) -> Path:
    """The path of a bundle that leads to the next one when that is installed; its own where it is not in use."""
    current = bundle.parent.with_name("current")
    return current / bundle.name if current.resolve() == bundle.parent.resolve() else bundle
