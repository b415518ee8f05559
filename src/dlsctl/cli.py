"""The command line."""

import argparse
import importlib
import json
import os
import re
import sys
from typing import Callable, Optional, Sequence

from dlsctl import __doc__ as ABOUT
from dlsctl.access import filter_is_loaded, load_filter, require_address_filter, require_closed, uses_filter
from dlsctl.answers import perform
from dlsctl.apply import apply, plan
from dlsctl.deployment import Spec, prepare
from dlsctl.files import write_json
from dlsctl.forms import RELEASE_OPTIONS, line_of
from dlsctl.identity import (
    UUID_FORM,
    drift_problem,
    identity,
    identity_drift,
    record_identity,
    recorded_identity,
    shown_macs,
)
from dlsctl.installation import DEFAULT_CONFIG, Installation
from dlsctl.journal import locked, unfinished_problems
from dlsctl.launch import require_configured_ports, run_startup_script, server_argv, vendor_script
from dlsctl.licenses import bind_licenses, forget_license, license_index, look_at_licenses, place_licenses
from dlsctl.pair import STANDBY_REFUSES, confirm_part, own_client_answer, pair_role, servers_in_use
from dlsctl.password import forget_lost, is_recorded, lost_problems, require_held
from dlsctl.problems import (
    EXIT_DIFFERS,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_STOPPED,
    EXIT_UNHEALTHY,
    EXIT_USAGE,
    Answer,
    Problem,
    Refused,
    Stopped,
    one_line,
)
from dlsctl.processes import is_running, server_processes
from dlsctl.sandbox import hidden_labels, labels_in_sight, rehearse
from dlsctl.service import portal_error, portal_url, start, stop, wait_healthy
from dlsctl.state import damage, state


