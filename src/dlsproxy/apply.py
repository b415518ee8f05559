"""Apply: write, let nginx judge, reload; or put everything back."""

import contextlib
import os
import shutil
import tempfile
from typing import List, Sequence

from dlsctl.deployment import Spec, is_as_expected
from dlsctl.files import read_bytes, write_atomic
from dlsctl.host import run, systemctl, unit_properties
from dlsctl.problems import Problem
from dlsctl.values import variable_problems
from dlsfirewall import firewall
from dlsproxy.certificates import Verdict, certificate_command
from dlsproxy.nginx import SERVICE, is_active, is_stale, judge, serve
from dlsproxy.proxy import MARK, Proxy
from dlsproxy.selinux import pending_selinux
from dlsproxy.undo import Undo, remove, remove_empty


def plan(proxy: Proxy) -> List[str]:
    """What is due but for the firewall, in words, in the order in which `apply` does it."""
    different = [item for item in proxy.files() if not is_as_expected(item)]
    steps = ["{} {}".format("write" if item["content"] is not None else "remove", item["path"]) for item in different]
    if proxy.entry == "uninstall":
        last = last_steps(proxy)
        return [step for step in steps if step not in last] + (["reload nginx"] if steps and is_active() else []) + last
    if proxy.makes_certificate(proxy.verdict() if proxy.self_signed else Verdict([], [])):
        steps.append("make a self-signed certificate")
    steps += [" ".join(command) for command in selinux_due(proxy, steps)]
    if not is_active():
        steps.append("start nginx")
    elif steps or is_stale(proxy):
        steps.append("reload nginx")
    if unit_properties(SERVICE).get("UnitFileState") != "enabled":
        steps.append("start nginx at boot")
    return steps


def last_steps(proxy: Proxy) -> List[str]:
    """What waits until nginx has let go of it: it must never lack a key that it is told to read."""
    return ["remove " + path for path in proxy.written()] if proxy.entry == "uninstall" else []


def selinux_due(proxy: Proxy, steps: Sequence[str]) -> List[List[str]]:
    return pending_selinux(list(proxy.ports.values()), proxy.inputs() if steps else [])


def apply(spec: Spec, check: bool) -> List[str]:
    """Do what is due and return it; with `check` only tell. What nginx does not accept is put back. Raises Problem."""
    for problem in variable_problems(spec):  # also gives each value its type
        raise problem
    proxy = Proxy(spec)
    steps = plan(proxy)
    welcome = proxy.family["welcome_site"]
    if spec.get("is_new") and proxy.family["welcome_site_is_removable"] and os.path.lexists(welcome):
        steps.insert(0, "remove " + welcome)
    ports = firewall.look(proxy.firewall())
    if check or not steps + ports.texts:
        return steps + ports.texts
    before = unit_properties(SERVICE)
    undo = Undo()
    try:
        change(proxy, steps, undo)
        firewall.apply(ports)  # a port is open only while nginx serves it
    except BaseException as error:
        lost = undo.run()
        with contextlib.suppress(Problem):
            if before.get("UnitFileState") != "enabled" and "start nginx at boot" in steps:
                systemctl("disable", SERVICE)
            if steps and is_active():
                systemctl("reload" if before.get("ActiveState") == "active" else "stop", SERVICE)
        if lost:
            hint = "it could not be put back: {}; mend that, then run the same again".format("; ".join(map(str, lost)))
            raise Problem("proxy", "must be changed as a whole", str(error).partition("\n")[0], hint) from None
        raise
    return steps + ports.texts


def change(proxy: Proxy, steps: Sequence[str], undo: "Undo") -> None:
    """Do the steps; nginx judges, and serves, what has become of its configuration. Raises Problem."""
    last, is_there = last_steps(proxy), bool(shutil.which("nginx"))
    remove_files([step for step in steps if step not in last], undo)
    write_files(proxy, steps, undo)
    if steps and is_there:
        judge(proxy)
        serve(proxy, steps)
    if proxy.entry == "uninstall":
        remove_files(last, undo)
        remove_empty(proxy.own_folder)
        if last and is_there:
            judge(proxy)  # another site may have come to use that certificate


def remove_files(steps: Sequence[str], undo: Undo) -> None:
    for verb, _, path in (step.partition(" ") for step in steps):
        if verb == "remove":
            undo.keep(path)
            remove(path)


def write_files(proxy: Proxy, steps: Sequence[str], undo: Undo) -> None:
    for item in proxy.files():
        if item["content"] is not None and not is_as_expected(item):
            undo.keep(item["path"])
            os.makedirs(os.path.dirname(item["path"]), 0o755, exist_ok=True)
            write_atomic(item["path"], item["content"].encode(), int(item["mode"], 8))
    if "make a self-signed certificate" in steps:
        make_certificate(proxy, undo)
    for command in selinux_due(proxy, steps) if proxy.entry != "uninstall" else []:
        code, output = run(command)
        if code:
            raise Problem(" ".join(command), "must succeed", output.strip(), "see: ausearch -m avc")


def make_certificate(proxy: Proxy, undo: Undo) -> None:
    """Make a self-signed certificate and its key, which never leaves this host."""
    for path in (proxy.certificate_path, proxy.key_path):
        undo.keep(path)
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        made = [os.path.join(folder, name) for name in ("certificate.pem", "key.pem")]
        code, output = run(certificate_command(proxy.names, *made))
        if code:
            raise Problem("openssl", "must make a certificate", output.strip()[-300:], "give one instead")
        remove(proxy.key_path)  # a run that dies here leaves no pair of which one is new: the next run makes another
        for source, path, mode in zip(made, (proxy.certificate_path, proxy.key_path), (0o644, 0o600)):
            write_atomic(path, MARK.encode() + (read_bytes(source) or b""), mode)
