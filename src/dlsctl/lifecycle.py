"""The verbs of the life cycle: backup, restore, drill, upgrade and rollback."""

import argparse
import contextlib
import os
from typing import Any, Callable, Dict, List, Optional

from dlsctl.adopt import Takeover, adopt, rehearse_adoption, require_apart
from dlsctl.backup import back_up
from dlsctl.drill import drill
from dlsctl.files import write_atomic
from dlsctl.forms import RELEASE_OPTIONS, line_of
from dlsctl.host import seconds_of
from dlsctl.installation import Installation
from dlsctl.journal import locked
from dlsctl.outcome import detached, outcome
from dlsctl.problems import EXIT_DIFFERS, EXIT_FAILED, EXIT_OK, Answer, Problem, Refused, problem_of
from dlsctl.push import push, require_pushable
from dlsctl.restore import Wish, restore
from dlsctl.sftp import SCHEME
from dlsctl.store import (
    MANIFEST,
    Backup,
    Policy,
    backups,
    check,
    damaged_backups,
    find,
    made_by_now,
    policy_of,
    prunable,
    prune,
)
from dlsctl.upgrade import CARRY, FRESH, Order, prune_releases, roll_back, unneeded, upgrade

AddVerb = Callable[[Callable[[argparse.Namespace], Answer], str], argparse.ArgumentParser]


def add_verbs(verb: AddVerb) -> None:
    """Add the verbs to the command line; `verb` makes a parser for a function."""
    work = working_verb(verb)
    entry = work(verb_backup, "save the server's state, which is stopped for it as briefly as can be")
    entry.add_argument("--hot", action="store_true", help="copy while it runs: the files may not fit together")
    entry.add_argument("--reason", default="by hand", help="told by the list of backups")
    entry.add_argument(
        "--push", metavar="PLACE", help="copy it to a folder or sftp:// URL, too (default: as configured)"
    )
    entry.add_argument(
        "--push-key", metavar="FILE", help="the private key for sftp (default: as configured, or ssh's own)"
    )
    entry.add_argument("--scheduled", action="store_true", help="prune afterwards, and write the metrics")
    verb(verb_backups, "list the backups that are complete").add_argument(
        "--metrics",
        metavar="FILE",
        help="write their age, number and size for a node exporter's textfile collector, too",
    )
    entry = verb(verb_verify_backup, "read backups to their end and compare every byte")
    entry.add_argument("names", metavar="BACKUP", nargs="*", help="name or folder (default: the newest)")
    entry.add_argument("--all", action="store_true", help="all that there are")
    add_key(entry)
    entry = work(verb_restore, "make the server what it was when a backup was made")
    entry.add_argument("backup", metavar="BACKUP", nargs="?", help="name or folder (default: the newest)")
    entry.add_argument("--archive", metavar="FILE", help="the vendor's archive, where the host has it no more")
    for name, text in (
        ("replace", "put aside the state that is there"),
        ("other-version", "go to the version of the backup"),
        ("rehost", "restore the backup of another machine, whose licence then has to be activated anew"),
    ):
        entry.add_argument("--" + name, action="store_true", help=text)
    add_key(entry)
    entry = work(verb_drill, "prove that a backup can be restored, beside the running server")
    entry.add_argument("backup", metavar="BACKUP", nargs="?", help="name or folder (default: the newest)")
    entry.add_argument("--archive", metavar="FILE", help="the vendor's archive, where the host has it no more")
    add_key(entry)
    entry = verb(verb_prune, "remove the backups that need not be kept")
    for name in Policy._fields:
        entry.add_argument("--" + name.replace("_", "-"), type=int, metavar="N", help="(default: as configured)")
    entry.add_argument("--check", action="store_true", help="only say which")
    entry = work(verb_upgrade, "put a newer release in use; any failure puts the old one back")
    entry.add_argument("archive", metavar="FILE")
    for name, text in RELEASE_OPTIONS:
        entry.add_argument("--" + name, required=True, help=text)
    entry.add_argument("--acknowledge", action="store_true", help="the licence may have to be issued anew")
    entry.add_argument(
        "--state", choices=[CARRY, FRESH], default=CARRY, help="what becomes of it (default: %(default)s)"
    )
    entry = work(verb_rollback, "put the release back in use that was before the last upgrade, with the state it had")
    entry.add_argument("--undo", action="store_true", help="take back the rollback that was the last change")
    entry.add_argument(
        "--to", metavar="VERSION", help="the version that it must be; nothing is done where it is in use"
    )
    entry = work(verb_adopt, "take over a server that was installed by hand, as the vendor documents it")
    entry.add_argument("folder", metavar="FOLDER", help="the one that holds its startup.sh")
    entry.add_argument("--archive", metavar="FILE", required=True, help="the vendor's archive of its release")
    for name, text in RELEASE_OPTIONS:
        entry.add_argument("--" + name, required=True, help=text)
    entry.add_argument("--check", action="store_true", help="only say what would be done, or every reason against it")
    entry = verb(verb_prune_releases, "remove releases and archives that nothing needs any more")
    entry.add_argument(
        "--keep", type=int, default=1, metavar="N", help="how many beside the one in use (default: %(default)s)"
    )
    entry.add_argument("--check", action="store_true", help="only say which")
    entry = verb(verb_outcome, "say what the last backup, restore, drill, upgrade or rollback has come to")
    entry.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="for one that goes on")
    entry.add_argument("--run", metavar="NAME", help="of the one that was given this name with its own --run")