def main(arguments: Optional[Sequence[str]] = None, spec: Optional[Spec] = None) -> int:
    """Run the command line, by default that of this process; returns the exit code. `spec`: what an engine asks."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(*words[:1]).parse_args(words, argparse.Namespace(spec=spec))
    if not getattr(options, "verb", None):
        parser().print_help()
        return EXIT_USAGE
    return perform(options)


# Asked for often, or while a server is started: for these, the modules of all other verbs are not even compiled.
QUICK = ("status", "health", "state", "version", "run", "filter", "recover", "preflight", "prepare")


def parser(word: str = "") -> argparse.ArgumentParser:
    """The command line's parser; that of a QUICK `word` need not know the verbs of the life cycle."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        default=os.environ.get("DLSCTL_CONFIG", DEFAULT_CONFIG),
        metavar="FILE",
        help="configuration of the installation (default: %(default)s)",
    )
    common.add_argument("--json", action="store_true", help="print the answer as JSON")
    common.add_argument("--debug", action="store_true", help="show a traceback where there is one")
    top = argparse.ArgumentParser(
        prog="dlsctl",
        description=ABOUT.split("\n\n")[0],
        epilog=ABOUT[ABOUT.index("Exit codes") :],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(metavar="COMMAND")

    def verb(function: Callable[[argparse.Namespace], Answer], text: str) -> argparse.ArgumentParser:
        name = function.__name__.split("_", 1)[1].replace("_", "-")
        entry = verbs.add_parser(name, parents=[common], help=text, description=text)
        entry.set_defaults(verb=function)
        return entry

    verb(verb_status, "say whether the server is installed, running and healthy")
    for function, text in (
        (verb_start, "start the server and wait for its health"),
        (verb_restart, "stop and start the server"),
    ):
        verb(function, text).add_argument("--no-wait", action="store_true", help="do not wait for its health")
    verb(verb_stop, "stop the server")
    verb(verb_recover, "finish or undo what an interrupted run has left (at boot, for the supervisor)")
    entry = verb(verb_health, "wait until the portal answers")
    entry.add_argument("--timeout", type=int, metavar="SECONDS", help="(default: as configured)")
    entry.add_argument("--part", choices=["main", "standby"], help="and the server does this part in its pair")
    verb(verb_state, "list what differs from the release's manifest: the server's state")
    verb(verb_verify, "check the installed files against the release's manifest")
    verb(verb_version, "print the version of the server")
    entry = verb(verb_identity, "print what a licence is bound to, and what of it has changed since it was recorded")
    entry.add_argument("--uuid", help="the server's UUID, from its portal: recorded, or compared with the recorded one")
    entry.add_argument("--accept", action="store_true", help="record what is there now in place of what was")
    entry = verb(verb_install, "unpack a vendor archive as a release")
    entry.add_argument("archive", metavar="FILE")
    for name, text in RELEASE_OPTIONS:
        entry.add_argument("--" + name, required=True, help=text)
    entry = verb(verb_apply, "make the running server what the configuration says")
    entry.add_argument("--version", help="the installed release to use where none is in use yet")
    entry.add_argument("--check", action="store_true", help="only say what would be done")
    verb(verb_uninstall, "stop and remove the server, saving its state").add_argument(
        "--purge", action="store_true", help="do not save the state"
    )
    entry = verb(verb_archive, "check that a vendor archive is the one that was pinned")
    entry.add_argument("file", metavar="FILE")
    entry.add_argument("--sha256", required=True, help="the pinned checksum")
    entry.add_argument("--version", required=True, help="the version it must hold")
    verb(verb_place, "place the licence files that an engine has checked (on standard input)")
    verb(verb_filter, "keep the server's ports closed but to the allowed networks (for the supervisor)")
    entry = verb(verb_licenses, "list the licence files that were placed, and what is wrong with them")
    entry.add_argument("--forget", metavar="NAME", help="move a file that is no more needed to the history")
    if word not in QUICK:
        importlib.import_module("dlsctl.lifecycle").add_verbs(verb)
    verb(verb_run, "become the server, in the foreground (for the supervisor)")
    for function, text in (
        (verb_preflight, "check a host before an engine changes it"),
        (verb_prepare, "write this program and the configuration that an engine has rendered"),
    ):
        entry = verb(function, text)
        entry.add_argument("--check", action="store_true", help="only say what would be done")
    return top


def verb_status(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    version = inst.current_version()
    error = portal_error(inst, inst.release()) if version else "not installed"
    running = is_running(inst)
    part = pair_role(servers_in_use(inst))
    answer = {
        "version": version,
        "running": running,
        "healthy": running and error is None,
        "error": error,
        "processes": server_processes(inst),
        "supervisor": inst.supervisor,
        "launch": inst.launch,
        "port": inst.server_port,
        "data_port": inst.data_port,
        "role": part,
        # Not asked of a server that is no part of a pair.
        "refuses_clients": own_client_answer(inst)["error"] == STANDBY_REFUSES
        if running and part != "standalone"
        else None,
    }
    unfinished = [str(problem) for problem in unfinished_problems(inst)]
    answer["unfinished"] = unfinished[0] if unfinished else None
    answer["password_recorded"] = is_recorded(inst)
    text = "DLS {} is {}".format(
        version or "(none)",
        "running and healthy"
        if answer["healthy"]
        else "running, but not healthy: {}".format(error)
        if running
        else "stopped",
    )
    if answer["refuses_clients"] is not None:
        text += "; the {} of its pair, which {} clients".format(
            part, "refuses" if answer["refuses_clients"] else "serves"
        )
    text = "\n".join([text, *unfinished, *map(str, lost_problems(inst))])
    return (EXIT_STOPPED if not running else EXIT_OK if answer["healthy"] else EXIT_UNHEALTHY), answer, text


def verb_start(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    with locked(inst):
        if not is_running(inst):
            forget_lost(inst)
            rehearse(inst)
        changed = start(inst)
    return waited(inst, changed, "started" if changed else "was running already", options)


def waited(inst: Installation, changed: bool, text: str, options: argparse.Namespace) -> Answer:
    seconds = None if options.no_wait else wait_healthy(inst)
    require_closed(inst)
    return EXIT_OK, {"changed": changed, "seconds": seconds}, text if seconds is None else "{}, healthy".format(text)


def verb_restart(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    with locked(inst):
        if inst.launch == "vendor":
            vendor_script(inst, inst.release())  # asked before the stop
        forget_lost(inst)
        rehearse(inst)
        stop(inst)
        start(inst)
    return waited(inst, True, "restarted", options)


def verb_stop(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    with locked(inst):
        changed = stop(inst)
    return EXIT_OK, {"changed": changed}, "stopped" if changed else "was stopped already"


def verb_recover(options: argparse.Namespace) -> Answer:
    with locked(Installation.load(options.config)) as verb:
        text = "what an interrupted {} had left was finished or undone".format(verb)
    return EXIT_OK, {"changed": bool(verb), "verb": verb}, text if verb else "nothing is left half done"


def verb_health(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    if not is_running(inst):
        raise Stopped(inst.service, "must be running", "a stopped server", "start it with: dlsctl start")
    seconds = wait_healthy(inst, options.timeout, settle=0)
    if options.part:
        confirm_part(inst, options.part)
    url = portal_url(inst, inst.release())
    return EXIT_OK, {"healthy": True, "url": url, "seconds": seconds}, "{} answers".format(url)


def verb_state(options: argparse.Namespace) -> Answer:
    entries = state(Installation.load(options.config))
    lines = ["{:9} {}".format(entry["change"], one_line(entry["path"])) for entry in entries]
    return EXIT_OK, {"state": entries}, "\n".join(lines) or "nothing differs from the manifest"


def verb_verify(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    changed = damage(inst)
    version = inst.current_version()
    if changed:
        problem = Problem(
            inst.release_dir(str(version)),
            "must be as the vendor's archive has it",
            "\n".join(["", *("  {:9} {}".format(entry["change"], one_line(entry["path"])) for entry in changed)]),
            "if nobody can say why, uninstall and install again; the server's state is saved first",
        )
        return EXIT_DIFFERS, {"version": version, "differs": changed}, str(problem)
    return (
        EXIT_OK,
        {"version": version, "differs": []},
        "every file of release {} is as its archive has it".format(version),
    )


def verb_version(options: argparse.Namespace) -> Answer:
    record = Installation.load(options.config).release()
    answer = {
        "version": record["version"],
        "archive_sha256": record["archive_sha256"],
        "installed": record["installed"],
    }
    return EXIT_OK, answer, record["version"]


def verb_identity(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    found = identity()
    if options.uuid:
        if not re.fullmatch(UUID_FORM, options.uuid):
            raise Refused("--uuid", "must be as the portal's home page shows it", options.uuid, "copy it from there")
        found["uuid"] = options.uuid.upper()
    before = recorded_identity(inst)
    if options.accept or options.uuid:
        with locked(inst):
            if options.accept:
                write_json(os.path.join(inst.kit, "identity.json"), {**before, **found}, 0o600)
            else:
                record_identity(inst, found)
            bind_licenses(inst)
    known = recorded_identity(inst)
    drift = identity_drift(inst, found)
    shown_labels = dict(found, mac=shown_macs(found["mac"]), uuid=found.get("uuid") or known.get("uuid"))
    lines = ["{}: {}".format(key, value or "unknown") for key, value in sorted(shown_labels.items())]
    lines += [str(drift_problem(change)) for change in drift]
    in_sight = labels_in_sight(inst)
    hidden = hidden_labels(inst, in_sight)
    lines += ["{}: hidden from the server, which has seen it before".format(key) for key in hidden]
    answer = {
        "changed": known != before,
        "labels": found,
        "recorded": known,
        "drift": drift,
        "in_sight": in_sight,
        "hidden": hidden,
        "problems": [str(drift_problem(change)) for change in drift],
    }
    return (EXIT_DIFFERS if drift or hidden else EXIT_OK), answer, "\n".join(lines)


def verb_licenses(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    if options.forget:
        with locked(inst):
            text = forget_license(inst, options.forget)
        return EXIT_OK, {"changed": True}, text
    found = look_at_licenses(inst, license_index(inst))
    form = "{name}: licence {license_id} of organization {organization}, {status}, since {since}, for server {uuid}"
    lines = [
        (form if file["sha256"] else "{name}").format(**dict(file, uuid=file["uuid"] or "unknown"))
        + (": " + file["fault"] if file["fault"] else "")
        for file in found
    ]
    code = EXIT_DIFFERS if any(file["fault"] for file in found) else EXIT_OK
    return code, {"folder": inst.licenses, "files": found}, "\n".join(lines) or "no licence file is placed"


def verb_place(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    wanted = read_spec(options)["licenses"]
    with locked(inst):
        placed = place_licenses(inst, wanted)
    return EXIT_OK, {"changed": bool(placed), "placed": placed}, "\n".join(placed) or "nothing to do"


def verb_install(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    with locked(inst):
        changed = importlib.import_module("dlsctl.intake").install(
            inst, options.archive, options.sha256.replace("sha256:", ""), options.version, line_of(options.line)
        )
    return (
        EXIT_OK,
        {"changed": changed},
        "release {} {}".format(options.version, "installed" if changed else "was installed already"),
    )


def verb_apply(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    if options.check:
        steps = plan(inst, options.version)
    else:
        with locked(inst):
            steps = apply(inst, options.version)
    lines = [" ".join(str(step[key]) for key in ("step", "path", "version") if key in step) for step in steps]
    return EXIT_OK, {"changed": bool(steps), "steps": steps}, "\n".join(lines) or "nothing to do"


def verb_uninstall(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    with locked(inst):
        saved = importlib.import_module("dlsctl.uninstall").uninstall(inst, options.purge)
    return (
        EXIT_OK,
        {"changed": True, "saved": saved},
        "removed" + ("; the server's state is in " + saved if saved else ""),
    )


def verb_archive(options: argparse.Namespace) -> Answer:
    archive = importlib.import_module("dlsctl.intake").pinned_archive(options.file, options.sha256, options.version)
    answer = {"platform": archive.platform, "version": archive.version, "sha256": archive.sha256, "size": archive.size}
    return EXIT_OK, answer, "{platform} {version} sha256:{sha256}".format(**answer)


def verb_filter(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    changed = uses_filter(inst) and not filter_is_loaded(inst)
    if changed:
        load_filter(inst)
    return EXIT_OK, {"changed": changed}, "the port filter {} loaded".format("is" if changed else "was")


def verb_run(options: argparse.Namespace) -> Answer:
    inst = Installation.load(options.config)
    record = inst.release()
    require_address_filter(inst)
    require_configured_ports(inst, record)
    require_held(inst)
    os.chdir(inst.current_link)
    if inst.launch == "direct":
        argv = server_argv(inst, record)
        os.execv(argv[0], argv)  # noqa: S606 - the server takes this process over
    pid = run_startup_script(inst, record)
    return EXIT_OK, {"pid": pid}, "the server's main process is {}".format(pid)


def read_spec(options: argparse.Namespace) -> Spec:
    """What an engine asks: given to main, or JSON on standard input."""
    spec: Spec = json.load(sys.stdin) if options.spec is None else options.spec
    return spec


def verb_prepare(options: argparse.Namespace) -> Answer:
    changes = prepare(read_spec(options), options.check)
    return EXIT_OK, {"changed": bool(changes), "changes": changes}, "\n".join(changes) or "nothing to do"


def verb_preflight(options: argparse.Namespace) -> Answer:
    answer = importlib.import_module("dlsctl.preflight").preflight(read_spec(options))
    text = "\n".join(problem["text"] for problem in answer["problems"])
    return (EXIT_REFUSED if text else EXIT_OK), answer, text or "ready"
