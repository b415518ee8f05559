"""The end: the service and its files go, the backups stay, and a second run finds nothing."""

from pathlib import Path

import pytest

from tests.winlab.host import Host
from tests.winlab.prefix import HELPER
from tests.winlab.test_prefix import SERVICE

pytestmark = pytest.mark.slow
PLAYBOOK = Path(__file__).with_name("uninstall.yml")


def test_an_uninstall_keeps_the_state_and_a_second_one_finds_nothing(host: Host) -> None:
    done = host.run(PLAYBOOK)
    assert done.code == 0, done.output[-6000:]
    assert host.prefix.wine(HELPER, "query", SERVICE)[1] == '{"exists": false}\n'
    assert not host.prefix.path(r"E:\dls\releases").exists()
    assert list(host.prefix.path(r"C:\ProgramData\dls\backups").rglob("manifest.json"))
    again = host.run(PLAYBOOK)
    assert (again.code, again.changed) == (0, 0), again.output[-6000:]
