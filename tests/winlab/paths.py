"""Paths of Windows and where they are below a prefix. The lab's modules have this file too."""

import re
from pathlib import Path

LONGEST = 259
VARIABLES = {
    "programdata": r"C:\ProgramData",
    "programfiles": r"C:\Program Files",
    "systemdrive": "C:",
    "systemroot": r"C:\windows",
    "temp": r"C:\windows\temp",
    "windir": r"C:\windows",
}
ILLEGAL = re.compile(r'[<>:"|?*\x00-\x1f]')
DEVICE = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?$", re.IGNORECASE)


def expanded(text: str) -> str:
    """A text with the variables of Windows' environment replaced, as far as the lab has them."""
    return re.sub(r"%([^%]+)%", lambda found: VARIABLES.get(found[1].lower(), found[0]), text)


def native(prefix: Path, path: str) -> Path:
    """Where a path of Windows is on this machine, whatever its case. Raises ValueError as Windows fails."""
    whole = expanded(path).replace("/", "\\")
    found = re.match(r"([A-Za-z]):\\(.*)$", whole)
    if not found:
        raise ValueError(f"{path}: must be an absolute path of Windows")
    drive = prefix / "dosdevices" / (found[1].lower() + ":")
    if not drive.is_dir():
        raise ValueError(f"Cannot find drive. A drive with the name '{found[1]}' does not exist.")
    if len(whole) > LONGEST:
        raise ValueError(f"{path}: The specified path, file name, or both are too long.")
    here = drive.resolve()
    for part in found[2].split("\\"):
        if part in ("", "."):
            continue
        if part == ".." or ILLEGAL.search(part) or DEVICE.match(part) or part[-1] in " .":
            raise ValueError(f"{path}: Illegal characters in path.")
        here = cased(here, part)
    return here


def cased(folder: Path, name: str) -> Path:
    """A name in a folder, in the case that it has there."""
    if not (folder / name).exists() and folder.is_dir():
        for entry in folder.iterdir():
            if entry.name.lower() == name.lower():
                return entry
    return folder / name


def drives(prefix: Path) -> dict[str, Path]:
    """The folder of each drive, by its letter and colon. Z:, which is this machine, is none of them."""
    found = {link.name.upper(): link.resolve() for link in sorted((prefix / "dosdevices").iterdir())}
    return {name: folder for name, folder in found.items() if len(name) == 2 and name != "Z:"}


def named(prefix: Path, path: Path) -> str:
    """The path of Windows that a file below the prefix has."""
    for name, folder in drives(prefix).items():
        if path.is_relative_to(folder):
            return name + "\\" + "\\".join(path.relative_to(folder).parts)
    raise ValueError(f"{path}: must be on a drive of the lab")
