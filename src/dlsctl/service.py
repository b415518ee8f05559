"""The service: start, stop, health."""

import contextlib
import errno
import http.client
import os
import signal
import subprocess
import time
from typing import List, Optional

from dlsctl.files import read_json, read_tail, walk, write_json
from dlsctl.host import (
    become,
    can_listen,
    deadline,
    listening_inodes,
    port_owner,
    run,
    seconds_of,
    systemctl,
    unit_properties,
    utc_now,
    wait_until,
)
from dlsctl.installation import Installation, Release
from dlsctl.launch import SETTLE_SECONDS, launch_digest, launch_process
from dlsctl.problems import Problem, Refused, Unhealthy, words_of
from dlsctl.processes import is_running, processes_below, server_processes


def start(inst: Installation) -> bool:
    """Start the server, without waiting for its health; True where it was not running."""
    record = inst.release()
    if is_running(inst):
        return False
    stray = server_processes(inst)
    if stray:
        raise Refused(
            inst.service,
            "must be the only one to start the server",
            "process {} started by hand".format(stray[0]),
            "stop it with: dlsctl stop",
        )
    await_ports(inst)
    begun = utc_now()
    if inst.supervisor == "systemd":
        if unit_properties(inst.service).get("NeedDaemonReload") == "yes":
            systemctl("daemon-reload")
        run(["systemctl", "reset-failed", inst.service])
        systemctl("start", "--no-block", inst.service)
    else:
        launch_process(inst, record)
    write_json(inst.start_record, {"digest": launch_digest(inst, record), "at": begun})
    return True


PORT_SECONDS = 65  # the kernel keeps the port of an ended connection for 60


def await_ports(inst: Installation) -> None:
    """Wait while an ended connection keeps one of the server's ports. What listens there, the server will name."""
    for port in (inst.server_port, inst.data_port):
        wait_until(lambda port=port: can_listen(port) or bool(listening_inodes(port)), PORT_SECONDS)  # type: ignore[misc]


def stop(inst: Installation) -> bool:
    """Stop the server and wait until it is gone; True where it was running. What does not end in time is killed."""
    was_running = is_running(inst)
    if inst.supervisor == "systemd":
        if was_running:
            systemctl("stop", inst.service)
    elif was_running:
        run_shutdown_script(inst.current_link, inst.stop_timeout)
    stray = server_processes(inst)
    if not end_processes(inst.releases, inst.stop_timeout):
        rule = "must end within {} s of being killed".format(inst.stop_timeout)
        raise Problem(inst.service, rule, None, "look at it with: ps -ef")
    return was_running or bool(stray)


def run_shutdown_script(folder: str, seconds: float) -> None:
    """Run the vendor's shutdown.sh where there is one, as the folder's owner.

    He could have put there anything, and root must not run it.
    """
    if os.access(os.path.join(folder, "shutdown.sh"), os.X_OK):
        status = os.stat(folder)
        owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
        with contextlib.suppress(subprocess.TimeoutExpired):
            run(["./shutdown.sh"], cwd=folder, timeout=seconds, preexec_fn=lambda: become(owner))


def end_processes(folder: str, seconds: float) -> bool:
    """End all that runs from below a folder, and kill what is left after so long; False where it is there even then."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in processes_below(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        if wait_until(lambda: not processes_below(folder), seconds):
            return True
    return False


def portal_url(inst: Installation, record: Release) -> str:
    return "http://127.0.0.1:{}{}".format(inst.server_port, record["line"]["health_path"])


def portal_error(inst: Installation, record: Release, timeout: float = 5) -> Optional[str]:
    """Why the portal is not healthy, or None when this installation's own server answers 200."""
    error = page_error(inst.server_port, record["line"]["health_path"], timeout)
    if error:
        return error
    owner = port_owner(inst.server_port)
    if owner and owner not in server_processes(inst):
        return "an answer from process {}, which is not this server".format(owner)
    return None


