"""The host below the server: commands, systemd, processes, ports, memory."""

import calendar
import contextlib
import errno
import os
import pwd
import re
import signal
import socket
import subprocess
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from dlsctl.problems import Problem, Refused

Account = Tuple[int, int]  # (uid, gid)


TIME = "%Y-%m-%dT%H:%M:%SZ"


def utc_now() -> str:
    return time.strftime(TIME, time.gmtime())


def seconds_of(text: str) -> int:
    """Seconds since 1970 of a time as `utc_now` gives it. Raises ValueError."""
    return calendar.timegm(time.strptime(text, TIME))


def utc_stamp() -> str:
    """The time now, for names."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def run(argv: Sequence[str], text: str = "", **options: Any) -> Tuple[int, str]:
    """Run a command to its end, with `text` as its input, and return (exit code, output)."""
    done = subprocess.run(
        argv,
        check=False,
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        errors="backslashreplace",  # another machine's words may be in any encoding
        **options,
    )
    return done.returncode, done.stdout


def systemctl(*words: str) -> str:
    code, output = run(["systemctl", "--no-ask-password", *words])
    if code:
        raise Problem(
            "systemctl " + " ".join(words),
            "must succeed",
            output.strip() or "exit code {}".format(code),
            "see: journalctl -xe",
        )
    return output


def unit_properties(name: str, kind: str = "service") -> Dict[str, str]:
    """What systemd knows of a unit; an unknown unit has LoadState not-found."""
    names = "LoadState,FragmentPath,ActiveState,SubState,UnitFileState,NeedDaemonReload,MainPID,NRestarts,Result"
    code, output = run(["systemctl", "show", "{}.{}".format(name, kind), "--property=" + names])
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line) if code == 0 else {}


def process_stat(pid: int) -> List[str]:
    """The fields of proc(5)'s stat after the command's name, so field N of the manual is at N - 3; empty when gone."""
    return (read_proc("/proc/{}/stat".format(pid)) or "").rpartition(") ")[2].split()


def parent_of(pid: int) -> int:
    fields = process_stat(pid)
    return int(fields[1]) if fields else 0


def process_ages(pids: Iterable[int]) -> List[float]:
    """Seconds since each of the processes that are still there started."""
    uptime = float((read_proc("/proc/uptime") or "0").split()[0])
    stats = [process_stat(pid) for pid in pids]
    return [uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK") for fields in stats if fields]


def become(account: Optional[Account]) -> None:
    """Let this process go on as `account`, for good; what it writes is not for everybody's eyes."""
    os.umask(0o027)
    if account:
        os.setgroups([])
        os.setgid(account[1])
        os.setuid(account[0])


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise socket.timeout where the block takes longer: a socket's own timeout begins anew with each byte it gets.

    Raised again after as long, since to connect takes one for the end of an address and goes on with the next.
    """

    def expire(*_: object) -> None:
        raise socket.timeout("timed out")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def listening_inodes(port: int) -> Set[str]:
    """Socket inodes that listen on a TCP port, from /proc/net/tcp and tcp6 (state 0A is LISTEN)."""
    inodes = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (read_proc(name) or "").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(fields[9])
    return inodes


def can_listen(port: int) -> bool:
    """Whether a server could listen on a TCP port now. A connection that has ended can keep it for 60 seconds."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def read_proc(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def port_owner(port: int) -> Optional[int]:
    """The process that listens on a port: its id, 0 where this user may not know it, None where nobody listens."""
    inodes = listening_inodes(port)
    if not inodes:
        return None
    sockets = {"socket:[{}]".format(inode) for inode in inodes}
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        try:
            for handle in os.listdir("/proc/{}/fd".format(pid)):
                if os.readlink("/proc/{}/fd/{}".format(pid, handle)) in sockets:
                    return int(pid)
        except OSError:
            continue
    return 0


def process_account(pid: int) -> Optional[Account]:
    """The (uid, gid) that a process runs as; None when it is gone."""
    ids = dict(re.findall(r"^(Uid|Gid):\s+(\d+)", read_proc("/proc/{}/status".format(pid)) or "", re.M))
    return (int(ids["Uid"]), int(ids["Gid"])) if ids else None


def os_release() -> Dict[str, str]:
    """ID, ID_LIKE and VERSION_ID of os-release(5)."""
    text = read_proc("/etc/os-release") or read_proc("/usr/lib/os-release") or ""
    return {key: value.strip("\"'") for key, value in re.findall(r"^([A-Z_]+)=(.*)$", text, re.M)}


def user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def has_systemd() -> bool:
    return os.path.isdir("/run/systemd/system")


def memory_mb() -> int:
    """MiB of memory that the host has."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", read_proc("/proc/meminfo") or "", re.M)
    return int(found.group(1)) >> 10 if found else 0


def process_name(pid: int) -> str:
    return (read_proc("/proc/{}/comm".format(pid)) or "an unknown process").strip()


def taken_port(name: str, port: int, owner: int) -> Problem:
    """The problem that process `owner` (0: unknown) listens on the port that the variable `name` wants."""
    command = "{} (process {})".format(process_name(owner), owner) if owner else "another user's process"
    got = "{}, which {} listens on".format(port, command)
    return Refused(name, "must be a free TCP port", got, "stop that process or choose another port")
