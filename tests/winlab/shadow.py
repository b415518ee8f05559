"""A shadow of the collections for Windows: the lab's modules in place of PowerShell, all else a link to the real thing.

The first folder of ANSIBLE_COLLECTIONS_PATH that has a collection wins whole. So a module that the lab has not is told
as missing, and none is taken from elsewhere.
"""

import json
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ansible.plugins.connection import local

from tests.windows import collections
from tests.windows.contract import documentation, specification

MODULES = Path(__file__).parent / "modules"
OPTIONS = "options.json"
CONNECTION = "connection"  # the folder with the connection psrp
ACTIONS = Path(__file__).parent / "actions"  # in place of real ones, which work by PowerShell alone
SHARED = (MODULES / "lab.py", MODULES.parent / "paths.py", MODULES.parent / "records.py")


def build(folder: Path) -> Path:
    """Write the shadow into a folder that is not there yet; returns the file with the modules' options."""
    for source in sorted(path for path in MODULES.glob("*/*") if path.is_dir() and path.name != "__pycache__"):
        name = source.relative_to(MODULES)
        _collection(source, collections.path() / "ansible_collections" / name, folder / "ansible_collections" / name)
    (folder / CONNECTION).mkdir()
    # Its options are documented in the text of the local one.
    own = Path(__file__).with_name("connection.py")
    (folder / CONNECTION / "psrp.py").write_text(Path(local.__file__).read_text() + own.read_text())
    options = folder / OPTIONS
    options.write_text(json.dumps(_options()))
    return options


def _collection(modules: Path, real: Path, shadow: Path) -> None:
    _link(real, shadow, but=("plugins",))
    _link(real / "plugins", shadow / "plugins", but=("action", "modules", "module_utils"))
    shutil.copytree(modules, shadow / "plugins/modules")
    own = ACTIONS / modules.relative_to(MODULES)
    _copy(
        own.glob("*.py"),
        _link(real / "plugins/action", shadow / "plugins/action", [path.name for path in own.glob("*")]),
    )
    utilities = _link(real / "plugins/module_utils", shadow / "plugins/module_utils")
    _copy(SHARED if shadow.match("ansible/windows") else (), utilities)


def _link(real: Path, shadow: Path, but: Collection[str] = ()) -> Path:
    """Make a folder in which all is a link to the real thing, where there is one, but for some names."""
    shadow.mkdir(parents=True)
    for entry in real.iterdir() if real.is_dir() else ():
        if entry.name not in but:
            (shadow / entry.name).symlink_to(entry)
    return shadow


def _copy(files: Iterable[Path], folder: Path) -> None:
    for file in files:
        shutil.copy(file, folder)


def _options() -> dict[str, dict[str, Any]]:
    """The options of every module that the lab has, from the documentation of the real one."""
    names = [f"{path.parts[-3]}.{path.parts[-2]}.{path.stem}" for path in sorted(MODULES.glob("*/*/*.py"))]
    documented = documentation(names)
    assert sorted(documented) == sorted(names), "the lab has modules that the real collections have not"
    return {name: _specifications(document) for name, document in documented.items()}


def _specifications(document: dict[str, Any]) -> dict[str, Any]:
    """As a module takes them: with the defaults, which a comparison with the documentation does not need."""
    specs = {}
    for name, option in document["options"].items():
        specs[name] = specification(option)
        if "password" in name:
            specs[name]["no_log"] = not name.startswith("update_")
        if option.get("default") is not None:
            specs[name]["default"] = option["default"]
    if "free_form" in specs:  # what is documented so comes under Ansible's own name
        specs["_raw_params"] = {**specs.pop("free_form"), "required": False}
    return specs
