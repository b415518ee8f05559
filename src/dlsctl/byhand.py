"""A server that somebody installed by hand, as the vendor documents it: how it runs, and what starts it."""

import contextlib
import glob
import os
import pwd
import re
import subprocess
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from dlsctl.files import read_bytes
from dlsctl.host import has_systemd, parent_of, process_account, read_proc, systemctl, unit_properties, wait_until
from dlsctl.installation import Installation
from dlsctl.problems import Problem, Refused, Unhealthy, one_line
from dlsctl.processes import processes_below
from dlsctl.service import end_processes, page_error, run_shutdown_script


class Way(NamedTuple):
    """How a server by hand runs: whether it does, from which unit of systemd, if from one, and who has started it.

    `account` is (uid, gid), or None for whoever runs this program, which is root where it can be.
    """

    running: bool
    unit: Optional[str]
    account: Optional[List[int]]


def way_of(folder: str, line: Dict[str, Any]) -> Way:
    """How the server in a folder runs now."""
    pids = processes_below(folder)
    if not pids:
        return Way(False, None, None)
    return Way(True, unit_of(folder, pids), starter(pids, line))


def unit_of(folder: str, pids: List[int]) -> Optional[str]:
    """The unit of systemd that runs the server, without `.service`: one that watches it or names its folder.

    Not one that only happens to hold its processes, such as that of rc.local or of the SSH server.
    """
    if not has_systemd():
        return None
    groups = "\n".join(read_proc("/proc/{}/cgroup".format(pid)) or "" for pid in pids)
    for unit in sorted(set(re.findall(r"/([^/\n]+)\.service$", groups, re.M))):
        properties = unit_properties(unit)
        text = read_proc(properties.get("FragmentPath") or "/dev/null") or ""
        if int(properties.get("MainPID") or 0) in pids or names_folder(text, folder):
            return str(unit)
    return None


def starter(pids: List[int], line: Dict[str, Any]) -> Optional[List[int]]:
    """Who has started the server: root, where it runs as the user that the vendor's script makes for it."""
    account = process_account(pids[-1])
    if account is None or os.geteuid() != 0 or account[0] == 0:
        return None
    try:
        name = pwd.getpwuid(account[0]).pw_name
    except KeyError:
        name = ""
    prefix = line.get("user_prefix")
    return None if prefix and name.startswith(prefix) else list(account)


def ports_of(text: str) -> Dict[str, int]:
    """The ports that a command line or a start script names: `server` and `data`."""
    return {name: int(port) for name, port in re.findall(r"--(server|data)\.port=(\d+)", text)}


def command_line(folder: str) -> List[str]:
    """The words of the running server's longest command line, its launcher's; none where nothing runs."""
    lines = [(read_proc("/proc/{}/cmdline".format(pid)) or "").split("\0") for pid in processes_below(folder)]
    return max([words for words in lines if "-jar" in words], key=len, default=[])


def stop_by_hand(inst: Installation, folder: str, way: Way) -> None:
    """Stop the server, and wait until it is gone. What does not end in time is killed."""
    if way.unit:
        systemctl("stop", way.unit)
    elif processes_below(folder):
        run_shutdown_script(folder, inst.stop_timeout)
    if not end_processes(folder, inst.stop_timeout):
        rule = "must stay stopped while it is taken over"
        raise Problem(folder, rule, told_process(folder), "stop what starts it again, then run the same again")


def told_process(folder: str) -> Optional[str]:
    """A process that runs from a folder, with the program that has started it, for a message."""
    pids = processes_below(folder)
    if not pids:
        return None
    parent = parent_of(pids[0])
    name = (read_proc("/proc/{}/comm".format(parent)) or "").strip()
    return "process {}, started by {} (process {})".format(pids[0], one_line(name) or "somebody", parent)


def start_by_hand(inst: Installation, folder: str, way: Way, line: Dict[str, Any]) -> None:
    """Start the server as it was started before, and wait until it answers."""
    if processes_below(folder):
        pass
    elif way.unit:
        systemctl("start", way.unit)
    else:
        run_script(inst, folder, way.account)
    path = line["health_path"]
    if not wait_until(lambda: page_error(inst.server_port, path) is None, inst.health_timeout):
        url = "http://127.0.0.1:{}{}".format(inst.server_port, path)
        rule = "must answer {} within {} s".format(url, inst.health_timeout)
        raise Unhealthy(folder, rule, page_error(inst.server_port, path), "start it by hand, and see its log")


def run_script(inst: Installation, folder: str, account: Optional[List[int]]) -> None:
    """Run the vendor's start script in its folder, as the vendor documents it."""

    def become() -> None:
        os.umask(0o022)
        if account:
            os.setgroups([])
            os.setgid(account[1])
            os.setuid(account[0])

    script = os.path.join(folder, "startup.sh")
    argv = ["./startup.sh"] if os.access(script, os.X_OK) else ["/bin/sh", "./startup.sh"]
    with contextlib.ExitStack() as stack:
        log: Any = subprocess.DEVNULL
        with contextlib.suppress(OSError):  # of a full disk
            log = stack.enter_context(open(inst.console_log, "ab"))
        process = subprocess.Popen(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=become,  # noqa: PLW1509 - this program has no threads
        )
    try:
        code = process.wait(inst.health_timeout)
    except subprocess.TimeoutExpired:
        code = None
    if code != 0:
        got = "nothing" if code is None else "exit code {}".format(code)
        raise Unhealthy(script, "must return in time and succeed", got, "see " + inst.console_log)


# Where a host is told what to start: at boot, or from time to time.
STARTERS = (
    "/etc/rc.local",
    "/etc/rc.d/rc.local",
    "/etc/init.d/*",
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/cron.*/*",
    "/var/spool/cron/*",
    "/var/spool/cron/crontabs/*",
    "/etc/systemd/system/*.service",
    "/etc/systemd/system/*/*.conf",
    "/etc/systemd/user/*.service",
    "/usr/lib/systemd/system/*.service",
    "/usr/local/lib/systemd/system/*.service",
    "/root/.config/systemd/user/*.service",
    "/home/*/.config/systemd/user/*.service",
)


def starting_lines(folders: Tuple[str, ...]) -> List[str]:
    """The lines that start a server in one of these folders, as `file:number`; what they say may hold secrets."""
    found = []
    for path in sorted(path for pattern in STARTERS for path in glob.glob(pattern)):
        try:
            text = (read_bytes(path) or b"").decode(errors="replace")
        except (OSError, Refused):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if not line.lstrip().startswith("#") and any(names_folder(line, folder) for folder in folders):
                found.append("{}:{}".format(one_line(path), number))
    return found


def names_folder(text: str, folder: str) -> bool:
    """Whether a text names a folder, and not one whose name only begins or ends like it."""
    return bool(re.search(r"(?<![\w./-])" + re.escape(folder) + r"(?![\w.-])", text))