def working_verb(verb: AddVerb) -> AddVerb:
    """`verb` for functions that call `working`."""

    def add(function: Callable[[argparse.Namespace], Answer], text: str) -> argparse.ArgumentParser:
        entry = verb(function, text)
        entry.add_argument("--run", default="", metavar="NAME", help="name this run, to ask for its outcome")
        return entry

    return add


def add_key(entry: argparse.ArgumentParser) -> None:
    entry.add_argument("--key", metavar="FILE", help="the private key, for a backup that is encrypted")


def working(options: argparse.Namespace, verb: str, work: Callable[[Installation], Answer]) -> Answer:
    """Do the work under the lock, whatever becomes of the connection or the terminal; the answer has its text, too."""
    inst = Installation.load(options.config)

    def under_lock() -> Answer:
        with locked(inst):
            code, answer, text = work(inst)
        return code, dict(answer, text=text), text

    return detached(inst, verb, under_lock, options.run)


def verb_backup(options: argparse.Namespace) -> Answer:
    place = options.push or ""
    if place and not place.startswith(SCHEME):
        place = os.path.abspath(place)  # the work goes on in another folder

    def work(inst: Installation) -> Answer:
        target, key = place or inst.backup_push, options.push_key or inst.backup_push_key
        if target:
            require_pushable(target, key)
        backup = back_up(inst, options.hot, "scheduled" if options.scheduled else options.reason)
        try:
            pushed = copied(backup, target, key) if target else None
        finally:  # copies may fail for weeks, and this disk must not fill up meanwhile
            removed = prune(inst, policy_of(inst)) if options.scheduled else []
        text = "{}: {}, the server was away for {} s".format(
            backup.folder, size_text(backup.manifest["pack"]["size"]), backup.manifest["outage"]
        )
        if backup.manifest["method"] == "hot":
            text += "; copied while the server ran, so its files may not fit together"
        text += "; copied to {}".format(pushed) if pushed else ""
        return EXIT_OK, dict(facts_of(backup), changed=True, removed=removed, pushed=pushed), text

    if not options.scheduled:
        return working(options, "backup", work)
    try:
        answer = working(options, "backup", work)
    except BaseException:
        with contextlib.suppress(Problem, OSError):  # the reason itself is told
            note_run(options, succeeded=False)
        raise
    note_run(options, succeeded=True)
    return answer


def copied(backup: Backup, target: str, key: str) -> str:
    """Copy a backup to a second place; returns where it is. Raises Problem, which says that the backup is there."""
    try:
        return push(backup, target, key)
    except (Problem, OSError) as error:
        problem = problem_of(error)
        problem.hint = "{}; the backup itself is complete, on this host: {}".format(problem.hint, backup.folder)
        raise problem from None


