"""A change of the server, after another one in the same run of Ansible."""

import json
from pathlib import Path

import pytest

from tests.windows import stub

pytestmark = pytest.mark.slow


def test_what_an_earlier_play_has_saved_is_not_made_a_backup_again(tmp_path: Path) -> None:
    look = {"current": "2.4.1", "running": True, "as_it_is": []}
    done = stub.Host(tmp_path, {}).play(
        "dls_server",
        ["windows/journal", "windows/end"],
        "-e",
        json.dumps({"__dls_server_look": look}),
        __dls_server_home=r"C:\dls",
        __dls_server_saved={"name": "20270115T080000Z-2.4.1", "partial": r"D:\backups\.partial"},
        __dls_server_journal_new={"what": "restore"},
        __dls_server_changes_version=False,
    )
    assert done.code == 0, done.output
    assert [name for name, _ in stub.Host(tmp_path, {}).calls()] == ["win_copy", "win_file"]
