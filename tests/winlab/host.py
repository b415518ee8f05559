"""A Windows host for playbooks: a running prefix, an inventory, and Ansible with the shadow of the collections."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.checkout import play as plays
from tests.checkout.site import VERSION, archive_variables, sha256
from tests.standin import build
from tests.standin.process import free_ports
from tests.winlab import shadow
from tests.winlab.prefix import Prefix, copied, nssm, windows

NAME = "winlab"
# What an operator writes of a Windows host, but for the interpreter: the lab's modules are Python.
CONNECTION = {
    "ansible_connection": "psrp",
    "ansible_become": False,
    "ansible_facts_modules": ["ansible.windows.setup"],
    "ansible_python_interpreter": sys.executable,
}


@dataclass(frozen=True)
class Host:
    """The host in a folder, which holds its Windows, the shadow and its inventory."""

    folder: Path

    @property
    def prefix(self) -> Prefix:
        return Prefix(self.folder / "prefix")

    @property
    def shadow(self) -> Path:
        return self.folder / "shadow"

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory"

    @property
    def environment(self) -> dict[str, str]:
        """What Ansible needs beside the inventory."""
        return {
            "ANSIBLE_COLLECTIONS_PATH": str(self.shadow),
            "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",  # so a module that the lab has not is not there
            "ANSIBLE_CONNECTION_PLUGINS": str(self.shadow / shadow.CONNECTION),
            "LAB_OPTIONS": str(self.shadow / shadow.OPTIONS),
            "WINEPREFIX": str(self.prefix.folder),
        }

    def describe(self, variables: dict[str, Any]) -> None:
        """Give the host variables in its inventory, in place of those it was given before."""
        self.inventory.mkdir(exist_ok=True)
        hosts = {NAME: {**CONNECTION, **variables}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump({"dls": {"hosts": hosts}}))

    def offer(self, version: str, settings: dict[str, str] | None = None) -> None:
        """Let the inventory name the stand-in of a release."""
        variables = archive_variables(version, settings, build.WINDOWS)
        (self.inventory / "archive.yml").write_text(yaml.safe_dump({"dls": {"vars": variables}}))

    def play(self, playbook: str | Path, variables: dict[str, Any], *options: str) -> plays.Result:
        """Run a playbook of the project by its name, or another by its path, with variables of the host."""
        self.describe(variables)
        return self.run(playbook, *options)

    def run(self, playbook: str | Path, *options: str) -> plays.Result:
        """Run a playbook with the inventory as it is."""
        shown = {"ANSIBLE_DISPLAY_OK_HOSTS": "true", "ANSIBLE_NOCOLOR": "true"}
        # Molecule, which may have called this, forces colours.
        environment = {**self.prefix.environment, **self.environment, **shown, "ANSIBLE_FORCE_COLOR": "false"}
        return plays.run(playbook, self.inventory, *options, quiet=True, environment=environment)


@contextlib.contextmanager
def host(folder: Path) -> Iterator[Host]:
    """A host in a folder that is there and empty."""
    host = Host(folder)
    shadow.build(host.shadow)
    with windows(host.prefix.folder):
        yield host


def up(folder: Path, site: Path) -> Host:
    """Start a fresh host that stays; its inventory has the stand-in, NSSM and free ports, beside what `site` says."""
    down(folder)
    host = Host(folder)
    folder.mkdir(parents=True)
    shadow.build(host.shadow)
    Prefix(copied(host.prefix.folder)).boot()
    program = folder / "nssm.exe"
    program.write_bytes(nssm())
    port, data_port = free_ports(2)
    host.describe(
        {
            "dls_server_port": port,
            "dls_server_data_port": data_port,
            "dls_server_nssm": str(program),
            "dls_server_nssm_checksum": f"sha256:{sha256(program)}",
        }
    )
    host.offer(VERSION)
    shutil.copy(site, host.inventory)
    return host


def down(folder: Path) -> None:
    """Remove a host that stayed. Nothing happens when there is none."""
    if folder.exists():
        Host(folder).prefix.shut_down()
        shutil.rmtree(folder)


def modules_from_elsewhere(verbose: str, shadowed: Path) -> list[str]:
    """The modules of Windows that a run with -vvv did not take from the shadow: none, or the lab proves nothing."""
    used = {line.split("Using module file ")[1] for line in verbose.splitlines() if "Using module file " in line}
    windows = {path for path in used if re.search(r"/(win_\w+|\w+\.ps1)|/(windows|microsoft/\w+)/plugins/", path)}
    return sorted(path for path in windows if not path.startswith(str(shadowed) + os.sep))
