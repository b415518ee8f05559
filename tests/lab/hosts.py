"""Hosts of a lab: systemd containers on a network of their own without a way out, reached over real SSH.

A lab has a name, a folder and hosts. The folder holds what Ansible needs: inventory/, a throwaway key and the hosts'
public keys. Two checkouts never share a container: names carry a hash of the checkout's path.
"""

import contextlib
import hashlib
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.errors import APIError
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from dlsctl.problems import Problem
from tests.lab import images
from tests.lab.paths import CACHE, FILES, ROOT

USER = "kit"
BOOT_DEADLINE = 60  # seconds
_LABEL = "dls-lab"
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_INSTANCES = 1024  # a systemd with its services takes about ten; the kernel gives root's hosts 128 together


@dataclass(frozen=True)
class Host:
    """One started host: name as in the inventory, container name on the engine, IPv4 address."""

    name: str
    container: str
    address: str


@dataclass(frozen=True)
class Lab:
    """A named set of hosts that live and go together."""

    name: str

    @property
    def identifier(self) -> str:
        """Prefix of containers and label of everything this lab owns on the engine."""
        return f"dls-{self.name}-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]}"

    @property
    def folder(self) -> Path:
        return CACHE / "labs" / self.name

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def key(self) -> Path:
        return self.folder / "id_ed25519"


def up(client: docker.DockerClient, lab: Lab, wanted: dict[str, str], group: str = "dls") -> list[Host]:
    """Start fresh hosts, wanted maps host names to image names, and write the lab's inventory.

    group: the inventory group that all of them are in; "ungrouped" leaves groups to another inventory file.
    Returns when systemd is up and SSH answers on each. Hosts of an earlier up() of the same lab are removed first.
    """
    kinds = {name: images.find(image) for name, image in wanted.items()}
    images.ensure_all(client, kinds.values())
    _make_room()
    down(client, lab)
    lab.inventory.mkdir(parents=True)
    _make_key(lab)
    network, subnet = _create_network(client, lab)
    hosts = [
        Host(name, f"{lab.identifier}-{name}", f"{subnet}.{number}") for number, name in enumerate(wanted, start=10)
    ]
    containers = [_start(lab, network, hosts, host, kinds[host.name]) for host in hosts]
    known = [f"{host.address} {_set_up(lab, container)}\n" for host, container in zip(hosts, containers, strict=True)]
    lab.known_hosts.write_text("".join(known))
    _write_inventory(lab, hosts, group)
    return hosts


def down(client: docker.DockerClient, lab: Lab) -> None:
    """Remove the lab's containers, network and folder. Nothing happens when there are none."""
    selection: dict[str, Any] = {"label": f"{_LABEL}={lab.identifier}"}
    for container in client.containers.list(all=True, filters=selection):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters=selection):
        network.remove()
    shutil.rmtree(lab.folder, ignore_errors=True)


def ssh_command(lab: Lab, host: Host, command: str) -> list[str]:
    """The command line that runs a shell command on host over SSH as the lab's user."""
    return ["ssh", "-i", str(lab.key), *_ssh_options(lab), f"{USER}@{host.address}", command]


def read_hosts(lab: Lab) -> list[Host]:
    """The hosts that up() wrote down. Raise Problem when the lab is not up."""
    path = lab.inventory / "lab.yml"
    if not path.exists():
        raise Problem(f"lab {lab.name}", "must be up", None, f"run `python -m tests.lab up {lab.name}`")
    (group,) = yaml.safe_load(path.read_text())["all"]["children"].values()
    hosts: dict[str, dict[str, str]] = group["hosts"]
    return [Host(name, f"{lab.identifier}-{name}", facts["ansible_host"]) for name, facts in hosts.items()]


def _make_key(lab: Lab) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", lab.identifier, "-f", str(lab.key)], check=True
    )


