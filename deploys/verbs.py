"""One deploy for each playbook, with the same name."""

from __future__ import annotations

import shlex
from typing import Any

from pyinfra import context
from pyinfra.api import Host
from pyinfra.api.deploy import deploy

from deploys import judge, looks, proxy, remote, roll, server
from deploys.source import PROXY
from deploys.steps import Steps
from deploys.tell import say
from deploys.work import work


@deploy("Install and configure the server")
def install() -> None:
    """As playbooks/install.yml: the server alone."""
    server.configure(server.checked("main"))


@deploy("Install and configure the server and its proxy")
def site() -> None:
    """As playbooks/site.yml: the server behind its proxy."""
    host = context.host
    looks.source_of(host).site = True
    has_proxy = proxy.is_wanted(looks.wanted(host, PROXY, "main"))
    if has_proxy:
        looks.begin(PROXY, "main")
    seen = server.checked("main")
    proxied = proxy.checked("main") if has_proxy else None
    # A server whose portal has no password must not start behind a proxy that is open.
    closes = not seen.wanted.is_true("dls_server_admin_password_set")
    if proxied and closes:
        proxy.configure(proxied)
    server.configure(seen)
    if proxied and not closes:
        proxy.configure(proxied)


@deploy("Place the licence files")
def licenses() -> None:
    """As the role's entry `licenses`: the licence files alone."""
    server.place_licenses(server.checked("licenses"))


@deploy("Back the server up")
def backup() -> None:
    """As playbooks/backup.yml."""
    look = server.checked("backup")
    wanted = look.wanted
    words = ["backup", "--reason=playbook"]
    words += ["--hot"] if wanted.is_true("dls_server_backup_hot") else []
    for option in ("push", "push-key"):
        value = wanted.get(f"dls_server_backup_{option.replace('-', '_')}")
        words += [f"--{option}={value}"] if value else []
    steps = Steps()
    steps.do("Make a backup", lambda host: say(host, work(host, wanted, words)["text"]))
    steps.otherwise("Tell why there is none")


@deploy("Check the server and its proxy")
def verify() -> None:
    """As playbooks/verify.yml: changes nothing."""
    host = context.host
    look = server.checked("verify")
    names_proxy = looks.wanted(host, PROXY, "verify")
    found = list(look.seen["findings"])
    told = ""
    if look.seen["current"]:
        ran = remote.run(host, [look.wanted["command"], "verify", look.wanted["config_option"]])
        told = ran.output
        found += [ran.output or ran.problem] if ran.code else []
    pair = judge.compared(host, look, "verify")
    found += pair["findings"]
    if names_proxy.get("dls_proxy_kind") != "snippet" and proxy.is_wanted(names_proxy):
        proxied = looks.look(host, PROXY, "verify")
        found += [*proxied.problems, *proxied.seen["findings"]]
    remote.refuse(*found)
    if look.wanted.has("dls_server_probe"):
        say(host, "dls_server_probe: no client's request was made: run playbooks/verify.yml")
    say(host, "; ".join(filter(None, [f"DLS {look.seen['current']} is running and healthy", told, pair["checked"]])))


@deploy("Remove the server and its proxy")
def uninstall() -> None:
    """As playbooks/uninstall.yml."""
    look = server.checked("uninstall")
    proxied = proxy.checked("uninstall")
    proxy.configure(proxied, "uninstall")
    purge = look.wanted.is_true("dls_server_uninstall_purge")
    steps = Steps()
    if look.seen["present"]:
        steps.do("Remove the server", lambda host: removed(host, look, purge))
    if purge:
        folders = [look.wanted[f"dls_server_{name}_dir"] for name in ("data", "backup", "config")]
        there = remote.run(context.host, ["sh", "-c", "ls -d -- " + shlex.join(folders)]).output
        if there:
            steps.do(
                "Remove licence files, backups and the folder of the configuration",
                lambda host: remote.run(host, ["rm", "-rf", "--", *folders]).done(),
            )
    steps.otherwise("Tell why it was not removed")


def removed(host: Host, look: looks.Look, purge: bool) -> None:
    """Remove the server, and say where its state is."""
    saved = server.remove_server(host, look, purge)
    if saved:
        say(host, f"The server's state is in {saved}")


@deploy("Restore the server")
def restore() -> None:
    """As playbooks/restore.yml, of a backup that is on the host."""
    look = server.checked("restore")
    wanted, seen = look.wanted, look.seen
    steps = Steps()
    server.prepare_host(steps, look)
    server.write_configuration(steps, look)
    if not seen["backup"]["archive"]:
        server.copy_archive(steps, look)
    words = ["restore", seen["backup"]["folder"]]
    for name in ("replace", "other_version", "rehost"):
        words += [f"--{name.replace('_', '-')}"] if wanted.is_true(f"dls_server_restore_{name}") else []
    steps.do("Restore the backup", lambda host: restored(host, look, work(host, wanted, words)))
    steps.otherwise("Put the host back as it was", lambda host: server.undo(host, look, steps))
    after = Steps()
    server.apply(after, look)
    after.otherwise("Tell why it does not run")


def restored(host: Host, look: looks.Look, answer: Any) -> None:
    """Say what was restored."""
    say(host, f"restored {answer['backup']}, release {answer['new']}")
    if answer.get("kept"):
        say(host, f"What was there is kept in {look.wanted['dls_server_home']}/releases/{answer['kept']}")
    if answer.get("rehost"):
        say(host, "This is another machine: activate the licence anew for the UUID that its portal shows")


@deploy("Upgrade the server")
def upgrade() -> None:
    """As playbooks/upgrade.yml: of a pair the standby first, then its main."""
    roll.upgrade(context.host, server.checked("upgrade"))


@deploy("Roll the server back")
def rollback() -> None:
    """As playbooks/rollback.yml: of a pair the main first, unless it alone does not answer."""
    roll.rollback(context.host, server.checked("rollback"))
