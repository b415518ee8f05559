"""What an Ansible inventory says of connections, as pyinfra takes it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploys.source import NAMES, PROXY, SERVER, Source, become, ssh_options
from dlsctl.problems import Problem, Refused
from tests.checkout.paths import ROOT

VARIABLES = {
    "dls_server_version": "2.4.11",
    "dls_server_archive": "dls.tar.gz",
    "dls_server_archive_checksum": "sha256:" + 64 * "0",
}


def source(
    folder: Path, hosts: dict[str, Any], limit: str = "", extra: tuple[str, ...] = (), **variables: Any
) -> Source:
    """An inventory with hosts and variables of group dls."""
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump({"dls": {"hosts": hosts, "vars": {**VARIABLES, **variables}}}))
    return Source(str(path), limit, extra)


def one(folder: Path, **variables: Any) -> dict[str, Any]:
    """The data of an inventory's only host."""
    ((_, data),) = source(folder, {"dls1": variables}).linux_hosts()
    return data


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("-o User=kit -oPort=2222", {"user": "kit", "port": "2222"}),
        (
            "-J gate -i ~/.ssh/dls -l kit",
            {"proxyjump": "gate", "identityfile": "~/.ssh/dls", "user": "kit"},
        ),
        ("-o 'UserKnownHostsFile=\"/a b/known\"'", {"userknownhostsfile": "/a b/known"}),
        ("-F ssh.cfg -C -4", {"-F": "ssh.cfg"}),
        ("-S none -E /log -J gate", {"proxyjump": "gate"}),
        ("-o 'ProxyCommand ssh -o User=x gate'", {"proxycommand": "ssh -o User=x gate"}),
        ("-o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=15", {}),
    ],
)
def test_options_of_ssh_keep_their_meaning(words: str, settings: dict[str, str]) -> None:
    assert dict(ssh_options(shlex.split(words))) == settings


BECOME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"_sudo": True}),
    ({"ansible_become": "no"}, {}),
    ({"ansible_become": "f"}, {}),
    ({"ansible_become_method": None}, {"_sudo": True}),
    ({"ansible_become_password": "p"}, {"_sudo": True, "_sudo_password": "p"}),
    ({"ansible_sudo_pass": "p"}, {"_sudo": True, "_sudo_password": "p"}),
    ({"ansible_become_user": "adm"}, {"_sudo": True, "_sudo_user": "adm"}),
    ({"ansible_become_flags": "-H -n", "ansible_become_exe": "/usr/bin/sudo"}, {"_sudo": True}),
    ({"ansible_become_method": "su", "ansible_become_pass": "p"}, {"_su_user": "root", "_su_password": "p"}),
    ({"ansible_become_method": "community.general.doas"}, {"_doas": True}),
]


def test_commands_become_root_as_in_the_playbooks(tmp_path: Path) -> None:
    hosts = {f"dls{number}": variables for number, (variables, _) in enumerate(BECOME)}
    found = [data for _, data in source(tmp_path, hosts).linux_hosts()]
    assert [{key: data[key] for key in data if key[0] == "_"} for data in found] == [data for _, data in BECOME]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "pbrun"}, "ansible_become_method: must be sudo, su or doas for pyinfra, got pbrun"),
        ({"flags": "-H -i"}, "ansible_become_flags: must be -H -S -n for pyinfra"),
        ({"method": "su", "flags": "-l"}, "ansible_become_flags: must be left out for pyinfra"),
        ({"exe": "/opt/pb/sudo"}, "ansible_become_exe: must be sudo for pyinfra"),
    ],
)
def test_a_way_to_root_that_pyinfra_does_not_go_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        become({"become": None, "method": "sudo", **settings})


def test_host_is_reached_as_by_ansible(tmp_path: Path) -> None:
    data = one(
        tmp_path,
        ansible_host="10.0.0.5",
        ansible_port=2222,
        ansible_user="kit",
        ansible_ssh_private_key_file="~/.ssh/dls",
        ansible_ssh_common_args="-o UserKnownHostsFile=/known -o StrictHostKeyChecking=accept-new -J gate",
    )
    assert data["ssh_hostname"] == "10.0.0.5"
    assert (data["ssh_port"], data["ssh_user"], data["ssh_key"]) == (2222, "kit", "~/.ssh/dls")
    assert data["ssh_strict_host_key_checking"] == "accept-new"
    written = Path(data["ssh_config_file"]).read_text()
    assert written.startswith("Host 10.0.0.5\n")
    assert "userknownhostsfile /known" in written
    assert "proxyjump gate" in written


def test_unknown_host_key_is_refused_unless_the_inventory_says_otherwise(tmp_path: Path) -> None:
    assert one(tmp_path)["ssh_strict_host_key_checking"] == "yes"
    assert one(tmp_path, ansible_host_key_checking=False)["ssh_strict_host_key_checking"] == "no"