def _create_network(client: docker.DockerClient, lab: Lab) -> tuple[Network, str]:
    """Create the lab's network on a free 10.77.x.0/24; fixed addresses survive a reboot of several hosts at once."""
    start = int(hashlib.sha256(lab.identifier.encode()).hexdigest(), 16) % 256
    for offset in range(256):
        subnet = f"10.77.{(start + offset) % 256}"
        pool = IPAMPool(subnet=f"{subnet}.0/24")
        try:
            network = client.networks.create(
                lab.identifier,
                driver="bridge",
                internal=True,
                ipam=IPAMConfig(pool_configs=[pool]),
                labels={_LABEL: lab.identifier},
            )
        except APIError as error:
            if "overlap" not in str(error).lower():
                raise
            continue
        return network, subnet
    raise Problem("lab network", "needs a free subnet in 10.77.0.0/16", None, "remove labs that are no longer used")


def _make_room() -> None:
    """Let the hosts of all labs be up at once. Where that is not permitted the kernel's own limit stays."""
    if int(_INOTIFY.read_text()) < _INSTANCES:
        with contextlib.suppress(OSError):
            _INOTIFY.write_text(str(_INSTANCES))


def _start(lab: Lab, network: Network, hosts: list[Host], host: Host, image: images.Image) -> Container:
    """Start one systemd container. The options are what an unprivileged systemd needs on cgroup v1 and v2 hosts."""
    client = network.client
    assert client is not None
    container = client.containers.create(
        image.tag,
        command="/sbin/init",
        name=host.container,
        hostname=host.name,
        extra_hosts={each.name: each.address for each in hosts},  # the engine's own names go with a host that is lost
        labels={_LABEL: lab.identifier},
        environment={"container": "docker"},
        cap_add=["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"],  # SYS_PTRACE: root of a host sees every process
        security_opt=["seccomp=unconfined"],
        cgroupns="host",
        volumes=[f"{image.cgroup}:/sys/fs/cgroup:rw"],
        tmpfs={"/run": "", "/run/lock": "", "/tmp": "exec"},
        stop_signal="SIGRTMIN+3",
        restart_policy={"Name": "always"},  # a reboot inside ends the container: start it again
        network_mode="none",
    )
    client.networks.get("none").disconnect(container)
    network.connect(container, ipv4_address=host.address)
    container.start()
    return container


def _set_up(lab: Lab, container: Container) -> str:
    """Wait for systemd, give the host its SSH host keys and the lab's user; return its public host key."""
    deadline = time.monotonic() + BOOT_DEADLINE
    state = "unknown"
    while state not in ("running", "degraded"):
        if time.monotonic() > deadline:
            raise Problem(
                f"host {container.name}",
                f"systemd must be up within {BOOT_DEADLINE} s",
                state,
                f"docker logs {container.name}",
            )
        _, state = _run_inside(container, ["systemctl", "is-system-running"])
        time.sleep(0.1)
    public_key = Path(f"{lab.key}.pub").read_text().strip()
    script = (FILES / "setup-host.sh").read_text()
    code, output = _run_inside(container, ["sh", "-c", script, "setup-host", USER, public_key])
    if code != 0:
        raise Problem(f"host {container.name}", "must be set up for SSH", output[-500:])
    return " ".join(output.splitlines()[-1].split()[:2])


def _run_inside(container: Container, command: list[str]) -> tuple[int | None, str]:
    code, output = container.exec_run(command)
    assert isinstance(output, bytes)
    return code, output.decode().strip()


def _ssh_options(lab: Lab) -> list[str]:
    # One connection per host for Ansible and testinfra alike. The path of a socket must be short.
    socket = Path(tempfile.gettempdir()) / f"{lab.identifier}-%C"
    settings = {
        "UserKnownHostsFile": f'"{lab.known_hosts}"',
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "ControlMaster": "auto",
        "ControlPersist": "60s",
        "ControlPath": socket,
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _write_inventory(lab: Lab, hosts: list[Host], group: str) -> None:
    variables = {
        "ansible_user": USER,
        "ansible_ssh_private_key_file": str(lab.key),
        "ansible_ssh_common_args": shlex.join(_ssh_options(lab)),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    members = {host.name: {"ansible_host": host.address} for host in hosts}
    inventory = {"all": {"children": {group: {"hosts": members}}, "vars": variables}}
    (lab.inventory / "lab.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