def page_error(port: int, path: str, timeout: float = 5) -> Optional[str]:
    """Why a page of this host does not answer 200, or None when it does."""
    if not listening_inodes(port):
        # To connect could give this process that very port, to itself; the server would not get it for a minute.
        return os.strerror(errno.ECONNREFUSED)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        with deadline(timeout):
            connection.request("GET", path)
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return words_of(error)
    finally:
        connection.close()
    return None if status == 200 else "status {}".format(status)


# After so many deaths in a row, a server will not come up by itself.
CRASHES = 3


def wait_healthy(inst: Installation, timeout: Optional[float] = None, settle: float = SETTLE_SECONDS) -> float:
    """Wait until the portal has answered for `settle` seconds from the same processes; returns the seconds it took.

    Raises Unhealthy, with the last lines of the log, at the deadline or when the server is gone.
    """
    record = inst.release()
    timeout = inst.health_timeout if timeout is None else timeout
    begun = time.monotonic()
    healthy_since, processes, gone = None, None, 0
    crashed = crashes(inst)
    while True:
        error = portal_error(inst, record)
        now = time.monotonic()
        if error is not None or processes != server_processes(inst):
            healthy_since, processes = None, server_processes(inst)
        if error is None:
            healthy_since = now if healthy_since is None else healthy_since
            if now - healthy_since >= settle:
                return round(now - begun, 1)
        gone = 0 if is_running(inst) else gone + 1
        if crashes(inst) - crashed >= CRASHES:
            gone = 10
        if gone >= 10 or now - begun >= timeout + settle:
            raise Unhealthy(
                "health",
                "must answer {} within {} s".format(portal_url(inst, record), timeout),
                "a server that ended" if gone else error or "a server that restarts again and again",
                "mend what the last lines of the server's log say:\n" + log_text(inst, 30),
            )
        time.sleep(0.2)


def crashes(inst: Installation) -> int:
    """How often the supervisor has restarted the server since dlsctl started it."""
    return int(unit_properties(inst.service).get("NRestarts") or 0) if inst.supervisor == "systemd" else 0


def log_text(inst: Installation, count: int) -> str:
    return "\n".join("  " + line for line in log_tail(inst, count)) or "  (nothing)"


def log_tail(inst: Installation, count: int) -> List[str]:
    """The last lines the server has written since its start: to the journal or console, then to its newest log."""
    lines: List[str] = []
    started = start_time(inst)
    if inst.supervisor == "systemd":
        journalctl = ["journalctl", "--lines", str(count), "--no-pager", "--output", "cat", "--quiet"]
        journalctl.append("--since=@{}".format(int(started)))
        # First what the server's own processes wrote; systemd's lines about it only where there is nothing else.
        for selection in (["_SYSTEMD_UNIT={}.service".format(inst.service)], ["--unit", inst.service]):
            code, output = run(journalctl + selection)
            lines = lines or (output.splitlines() if code == 0 else [])
    else:
        lines = read_tail(inst.console_log).decode(errors="replace").splitlines()[-count:]
    base = os.path.realpath(inst.current_link)
    if len(lines) < count:
        written = newest_log(base, started).decode(errors="replace").splitlines()[-count:]
        lines += [line for line in written if line not in lines]
    return lines[-count:]


def start_time(inst: Installation) -> float:
    """When dlsctl last began to start the server, in seconds since the epoch; 0 where that is not known."""
    try:
        return seconds_of((read_json(inst.start_record) or {})["at"])
    except (Refused, KeyError, TypeError, ValueError):
        return 0.0


def newest_log(base: str, since: float) -> bytes:
    """The end of the log file below `base` that was written last, or nothing where that was before `since`."""
    newest, text = since, b""
    for path, full in walk(base):
        with contextlib.suppress(FileNotFoundError):
            written = os.lstat(full).st_mtime
            if path.endswith(".log") and written > newest:
                tail = read_tail(full)
                newest, text = (written, tail) if tail else (newest, text)
    return text
