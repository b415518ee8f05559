"""The inventory's variables for a Windows host: the rules that are not those of Linux."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dlsctl.files import sha256_file
from dlsctl.members import broken_path_rule
from dlsctl.problems import Problem, Refused
from dlsctl.values import PATHS, set_hint, value_problems
from dlskit.windows.zips import utf16_length

FOLDERS = ("home", "config_dir", "data_dir", "backup_dir")
LONGEST_FOLDER = 180  # characters; what is put into a folder has a name, too
# What the kit does not do there. To pass over a recipient in silence would leave backups in plain text.
UNSUPPORTED = (
    *("backup_recipient", "backup_push", "backup_push_key", "backup_metrics", "backup_hot", "backup_fetch_dir"),
    "backup_schedule",
    *("restore_upload", "restore_key"),
)
UNSUPPORTED_HINTS = {
    "backup_schedule": "leave it out for this host, and have the control node run playbooks/backup.yml: docs/windows.md"
}
PATH_RULE = (
    "must be a folder on a drive, such as D:\\dls, without spaces, percent signs, quotes, braces, ';', $, '..' or a"
    " backslash at its end"
)
NSSM_HINT = "print it with: sha256sum nssm.exe, once you know that the file is the build that the vendor documents"


def variable_rules(
    prefix: str, values: Mapping[str, Any], paths: Mapping[str, str], *, installs: bool
) -> Iterator[Problem]:
    """Values of the right type that break a rule on Windows.

    values: by variable name, as the inventory has them. paths: the folders in use, by short name, with the defaults of
    Windows where the inventory names none. installs: whether the step puts the server there, which needs NSSM.
    """
    alike = {name: value for name, value in values.items() if name[len(prefix) :] not in (*PATHS, *UNSUPPORTED)}
    alike.pop(prefix + "adopt_from", None)
    yield from value_problems(prefix, {**alike, prefix + "supervisor": "systemd"})
    for short in UNSUPPORTED:
        if values.get(prefix + short):
            hint = UNSUPPORTED_HINTS.get(short, "leave it out for this host")
            yield Refused(prefix + short, "must not be set for a Windows host", "a value", hint)
    yield from path_problems(prefix, paths)
    yield from nssm_problems(prefix, values, installs=installs)


def path_problems(prefix: str, paths: Mapping[str, str]) -> Iterator[Problem]:
    """Folders that are no folders of Windows, or that lie in each other."""
    for short in FOLDERS:
        rule = broken_folder_rule(paths[short])
        if rule:
            yield Refused(prefix + short, rule, repr(paths[short]), set_hint(prefix + short))
    home = paths["home"].casefold() + "\\"
    for short in FOLDERS[1:]:
        if (paths[short].casefold() + "\\").startswith(home):
            rule = f"must not be inside {prefix}home, whose folders an uninstall removes"
            yield Refused(prefix + short, rule, repr(paths[short]), set_hint(prefix + short))


def broken_folder_rule(path: str) -> str | None:
    """The rule that a folder's path breaks, or None."""
    if not re.fullmatch(r"[A-Za-z]:(\\[^\\]+)+", path) or re.search(r"[\s%\"'$;{}/]", path):
        return PATH_RULE
    if utf16_length(path) > LONGEST_FOLDER:
        return f"must have at most {LONGEST_FOLDER} characters"
    return broken_path_rule(path[3:].replace("\\", "/"), windows=True)


def posix_problems(prefix: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[Problem]:
    """Folders that the inventory names as if the host had Linux; a default is no such folder."""
    for short in FOLDERS:
        value = values.get(prefix + short)
        if isinstance(value, str) and value.startswith("/") and value != defaults.get(prefix + short):
            yield Refused(prefix + short, PATH_RULE, repr(value), set_hint(prefix + short))


def nssm_problems(prefix: str, values: Mapping[str, Any], *, installs: bool) -> Iterator[Problem]:
    """What is wrong with the program that is to run the server, on the control node."""
    name, checksum = values.get(prefix + "nssm"), values.get(prefix + "nssm_checksum")
    if checksum is not None and not re.fullmatch("sha256:[0-9a-f]{64}", checksum):
        rule = "must be sha256: and 64 lower-case hexadecimal digits"
        yield Refused(prefix + "nssm_checksum", rule, repr(checksum), NSSM_HINT)
        return
    hint = "download NSSM 2.24-101-g897c7ad, which the vendor documents, and name the file of its folder win64"
    if name is None:
        if installs:
            yield Refused(prefix + "nssm", "is required on Windows", "nothing", hint)
        return
    path = Path(name).expanduser()
    if not path.is_file():
        yield Refused(prefix + "nssm", "must be a file on the control node", repr(name), hint)
    elif checksum is None:
        yield Refused(prefix + "nssm_checksum", f"is required with {prefix}nssm", "nothing", NSSM_HINT)
    elif "sha256:" + sha256_file(str(path)) != checksum:
        got = f"sha256:{sha256_file(str(path))} of {name}"
        yield Refused(prefix + "nssm_checksum", "must be that of the file", got, "take the build that was pinned")
