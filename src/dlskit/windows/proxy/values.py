"""The inventory's variables for a Windows host: the rules that are not those of Linux."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dlsctl.files import sha256_file
from dlsctl.problems import Problem, Refused
from dlsctl.values import set_hint
from dlskit.windows.proxy import pfx
from dlskit.windows.proxy.wanted import MODULES
from dlsproxy.certificates import Pair, Verdict, check_pair
from dlsproxy.values import PREFIX

LINUX_ONLY = ("tls_certificate", "tls_key", "tls_self_signed", "nftables_chains")
FOLDER = r"[A-Za-z]:(\\[A-Za-z0-9._-]*[A-Za-z0-9_-])+"
SITE = r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,60}"


def own_value_problems(values: Mapping[str, Any], entry: str) -> Iterator[Problem]:
    """Values that mean something on Windows only, or nothing there."""
    for short, pattern, rule in (
        ("iis_site", SITE, "must have letters, digits, spaces, '.', '_' and '-'"),
        ("iis_folder", FOLDER, "must be a folder on a drive, such as C:\\inetpub\\dls, without spaces"),
    ):
        value = values.get(PREFIX + short)
        if value and not re.fullmatch(pattern, value):
            yield Refused(PREFIX + short, rule, repr(value), set_hint(PREFIX + short))
    if entry == "uninstall":
        return
    for short in LINUX_ONLY:
        if values.get(PREFIX + short):
            hint = f"give certificate and key as {PREFIX}tls_pfx" if short.startswith("tls") else "leave it out"
            yield Refused(PREFIX + short, "must not be set for a Windows host", "a value", hint)
    if values.get(PREFIX + "firewall") not in (None, "auto", "none"):
        got = values[PREFIX + "firewall"]
        yield Refused(PREFIX + "firewall", "must be auto or none for a Windows host", got, "leave it out")
    for short, (program, _) in MODULES.items():
        yield from installer_problems(values, PREFIX + short, program)


def installer_problems(values: Mapping[str, Any], name: str, program: str) -> Iterator[Problem]:
    """What is wrong with an MSI file on the control node, where one is named."""
    path, checksum = values.get(name), values.get(name + "_checksum")
    hint = f"print it with: sha256sum {path or 'FILE'}, once you know that the file is Microsoft's"
    if checksum and not re.fullmatch("sha256:[0-9a-f]{64}", checksum):
        yield Refused(name + "_checksum", "must be sha256: and 64 lower-case hexadecimal digits", repr(checksum), hint)
    elif path and not Path(path).expanduser().is_file():
        rule = "must be a file on the control node"
        yield Refused(name, rule, repr(path), f"download the MSI file of {program} for x64 from Microsoft")
    elif path and not checksum:
        yield Refused(name + "_checksum", f"is required with {name}", "nothing", hint)
    elif path and "sha256:" + sha256_file(str(Path(path).expanduser())) != checksum:
        got = f"sha256:{sha256_file(str(Path(path).expanduser()))} of {path}"
        yield Refused(name + "_checksum", "must be that of the file", got, "take the file that was pinned")


def read_certificate(values: Mapping[str, Any]) -> tuple[pfx.Pfx | None, Verdict]:
    """The certificate that is given, and what is to be said of it."""
    name, path = PREFIX + "tls_pfx", values.get(PREFIX + "tls_pfx")
    if not path:
        hint = "make one with: openssl pkcs12 -export -in fullchain.pem -inkey key.pem -out dls.pfx"
        return None, Verdict([Refused(name, "is required for https on a Windows host", "nothing", hint)], [])
    try:
        found = pfx.read(path, values.get(name + "_password"), name)
    except Refused as problem:
        return None, Verdict([problem], [])
    pair = Pair(found.chain, found.key, name, name)
    names = values.get(PREFIX + "server_names") or []
    return found, check_pair(pair, names, values[PREFIX + "tls_warn_days"], time.time())
