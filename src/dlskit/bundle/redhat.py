"""Packages for the RHEL family as a local repository for dnf: fetched by dnf, or from a folder that somebody filled."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dlsctl.problems import Refused
from dlskit.bundle import tools
from dlskit.bundle.content import Content, Source
from dlskit.bundle.spec import REDHAT, Target

HINT = "check the network, the repositories that dnf knows here, and the names of the packages"


def add(content: Content, name: str, target: Target, scratch: Path) -> None:
    """Put the packages of one release into a bundle, below repositories/<name>, with an index by createrepo_c."""
    tools.need(
        "createrepo_c",
        f"it makes the repository of {name}",
        "install the package createrepo_c (createrepo-c on Debian)",
    )
    folder = scratch / name
    folder.mkdir(parents=True)
    if target.folder:
        _copy(target.folder, folder)
    else:
        _download(REDHAT[name], target, folder)
    for package in folder.glob("*.rpm"):
        os.utime(package, (0, 0))  # the index has it
    fixed = ["--quiet", "--no-database", "--simple-md-filenames", "--revision=0", "--set-timestamp-to-revision"]
    tools.run(["createrepo_c", *fixed, str(folder)], HINT)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        origin = _purl(file.name, name) if file.suffix == ".rpm" else "made by createrepo_c"
        content.add(f"repositories/{name}/{file.relative_to(folder).as_posix()}", Source(origin, file))


def _copy(source: Path, folder: Path) -> None:
    packages = sorted(source.glob("*.rpm"))
    if not packages:
        raise Refused(str(source), "must be a folder of .rpm files", "none", "fill it with `dnf download --resolve`")
    for package in packages:
        shutil.copyfile(package, folder / package.name)


def _download(release: str, target: Target, folder: Path) -> None:
    tools.need("dnf", "it fetches the packages", "install it, build on the RHEL family, or give a folder of packages")
    options = ["--resolve", "--alldeps", f"--releasever={release}", "--arch=x86_64", "--arch=noarch"]
    tools.run(["dnf", "--quiet", "download", *options, f"--destdir={folder}", *target.packages], HINT)


def _purl(file: str, name: str) -> str:
    start, _, architecture = file.removesuffix(".rpm").rpartition(".")
    package, version, release = [*start.rsplit("-", 2), "", ""][:3]
    return f"pkg:rpm/{package}@{version}-{release}?arch={architecture}&distro={name.replace('rhel', 'rhel-')}"
