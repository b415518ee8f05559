"""The Windows service that runs the server: what NSSM is told, which it keeps in the registry.

Names and types of the values: NSSM's own usage page and source, for 2.24-101.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

ROOT = "HKLM:\\SYSTEM\\CurrentControlSet\\Services\\"
# The exit hook runs beside a restart. Without a pause it would stop the server that has just been started again.
RESTART_DELAY_MS = 6000
THROTTLE_MS = 5000  # a server that ends sooner is restarted later and later
LOG_BYTES = 10 << 20
KINDS = {"expandstring": "REG_EXPAND_SZ", "string": "REG_SZ", "dword": "REG_DWORD"}


class Value(NamedTuple):
    """A registry value: its key, name ("" for the default one), type as win_regedit has it, and data."""

    path: str
    name: str
    type: str
    data: str | int


def key(service: str) -> str:
    """The registry key with what NSSM is told."""
    return f"{ROOT}{service}\\Parameters"


def release_folder(home: str, version: str) -> str:
    return f"{home}\\releases\\{version}"


def values(service: str, home: str, version: str, line: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Value]:
    """All that NSSM is told, so that the service runs this release as the vendor documents.

    line: the vendor's facts. settings: port, data_port and stop_timeout (seconds).
    """
    folder, logs = release_folder(home, version), f"{home}\\kit\\logs"
    arguments = line["arguments"].format(version=version, server_port=settings["port"], data_port=settings["data_port"])
    main: dict[str, str | int] = {
        "Application": f"{folder}\\{line['launcher']}",
        "AppDirectory": folder,
        "AppParameters": arguments,
        "AppRestartDelay": RESTART_DELAY_MS,
        "AppThrottle": THROTTLE_MS,
        "AppStopMethodConsole": settings["stop_timeout"] * 1000,
        "AppStdout": f"{logs}\\server.log",
        "AppStderr": f"{logs}\\server.log",
        "AppRotateFiles": 1,
        "AppRotateOnline": 1,
        "AppRotateBytes": LOG_BYTES,
    }
    found = [
        Value(key(service), name, "dword" if isinstance(data, int) else "expandstring", data)
        for name, data in main.items()
    ]
    hook = f"{folder}\\{line['exit_hook']}"
    return [
        *found,
        Value(key(service) + "\\AppExit", "", "string", "Restart"),
        Value(key(service) + "\\AppEvents\\Exit", "Post", "expandstring", hook),
    ]


def as_it_is(wanted: Value, keys: Mapping[str, Mapping[str, Any]]) -> Value | None:
    """The value that is there for the wanted one, None where there is none.

    keys: the properties of each registry key, as win_reg_stat has them.
    """
    found = keys.get(wanted.path, {}).get(wanted.name)
    if found is None:
        return None
    kinds = {kind: name for name, kind in KINDS.items()}
    return Value(wanted.path, wanted.name, kinds.get(found["type"], found["type"]), found["raw_value"])


def differs(wanted: Value, keys: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the registry holds something else than the wanted value."""
    found = as_it_is(wanted, keys)
    if found is None or found.type != wanted.type:
        return True
    return number(found.data) != wanted.data if wanted.type == "dword" else found.data != wanted.data


def number(data: object) -> object:
    """A number of the registry, which comes as one or as text."""
    try:
        return int(str(data), 0)
    except ValueError:
        return data
