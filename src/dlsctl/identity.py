"""The labels that the vendor binds a licence to."""

import os
import re
from typing import Any, Dict, List

from dlsctl.files import hashed, list_folder, read_json, write_json
from dlsctl.host import read_proc
from dlsctl.installation import Installation
from dlsctl.problems import Problem

UUID_FORM = r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


def identity() -> Dict[str, Any]:
    """The labels that the vendor binds a licence to, as far as this user can read them.

    Vendor documentation: processor id, MAC address, machine id and motherboard serial number. The last two identify the
    host elsewhere too, so only a hash is shown.
    """
    processor = re.findall(
        r"^(vendor_id|cpu family|model|model name|stepping)\s*: (.*)$", read_proc("/proc/cpuinfo") or "", re.M
    )[:5]
    interfaces = list_folder("/sys/class/net")
    physical = [name for name in interfaces if os.path.exists("/sys/class/net/{}/device".format(name))]
    macs = {}
    for name in sorted(physical or interfaces):
        address = (read_proc("/sys/class/net/{}/address".format(name)) or "").strip()
        if address and address != "00:00:00:00:00:00":
            macs[name] = address
    return {
        "processor": " ".join(value for _, value in processor) or None,
        "mac": macs,
        "machine_id_sha256": hashed(read_proc("/etc/machine-id")),
        "board_serial_sha256": hashed(read_proc("/sys/class/dmi/id/board_serial")),
    }


def recorded_identity(inst: Installation) -> Dict[str, Any]:
    """The labels that were seen first, and the server's `uuid` where somebody has told it; empty before the install."""
    return read_json(os.path.join(inst.kit, "identity.json")) or {}


def record_identity(inst: Installation, seen: Dict[str, Any]) -> None:
    """Record what was not known yet; what was stays, and so does a label that only another user can read."""
    known = recorded_identity(inst)
    new = {label: value for label, value in seen.items() if value and not known.get(label)}
    if new:
        write_json(os.path.join(inst.kit, "identity.json"), {**seen, **known, **new}, 0o600)


def identity_drift(inst: Installation, seen: Dict[str, Any]) -> List[Dict[str, str]]:
    """The labels that are no more what was recorded on this host, as `drift_from` has them."""
    return drift_from(recorded_identity(inst), seen)


def drift_from(recorded: Dict[str, Any], seen: Dict[str, Any]) -> List[Dict[str, str]]:
    """The labels that are no more what was recorded: {label, was, now}. A further network card is no change."""
    drift = []
    for label, was in sorted(recorded.items()):
        now = seen.get(label)
        # Every user can read the machine id; the others may be none that this one sees, or that nobody told.
        if not was or (not now and label != "machine_id_sha256"):
            continue
        if isinstance(was, dict) and now:
            gone = {name: value for name, value in was.items() if now.get(name) != value}
            change = shown_macs(gone), shown_macs({name: now.get(name, "none") for name in gone})
        else:
            change = str(was), str(now or "none")
        if change[0] != change[1]:
            drift.append({"label": label, "was": change[0], "now": change[1]})
    return drift


def shown_macs(macs: Dict[str, str]) -> str:
    return ", ".join("{} {}".format(*pair) for pair in sorted(macs.items()))


def drift_problem(change: Dict[str, str]) -> Problem:
    return Problem(
        change["label"],
        "must stay {}, to which the vendor binds the licence".format(change["was"]),
        change["now"],
        "undo the change, or the licence may stop working and the vendor has to issue it anew; where that was done,"
        " record what is there now with: dlsctl identity --accept",
    )
