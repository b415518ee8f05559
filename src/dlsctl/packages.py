"""Distributions, and which of their packages are installed."""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set

from dlsctl.host import os_release, run
from dlsctl.problems import Problem, Refused


class Family(NamedTuple):
    """Distributions that are deployed to alike."""

    words: Set[str]  # one of them is in ID or ID_LIKE of os-release(5)
    supported: str
    query: List[str]  # prints a line `NAME installed` for each installed package of those named
    every: List[str]  # names all packages to it


FAMILIES = {
    "debian": Family(
        {"debian"},
        "Debian 11 to 13, Ubuntu 22.04 and 24.04",
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n"],
        [],
    ),
    "redhat": Family(
        {"rhel", "fedora"},
        "RHEL 9 and its family: Rocky Linux, AlmaLinux, Oracle Linux, CentOS Stream",
        ["rpm", "--query", "--queryformat", "%{NAME} installed\\n"],
        ["--all"],
    ),
}


def os_family() -> Optional[str]:
    """The name of this host's family of distributions, or None where the kit knows none."""
    system = os_release()
    words = {system.get("ID", "")} | set(system.get("ID_LIKE", "").split())
    return next((name for name, family in FAMILIES.items() if words & family.words), None)


def family_problems() -> Iterator[Problem]:
    """Whether the kit knows this host's distribution."""
    if os_family() is None:
        yield Refused(
            "operating system",
            "must be of the family " + " or ".join(sorted(FAMILIES)),
            os_release().get("PRETTY_NAME", "an unknown one"),
            "supported are " + "; ".join(family.supported for family in FAMILIES.values()),
        )


def platform() -> Optional[str]:
    """This host's distribution and release, as a bundle names their repository: debian12, ubuntu2404, rhel9.

    None where the kit does not know the family.
    """
    family, system = os_family(), os_release()
    version = system.get("VERSION_ID", "")
    if family == "redhat":
        return "rhel" + version.split(".")[0]
    return system.get("ID", "") + version.replace(".", "") if family else None


def installed_packages(names: List[str], family: str) -> List[str]:
    """Which of the distribution's packages are installed; its package manager is asked once."""
    _, output = run(FAMILIES[family].query + names)
    return [line.split()[0] for line in output.splitlines() if line.split()[1:] == ["installed"]]


def missing_packages(names: List[str], family: Optional[str]) -> List[str]:
    """Which of the distribution's packages are not installed."""
    installed = installed_packages(names, family) if names and family else names
    return [name for name in names if name not in installed]


def look_at_packages(names: List[str], family: Optional[str]) -> Dict[str, Any]:
    """The host's family, which packages are missing, and, where some are, what it takes to undo their install."""
    missing = missing_packages(names, family)
    seen = {"family": family, "platform": platform(), "missing_packages": missing}
    if missing and family:
        every = FAMILIES[family].every
        seen.update(installed_packages=installed_packages(every, family), list_packages=FAMILIES[family].query + every)
    return seen
