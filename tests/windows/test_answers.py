"""What the tasks make of a server that takes no connection: the real win_uri then names a status that is none."""

from pathlib import Path

import pytest

from tests.windows import seen, stub

pytestmark = pytest.mark.slow
HOME = {"__dls_server_home": r"C:\dls"}


def test_a_server_that_takes_no_connection_is_given_up_with_the_reason(tmp_path: Path) -> None:
    host = stub.Host(tmp_path, {"ansible.windows.slurp": {"content": ""}})
    done = host.play("dls_server", "windows/give_up", **HOME, __dls_server_answered=seen.SILENT)
    assert "must answer http://127.0.0.1:48080/page/index.html within 120 s, got " in done.output
    assert seen.SILENT["msg"] in done.output
