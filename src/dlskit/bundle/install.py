#!/usr/bin/env python3
"""Install the DLS Kit from an offline bundle on a control node that has no network.

    python3 install.py --key PUBLIC_KEY --into FOLDER [--bundle BUNDLE]

Python 3.11 and later, standard library only; verify.py must be beside it. The bundle is where this file is, unless it
is given. Everything is checked before anything is written. Then FOLDER has

    NAME/bundle   a copy of the bundle, as it was signed
    NAME/kit      roles, playbooks and deploys, to run from
    NAME/venv     a Python environment with Ansible, pyinfra and dlskit, from the bundle's wheels alone
    current       a link to the NAME in use, set last

Bundles that were installed before stay: backups need their vendor archives. A second run of the same changes nothing.
Exit codes: 0 done, 1 failed, 2 wrong usage, 5 files differ from what was signed, 6 refused.
"""

import sys

if __name__ == "__main__" and not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # this folder: a file that somebody added to the bundle must not pass for a module

import argparse
import errno
import fcntl
import os
import shlex
import shutil
import subprocess

if __name__ != "__main__":
    from dlskit.bundle import verify
else:
    sys.dont_write_bytecode = True  # a medium stays as it is
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    try:
        import verify  # type: ignore[import-not-found,no-redef]
    except ImportError:
        sys.exit("verify.py: must be beside this program, got none\nHINT: copy it from where this program comes from")

from typing import Any, Dict, List, Optional, Tuple

OLDEST_PYTHON = (3, 11)
CURRENT, COMPLETE, UNFINISHED = "current", ".complete", ".unfinished"
SCRATCH = CURRENT + ".new"  # what the link is before it has its name
LAUNCHER = """#!/bin/sh
exec {python} -I -m dlskit "$@"
"""  # of a shell: in the first line of a program, a path must be short and without spaces; -I: this kit and no other
PLACE_HINT = "give a folder of its own, such as /opt/dls-kit"
ROOM = 400 << 20  # bytes that the Python environment and the kit take beside the bundle

Version = Tuple[int, ...]


def install(bundle: str, key_path: str, into: str, progress: Optional[verify.Progress] = None) -> str:
    """Install a bundle into a folder, and return the folder that `current` then points to.

    Raises verify.Problem, before anything is written, for a bundle that is not as it was signed, is for other machines
    or Pythons, or must not follow the installed one.
    """
    manifest, problems = verify.check(bundle, key_path, progress)
    if problems:
        raise problems[0]
    verify.check_this_machine(manifest)
    check_place(manifest["name"], bundle, into)
    check_order(manifest, installed(into))
    folder = os.path.join(os.path.abspath(into), manifest["name"])
    complete = is_complete(folder, bundle)
    if complete:
        check_kit(folder, manifest)
    if complete and runs(folder):
        point_to(into, manifest["name"])
        return folder
    umask = os.umask(0o077)
    os.umask(umask | 0o022)  # nobody else may change what is run from there
    handle = None
    try:
        os.makedirs(into, exist_ok=True)
        check_room(manifest, into)
        handle = os.open(into, os.O_RDONLY)
        lock(handle, into)
        if complete:  # but for its Python, which is not the one that it was: after an upgrade of the system
            shutil.rmtree(os.path.join(folder, "venv"), ignore_errors=True)
            make_environment(folder)
        else:
            make_all(bundle, folder, manifest)
        point_to(into, manifest["name"])
    finally:
        os.umask(umask)
        if handle is not None:
            os.close(handle)
    return folder


def make_all(bundle: str, folder: str, manifest: Dict[str, Any]) -> None:
    """Make a bundle's folder, to its end."""
    make_folder(folder)
    copy(bundle, os.path.join(folder, "bundle"), manifest)
    make_kit(folder)
    make_environment(folder)
    shutil.copyfile(os.path.join(bundle, verify.MANIFEST), os.path.join(folder, COMPLETE))
    os.unlink(os.path.join(folder, UNFINISHED))


def runs(folder: str) -> bool:
    """Whether the program of an installed bundle runs: it is what is made last."""
    program = os.path.join(folder, "venv", "bin", "dlskit")
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            [program, "--version"], env=environment(), stdin=quiet, stdout=quiet, stderr=quiet, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def check_place(name: str, bundle: str, into: str) -> None:
    """Raise Problem for a folder that a bundle of this name cannot be installed into."""
    if name in (CURRENT, SCRATCH):
        hint = "build it with another name in its specification"
        raise verify.Problem("bundle", "must not be named like the link to the one in use", name, hint)
    if not os.path.abspath(into).isprintable():
        raise verify.Problem("--into", "must be one line of letters that can be shown", verify.shown(into), PLACE_HINT)
    if os.path.join(os.path.realpath(into), "").startswith(os.path.join(os.path.realpath(bundle), "")):
        raise verify.Problem(into, "must not be in the bundle", "a folder that is", PLACE_HINT)
    current = os.path.join(into, CURRENT)
    if os.path.lexists(current) and not os.path.islink(current):
        hint = "move it away, or give another --into"
        raise verify.Problem(current, "must be a link, to the bundle in use", "something else", hint)