def test_containers_and_this_machine_are_reached_by_pyinfras_own_connectors(tmp_path: Path) -> None:
    hosts = {
        "here": {"ansible_connection": "local"},
        "box": {"ansible_connection": "community.docker.docker", "ansible_host": "dls-box"},
    }
    names = {name for name, _ in source(tmp_path, hosts).linux_hosts()}
    assert names == {"@local", "@docker/dls-box"}


def test_of_two_settings_of_ssh_the_first_one_holds(tmp_path: Path) -> None:
    data = one(tmp_path, ansible_ssh_common_args="-J gate -o ProxyJump=other")
    assert "proxyjump gate" in Path(data["ssh_config_file"]).read_text()


def test_two_hosts_that_are_one_machine_are_refused(tmp_path: Path) -> None:
    here = {"ansible_connection": "local"}
    with pytest.raises(Refused, match="got a and b, which are both @local"):
        source(tmp_path, {"a": here, "b": here}).linux_hosts()


@pytest.mark.parametrize("name", ["@local", "@docker/dls"])
def test_name_that_is_a_connector_of_pyinfras_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="must not begin with @"):
        source(tmp_path, {name: {}}).linux_hosts()


def test_options_of_ssh_that_are_no_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No closing quotation"):
        one(tmp_path, ansible_ssh_common_args="-o 'User=kit")


def test_windows_hosts_are_left_out_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = {"win": {"ansible_connection": "psrp"}, "dls1": {}}
    assert [name for name, _ in source(tmp_path, hosts).linux_hosts()] == ["dls1"]
    assert "win: a Windows host, left out" in capsys.readouterr().err


def test_variable_that_takes_a_file_which_is_not_there_is_told_with_a_hint(tmp_path: Path) -> None:
    value = "{{ lookup('ansible.builtin.file', '/none.pem') }}"
    with pytest.raises(Refused) as told:
        source(tmp_path, {"dls1": {}}, dls_server_home=value).linux_hosts()
    assert "variables: must be made out, got \n  dls1, dls_server_home: " in str(told.value)
    assert "/none.pem" in str(told.value)
    assert "HINT: mend what is named; a deploy has none of Ansible's facts" in str(told.value)


def test_inventory_without_a_linux_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="at least one Linux host"):
        source(tmp_path, {"win": {"ansible_connection": "winrm"}}).linux_hosts()


def test_limit_that_names_no_host_is_refused_and_not_taken_for_none(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="got dls9"):
        source(tmp_path, {"dls1": {}}, limit="dls1,dls9").linux_hosts()


@pytest.mark.parametrize("limit", ["dls1:dls9", "dls1, dls9"])
def test_every_part_of_a_limit_names_a_host(tmp_path: Path, limit: str) -> None:
    with pytest.raises(Refused, match="got dls9"):
        source(tmp_path, {"dls1": {}}, limit=limit).linux_hosts()


def test_variable_that_takes_facts_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"dls1, dls_server_home: .*hostname"):
        source(tmp_path, {"dls1": {}}, dls_server_home="/opt/{{ ansible_facts.hostname }}").linux_hosts()


def test_unknown_inventory_and_connection_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="must be an inventory's folder or file"):
        Source(str(tmp_path / "none")).linux_hosts()
    with pytest.raises(Refused, match="dls1: ansible_connection"):
        source(tmp_path, {"dls1": {"ansible_connection": "lxd"}}).linux_hosts()


def test_wrong_vault_password_is_told_as_such(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("right")
    secret = "- vaulted"
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "vault", "encrypt_string", "--vault-password-file", str(password), secret],
        capture_output=True,
        text=True,
        check=True,
    )
    value = done.stdout.replace("\n", "\n      ")
    (tmp_path / "hosts.yml").write_text(f"dls:\n  hosts:\n    dls1:\n      dls_server_admin_password: {value}\n")
    password.write_text("wrong")
    with pytest.raises(Problem, match=r"(?i)decrypt") as caught:
        Source(str(tmp_path / "hosts.yml"), vault_password_file=str(password)).linux_hosts()
    assert "vaulted" not in str(caught.value)


def test_values_are_what_the_role_makes_of_them(tmp_path: Path) -> None:
    found = source(tmp_path, {"dls1": {}}, extra=("dls_server_port=4444",), dls_server_home="{{ '/srv' }}/dls")
    found.linux_hosts([(SERVER, "main")])
    request = found.view(SERVER, "main")["dls1"][0]
    assert request["values"]["dls_server_home"] == "/srv/dls"
    unit = next(file for file in request["files"] if file["path"].endswith("/dynamsoft-dls.service"))
    assert "WorkingDirectory=/srv/dls/current" in unit["content"]
    assert "4444" in json.dumps(request["files"])


