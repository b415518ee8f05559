"""Images of lab hosts: systemd, sshd, sudo and Python, made from Debian's packages.

Debian's images are the distribution itself. Those of other distributions have Debian's programs under the names, paths
and package manager that a role meets there: files/ubuntu and files/rocky9 say which.

An image is made once per content: its tag is a hash of everything that goes into it, so a second call takes
milliseconds. DLS_LAB_IMAGE_<NAME>, such as DLS_LAB_IMAGE_DEBIAN12=registry.example/debian12-systemd, names an image of
a registry to use instead; it must start systemd with /sbin/init and hold sshd, sudo and python3.
"""

import datetime
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from dlsctl.problems import Problem, Refused
from tests.lab.paths import CACHE, FILES

BASE_PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "iputils-ping",
    "openssh-server",
    "procps",
    "python3",
    "python3-minimal",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# In the image as a package repository, not installed: what roles under test may install.
REPOSITORY_PACKAGES = ("firewalld", "net-tools", "nftables", "nginx", "openssl")
DEBIAN_PACKAGES = ("python3-apt", "ufw")
PYTHON = ("python3", "python3-minimal")
BUILDS_AT_ONCE = 2
PLATFORM = "DLS_LAB_PLATFORM"  # the variable that names one image for all servers of a scenario
DEFAULT_MIRROR = "http://deb.debian.org/debian"
_NO_DOCUMENTATION = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]


@dataclass(frozen=True)
class Image:
    """One kind of lab host.

    name: word for inventories and for the DLS_LAB_IMAGE_<NAME> variable. suite: Debian suite it is made from.
    installed: packages besides BASE_PACKAGES. repository: packages besides REPOSITORY_PACKAGES that a role may install.
    script: below files/, with arguments; makes the finished root file system another distribution.
    merged_usr: give the suite the merged /usr that it lacks by itself. unified: its systemd takes no cgroup v1.
    without: those of BASE_PACKAGES that are left out.
    """

    name: str
    suite: str
    installed: tuple[str, ...] = ()
    repository: tuple[str, ...] = DEBIAN_PACKAGES
    script: tuple[str, ...] = ()
    merged_usr: bool = False
    unified: bool = False
    without: tuple[str, ...] = ()

    @property
    def cgroup(self) -> str:
        """The folder of the engine's host that becomes /sys/fs/cgroup."""
        unified = Path("/sys/fs/cgroup/unified")  # of a host that has cgroup v1 and v2
        return str(unified if self.unified and unified.is_dir() else unified.parent)

    @property
    def override(self) -> str | None:
        """The registry image that replaces this one, or None."""
        return os.environ.get(f"DLS_LAB_IMAGE_{self.name.upper()}") or None

    @property
    def tag(self) -> str:
        """The name of the image on the engine."""
        return self.override or f"dls-lab-{self.name}:{_content_hash(self)}"


IMAGES = {
    image.name: image
    for image in (
        Image("debian11", "bullseye", merged_usr=True),
        Image("debian12", "bookworm"),
        Image("debian13", "trixie", unified=True),
        Image(
            "rocky9",
            "bookworm",
            installed=("createrepo-c", "dnf", "gpg", "gpg-agent", "netbase", "rpm"),
            repository=(),
            script=("rocky9/make.sh",),
        ),
        Image("ubuntu2204", "bookworm", script=("ubuntu/make.sh", "22.04", "jammy", "Jammy Jellyfish")),
        Image("ubuntu2404", "trixie", script=("ubuntu/make.sh", "24.04", "noble", "Noble Numbat"), unified=True),
    )
}
# Hosts on which Ansible's modules do not run, as dlsctl's do or would with a package of the distribution.
OLD_IMAGES = {
    "no_python": Image("no_python", "bookworm", without=PYTHON, repository=()),
    "python36": Image("python36", "bookworm", without=PYTHON, repository=(), script=("python36/make.sh",)),
}


def find(name: str) -> Image:
    """Return the image called name. Raise Refused for a name that is none."""
    known = IMAGES | OLD_IMAGES
    try:
        return known[name]
    except KeyError:
        raise Refused(
            "image", f"must be one of {', '.join(sorted(known))}", name, "name an image of tests/lab/images.py"
        ) from None


