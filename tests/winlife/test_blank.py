"""Before anything is there: what check mode says and does."""

import pytest

from tests.winlab.host import Host, modules_from_elsewhere

pytestmark = pytest.mark.slow


def test_check_mode_predicts_the_install_and_changes_nothing(host: Host) -> None:
    done = host.run("install", "--check", "--diff", "-vvv")
    assert done.code == 0, done.output[-4000:]
    assert done.changed > 0
    assert modules_from_elsewhere(done.output, host.shadow) == []
    assert not host.prefix.path(r"E:\dls").exists()