def note_run(options: argparse.Namespace, succeeded: bool) -> None:
    """Write the metrics of a scheduled run, where the configuration has a file for them."""
    inst = Installation.load(options.config)
    if inst.backup_metrics:
        write_metrics(inst, inst.backup_metrics, succeeded)


def size_text(size: int) -> str:
    return "{:.1f} {}".format(*((size / (1 << 20), "MiB") if size >= 1 << 20 else (size / (1 << 10), "KiB")))


def facts_of(backup: Backup) -> Dict[str, Any]:
    """What a list of backups tells of one."""
    manifest = backup.manifest
    facts = {key: manifest[key] for key in ("created", "version", "reason", "method", "outage", "host")}
    pack = manifest["pack"]
    facts.update(size=pack["size"], encryption=pack["encryption"], files=[pack["file"], MANIFEST])
    return dict(facts, name=backup.name, folder=backup.folder)


def verb_backups(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    found = backups(inst)
    if options.metrics:
        write_metrics(inst, options.metrics)
    form = "{name}  {size:>12}  {method}, {reason}{sealed}"
    lines = [
        form.format(
            **{**facts, "size": size_text(facts["size"]), "sealed": ", encrypted" if facts["encryption"] else ""}
        )
        for facts in map(facts_of, found)
    ]
    damaged = [str(problem) for problem in damaged_backups(inst).values()]
    answer = {"folder": inst.backup_dir, "backups": [facts_of(backup) for backup in found], "damaged": damaged}
    text = "\n".join(lines + damaged) or "no backup in " + inst.backup_dir
    return (EXIT_DIFFERS if damaged else EXIT_OK), answer, text


def write_metrics(inst: Installation, path: str, succeeded: bool = True) -> None:
    """Write what there is to watch, for a node exporter's textfile collector, in one rename."""
    found = backups(inst)
    past = made_by_now(found)
    newest = past[-1].manifest if past else None
    made = seconds_of(newest["created"]) if newest else 0
    values = [
        ("last_backup_timestamp_seconds", "When the newest backup that was read back was made", made),
        ("last_run_success", "Whether the last scheduled backup succeeded", int(succeeded)),
        ("backups", "Number of complete backups", len(found)),
        ("backup_size_bytes", "Size of the newest backup", newest["pack"]["size"] if newest else 0),
    ]
    lines: List[str] = []
    for name, text, value in values:
        full = "dls_" + name
        lines += ["# HELP {} {}.".format(full, text), "# TYPE {} gauge".format(full), "{} {}".format(full, value)]
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def as_named(backup: Optional[str]) -> Optional[str]:
    """A backup as the command line names it: a path counts from where the command is given, a name from the store."""
    return os.path.abspath(backup) if backup and "/" in backup else backup


def verb_verify_backup(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    found = backups(inst) if options.all else [find(inst, as_named(name)) for name in options.names or [None]]
    damaged = list(damaged_backups(inst).values()) if options.all else []
    lines, results = [], []
    for backup in found:
        try:
            was_read = check(backup, options.key)
        except Problem as problem:
            if not options.all:
                raise
            damaged.append(problem)
            continue
        results.append({"name": backup.name, "content": was_read})
        how = (
            "every byte is as it was written" if was_read else "the pack is as it was written; its content is encrypted"
        )
        lines.append("{}: {}".format(backup.name, how))
    lines += map(str, damaged)
    answer = {"verified": results, "damaged": list(map(str, damaged))}
    return (EXIT_FAILED if damaged else EXIT_OK), answer, "\n".join(lines) or "no backup in " + inst.backup_dir


def verb_restore(options: argparse.Namespace) -> Answer:
    wish = Wish(
        as_named(options.backup),
        options.archive,
        options.key,
        options.replace,
        options.other_version,
        options.rehost,
    )

    def work(inst: Installation) -> Answer:
        done = restore(inst, wish)
        lines = ["restored {}, release {}".format(done["backup"], done["new"])]
        if done["kept"]:
            lines.append("what was there is kept in " + os.path.join(inst.releases, done["kept"]))
        if done["rehost"]:
            lines.append("this is another machine: activate the licence anew for the UUID that its portal shows")
        lines += [path + " is not what it was: it is the deployment's" for path in done["configuration"]]
        return EXIT_OK, done, "\n".join(lines)

    return working(options, "restore", work)


def verb_drill(options: argparse.Namespace) -> Answer:
    def work(inst: Installation) -> Answer:
        report = drill(inst, as_named(options.backup), options.key, options.archive)
        form = (
            "{backup} can be restored: within {seconds} s release {version} was healthy and answered clients"
            " ({clients} to a handshake code that nobody has)"
        )
        return EXIT_OK, report, form.format(**report)

    return working(options, "drill", work)


def require_count(name: str, number: int) -> None:
    if not 0 <= number <= 100000:
        raise Refused(name, "must be 0 to 100000", number, "say how many to keep")


def verb_prune(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    chosen = {name: getattr(options, name) for name in Policy._fields if getattr(options, name) is not None}
    for name, number in chosen.items():
        require_count("--" + name.replace("_", "-"), number)
    policy = policy_of(inst)._replace(**chosen)
    if options.check:
        removed = [backup.name for backup in prunable(inst, policy)]
    else:
        with locked(inst):
            removed = prune(inst, policy)
    return EXIT_OK, {"changed": bool(removed), "removed": removed}, "\n".join(removed) or "nothing to remove"


def verb_upgrade(options: argparse.Namespace) -> Answer:
    order = Order(
        options.archive,
        options.sha256.replace("sha256:", ""),
        options.version,
        line_of(options.line),
        options.state,
        options.acknowledge,
    )

    def work(inst: Installation) -> Answer:
        done = upgrade(inst, order)
        text = "release {new} was in use already" if not done["changed"] else "{old} became {new}, away for {outage} s"
        return EXIT_OK, done, text.format(**done)

    return working(options, "upgrade", work)


def verb_adopt(options: argparse.Namespace) -> Answer:
    order = Takeover(
        os.path.realpath(options.folder),
        os.path.abspath(options.folder),
        options.archive,
        options.sha256.replace("sha256:", ""),
        options.version,
        line_of(options.line),
    )
    require_apart(Installation.load(options.config), order)  # before the lock makes folders, which may be inside it
    if options.check:
        done = rehearse_adoption(Installation.load(options.config), order)
        text = "release {new} would be taken over from {folder} by {method}" if done["changed"] else ADOPTED_BEFORE
        return EXIT_OK, done, "\n".join([text.format(**done), *starting_hints(done)])

    def work(inst: Installation) -> Answer:
        done = adopt(inst, order)
        text = "release {new} was taken over from {folder} with {state} entries of state, away for {outage} s"
        lines = [(text if done["changed"] else ADOPTED_BEFORE).format(**done)]
        if done["kept"]:
            lines.append("the folder that it was copied from is kept as {}: remove it by and by".format(done["kept"]))
        return EXIT_OK, done, "\n".join(lines + starting_hints(done))

    return working(options, "adopt", work)


ADOPTED_BEFORE = "release {new} was taken over from {folder} before"


def starting_hints(done: Dict[str, Any]) -> List[str]:
    """What to remove from the host: it would start the server as before."""
    found = ["{} starts it, too: remove that line".format(place) for place in done["starts"]]
    if done["unit"]:
        found.append("unit {0}.service ran it: systemctl disable {0}, and remove it".format(done["unit"]))
    return found


def verb_rollback(options: argparse.Namespace) -> Answer:
    def work(inst: Installation) -> Answer:
        done = roll_back(inst, options.undo, options.to)
        form = "{new} is back with the state it had; what {old} wrote since is in the backup {backup}"
        return EXIT_OK, done, (form if done["changed"] else "{new} is in use already").format(**done)

    return working(options, "rollback", work)


def verb_prune_releases(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    require_count("--keep", options.keep)
    if options.check:
        removed = unneeded(inst, options.keep)
    else:
        with locked(inst):
            removed = prune_releases(inst, options.keep)
    return EXIT_OK, {"changed": bool(removed), "removed": removed}, "\n".join(removed) or "nothing to remove"


def verb_outcome(options: argparse.Namespace) -> Answer:
    return outcome(Installation.load(options.config), options.wait, options.run)
