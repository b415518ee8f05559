"""What the deploys do to a host, as data: what it was seen to be, and the commands that follow from that."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import pytest
import yaml
from gevent.event import AsyncResult
from pyinfra.api import Config, DeployError, Host, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state

import deploys
from deploys import judge, looks, remote
from deploys.looks import Look
from deploys.remote import Ran
from deploys.source import PROXY, SERVER, Source
from deploys.tell import is_news
from deploys.work import work
from tests.standin.portal import license_text

SUM = 64 * "0"
BLANK: dict[str, Any] = {
    "family": "debian",
    "installed": [],
    "current": None,
    "healthy": False,
    "running": False,
    "present": False,
    "differs": ["/etc/dls/dlsctl.json"],
    "steps": [],
    "hidden": [],
    "missing_folders": ["/opt/dls/archives"],
    "missing_own_folders": ["/opt/dls"],
    "missing_packages": [],
    "installed_packages": ["bash"],
    "list_packages": ["dpkg-query", "-W"],
    "missing_user": False,
    "users": ["root"],
    "licenses": [],
    "files": [],
    "findings": [],
}
AS_WANTED = {
    **BLANK,
    "installed": ["2.4.11"],
    "current": "2.4.11",
    "healthy": True,
    "running": True,
    "present": True,
    "differs": [],
    "missing_folders": [],
}
CONFIG = "--config=/etc/dls/dlsctl.json"


@dataclass
class Fake:
    """A host that does nothing and fails where it is told to; `done` is what it was told to do."""

    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=lambda: dict(BLANK))
    proxy: dict[str, Any] = field(default_factory=lambda: {"steps": [], "missing_packages": ["nginx"], "notes": []})
    problems: tuple[str, ...] = ()
    fails: str = ""
    code: int = 1
    meanwhile: bool = False  # whether another run has installed a server since the look
    done: list[str] = field(default_factory=list)
    failed: bool = False

    def run(self, host: Host, words: list[str], stdin: str | None = None) -> Ran:
        return self.ran(shlex.join(words))

    def ask(self, host: Host, program: str, words: list[str], spec: Any = None) -> Ran:
        return self.ran(f"{program} {shlex.join(words)}")

    def ran(self, command: str) -> Ran:
        self.done.append(command.split(" --run=", maxsplit=1)[0])
        if command == "test -e /opt/dls/current" and not self.meanwhile:
            return Ran(1, "", "")
        if self.fails and self.fails in command:
            return Ran(self.code, "", "disk: must have room, got none")
        done = {"new": "2.4.12", "old": "2.4.11", "backup": "b", "outage": 2, "kept": ".replaced-2.4.11"}
        return Ran(0, json.dumps({"text": "done", **done}), "")

    def deploy(self, name: str, entry: str) -> None:
        """Run a deploy on the host."""
        inventory = self.folder / "hosts.yml"
        archive = self.folder / "dls.tar.gz"
        archive.touch()
        own = {
            "dls_server_version": "2.4.11",
            "dls_server_archive": str(archive),
            "dls_server_archive_checksum": f"sha256:{SUM}",
            **self.variables,
        }
        inventory.write_text(yaml.safe_dump({"dls": {"hosts": {"dls1": own}}}))
        source = Source(str(inventory))
        state = State(Inventory(([("@fake/dls1", {"kit_source": source, "kit_name": "dls1", "fake_delay": 0,
                                                  "fake_delay_jitter": 0})], {})), Config())  # fmt: skip
        (host,) = state.inventory
        state.set_stage(StateStage.Connect)
        connect_all(state)
        with ctx_state.use(state), ctx_host.use(host):
            for role, seen in ((SERVER, self.seen), (PROXY, self.proxy)):
                if role == PROXY and entry not in ("main", "verify", "uninstall"):
                    continue
                source.looks["dls1", role, entry] = AsyncResult()
                look = Look(looks.wanted(host, role, entry), seen, self.problems if role == SERVER else ())
                source.looks["dls1", role, entry].set(look)
            state.set_stage(StateStage.Prepare)
            getattr(deploys, name)()
            state.set_stage(StateStage.Execute)
            try:
                run_ops(state)
            except PyinfraError:
                self.failed = True
        connector: Any = host.connector
        self.done += [f"pyinfra: {command}" for command in connector.executed_commands]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fake]:
    def make(**options: Any) -> Fake:
        host = Fake(tmp_path, **options)
        monkeypatch.setattr(remote, "run", host.run)
        monkeypatch.setattr(remote, "ask", host.ask)
        monkeypatch.setattr(judge, "archive_problem", lambda *_: "")
        return host

    return make


def shorter(command: str) -> str:
    """Without the release line, which is data."""
    return " ".join(word for word in shlex.split(command) if not word.startswith("--line="))


def test_a_host_that_is_as_wanted_is_left_alone(fake: Callable[..., Fake]) -> None:
    host = fake(seen=dict(AS_WANTED))
    host.deploy("install", "main")
    assert host.done == []


def test_a_blank_host_gets_files_then_the_release_then_its_start(fake: Callable[..., Fake]) -> None:
    host = fake()
    host.deploy("install", "main")
    assert [shorter(command) for command in host.done if not command.startswith(("pyinfra:", "test "))] == [
        "dlsctl.cli prepare --json",
        f"/usr/local/sbin/dlsctl install /opt/dls/archives/{SUM}.tar.gz --sha256={SUM} --version=2.4.11 {CONFIG}",
        f"/usr/local/sbin/dlsctl apply --version=2.4.11 {CONFIG}",
    ]
    assert not host.failed


def test_missing_packages_are_installed_from_the_lists_that_are_there_first(
    fake: Callable[..., Fake],
) -> None:
    host = fake(seen={**AS_WANTED, "missing_packages": ["nftables"]})
    host.deploy("install", "main")
    (command,) = [command for command in host.done if "nftables" in command]
    install = "apt-get --quiet --yes --no-install-recommends install nftables"
    assert f"{install} >/dev/null || {{ apt-get --quiet update && {install}; }}" in command


def test_a_first_install_that_fails_leaves_a_server_alone_that_another_run_has_installed(
    fake: Callable[..., Fake],
) -> None:
    host = fake(fails="dlsctl.cli prepare", meanwhile=True)
    host.deploy("install", "main")
    assert host.failed
    assert [command for command in host.done if "uninstall" in command or "rm -rf" in command] == []


def test_packages_of_the_control_node_are_sent_and_installed_from_nowhere_else(
    fake: Callable[..., Fake], tmp_path: Path
) -> None:
    repositories = tmp_path / "repositories"
    (repositories / "debian12").mkdir(parents=True)
    (repositories / "debian12/Packages").touch()
    host = fake(
        variables={"dls_server_package_repositories": str(repositories)},
        seen={**AS_WANTED, "platform": "debian12", "missing_packages": ["nftables"]},
    )
    host.deploy("install", "main")
    (command,) = [command for command in host.done if "nftables" in command]
    assert command.count("apt-get") == 3
    assert command.count("apt-get -oDir::Etc::SourceList=/var/cache/dls-packages/sources.list") == 3
    assert command.count("-oDir::Etc::SourceParts=/dev/null") == 3
    assert "rm -rf /var/cache/dls-packages" in command


def test_packages_that_were_sent_are_removed_where_the_install_fails(fake: Callable[..., Fake], tmp_path: Path) -> None:
    (tmp_path / "repositories/debian12").mkdir(parents=True)
    host = fake(
        variables={"dls_server_package_repositories": str(tmp_path / "repositories")},
        seen={
            **AS_WANTED,
            "platform": "debian12",
            "missing_packages": ["nftables"],
            "differs": ["/etc/dls/dlsctl.json"],
        },
        fails="apply --version",
    )
    host.deploy("install", "main")
    assert "rm -rf -- /var/cache/dls-packages" in host.done


def test_a_start_that_fails_puts_an_installed_host_back(fake: Callable[..., Fake]) -> None:
    host = fake(seen={**AS_WANTED, "differs": ["/etc/dls/dlsctl.json"]}, fails="apply --version")
    host.deploy("install", "main")
    assert host.failed
    assert host.done[-2:] == ["dlsctl.cli prepare --json", f"/usr/local/sbin/dlsctl apply {CONFIG}"]


def test_a_first_install_that_fails_leaves_nothing(fake: Callable[..., Fake]) -> None:
    host = fake(fails="dlsctl install")
    host.deploy("install", "main")
    assert host.failed
    after = host.done[host.done.index(next(command for command in host.done if "dlsctl install" in command)) + 1 :]
    assert f"/usr/local/sbin/dlsctl uninstall --json {CONFIG} --purge" in after
    assert "rm -rf -- /opt/dls/archives" in after
    assert "rm -rf -- /opt/dls" in after
    assert not any("apply" in command for command in after)


@pytest.mark.parametrize("code", [7, 8])
def test_a_host_on_which_another_run_works_is_not_put_back(fake: Callable[..., Fake], code: int) -> None:
    host = fake(seen={**AS_WANTED, "steps": [{"step": "restart"}]}, fails="apply", code=code)
    host.deploy("install", "main")
    assert host.failed
    assert host.done == [f"/usr/local/sbin/dlsctl apply --version=2.4.11 {CONFIG}"]


def test_a_problem_ends_the_deploy_before_any_change(fake: Callable[..., Fake]) -> None:
    host = fake(problems=("port 48080: must be free, got nginx",))
    with pytest.raises(DeployError, match="must be free"):
        host.deploy("install", "main")
    assert host.done == []


def test_a_server_that_stands_alone_is_rolled_back(fake: Callable[..., Fake]) -> None:
    host = fake(seen={**AS_WANTED, "current": "2.4.12", "installed": ["2.4.11", "2.4.12"]})
    host.deploy("rollback", "rollback")
    assert not host.failed
    assert [command.split()[1] for command in host.done] == ["rollback", "health"]


def test_licence_files_are_placed_once(fake: Callable[..., Fake], tmp_path: Path) -> None:
    file = tmp_path / "dls1.lic"
    file.write_text(license_text("100028117"))
    host = fake(seen=dict(AS_WANTED), variables={"dls_server_licenses": [{"file": str(file)}]})
    host.deploy("install", "main")
    assert host.done == [f"dlsctl.cli place --json {CONFIG}"]


def test_a_backup_is_pushed_where_the_inventory_says(fake: Callable[..., Fake]) -> None:
    host = fake(seen=dict(AS_WANTED), variables={"dls_server_backup_push": "/mnt/far", "dls_server_backup_hot": True})
    host.deploy("backup", "backup")
    assert host.done == ["dlsctl.cli backup --reason=playbook --hot --push=/mnt/far --json"]


def test_an_upgrade_that_does_not_start_goes_back(fake: Callable[..., Fake]) -> None:
    seen = {**AS_WANTED, "installed": ["2.4.10"], "current": "2.4.10"}
    host = fake(seen=seen, fails="apply --version", variables={"dls_server_upgrade_acknowledged": True})
    host.deploy("upgrade", "upgrade")
    verbs = [command.split()[1] for command in host.done if "pyinfra:" not in command]
    assert verbs == ["upgrade", "apply", "rollback", "status"]
    assert host.failed


def test_an_upgrade_to_what_is_in_use_does_nothing(fake: Callable[..., Fake]) -> None:
    host = fake(seen=dict(AS_WANTED))
    host.deploy("upgrade", "upgrade")
    assert host.done == []


@pytest.mark.parametrize(
    ("deploy", "variables", "told"),
    [
        ("backup", {"dls_server_backup_fetch_dir": "saved"}, "dls_server_backup_fetch_dir: must not be set"),
        ("restore", {"dls_server_restore_upload": "saved"}, "dls_server_restore_upload: must not be set"),
        ("restore", {"dls_server_restore_key": "age.key"}, "run playbooks/restore.yml"),
    ],
)
def test_what_only_a_playbook_does_is_refused_and_not_left_out(
    fake: Callable[..., Fake], deploy: str, variables: dict[str, Any], told: str
) -> None:
    with pytest.raises(DeployError, match=told):
        fake(variables=variables).deploy(deploy, deploy)


def test_a_first_visit_that_is_still_to_be_made_is_left_to_the_playbook(fake: Callable[..., Fake]) -> None:
    """A playbook may have made it and opened the server: a deploy would close it again."""
    host = fake(seen=dict(AS_WANTED), variables={"dls_server_admin_password": "secret"})
    with pytest.raises(DeployError, match="makes no first visit") as caught:
        host.deploy("install", "main")
    assert "secret" not in str(caught.value)
    assert host.done == []


def test_a_host_without_a_proxy_has_none_to_be_removed(fake: Callable[..., Fake]) -> None:
    host = fake(seen={**BLANK, "present": False})
    host.deploy("uninstall", "uninstall")
    assert host.done == []


def test_a_proxy_that_is_run_elsewhere_is_left_to_the_playbook(fake: Callable[..., Fake]) -> None:
    variables = {"dls_proxy_server_names": ["dls.example.com"], "dls_proxy_kind": "snippet"}
    host = fake(seen=dict(AS_WANTED), variables=variables)
    with pytest.raises(DeployError, match=r"playbooks/site\.yml"):
        host.deploy("site", "main")


def test_what_an_operator_has_to_know_is_said(fake: Callable[..., Fake], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pyinfra")
    fake(variables={"dls_server_version": "2.4.99"}).deploy("install", "main")
    assert "The vendor documents no release 2.4.99" in caplog.text
    assert "The first visitor of that page sets the password of user admin" in caplog.text


def test_no_line_says_that_nothing_was_changed_after_one_that_changed_something(
    fake: Callable[..., Fake], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pyinfra")
    caplog.handler.addFilter(is_news)
    fake().deploy("install", "main")
    assert "Success" in caplog.text
    assert "No changes" not in caplog.text


def test_a_restore_says_where_it_has_put_what_was_there(
    fake: Callable[..., Fake], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pyinfra")
    backup = {"name": "b", "folder": "/var/backups/dls/b", "version": "2.4.11", "archive": True}
    fake(seen={**AS_WANTED, "backup": backup}).deploy("restore", "restore")
    assert "What was there is kept in /opt/dls/releases/.replaced-2.4.11" in caplog.text


def test_clients_that_are_not_asked_are_told_of(fake: Callable[..., Fake], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pyinfra")
    fake(seen=dict(AS_WANTED), variables={"dls_server_probe": []}).deploy("verify", "verify")
    assert "dls_server_probe: no client's request was made: run playbooks/verify.yml" in caplog.text


def test_the_servers_of_a_pair_are_never_away_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0

    def ask(host: Host, program: str, words: list[str], spec: Any = None) -> Ran:
        nonlocal running, most
        running += 1
        most = max(most, running)
        gevent.sleep(0.01)
        running -= 1
        return Ran(0, "{}", "")

    monkeypatch.setattr(remote, "ask", ask)
    values = {"is_paired": True, "config_option": CONFIG}
    host: Any = None  # nothing is asked of it
    tasks = [gevent.spawn(work, host, looks.Wanted(SERVER, values), ["backup"]) for _ in range(2)]
    gevent.joinall(tasks, raise_error=True)
    assert most == 1


@pytest.mark.parametrize("name", ["_su_password", "_doas_user", "_sudo_password", "_sudo"])
def test_a_program_becomes_root_with_all_that_the_inventory_says(name: str) -> None:
    state = State(Inventory(([("@fake/dls1", {name: "x"})], {})), Config())
    (host,) = state.inventory
    assert remote.host_arguments(host) == {name: "x"}