def ensure(client: docker.DockerClient, image: Image) -> str:
    """Make the image be on the engine, and return its tag. Raise Problem when it cannot be made."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{image.suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two steps that want an image at once, one makes it
        try:
            client.images.get(image.tag)
        except ImageNotFound:
            if image.override:
                client.images.pull(image.override)
            else:
                _build(client, image)
    return image.tag


def ensure_all(client: docker.DockerClient, wanted: Iterable[Image]) -> None:
    """Make several images be on the engine, some at once. Raise Problem when one cannot be made."""
    suites: dict[str, dict[Image, None]] = {}
    for image in wanted:
        suites.setdefault(image.suite, {})[image] = None
    with ThreadPoolExecutor(BUILDS_AT_ONCE) as pool:  # those of one suite one by one: they share their downloads
        list(pool.map(lambda images: [ensure(client, image) for image in images], suites.values()))


def _content_hash(image: Image) -> str:
    digest = hashlib.sha256()
    own = sorted(path for path in (FILES / image.script[0]).parent.glob("*") if path.is_file()) if image.script else []
    for path in (FILES / "lab-bootid.service", FILES / "package-repository.sh", *own):
        digest.update(path.read_bytes())
    week = "-".join(str(number) for number in datetime.date.today().isocalendar()[:2])
    digest.update(repr((image, BASE_PACKAGES, REPOSITORY_PACKAGES, week)).encode())  # week: the distribution's updates
    return digest.hexdigest()[:12]


def _build(client: docker.DockerClient, image: Image) -> None:
    if not shutil.which("mmdebstrap") or os.geteuid() != 0:
        raise Refused(
            f"image {image.name}",
            "needs root and mmdebstrap to be built",
            f"uid {os.geteuid()}, mmdebstrap {shutil.which('mmdebstrap') or 'missing'}",
            f"be root on Debian with --bootstrap, or set DLS_LAB_IMAGE_{image.name.upper()} to a systemd image",
        )
    log = CACHE / f"{image.name}.log"
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        tarball = Path(folder) / "root.tar"
        with log.open("wb") as output:
            run = subprocess.run(_mmdebstrap(image, tarball), stdout=output, stderr=output, check=False)
        if run.returncode != 0:
            last = "\n  ".join(log.read_text(errors="replace").strip().splitlines()[-5:])
            raise Problem(
                f"image {image.name}", "must build with mmdebstrap", f"exit {run.returncode}\n  {last}", f"read {log}"
            )
        repository, tag = image.tag.split(":")
        client.api.import_image_from_file(
            str(tarball), repository=repository, tag=tag, changes=['CMD ["/sbin/init"]', "ENV container=docker"]
        )


def _mmdebstrap(image: Image, tarball: Path) -> list[str]:
    """The command line that writes the image's root file system to tarball, downloads kept below .cache/."""
    debs = CACHE / "debs" / image.suite
    debs.mkdir(parents=True, exist_ok=True)
    packages = " ".join(REPOSITORY_PACKAGES + image.repository)
    hooks = [
        f'--customize-hook="{FILES}/package-repository.sh" "$1" {packages}',
        f'--customize-hook=sync-out /var/cache/apt/archives "{debs}"',
        f'--customize-hook=cp "{FILES}/lab-bootid.service" "$1/etc/systemd/system/"',
        '--customize-hook=chroot "$1" systemctl enable lab-bootid.service',
        '--customize-hook=rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/etc/ssh/ssh_host_*',
        "--customize-hook=echo 'deb [trusted=yes] file:/srv/lab-packages ./' >\"$1/etc/apt/sources.list\"",
    ]
    if image.merged_usr:
        hooks.insert(0, "--setup-hook=/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh")
    if image.script:
        hooks.append(f'--customize-hook="{FILES}/{image.script[0]}" "$1" {shlex.join(image.script[1:])}')
    installed = [*(name for name in BASE_PACKAGES if name not in image.without), *image.installed]
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(installed)}",
        "--skip=download/empty,essential/unlink,cleanup/apt/cache",
        '--setup-hook=mkdir -p "$1/var/cache/apt/archives/"',
        f'--setup-hook=sync-in "{debs}" /var/cache/apt/archives/',
        *hooks,
        *_NO_DOCUMENTATION,
        "--dpkgopt=force-unsafe-io",
        image.suite,
        str(tarball),
        _mirror(),
    ]


def _mirror() -> str:
    """The Debian mirror of this machine's own apt sources, so that a local mirror stays in use."""
    for source in sorted(Path("/etc/apt").glob("sources.list*")) + sorted(Path("/etc/apt/sources.list.d").glob("*")):
        if source.is_file() and (
            match := re.search(r"https?://\S+/debian(?=/?\s)", source.read_text(errors="replace"))
        ):
            return match.group()
    return DEFAULT_MIRROR
