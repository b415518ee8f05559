"""Images of lab hosts: systemd, sshd, sudo and Python, made from the distribution's packages.

An image is made once per content: its tag is a hash of everything that goes into it, so a second call takes
milliseconds. DLS_LAB_IMAGE_<NAME>, such as DLS_LAB_IMAGE_DEBIAN12=registry.example/debian12-systemd, names an image of
a registry to use instead; it must start systemd with /sbin/init and hold sshd, sudo and python3.
"""

import datetime
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from dlsctl import Problem, Refused
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
# In the image as an apt repository, not installed: what roles under test may install.
REPOSITORY_PACKAGES = ("firewalld", "net-tools", "nftables", "nginx", "openssl", "python3-apt", "ufw")
IMAGE_FILES = ("lab-bootid.service", "package-repository.sh")
DEFAULT_MIRROR = "http://deb.debian.org/debian"
_NO_DOCUMENTATION = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]


@dataclass(frozen=True)
class Image:
    """One kind of lab host.

    name: word for inventories and for the DLS_LAB_IMAGE_<NAME> variable. suite: Debian suite it is made from.
    cgroup: folder of the engine's host that becomes /sys/fs/cgroup. hooks: further options of mmdebstrap.
    """

    name: str
    suite: str
    cgroup: str = "/sys/fs/cgroup"
    hooks: tuple[str, ...] = ()

    @property
    def override(self) -> str | None:
        """The registry image that replaces this one, or None."""
        return os.environ.get(f"DLS_LAB_IMAGE_{self.name.upper()}") or None

    @property
    def tag(self) -> str:
        """The name of the image on the engine."""
        return self.override or f"dls-lab-{self.name}:{_content_hash(self)}"


IMAGES = {image.name: image for image in (Image("debian12", "bookworm"),)}


def find(name: str) -> Image:
    """Return the image called name. Raise Refused for a name that is none."""
    try:
        return IMAGES[name]
    except KeyError:
        raise Refused(
            "image", f"must be one of {', '.join(sorted(IMAGES))}", name, "name an image of tests/lab/images.py"
        ) from None


def ensure(client: docker.DockerClient, image: Image) -> str:
    """Make the image be on the engine, and return its tag. Raise Problem when it cannot be made."""
    try:
        client.images.get(image.tag)
    except ImageNotFound:
        if image.override:
            client.images.pull(image.override)
        else:
            _build(client, image)
    return image.tag


def _content_hash(image: Image) -> str:
    digest = hashlib.sha256()
    for name in IMAGE_FILES:
        digest.update((FILES / name).read_bytes())
    week = "-".join(str(number) for number in datetime.date.today().isocalendar()[:2])
    facts = (image.suite, image.hooks, BASE_PACKAGES, REPOSITORY_PACKAGES, week)  # week: the distribution's updates
    digest.update(repr(facts).encode())
    return digest.hexdigest()[:12]


def _build(client: docker.DockerClient, image: Image) -> None:
    if not shutil.which("mmdebstrap") or os.geteuid() != 0:
        raise Refused(
            f"image {image.name}",
            "needs root and mmdebstrap to be built",
            f"uid {os.geteuid()}, mmdebstrap {shutil.which('mmdebstrap') or 'missing'}",
            f"be root on Debian with --bootstrap, or set DLS_LAB_IMAGE_{image.name.upper()} to a systemd image",
        )
    CACHE.mkdir(parents=True, exist_ok=True)
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
    packages = " ".join(REPOSITORY_PACKAGES)
    hooks = [
        f'--customize-hook="{FILES}/package-repository.sh" "$1" {packages}',
        f'--customize-hook=sync-out /var/cache/apt/archives "{debs}"',
        f'--customize-hook=cp "{FILES}/lab-bootid.service" "$1/etc/systemd/system/"',
        '--customize-hook=chroot "$1" systemctl enable lab-bootid.service',
        '--customize-hook=rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/etc/ssh/ssh_host_*',
        "--customize-hook=echo 'deb [trusted=yes] file:/srv/lab-packages ./' >\"$1/etc/apt/sources.list\"",
    ]
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(BASE_PACKAGES)}",
        "--skip=download/empty,essential/unlink,cleanup/apt/cache",
        '--setup-hook=mkdir -p "$1/var/cache/apt/archives/"',
        f'--setup-hook=sync-in "{debs}" /var/cache/apt/archives/',
        *hooks,
        *_NO_DOCUMENTATION,
        "--dpkgopt=force-unsafe-io",
        *image.hooks,
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
