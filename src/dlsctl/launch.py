"""How a server is launched: by the vendor's script, or directly."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from typing import Any, Dict, List

from dlsctl.files import read_bytes, read_json, write_atomic
from dlsctl.host import become, parent_of, read_proc
from dlsctl.installation import Installation, Release
from dlsctl.problems import Problem, Refused, Unhealthy
from dlsctl.processes import server_age, server_processes
from dlsctl.state import trusted_hashes


def vendor_script(inst: Installation, record: Release) -> bytes:
    """The vendor's start script. Raises Refused where root would run what somebody else has written.

    The script, run by root, makes the server's user the owner of the release, and so of itself.
    """
    path = os.path.join(inst.release_dir(record["version"]), "startup.sh")
    script = read_bytes(path) or b""
    if os.geteuid() == 0 and hashlib.sha256(script).hexdigest() not in trusted_hashes(inst, record, "startup.sh"):
        raise Refused(
            path,
            "must be as in the archive or as edited by this program, because root runs it",
            "another content",
            "find out who changed it, and put it back from the archive; direct launch does not need it",
        )
    return script


def vendor_command(inst: Installation, record: Release) -> List[str]:
    """How to run the vendor's start script in its folder: the very text that was checked, whatever is there by then."""
    if os.geteuid() != 0:
        return ["./startup.sh"]
    script = vendor_script(inst, record).decode("utf-8", "surrogateescape")
    first = script.partition("\n")[0]
    shell = first[2:].split(None, 1) if first.startswith("#!") else ["/bin/sh"]
    return [word.strip() for word in shell] + ["-c", script, "./startup.sh"]


def startup_with_ports(script: bytes, server_port: int, data_port: int, line: Dict[str, Any]) -> bytes:
    """The vendor's start script with the ports set in its command line, as the vendor documents it.

    >>> startup_with_ports(b"java --server.port=48080", 8080, 30201, {"server_port": 48080, "data_port": 30201})
    b'java --server.port=8080'
    """
    for option, port in (("server", server_port), ("data", data_port)):
        pattern = "--{}\\.port=\\d+".format(option).encode()
        text = "--{}.port={}".format(option, port).encode()
        if re.search(pattern, script):
            script = re.sub(pattern, text, script)
        elif port != line[option + "_port"]:
            script, count = re.subn(rb"(--server\.port=\d+)", rb"\1 " + text, script)
            if not count:
                raise Refused(
                    "startup.sh",
                    "must hold --server.port=<number> for its ports to be set",
                    None,
                    "keep the release's default ports, or use dls_server_launch: direct",
                )
    return script


def server_argv(inst: Installation, record: Release) -> List[str]:
    """The documented command line of a release, with this installation's ports; run it inside the release's folder."""
    words = dict(version=record["version"], server_port=inst.server_port, data_port=inst.data_port_of(record))
    return [word.format(**words) for word in record["line"]["argv"]]


def launch_inputs(inst: Installation, record: Release) -> List[str]:
    """The files that a start reads."""
    base = inst.release_dir(record["version"])
    paths = [os.path.join(base, "dls.json")]
    if inst.launch == "vendor":
        paths.append(os.path.join(base, "startup.sh"))
    if inst.supervisor == "systemd":
        paths.append(inst.unit_path())
    return paths


def launch_digest(inst: Installation, record: Release) -> str:
    """One hash over all that a start reads; a server started with another one has to be restarted."""
    inputs = [read_bytes(path) or b"" for path in launch_inputs(inst, record)]
    if inst.launch == "direct":
        inputs.append(json.dumps([server_argv(inst, record), inst.user]).encode())
    digest = hashlib.sha256(record["version"].encode())
    for data in inputs:
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()


