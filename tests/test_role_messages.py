"""Where a host program was refused in the middle of a look, or was killed, the roles say so instead of failing to."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import play
from tests.checkout.paths import ROOT

pytestmark = pytest.mark.slow

REFUSED = {"rc": 6, "stdout": json.dumps({"error": {"what": "x"}}), "stderr": "x: must be a regular file"}
KILLED = {"rc": -9, "stdout": "", "stderr": "", "stdout_lines": [], "stderr_lines": []}
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "a refusal in the look at the proxy": (
        "dls_proxy/tasks/judge.yml",
        {"__dls_proxy_preflight": REFUSED},
        "x: must be a regular file",
    ),
    "a refusal in the look at the server": (
        "dls_server/tasks/judge.yml",
        {
            "__dls_server_preflight": REFUSED,
            "__dls_server_needs_archive": False,
            "__dls_server_archive_check": {},
            "__dls_server_needs_licenses": False,
            "__dls_server_license_verdict": {"problems": []},
        },
        "x: must be a regular file",
    ),
    "a kill in the look at the proxy": (
        "dls_proxy/tasks/judge.yml",
        {"__dls_proxy_preflight": KILLED},
        "no answer",
    ),
    "a kill in the look at the server": (
        "dls_server/tasks/linux/unfit.yml",
        {"ansible_failed_result": KILLED},
        "no answer",
    ),
    "a kill while the server is changed": (
        "dls_server/tasks/linux/undo.yml",
        {"__dls_server_apply": KILLED, "ansible_failed_result": {}, "__dls_server_look": {"installed": ["x"]}},
        "no answer",
    ),
    "a kill while the server is started": (
        "dls_server/tasks/linux/service.yml",
        {
            "__dls_server_command": "/bin/false",
            "dls_server_version": "0",
            "dls_server_config_dir": "/nowhere",
            "dls_server_service_name": "x",
            "__dls_server_look": {"current": "0", "differs": [], "steps": []},
        },
        "no answer",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_message_tells_what_is_known(tmp_path: Path, name: str) -> None:
    file, variables, message = CASES[name]
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"dls": {"hosts": {"here": host}}}))
    task = {"name": "Tell", "ansible.builtin.include_tasks": str(ROOT / "roles" / file)}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "dls", "gather_facts": False, "tasks": [task]}]))
    done = play.run(tmp_path / "play.yml", tmp_path / "hosts.yml", "--check", quiet=True)
    assert done.code != 0
    assert message in done.output, done.output
    assert "No first item" not in done.output
    assert "has no attribute" not in done.output