def lock(handle: int, into: str) -> None:
    """Keep a folder for this run, until its handle is closed. Raises Problem where another run has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        rule, hint = "must be used by one run at a time", "wait for the other one, then run the same again"
        raise verify.Problem(into, rule, "another run", hint) from None
    except OSError:  # a file system without locks
        return


def installed(into: str) -> Optional[Dict[str, Any]]:
    """The manifest of the bundle that is in use, None where there is none."""
    path = os.path.join(into, CURRENT, COMPLETE)
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return verify.parse_manifest(file.read(), path)


def in_use(into: str) -> Optional[str]:
    """The name of the bundle that is in use, None where there is none."""
    current = os.path.join(into, CURRENT)
    return os.path.basename(os.readlink(current)) if os.path.islink(current) else None


def version(text: str) -> Version:
    """A version of the kit, for comparison."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def check_order(manifest: Dict[str, Any], before: Optional[Dict[str, Any]]) -> None:
    """Raise Problem for a kit that is older than the one in use, or too new to follow it."""
    if before is None:
        return
    new, old, least = manifest["kit"], before["kit"], str(manifest.get("kit_from", ""))
    if version(new) < version(old):
        hint = "take a newer bundle; the bundles that were installed before are still there, beside `current`"
        raise verify.Problem("kit", "must not be older than {}, which is in use".format(old), new, hint)
    if version(old) < version(least):
        hint = "install a bundle with kit {} first, and run its playbooks once".format(least)
        raise verify.Problem("kit", "must be {} or newer before {} follows it".format(least, new), old, hint)


def is_complete(folder: str, bundle: str) -> bool:
    """Whether this very bundle is installed. Raises Problem for another one of the same name."""
    path = os.path.join(folder, COMPLETE)
    if not os.path.exists(path) or os.path.exists(os.path.join(folder, UNFINISHED)):
        return False
    with open(path, "rb") as one, open(os.path.join(bundle, verify.MANIFEST), "rb") as other:
        if one.read() != other.read():
            hint = "build it with another name in its specification"
            name = os.path.basename(folder)
            raise verify.Problem(name, "must be the name of one bundle", "another bundle of this name", hint)
    return True


def check_kit(folder: str, manifest: Dict[str, Any]) -> None:
    """Raise Problem unless the files of an installed kit are as they were signed; what was changed is not put right."""
    entries = [entry for entry in manifest["files"] if entry["path"].startswith("kit/")]
    for problem in verify.check_listed(folder, entries):
        problem.hint = "move {} away, and run the same again".format(folder)
        raise problem


def make_folder(folder: str) -> None:
    """Make a bundle's folder, in place of what a run has left that came to no end; raises Problem for any other."""
    unfinished = os.path.join(folder, UNFINISHED)
    if os.path.exists(unfinished) and not os.path.islink(folder):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif path != unfinished:
                os.unlink(path)
    elif os.path.lexists(folder) and not is_empty(folder):
        raise verify.Problem(folder, "must not be there yet", "something", "move it away, or give another --into")
    else:
        os.makedirs(folder, exist_ok=True)
        open(unfinished, "wb").close()


def is_empty(folder: str) -> bool:
    """Whether something is a folder with nothing in it."""
    return os.path.isdir(folder) and not os.path.islink(folder) and not os.listdir(folder)


def check_room(manifest: Dict[str, Any], into: str) -> None:
    """Raise Problem unless the disk has room for the bundle and what is made of it."""
    needed = sum(entry["size"] for entry in manifest["files"]) + ROOM
    free = shutil.disk_usage(into).free
    if free < needed:
        got = "{} MiB".format(free >> 20)
        raise verify.Problem(
            into, "must have {} MiB free".format(needed >> 20), got, "make room, or give another --into"
        )


def copy(bundle: str, target: str, manifest: Dict[str, Any]) -> None:
    """Copy a bundle; raises Problem for a file that is another one by now."""
    paths = [entry["path"] for entry in manifest["files"]] + list(verify.SIGNED)
    for path in paths:
        place = os.path.join(target, *path.split("/"))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        shutil.copyfile(os.path.join(bundle, *path.split("/")), place)
    problems = list(verify.check_files(target, manifest["files"]))
    if problems:
        raise problems[0]