def is_stale(inst: Installation, record: Release) -> bool:
    """Whether the running server was started with anything but what the configuration says now."""
    started = read_json(inst.start_record) or {}
    if started.get("digest") != launch_digest(inst, record):
        return True
    # Somebody may have started it with other files in between, and the right ones were put back since.
    age = server_age(inst)
    changed = [os.stat(path).st_mtime for path in launch_inputs(inst, record) if os.path.exists(path)]
    return age is not None and max(changed, default=0) > time.time() - age + 1


def launch_process(inst: Installation, record: Release) -> None:
    """Start the server without a supervisor, detached from this process; its output goes to kit/console.log."""
    argv = vendor_command(inst, record) if inst.launch == "vendor" else server_argv(inst, record)
    account = inst.account()
    with open(inst.console_log, "ab") as log:
        process = subprocess.Popen(
            argv,
            cwd=inst.release_dir(record["version"]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: become(account),  # noqa: PLW1509 - this program has no threads
        )
    if inst.launch == "vendor":
        try:
            code = process.wait(inst.health_timeout)
        except subprocess.TimeoutExpired:
            raise Unhealthy(
                "startup.sh", "must return within {} s".format(inst.health_timeout), None, "see " + inst.console_log
            ) from None
        if code:
            raise Unhealthy("startup.sh", "must succeed", "exit code {}".format(code), "see " + inst.console_log)


def run_startup_script(inst: Installation, record: Release) -> int:
    """Run the vendor's start script in the current folder and tell systemd, by a PID file, which process to watch.

    systemd's own guess fails where the launcher puts itself into the background: it is made while that goes on.
    """
    code = subprocess.run(vendor_command(inst, record), stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        raise Unhealthy("startup.sh", "must succeed", "exit code {}".format(code), "see the server's log")
    pid, since = 0, time.monotonic()
    while pid == 0 or time.monotonic() - since < SETTLE_SECONDS:
        require_inside_unit(inst)
        roots = main_processes(inst)
        if pid not in roots:
            pid, since = (roots[0] if roots else 0), time.monotonic() if roots else since
        if pid == 0 and time.monotonic() - since > inst.health_timeout:
            raise Unhealthy("startup.sh", "must leave a server running", "none", "see the server's log")
        time.sleep(0.1)
    write_atomic(pid_file(inst.service), "{}\n".format(pid).encode())
    return pid


def main_processes(inst: Installation) -> List[int]:
    """The server's processes that no other process of it has started, those with most descendants first."""
    found = server_processes(inst)
    parents = {pid: parent_of(pid) for pid in found}

    def root(pid: int) -> int:
        while parents.get(pid) in parents:
            pid = parents[pid]
        return pid

    roots = [root(pid) for pid in found]
    return sorted(set(roots), key=lambda pid: -roots.count(pid))


def pid_file(service: str) -> str:
    return "/run/{}.pid".format(service)


# A server that dies right after its first answer was never healthy.
SETTLE_SECONDS = 1


def require_configured_ports(inst: Installation, record: Release) -> None:
    """Raise Refused where the vendor's script would start the server on ports that are not those that are kept closed.

    So it is between the configuration's change and `apply`, where the host reboots or the server is restarted by then.
    """
    if inst.launch != "vendor":
        return
    script = vendor_script(inst, record)
    if startup_with_ports(script, inst.server_port, inst.data_port_of(record), record["line"]) != script:
        raise Refused("startup.sh", "must have the ports of the configuration", "others", "set them with: dlsctl apply")


def require_inside_unit(inst: Installation) -> None:
    """Kill the server, and raise Problem, where a process of it has left the unit that systemd filters."""
    if inst.port_filter != "systemd" or inst.supervisor != "systemd":
        return
    unit = "/{}.service".format(inst.service)
    outside = [pid for pid in server_processes(inst) if unit not in (read_proc("/proc/{}/cgroup".format(pid)) or unit)]
    for pid in outside:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if outside:
        raise Problem(
            "startup.sh",
            "must leave the server inside its unit, where systemd filters its addresses",
            "process {} outside".format(outside[0]),
            "set dls_server_port_filter: nftables",
        )
