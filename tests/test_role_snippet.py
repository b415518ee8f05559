"""dls_proxy_kind: snippet writes files here and touches no host."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import play
from tests.checkout.paths import ROOT
from tests.dlsproxy.certificates import issue

pytestmark = pytest.mark.slow


def run(folder: Path, environment: dict[str, str] | None = None, **variables: Any) -> play.Result:
    """Run a play with nothing but the role, for a host that cannot be reached."""
    host = {"ansible_host": "192.0.2.1", "ansible_timeout": 1, "dls_proxy_kind": "snippet", **variables}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"dls": {"hosts": {"nowhere": host}}}))
    task = {"name": "Proxy", "ansible.builtin.import_role": {"name": "dls_proxy", "rolespec_validate": False}}
    (folder / "proxy.yml").write_text(
        yaml.safe_dump([{"hosts": "dls", "become": True, "gather_facts": False, "tasks": [task]}])
    )
    return play.run(folder / "proxy.yml", folder / "hosts.yml", quiet=True, environment=environment)


def test_snippet_is_written_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    variables: dict[str, Any] = {
        "dls_proxy_server_names": ["dls.example.com"],
        "dls_proxy_snippet_dest": f"{tmp_path}/snippet",
        "dls_proxy_upstream_host": "10.20.0.7",
    }
    done = run(tmp_path, **variables)
    assert (done.code, done.changed) == (0, 2), done.output
    assert "log_format dls " in (tmp_path / "snippet/dls-http.conf").read_text()
    locations = (tmp_path / "snippet/dls-locations.conf").read_text()
    assert "proxy_pass http://10.20.0.7:48080/auth/;" in locations
    assert "listen" not in locations
    assert run(tmp_path, **variables).changed == 0


def test_snippet_has_its_variables_checked(tmp_path: Path) -> None:
    done = run(tmp_path, dls_proxy_server_names=["dls.example.com"], dls_proxy_prefix="dls")
    assert done.code != 0
    text = " ".join(done.output.split())
    assert "dls_proxy_prefix: must begin and end with a slash" in text
    assert "dls_proxy_snippet_dest: must be an absolute path on the control node" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hosts.yml", "proxy.yml"]


def test_key_behind_the_certificate_is_not_shown_either(tmp_path: Path) -> None:
    pair = issue("dls", "dls.example.com")
    done = run(
        tmp_path,
        {"ANSIBLE_VERBOSITY": "3", "ANSIBLE_DISPLAY_OK_HOSTS": "true"},
        dls_proxy_server_names=["dls.example.com"],
        dls_proxy_snippet_dest=f"{tmp_path}/snippet",
        dls_proxy_tls_certificate=pair.pem + pair.key,
    )
    assert "dls_proxy_tls_key: must be given with dls_proxy_tls_certificate" in done.output
    assert pair.key.splitlines()[3] not in done.output


def test_ipv6_address_stands_in_brackets_where_nginx_wants_it(tmp_path: Path) -> None:
    variables = {"dls_proxy_server_names": ["DLS.example.com", "fd00::5"], "dls_proxy_snippet_dest": f"{tmp_path}/x"}
    (tmp_path / "hosts.yml").write_text("dls: {hosts: {nowhere: {ansible_connection: local}}}")
    tasks = [
        {"ansible.builtin.include_vars": str(ROOT / "roles/dls_proxy/vars/main.yml")},
        {"ansible.builtin.debug": {"msg": "names={{ __dls_proxy_hosts | join('/') }}"}},
    ]
    (tmp_path / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "dls", "gather_facts": False, "vars": variables, "tasks": tasks}])
    )
    environment = {"ANSIBLE_DISPLAY_OK_HOSTS": "true"}
    done = play.run(tmp_path / "play.yml", tmp_path / "hosts.yml", quiet=True, environment=environment)
    assert "names=dls.example.com/[fd00::5]" in done.output
