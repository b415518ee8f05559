"""The licence server on a host: what roles/dls_server does there, in the same order and with the same words."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from pyinfra import context
from pyinfra.api import Host
from pyinfra.operations import files, server

from deploys import judge, looks, remote
from deploys.looks import Look
from deploys.remote import Failed
from deploys.source import ROOT, SERVER
from deploys.steps import Steps
from deploys.tell import say
from deploys.work import reach
from dlsctl.problems import EXIT_BLOCKED, EXIT_BUSY, Refused

FAMILIES = ROOT / "roles/dls_server/vars"
PLAYBOOKS_ONLY = ("dls_server_backup_fetch_dir", "dls_server_restore_upload", "dls_server_restore_key")
WRITE = "Write dlsctl and the configuration"
LEAVE_ALONE = (EXIT_BUSY, EXIT_BLOCKED)  # another dlsctl is at work, or a person has to decide


def checked(entry: str) -> Look:
    """Look at the host in context, and refuse what cannot work before anything is changed."""
    host = context.host
    look = looks.look(host, SERVER, entry)
    remote.refuse(*map(str, not_here(look)))
    remote.refuse(*judge.problems(host, look, needs_archive(look, entry), entry))
    for note in notes(look, entry):
        say(host, note)
    return look


def notes(look: Look, entry: str) -> Iterator[str]:
    """What people should know before the host is changed."""
    if needs_archive(look, entry) and look.wanted["undocumented"]:
        yield look.wanted["undocumented"]
    if entry in ("main", "licenses") and (extra := judge.extra_licenses(look)):
        names = ", ".join(extra)
        yield f"{look.wanted['license_dir']} has {names}, which dls_server_licenses does not name"
    if look.seen.get("sandbox"):
        yield str(look.seen["sandbox"])


def not_here(look: Look) -> Iterator[Refused]:
    """The variables whose work only the playbooks do."""
    for name in PLAYBOOKS_ONLY:
        if look.wanted.has(name):
            hint = f"run playbooks/{look.wanted.request['entry']}.yml"
            yield Refused(name, "must not be set for a deploy, which cannot do that", None, hint)
    if look.wanted.has("dls_server_admin_password") and not look.wanted.is_true("dls_server_admin_password_set"):
        rule = "must be true where dls_server_admin_password is set: a deploy makes no first visit to the portal"
        hint = "run playbooks/site.yml once, which makes it, then set this to true in the inventory"
        yield Refused("dls_server_admin_password_set", rule, False, hint)


def needs_archive(look: Look, entry: str) -> bool:
    """Whether the vendor's archive is to be unpacked, or goes to the host."""
    if not look.wanted["archive"] or not look.seen:
        return False
    if entry == "main":
        return version(look) not in look.seen.get("installed", [])
    if entry == "upgrade":
        return version(look) != look.seen.get("current")
    return entry == "restore" and not (look.seen.get("backup") or {}).get("archive", True)


def version(look: Look) -> str:
    """The release that the inventory wants."""
    return str(look.wanted.get("dls_server_version", ""))


def is_due(look: Look) -> bool:
    """Whether anything is not as it should be."""
    lists = ("differs", "steps", "hidden", "missing_folders", "missing_packages")
    seen = look.seen
    return (
        version(look) not in seen["installed"]
        or not seen["healthy"]
        or any(seen[name] for name in lists)
        or bool(seen["missing_user"])
    )


def configure(look: Look) -> None:
    """Install, configure and start what is not as it should be."""
    if is_due(look):
        steps = Steps()
        prepare_host(steps, look)
        write_configuration(steps, look)
        if version(look) not in look.seen["installed"]:
            install_release(steps, look)
        apply(steps, look)
        steps.otherwise("Put the host back as it was", lambda host: undo(host, look, steps))
    place_licenses(look)


def prepare_host(steps: Steps, look: Look) -> None:
    """Install the packages and create the user that are missing."""
    install_packages(steps, look)
    if look.seen["missing_user"]:
        steps.add(
            server.user,
            name="Create the server's user",
            user=look.wanted["dls_server_user"],
            system=True,
            home=look.wanted["dls_server_home"],
            ensure_home=False,
            shell=family(look.seen["family"])["no_login"],
        )