def test_inventories_that_come_with_the_kit_are_read() -> None:
    assert Source(str(ROOT / "inventories/single")).linux_hosts()


def test_extra_variables_are_templates_as_on_the_command_line_of_ansible(tmp_path: Path) -> None:
    extra = ('{"dls_server_home": "/srv/{{ inventory_hostname }}"}', "dls_server_user={{ 'own' }}")
    found = source(tmp_path, {"dls1": {}}, extra=extra)
    values = found.view(SERVER, "main")["dls1"][0]["values"]
    assert (values["dls_server_home"], values["dls_server_user"]) == ("/srv/dls1", "own")


def test_views_that_are_made_out_side_by_side_are_each_hosts_own(tmp_path: Path) -> None:
    hosts = {f"dls{number}": {"dls_server_port": 48080 + number} for number in range(6)}
    there = source(tmp_path, hosts)
    there.begin([(SERVER, "main"), (PROXY, "main")])
    there.linux_hosts([(SERVER, "main"), (PROXY, "main")])
    requests = {host: values[0]["values"] for host, values in there.view(SERVER, "main").items()}
    assert {host: int(values["dls_server_port"]) for host, values in requests.items()} == {
        host: variables["dls_server_port"] for host, variables in hosts.items()
    }
    assert there.view(PROXY, "main").keys() == hosts.keys()


def test_text_in_two_syntaxes_is_read_in_each(tmp_path: Path) -> None:
    text = "[% 1 %]{{ 2 }}"
    header = "#jinja2: variable_start_string: '[%', variable_end_string: '%]'\n"
    variables = {"dls_server_user": text, "dls_server_home": header + text, "dls_server_data_dir": "{{ '\\\\' }}"}
    found = source(tmp_path, {"dls1": variables, "dls2": variables}).view(SERVER, "main")
    for host in ("dls1", "dls2"):
        values = found[host][0]["values"]
        assert [values[name] for name in variables] == ["[% 1 %]2", "1{{ 2 }}", "\\\\"]


def test_only_hosts_of_a_pair_have_another_one_looked_for(tmp_path: Path) -> None:
    urls = {f"dls_server_{mode}_url": f"http://{mode}/" for mode in ("main", "standby")}
    hosts = {**{mode: {**urls, "dls_server_mode": mode} for mode in ("main", "standby")}, "alone": {}}
    found = source(tmp_path, hosts).view(SERVER, "main")
    pairs = {host: values[NAMES[SERVER].index("__dls_server_pair_request")] for host, values in found.items()}
    assert pairs["alone"] is None
    assert (pairs["main"]["other"]["name"], pairs["standby"]["other"]["name"]) == ("standby", "main")


@pytest.mark.parametrize("hosts", [1, 3])
def test_view_that_cannot_be_made_out_is_told_however_many_hosts_there_are(
    tmp_path: Path, hosts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NAMES, SERVER, ("__no_such_variable",))
    with pytest.raises(Problem, match=r"must be readable for Ansible, got .*__no_such_variable"):
        source(tmp_path, {f"dls{number}": {} for number in range(hosts)}).linux_hosts([(SERVER, "main")])


def test_no_host_is_made_out_where_a_variable_of_one_cannot(tmp_path: Path) -> None:
    """The deploy is refused: with fifty hosts, that took half a minute."""
    there = source(tmp_path, {"dls1": {}, "dls2": {"dls_server_port": "{{ nowhere }}"}})
    answer = there.read([(SERVER, "main")])
    assert list(answer["unresolved"]) == ["dls2"]
    assert [name for name, found in answer["hosts"].items() if "views" in found] == []


@pytest.mark.timeout(60)
def test_copy_of_the_reader_that_is_killed_is_told_and_not_waited_for(tmp_path: Path) -> None:
    """As by the kernel, where memory is short."""
    there = source(tmp_path, {f"dls{number}": {} for number in range(4)})
    there.begin([(SERVER, "main")])
    assert there._reading
    reader = there._reading.child.pid
    children, copies, before = Path(f"/proc/{reader}/task/{reader}/children"), "", None
    while not copies or copies != before:  # Ansible's own children are gone at once
        time.sleep(0.1)
        copies, before = children.read_text(), copies
    os.kill(int(copies.split()[0]), signal.SIGKILL)
    with pytest.raises(Problem, match=r"must be readable for Ansible, got .*terminated abruptly"):
        there.linux_hosts([(SERVER, "main")])


def test_file_of_the_inventory_that_cannot_be_read_is_told_where_others_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    there = source(folder, {"dls1": {}})
    (folder / "more.yml").write_text("dls: [")
    Source(str(folder)).linux_hosts()
    assert f"Unable to parse {folder / 'more.yml'} as an inventory source" in capsys.readouterr().err
    there.linux_hosts()
    assert not capsys.readouterr().err
