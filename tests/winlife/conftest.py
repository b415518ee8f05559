"""The scenario's host: started by Molecule, and left to the next file of tests."""

import pytest
import yaml

from tests.lab.hosts import Lab
from tests.winlab.host import NAME, Host


@pytest.fixture(scope="session")
def host() -> Host:
    return Host(Lab("windows_lab").folder)


@pytest.fixture(scope="session")
def port(host: Host) -> int:
    """The port of the server."""
    found = yaml.safe_load((host.inventory / "hosts.yml").read_text())
    return int(found["dls"]["hosts"][NAME]["dls_server_port"])