def make_kit(folder: str) -> None:
    """Make the folder that playbooks and deploys are run from."""
    kit, bundle = os.path.join(folder, "kit"), os.path.join(folder, "bundle")
    shutil.copytree(os.path.join(bundle, "kit"), kit)
    if os.path.isdir(os.path.join(bundle, "collections")):
        os.symlink("../../bundle/collections", os.path.join(kit, "playbooks", "collections"))


def make_environment(folder: str) -> None:
    """Make the Python environment, from the bundle's wheels by the hashes of the kit's lock, and from nowhere else."""
    kit, bundle, venv = (os.path.join(folder, name) for name in ("kit", "bundle", "venv"))
    wheels = os.path.join(bundle, "wheels")
    pip = [name for name in sorted(os.listdir(wheels)) if name.startswith("pip-")]
    if not pip:
        raise verify.Problem("wheels", "must have pip", "none", "build the bundle again, with pythons")
    python = os.path.join(venv, "bin", "python")
    run("venv", [sys.executable, "-I", "-m", "venv", "--without-pip", venv])  # -I: not a venv.py of this folder
    options = ["--quiet", "--no-index", "--require-hashes", "--disable-pip-version-check", "--find-links=" + wheels]
    lock = os.path.join(kit, "requirements.lock")
    run("pip", [python, os.path.join(wheels, pip[-1], "pip"), "install", *options, "--requirement=" + lock])
    packages = "lib/python{}.{}/site-packages".format(*sys.version_info[:2])
    with open(os.path.join(venv, packages, "dlskit.pth"), "w") as file:
        file.write("{}\n{}\n".format(os.path.join(kit, "src"), kit))
    launcher = os.path.join(venv, "bin", "dlskit")
    with open(launcher, "w") as file:
        file.write(LAUNCHER.format(python=shlex.quote(python)))
    os.chmod(launcher, 0o755)  # noqa: S103 - a program


def environment() -> Dict[str, str]:
    """The environment without the user's settings for pip and Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


def run(name: str, command: List[str]) -> None:
    """Run a program to its end, with nothing of the user's settings for pip; raises Problem where it fails."""
    done = subprocess.run(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        got = "exit {}\n  {}".format(done.returncode, done.stdout.decode(errors="replace").strip()[-800:])
        hint = "on Debian without python3-venv it does; try another python3 of the bundle's pythons"
        raise verify.Problem(name, "must succeed", got, hint, verify.EXIT_FAILED)


def point_to(into: str, name: str) -> None:
    """Make a bundle the one in use, in one step."""
    link = os.path.join(into, CURRENT)
    scratch = os.path.join(into, SCRATCH)
    if os.path.lexists(scratch):
        os.unlink(scratch)
    os.symlink(name, scratch)
    os.replace(scratch, link)


def told(error: OSError, into: str) -> verify.Problem:
    """What a person is told of an error while files are read and written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room, then run the same again"
        return verify.Problem(into, "must have room for the bundle", error.strerror, hint, verify.EXIT_FAILED)
    hint = "look at it and its rights, then run the same again"
    what = str(error.filename or into)
    return verify.Problem(what, "must be accessible", error.strerror or error, hint, verify.EXIT_FAILED)


def main(arguments: Optional[List[str]] = None) -> int:
    """Install as the arguments say, and return the exit code."""
    parser = argparse.ArgumentParser(prog="install.py", description="Install the DLS Kit from an offline bundle.")
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--bundle", default=here, help="the bundle; default: where this is")
    parser.add_argument("--key", required=True, help="file of the public key, from elsewhere than the bundle")
    parser.add_argument("--into", required=True, metavar="FOLDER", help="where the kit goes, such as /opt/dls-kit")
    options = parser.parse_args(arguments)
    try:
        if sys.version_info[:2] < OLDEST_PYTHON:
            got = "{}.{}".format(*sys.version_info[:2])
            raise verify.Problem(
                "python", "must be 3.11 or newer", got, "name a newer one, such as python3.11 install.py"
            )
        before = in_use(options.into)
        folder = install(options.bundle, options.key, options.into)
    except (verify.Problem, OSError) as error:
        problem = error if isinstance(error, verify.Problem) else told(error, options.into)
        sys.stderr.write("{}\n".format(problem))
        return problem.code
    after = in_use(options.into)
    if before not in (None, after):
        verify.say("In use is {} now, and was {} before".format(after, before))
    verify.say("The kit is in {}/kit; begin a site with {}/venv/bin/dlskit init FOLDER".format(folder, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
