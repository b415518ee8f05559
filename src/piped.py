"""Run a program of the kit through the host's Python without being there: `python3 -I -c TEXT-OF-THIS-FILE`.

Standard input holds JSON: {"modules": {path: text}, "program": the module whose main() is called with "arguments" and
"spec"}. What is asked comes this way because it may hold a private key: everybody on the host sees an argument vector.
With -I no module in the folder where the command happens to run is taken for Python's own.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
from typing import Any, Dict, Optional


class Piped(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports from texts by path, such as {"dlsctl/__init__.py": ..., "dlsctl/cli.py": ...}."""

    def __init__(self, texts: Dict[str, str]) -> None:
        self.texts = texts

    def path_of(self, name: str) -> str:
        return name.replace(".", "/") + ("/__init__.py" if self.is_package(name) else ".py")

    def is_package(self, fullname: str) -> bool:
        return fullname.replace(".", "/") + "/__init__.py" in self.texts

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        return importlib.util.spec_from_loader(fullname, self) if self.path_of(fullname) in self.texts else None

    def get_source(self, fullname: str) -> str:
        return self.texts[self.path_of(fullname)]


document = json.loads(sys.stdin.buffer.read().decode())
sys.meta_path.insert(0, Piped(document["modules"]))
sys.argv[1:] = document["arguments"]  # for who asks later what was run
program = importlib.import_module(document["program"])
sys.exit(program.main(document["arguments"], document["spec"]))
