"""nginx: what it says of its configuration, and whether it runs with it."""

import os
import re
import shutil
import time
from typing import Iterator, List, Sequence, Tuple

from dlsctl.files import read_tail
from dlsctl.host import parent_of, process_ages, read_proc, run, systemctl, unit_properties, wait_until
from dlsctl.problems import Problem, Refused
from dlsproxy.proxy import Proxy

SERVICE = "nginx"
ERROR_LOG = "/var/log/nginx/error.log"
RELOAD_SECONDS = 10  # within which nginx must have replaced its workers


def dump_of_nginx() -> Tuple[int, str]:
    return run(["nginx", "-T"]) if shutil.which("nginx") else (0, "")


def nginx_errors(output: str) -> str:
    """What nginx says is wrong, with file and line as it gives them."""
    said = re.findall(r"^(?:nginx:|[0-9/]+ [0-9:]+) \[emerg\] (?:\d+#\d+: )?(.*)$", output, re.MULTILINE)
    return "; ".join(dict.fromkeys(said)) or output.strip()[-300:]


def nginx_problems(proxy: Proxy, dump: Tuple[int, str]) -> Iterator[Problem]:
    """Whether nginx finds something wrong that is not this proxy's own."""
    code, output = dump
    if code and not any(path in nginx_errors(output) for path in proxy.inputs() + proxy.used()):
        hint = "correct that file; nginx -t must find nothing wrong before the proxy joins or leaves it"
        yield Refused("nginx", "must accept its present configuration", nginx_errors(output), hint)


def is_active() -> bool:
    return unit_properties(SERVICE).get("ActiveState") == "active"


def workers() -> List[int]:
    """The process ids of nginx's workers that take requests, not of those that a reload has sent away."""
    main = int(unit_properties(SERVICE).get("MainPID", "0"))
    children = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if main and parent_of(pid) == main]
    titles = {pid: read_proc("/proc/{}/cmdline".format(pid)) or "" for pid in children}
    return [pid for pid, title in titles.items() if title.strip("\0 ") == "nginx: worker process"]


def is_stale(proxy: Proxy) -> bool:
    """Whether nginx has read other files than are there now: a run may have died in between."""
    now = time.time()
    times = [os.stat(path).st_mtime for path in proxy.inputs() if os.path.exists(path)]
    started = now - max(process_ages(workers()), default=0)
    return started + 0.05 < max((at for at in times if at < now), default=0)  # both clocks tick in hundredths


def judge(proxy: Proxy) -> None:
    """Let nginx test the configuration. Raises Problem where it does not accept it, or would ignore our names."""
    code, output = run(["nginx", "-t"])
    ignored = [name for name in proxy.names if 'conflicting server name "{}"'.format(name.lower()) in output.lower()]
    if code or ignored:
        got = nginx_errors(output) if code else "{}, a name that another site has".format(ignored[0])
        raise Problem("nginx", "must accept the proxy's configuration", got, "the earlier files are back in place")


def serve(proxy: Proxy, steps: Sequence[str]) -> None:
    """Start or reload nginx, never restart it, and see that it has taken the new files. Raises Problem."""
    if "start nginx at boot" in steps:
        systemctl("enable", "--quiet", SERVICE)
    if is_active():
        systemctl("reload", SERVICE)
    elif proxy.entry != "uninstall":
        systemctl("start", SERVICE)
    if proxy.entry != "uninstall" and not wait_until(lambda: bool(workers()) and not is_stale(proxy), RELOAD_SECONDS):
        said = re.findall(r"\[emerg\] .*", read_tail(ERROR_LOG).decode(errors="replace"))
        got = said[-1] if said else "the earlier one after {} s".format(RELOAD_SECONDS)
        raise Problem("nginx", "must run with the new configuration", got, "see: journalctl -u nginx")
