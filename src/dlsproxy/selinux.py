"""SELinux, where it is enforcing: what nginx may do on this host."""

import shutil
from typing import Dict, Iterable, List, Sequence

from dlsctl.host import read_proc, run

HTTP_PORTS = frozenset((80, 81, 443, 488, 8008, 8009, 8443, 9000))  # http_port_t of the targeted policy


def is_enforcing() -> bool:
    return (read_proc("/sys/fs/selinux/enforce") or "").strip() == "1"


def selinux_ports(listing: str) -> Dict[int, str]:
    """The type of each single TCP port that `semanage port --list` names."""
    found: Dict[int, str] = {}
    for line in listing.splitlines():
        words = line.replace(",", " ").split()
        if len(words) > 2 and words[1] == "tcp":
            found.update({int(word): words[0] for word in words[2:] if word.isdigit()})
    return found


def selinux_commands(
    can_connect: bool, types: Dict[int, str], ports: Iterable[int], paths: Sequence[str]
) -> List[List[str]]:
    """The commands after which nginx may listen on `ports`, reach the server and read `paths`.

    can_connect: the boolean httpd_can_network_connect. types: the policy's type of each TCP port that has one.
    """
    commands = [] if can_connect else [["setsebool", "-P", "httpd_can_network_connect", "on"]]
    for port in sorted(ports):
        if types.get(port) != "http_port_t":
            how = "--modify" if port in types else "--add"
            commands.append(["semanage", "port", how, "--type", "http_port_t", "--proto", "tcp", str(port)])
    return commands + ([["restorecon", "-F", *paths]] if paths else [])


def pending_selinux(ports: Sequence[int], paths: Sequence[str]) -> List[List[str]]:
    """The commands that are due on this host for `ports` and `paths`."""
    if not is_enforcing():
        return []
    types = dict.fromkeys(HTTP_PORTS, "http_port_t")
    if set(ports) - HTTP_PORTS and shutil.which("semanage"):
        types.update(selinux_ports(run(["semanage", "port", "--list"])[1]))
    can_connect = run(["getsebool", "httpd_can_network_connect"])[1].strip().endswith("on")
    return selinux_commands(can_connect, types, ports, paths)
