"""Files that an engine has rendered, and this program itself, written in one step."""

import contextlib
import importlib
import importlib.util
import io
import os
import stat
import sys
import zipfile
from typing import Any, Dict, List, Optional

from dlsctl.files import read_bytes, relabel, write_atomic
from dlsctl.problems import Refused

Spec = Dict[str, Any]  # what an engine asks


def expected_content(item: Dict[str, Any]) -> Optional[bytes]:
    """The bytes that a file should have, or None where it should not be there. `self` stands for this program."""
    if item.get("self"):
        return own_program()
    return None if item["content"] is None else str(item["content"]).encode()


def own_program() -> bytes:
    """This program as the one file that it is on a host: a zip archive of its modules, the same bytes everywhere."""
    for name in ("cli", "lifecycle", "preflight", "uninstall"):  # which need every other module
        importlib.import_module("dlsctl." + name)
    names = sorted(name for name in sys.modules if name.split(".")[0] == "dlsctl")
    texts = {name.replace(".", "/") + ("/__init__.py" if name == "dlsctl" else ".py"): text_of(name) for name in names}
    texts["__main__.py"] = text_of("dlsctl.__main__")
    program = io.BytesIO()
    program.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(program, "w") as archive:  # not compressed: to be read as it is, too
        for path in sorted(texts):
            member = zipfile.ZipInfo(path)
            member.external_attr = 0o644 << 16
            member.create_system = 3  # Unix
            archive.writestr(member, texts[path])
    return program.getvalue()


def text_of(name: str) -> str:
    """The text of one of this program's modules, wherever it was loaded from: files, their archive, or piped.py."""
    loader: Any = importlib.util.find_spec(name).loader  # type: ignore[union-attr]
    return str(loader.get_source(name))


def is_as_expected(item: Dict[str, Any]) -> bool:
    """Whether a file has the expected content and mode, and the user who runs this as its owner."""
    wanted = expected_content(item)
    try:
        status = os.lstat(item["path"])
    except OSError:
        return wanted is None
    return (
        wanted is not None
        and stat.S_ISREG(status.st_mode)
        and stat.S_IMODE(status.st_mode) == int(item["mode"], 8)
        and status.st_uid == os.geteuid()
        and read_bytes(item["path"]) == wanted
    )


def as_it_is(item: Dict[str, Any]) -> Dict[str, Any]:
    """The file as it is now, in the form in which it would be expected: for putting it back."""
    try:
        data = read_bytes(item["path"])
    except (OSError, Refused):
        data = None
    return dict(item, content=None if data is None else data.decode(errors="replace"))


def prepare(spec: Spec, check: bool) -> List[str]:
    """Make the folders and files of `spec` what they should be; returns the paths that were not.

    Folders named `unless_empty` are removed where nothing is left in them.
    """
    missing = [path for path in spec.get("folders", []) if not os.path.isdir(path)]
    different = [item for item in spec.get("files", []) if not is_as_expected(item)]
    if not check:
        for path in missing:
            os.makedirs(path, 0o755)
        for item in different:
            content = expected_content(item)
            if content is None:
                os.unlink(item["path"])
            else:
                write_atomic(item["path"], content, int(item["mode"], 8))
        for path in spec.get("unless_empty", []):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        relabel(*missing, *(item["path"] for item in different))
    return missing + [item["path"] for item in different]