def install_packages(steps: Steps, look: Look) -> None:
    """Install the packages that are missing.

    From a repository of the control node where the inventory names them, which is not left on the host; or from the
    host's lists that are there or, where they do not do, from new ones.
    """
    missing = look.seen["missing_packages"]
    if not missing:
        return
    wanted, own = looks.wanted(context.host, SERVER, "main"), family(look.seen["family"])
    folder, place = wanted["package_folder"], wanted["package_place"]
    if folder:
        send_packages(steps, f"{folder}/{look.seen['platform']}", place, own)
    source = [option.replace("{place}", place) for option in own["package_source"]] if folder else []
    steps.add(
        server.shell,
        name=f"Install packages: {', '.join(missing)}",
        commands=[install_command(own, missing, source, place)],
        _env={"DEBIAN_FRONTEND": "noninteractive"},
    )


def send_packages(steps: Steps, repository: str, place: str, own: Mapping[str, Any]) -> None:
    """Put a repository on the host, and say to its package manager where it is."""
    steps.add(files.sync, name="Send the packages", src=repository, dest=place, user="root", group="root", mode="644")
    content = io.StringIO(own["package_list"].replace("{place}", place))
    steps.add(files.put, name="Say where they are", src=content, dest=f"{place}/sources.list", mode="644")
    for inner in own["package_folders"]:
        steps.add(files.directory, name=f"Make folder {inner}", path=f"{place}/{inner}", user="root", group="root")


def remove_sent_packages(host: Host) -> None:
    """Remove what an install has left that did not come to its end."""
    wanted = looks.wanted(host, SERVER, "main")
    if wanted["package_folder"]:
        remote.run(host, ["rm", "-rf", "--", wanted["package_place"]])


def install_command(own: Mapping[str, Any], packages: Sequence[str], source: Sequence[str], place: str) -> str:
    """The line of a shell that installs packages, of a family's distributions; from one source alone, if given."""
    install, refresh = ([own[key][0], *source, *own[key][1:]] for key in ("install_packages", "refresh_packages"))
    command = shlex.join([*install, *packages])
    line = f"{command} >/dev/null || {{ {shlex.join(refresh)} && {command}; }}"
    return f"( {line} ); code=$?; rm -rf {shlex.quote(place)}; exit $code" if source else line


def write_configuration(steps: Steps, look: Look) -> None:
    """Write dlsctl and the files of the configuration, in one step."""
    if look.seen["differs"] or look.seen["missing_folders"]:
        spec = {name: look.wanted.request[name] for name in ("files", "folders")}
        steps.do(
            WRITE,
            lambda host: remote.ask(host, "dlsctl.cli", ["prepare", "--json"], spec).done(),
        )


def install_release(steps: Steps, look: Look) -> None:
    """Copy the vendor's archive, and unpack it, all or nothing."""
    copy_archive(steps, look)
    wanted = look.wanted
    words = [
        wanted["command"],
        "install",
        wanted["archive_path"],
        f"--sha256={wanted['sha256']}",
        f"--version={version(look)}",
        f"--line={json.dumps(wanted.request['line'])}",
        wanted["config_option"],
    ]

    def install(host: Host) -> None:
        steps.has_installed = not exists(host, f"{wanted['dls_server_home']}/current")
        remote.run(host, words).done()

    steps.do(f"Install release {version(look)}", install)


def copy_archive(steps: Steps, look: Look) -> None:
    """Copy the vendor's archive."""
    wanted = look.wanted
    steps.add(
        files.put,
        name="Copy the vendor archive",
        src=wanted["archive"],
        dest=wanted["archive_path"],
        mode="644",
    )


def apply(steps: Steps, look: Look) -> None:
    """Make the running server what is configured."""
    steps.do("Make the running server what is configured", lambda host: apply_now(host, look))


def apply_now(host: Host, look: Look) -> None:
    """Let dlsctl decide what is due, do it, and wait for the server's health. Raises Failed."""
    words = [look.wanted["command"], "apply", f"--version={version(look)}", look.wanted["config_option"]]
    remote.run(host, words).done()
    say(host, look.wanted["where"])


def place_licenses(look: Look) -> None:
    """Place the licence files that are not there."""
    due = judge.due_licenses(context.host, look)
    if not due:
        return
    words = ["place", "--json", look.wanted["config_option"]]
    steps = Steps()
    names = ", ".join(one["name"] for one in due)
    steps.do(
        f"Place the licence files: {names}",
        lambda host: remote.ask(host, "dlsctl.cli", words, {"licenses": due}).done(),
    )
    steps.otherwise("Tell why they were not placed")


