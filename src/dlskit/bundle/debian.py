"""Packages of Debian with all that they depend on, as a local repository for apt.

apt itself fetches and checks them, by the distribution's keys, in a root of its own where nothing is installed: so
nothing of this machine's packages and settings gets in, and nothing that a small server may lack is left out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from dlsctl.problems import Refused
from dlskit.bundle import tools
from dlskit.bundle.content import Content, Source
from dlskit.bundle.spec import DEBIAN, Mirror, Target

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ARCHITECTURE = "amd64"
HINT = "check the network and `mirror` of the specification, and the names of the packages"


def add(content: Content, name: str, target: Target, mirror: Mirror, scratch: Path) -> None:
    """Put the packages of one release into a bundle, below repositories/<name>."""
    for program in ("apt-get", "dpkg-deb"):
        tools.need(program, f"it fetches the packages of {name}", "install it, or build the bundle on Debian or Ubuntu")
    if not KEYRING.is_file():
        raise Refused(
            str(KEYRING), "must be there: packages are checked by it", "nothing", "install debian-archive-keyring"
        )
    cache = fetch(name, target, mirror, scratch)
    repository = f"repositories/{name}"
    stanzas = []
    for package in sorted(cache.glob("*.deb")):
        control = tools.run(["dpkg-deb", "--field", str(package)], HINT)
        stanzas.append(control + _facts(package))
        content.add(f"{repository}/{package.name}", Source(_purl(control, name), package))
    content.add(f"{repository}/Packages", Source("made by dlskit", data="\n".join(stanzas).encode()))


def fetch(name: str, target: Target, mirror: Mirror, scratch: Path) -> Path:
    """Have apt fetch the packages and what they depend on. Returns the folder that they are in."""
    root = scratch / name
    for folder in ("etc/apt/preferences.d", "lists/partial", "archives/partial", "dpkg"):
        (root / folder).mkdir(parents=True)
    (root / "dpkg/status").touch()
    (root / "etc/apt/sources.list").write_text(sources(DEBIAN[name], mirror), encoding="utf-8")
    (root / "apt.conf").write_text(_settings(root), encoding="utf-8")
    environment = {"APT_CONFIG": str(root / "apt.conf")}
    tools.run(["apt-get", "--quiet", "update", "-o", "APT::Update::Error-Mode=any"], HINT, environment)
    options = ["--quiet", "--yes", "--download-only", "--no-install-recommends"]
    tools.run(["apt-get", *options, "install", *target.packages], HINT, environment)
    return root / "archives"


def sources(suite: str, mirror: Mirror) -> str:
    """Return the lines of sources.list for a release with its updates."""
    options = f"[signed-by={KEYRING} arch={ARCHITECTURE}]"
    lines = [f"deb {options} {mirror.main} {which} main" for which in (suite, f"{suite}-updates")]
    return "\n".join([*lines, f"deb {options} {mirror.security} {suite}-security main"]) + "\n"


def _settings(root: Path) -> str:
    settings = {
        "Dir": root,
        "Dir::State": root,
        "Dir::State::lists": root / "lists",
        "Dir::State::status": root / "dpkg/status",
        "Dir::Cache": root,
        "Dir::Cache::archives": root / "archives",
        "Dir::Etc": root / "etc/apt",
        "APT::Architecture": ARCHITECTURE,
        "APT::Install-Suggests": "false",
        "APT::Sandbox::User": "root",  # the folder is this user's alone
        "Acquire::Languages": "none",
    }
    lines = [f'{key} "{value}";\n' for key, value in settings.items()]
    return "".join([*lines, f'APT::Architectures {{ "{ARCHITECTURE}"; }};\n'])


def _facts(package: Path) -> str:
    """Return what an index of packages says of a file besides its control fields."""
    with package.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n"


def _purl(control: str, name: str) -> str:
    fields = dict(line.split(": ", 1) for line in control.splitlines() if ": " in line and not line.startswith(" "))
    version = fields["Version"].replace("+", "%2B").replace(":", "%3A")
    distribution = name.replace("debian", "debian-")
    return f"pkg:deb/debian/{fields['Package']}@{version}?arch={fields['Architecture']}&distro={distribution}"
