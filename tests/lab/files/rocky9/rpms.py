#!/usr/bin/python3
"""Make a signed dnf repository of a folder of .deb files, in place: names, paths and users as on the RHEL 9 family.

rpms.py FOLDER      runs as root in the image that the packages are for; needs rpmbuild, createrepo_c, gpg and dnf

What the image has already is installed as packages without files, so that rpm knows their names.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
BUILD = Path("/tmp/rpms")
KEY = Path("/etc/pki/rpm-gpg/RPM-GPG-KEY-lab")
SIGNER = "Lab packages"
RENAMED = {"nginx-common": "nginx-filesystem"}
WITHOUT = {"gir1.2-nm-1.0", "polkitd", "init-system-helpers"}  # firewalld works without them, as on RHEL
IN_THE_IMAGE = ("bash", "curl", "iproute", "openssh-server", "openssl", "procps-ng", "python3", "sudo", "systemd")
PROVIDES = {"bash": ["/bin/sh"], "systemd": ["system-release = 9"]}
# Documentation, and Debian's own places for configuration.
DROPPED = re.compile(
    r"(etc/(init\.d|default|ufw|logrotate\.d)|usr/share/(apport|doc|info|lintian|locale|man|vim))/"
    r"|etc/nginx/(sites-|modules-|snippets|nginx\.conf|proxy_params)|usr/lib/systemd/system/nginx\.service"
)
ADDED = {"nginx": {"etc/nginx/nginx.conf": "nginx.conf", "usr/lib/systemd/system/nginx.service": "nginx.service"}}
NEW_FOLDERS = {"nginx-filesystem": ["etc/nginx/default.d"]}
MOVED = {"nftables": ("etc/nftables.conf", "etc/sysconfig/nftables.conf")}
BEFORE = {"nginx-filesystem": "getent passwd nginx >/dev/null || useradd -r -d /var/lib/nginx -s /sbin/nologin nginx"}
AFTER = """systemctl daemon-reload || :
if [ $1 -eq 1 ]; then systemctl --no-reload preset {unit} || :; fi"""
BEFORE_REMOVAL = "if [ $1 -eq 0 ]; then systemctl --no-reload disable --now {unit} || :; fi"


class Package:
    """A .deb and the RPM that it becomes; without a .deb, a package without files."""

    def __init__(self, name: str, version: str = "9", depends: str = "", deb: "Path | None" = None) -> None:
        self.name = RENAMED.get(name, name)
        self.version = re.sub(r"[^\w.]", ".", re.sub(r"^\d+:|-[^-]*$", "", version))
        # Of alternatives the first. What is in the image already is not in the folder, and not required.
        self.depends = [RENAMED.get(word, word) for word in re.findall(r"(?:^|, *)([^ :,]+)", depends)]
        self.deb = deb
        self.tree = BUILD / "trees" / self.name
        self.tree.mkdir(parents=True)

    def fill(self) -> None:
        """Unpack the .deb into the tree as Red Hat lays it out."""
        run("dpkg-deb", "--extract", self.deb, self.tree)
        for folder in ("bin", "sbin", "lib"):  # /usr is merged
            if (self.tree / folder).is_dir():
                shutil.copytree(self.tree / folder, self.tree / "usr" / folder, symlinks=True, dirs_exist_ok=True)
                shutil.rmtree(self.tree / folder)
        for path in sorted(self.tree.rglob("*"), reverse=True):
            if DROPPED.match(str(path.relative_to(self.tree))):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for target, source in ADDED.get(self.name, {}).items():
            (self.tree / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(HERE / source, self.tree / target)
        for name in NEW_FOLDERS.get(self.name, []):
            (self.tree / name).mkdir()
        if self.name in MOVED:
            old, new = MOVED[self.name]
            (self.tree / new).parent.mkdir(parents=True)
            (self.tree / old).rename(self.tree / new)
            for unit in self.units():
                unit.write_text(unit.read_text().replace("/" + old, "/" + new))

    def files(self) -> "list[Path]":
        return sorted(path for path in self.tree.rglob("*") if path.is_symlink() or path.is_file())

    def folders(self) -> "list[Path]":
        """The folders that the package brings: those that the image does not have."""
        folders = (path for path in self.tree.rglob("*") if path.is_dir() and not path.is_symlink())
        return sorted(path for path in folders if not Path("/", path.relative_to(self.tree)).is_dir())

    def units(self) -> "list[Path]":
        return list(self.tree.glob("usr/lib/systemd/system/*.service"))

    def spec(self) -> "Iterator[str]":
        """The package's part of a spec file."""
        yield f"%package -n {self.name}\nSummary: lab package\nVersion: {self.version}\nAutoReqProv: no"
        yield from (f"Requires: {name}" for name in self.depends)
        yield from (f"Provides: {name}" for name in PROVIDES.get(self.name, []))
        yield f"%description -n {self.name}\nMade from Debian's package"
        if self.name in BEFORE:
            yield f"%pre -n {self.name}\n{BEFORE[self.name]}"
        units = " ".join(path.name for path in self.units())
        if units:
            yield f"%post -n {self.name}\n{AFTER.format(unit=units)}"
            yield f"%preun -n {self.name}\n{BEFORE_REMOVAL.format(unit=units)}"
        yield f"%files -n {self.name}"
        yield from (f'%dir "/{path.relative_to(self.tree)}"' for path in self.folders())
        for path in self.files():
            name = path.relative_to(self.tree)
            yield f'{"%config(noreplace) " if name.parts[0] == "etc" else ""}"/{name}"'