def install_python(host: Host) -> None:
    """Install the distribution's Python, with whichever of the families' programs is there. Raises Failed."""
    if folder := looks.wanted(host, SERVER, "main")["package_folder"]:
        rule = "must have a python3 where packages come from dls_server_package_repositories"
        hint = f"install it by hand, from {folder}"
        raise Failed(str(Refused(host.name, rule, None, hint)))
    for name in sorted(file.stem for file in FAMILIES.glob("*.yml")):
        own = family(name)
        if "install_packages" in own and remote.run(host, ["which", own["install_packages"][0]]).code == 0:
            command = install_command(own, ["python3"], [], "")
            remote.run(host, ["env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", command]).done()
            return
    raise Failed(f"{host.name}: must have apt-get or dnf to get a python3, got neither")


def undo(host: Host, look: Look, steps: Steps) -> str:
    """Put the host back as it was before steps of which one has failed; returns what became of it."""
    if steps.failure and steps.failure.code in LEAVE_ALONE:
        return ""
    reach(host, look.wanted)
    remove_sent_packages(host)
    if look.seen["installed"]:
        undo_configuration(host, look)
    elif not steps.has_installed and exists(host, f"{look.wanted['dls_server_home']}/current"):
        return "Another run has installed the server meanwhile. It was left as it is."
    else:
        undo_install(host, look)
    return "The host was put back as it was."


def exists(host: Host, path: str) -> bool:
    """Whether there is something at a path of a host."""
    return remote.run(host, ["test", "-e", path]).code == 0


def undo_configuration(host: Host, look: Look) -> None:
    """Put the earlier configuration back, and leave the server as it was, running or stopped."""
    remote.ask(host, "dlsctl.cli", ["prepare", "--json"], {"files": look.seen["files"]}).done()
    verb = "apply" if look.seen["running"] else "stop"
    ran = remote.run(host, [look.wanted["command"], verb, look.wanted["config_option"]])
    if look.seen["healthy"]:  # what was not healthy before need not be now
        ran.done()


def undo_install(host: Host, look: Look) -> None:
    """Remove everything that a first install has brought."""
    seen, wanted = look.seen, look.wanted
    remove_server(host, look, purge=True)
    for folder in seen["missing_folders"] + seen["missing_own_folders"]:
        remote.run(host, ["rm", "-rf", "--", folder]).done()
    passwd = remote.run(host, ["getent", "passwd"]).done().output.splitlines()
    names = [line.split(":")[0] for line in passwd]
    prefix = wanted["line"]["linux"]["user_prefix"]
    new = [name for name in names if re.match(prefix, name) and name not in seen["users"]]
    for user in new + ([wanted["dls_server_user"]] if seen["missing_user"] else []):
        if user in names:
            remote.run(host, ["userdel", user]).done()
    remove_packages(host, look)


def remove_server(host: Host, look: Look, purge: bool) -> str:
    """Stop the server and remove its releases, dlsctl and the configuration; returns where the state was saved."""
    wanted, saved = look.wanted, ""
    if exists(host, f"{wanted['dls_server_home']}/kit"):
        words = [wanted["command"], "uninstall", "--json", wanted["config_option"], *(["--purge"] if purge else [])]
        saved = remote.run(host, words).done().answer.get("saved") or ""
    uses_systemd = wanted["dls_server_supervisor"] == "systemd"
    name = wanted["dls_server_service_name"]
    for unit in (f"{name}-backup.timer", f"{name}.service") if uses_systemd else ():
        remote.run(host, ["systemctl", "disable", "--now", unit])  # which need not be there
    absent = [{**file, "self": False, "content": None} for file in wanted.request["files"]]
    spec = {"files": absent, "unless_empty": wanted["drop_ins"]}
    remote.ask(host, "dlsctl.cli", ["prepare", "--json"], spec).done()
    if uses_systemd:
        remote.run(host, ["systemctl", "daemon-reload"]).done()
    return str(saved)


def remove_packages(host: Host, look: Look) -> None:
    """Remove the packages that are installed now and were not when the host was looked at."""
    seen = look.seen
    if not seen["missing_packages"]:
        return
    lines = [line.split() for line in remote.run(host, seen["list_packages"]).done().output.splitlines()]
    now = [words[0] for words in lines if words[1:2] == ["installed"]]
    if new := [name for name in now if name not in seen["installed_packages"]]:
        remove = [*family(look.seen["family"])["remove_packages"], *new]
        remote.run(host, ["env", "DEBIAN_FRONTEND=noninteractive", *remove]).done()


def family(name: str) -> dict[str, Any]:
    """What differs between the families of distributions, as the role has it."""
    found = yaml.safe_load((FAMILIES / f"{name}.yml").read_text())
    return {key.removeprefix("__dls_server_"): value for key, value in found.items()}
