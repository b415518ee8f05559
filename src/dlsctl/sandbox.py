"""The sandbox: whether the server still sees what its licence is bound to."""

import contextlib
import json
import os
import re
import signal
from typing import Dict, List, Optional

from dlsctl.deployment import Spec
from dlsctl.files import hashed, read_bytes, read_json, write_atomic, write_json
from dlsctl.host import Account, become, process_account, read_proc, run, systemctl, unit_properties
from dlsctl.identity import identity
from dlsctl.installation import Installation
from dlsctl.problems import Hidden, Problem
from dlsctl.processes import server_processes

# Not documented as labels, but where tools such as dmidecode find the documented ones.
FURTHER_LABELS = (("system_uuid", "/sys/class/dmi/id/product_uuid"), ("dmi_tables", "/sys/firmware/dmi/tables/DMI"))

# Lines of a unit that change nothing of what its processes see of the host.
PLAIN_LINE = re.compile(
    r"(Description|Documentation|Wants|After|WantedBy|Type|PIDFile|Exec\w+|SuccessExitStatus|Restart\w*|Timeout\w+|UMask"
    r"|IPAddress\w+|Limit\w+|TasksMax|MemoryMax)="
)


def labels() -> Dict[str, str]:
    """Every label that this process can read, by name; each network card is one."""
    known = identity()
    found = {name: str(value) for name, value in known.items() if value and name != "mac"}
    found.update({"mac " + name: address for name, address in known["mac"].items()})
    for name, path in FURTHER_LABELS:
        value = hashed(read_proc(path))
        if value:
            found[name] = value
    return found


# In a root of its own the server's user could have put a named pipe where a label is: whoever opens it waits for ever.
LOOK_SECONDS = 5


def labels_seen_by(pid: int, account: Account) -> Dict[str, str]:
    """The labels that `account` reads where process `pid` runs: in its mounts and its network. Needs root."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            signal.alarm(LOOK_SECONDS)
            os.chroot("/proc/{}/root".format(pid))
            os.chdir("/")
            become(account)
            os.write(writer, json.dumps(labels()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    found: Dict[str, str] = json.loads(text) if text else {}
    with contextlib.suppress(OSError):
        if os.readlink("/proc/{}/ns/net".format(pid)) != os.readlink("/proc/self/ns/net"):
            found = {name: value for name, value in found.items() if not name.startswith("mac ")}
    return found


def labels_in_sight(
    inst: Installation, pid: Optional[int] = None, account: Optional[Account] = None
) -> Dict[str, List[str]]:
    """Names of the host's labels that the running server reads as they are: as its `user`, and as `root`.

    With vendor launch root runs the start script; with direct launch no part of the server is root. `pid` is a process
    to ask in the server's stead, `account` who the server runs as there. Empty where none runs, or where this is not
    root, who alone may look.
    """
    pids = server_processes(inst)
    pid = pids[-1] if pid is None and pids else pid
    if os.geteuid() != 0 or pid is None:
        return {}
    account = account or inst.account() or (process_account(pids[-1]) if pids else None)
    accounts = {"root": (0, 0)} if inst.launch == "vendor" else {}
    if account:
        accounts["user"] = account
    here = labels()
    seen = {who: labels_seen_by(pid, accounts[who]) for who in accounts}
    return {who: sorted(name for name in here if seen[who].get(name) == here[name]) for who in seen}


def recorded_sight(inst: Installation) -> Dict[str, List[str]]:
    """What the server saw when it was last in order: names of labels as `user` and as `root`, and its `sandbox`."""
    return read_json(os.path.join(inst.kit, "in-sight.json")) or {}


def record_sight(inst: Installation, now: Dict[str, List[str]], sandbox: List[str]) -> None:
    seen = dict(now, sandbox=sandbox)
    if now and seen != recorded_sight(inst):
        write_json(os.path.join(inst.kit, "in-sight.json"), seen, 0o600)


def hidden_labels(inst: Installation, now: Dict[str, List[str]]) -> List[str]:
    """Labels that the host has and the server saw when they were last recorded, but that are not among `now`."""
    before, here = recorded_sight(inst), labels()
    return [
        "{} (as {})".format(name, who)
        for who in sorted(now)
        for name in before.get(who, [])
        if name in here and name not in now[who]
    ]


def refuse_hidden(inst: Installation, now: Dict[str, List[str]]) -> None:
    hidden = hidden_labels(inst, now)
    if hidden:
        raise Hidden(
            inst.service + ".service",
            "must show the server every label that it has seen before, because its licence is bound to them",
            "hidden from it: " + ", ".join(hidden),
            "take back what hides them, from the unit or its drop-ins; without them the UUID may be another one",
        )


def confirm_sight(inst: Installation) -> None:
    """Raise Hidden where the running server does not see all that it has seen before; record what it sees."""
    now = labels_in_sight(inst)
    refuse_hidden(inst, now)
    record_sight(inst, now, sandbox_lines(unit_text(inst)))


def rehearse(inst: Installation) -> None:
    """Raise Hidden where the server would not see a label in the unit's new sandbox; it runs on meanwhile.

    A process that does nothing is started in the unit's own sandbox, and asked in the server's stead.
    """
    if inst.supervisor != "systemd" or inst.current_version() is None:
        return
    if not recorded_sight(inst):
        record_sight(inst, labels_in_sight(inst), ["unknown: started before there was this record"])
    if sandbox_lines(unit_text(inst)) == recorded_sight(inst).get("sandbox"):
        return
    unit = inst.service + "-rehearsal"
    path = "/run/systemd/system/{}.service".format(unit)
    lines = [line for line in unit_text(inst).splitlines() if not re.match(r"(Type|PIDFile|Exec\w+|Restart\w*)=", line)]
    lines.insert(lines.index("[Service]") + 1, "Type=exec\nExecStart=/bin/sleep 60")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        write_atomic(path, ("\n".join(lines) + "\n").encode())
        systemctl("start", unit)
        refuse_hidden(inst, labels_in_sight(inst, int(unit_properties(unit)["MainPID"])))
    finally:
        run(["systemctl", "stop", unit])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def sandbox_announcement(spec: Spec, inst: Installation) -> Optional[str]:
    """What to know before the unit of an installed server gets another sandbox, or None where it does not."""
    wanted = [item for item in spec.get("files", []) if item["path"] == inst.unit_path()]
    if inst.current_version() is None or not wanted:
        return None
    before, after = sandbox_lines(unit_text(inst)), sandbox_lines(wanted[0]["content"] or "")
    changes = ["-" + line for line in before if line not in after]
    changes += ["+" + line for line in after if line not in before]
    if not changes:
        return None
    seen = labels_in_sight(inst) or recorded_sight(inst)
    names = ["{} (as {})".format(name, who) for who in ("root", "user") for name in seen.get(who, [])]
    lines = [*changes, "it sees now: " + (", ".join(names) or "unknown, it is not running")]
    return str(
        Problem(
            inst.service + ".service",
            "is about to change what the server may see of this host, to which its UUID is bound",
            "\n  ".join(["", *lines]),
            "note the UUID on the portal's home page and compare it afterwards; where the server would no longer see "
            "one of these labels, the run fails and the earlier unit is put back",
        )
    )


def unit_text(inst: Installation) -> str:
    return (read_bytes(inst.unit_path()) or b"").decode(errors="replace")


def sandbox_lines(unit: str) -> List[str]:
    """The lines of a unit on which it depends what its processes see."""
    return [line for line in unit.splitlines() if re.match(r"\w+=", line) and not PLAIN_LINE.match(line)]