def run(*command: object) -> str:
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE).stdout


def read(deb: Path) -> Package:
    format_ = "--showformat=${Package}\n${Version}\n${Depends}"
    name, version, depends = run("dpkg-deb", format_, "--show", deb).split("\n")[:3]
    return Package(name, version, depends, deb)


def build(packages: "list[Package]", folder: Path) -> None:
    """Build the RPMs of packages and put them into folder."""
    trees = "\n".join(f"cp -a {package.tree}/. %{{buildroot}}/" for package in packages)
    head = "Name: lab\nVersion: 9\nRelease: 1.el9\nSummary: lab\nLicense: various\n%description\nlab"
    parts = [head, f"%install\nmkdir -p %{{buildroot}}\n{trees}", *(line for item in packages for line in item.spec())]
    spec = BUILD / "lab.spec"
    spec.write_text("\n".join(parts) + "\n")
    settings = {
        "_topdir": BUILD,
        "__os_install_post": "%{nil}",
        "debug_package": "%{nil}",
        "_build_id_links": "none",
        "_binary_payload": "w1.gzdio",
        "_unpackaged_files_terminate_build": "0",
    }
    options = [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
    run("rpmbuild", "-bb", "--quiet", *options, spec)
    for rpm in BUILD.glob("RPMS/*/*.rpm"):
        shutil.move(str(rpm), folder / rpm.name)


def sign(folder: Path) -> None:
    run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", SIGNER, "rsa2048", "sign", "never")
    KEY.parent.mkdir(parents=True)
    KEY.write_text(run("gpg", "--export", "--armor", SIGNER))
    program = ("--define", "_gpg_name " + SIGNER, "--define", "__gpg /usr/bin/gpg")
    run("rpmsign", *program, "--addsign", *folder.glob("*.rpm"))
    run("gpgconf", "--kill", "all")
    shutil.rmtree(Path.home() / ".gnupg")


def main(folder: Path) -> None:
    converted = [package for package in map(read, sorted(folder.glob("*.deb"))) if package.name not in WITHOUT]
    names = {package.name for package in converted}
    for package in converted:
        package.depends = [name for name in package.depends if name in names]
        package.fill()
    there = [Package(name) for name in IN_THE_IMAGE]
    build(converted + there, folder)
    for path in (*folder.glob("*.deb"), folder / "Packages"):
        path.unlink()
    sign(folder)
    run("createrepo_c", "--quiet", folder)
    shutil.rmtree(BUILD)
    run("dnf", "--quiet", "--assumeyes", "install", *IN_THE_IMAGE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
