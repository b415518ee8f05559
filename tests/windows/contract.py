"""Whether the tasks for Windows call its modules as these are documented.

A module of Windows is PowerShell, and many of them take an option that they do not know for nothing at all: so what is
misspelt is found on nobody's host. Here each task is compared with the documentation of the real module.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.splitter import parse_kv

from tests.windows import collections

NAMESPACES = ("ansible.windows.", "community.windows.", "microsoft.")
LISTS = ("block", "rescue", "always", "pre_tasks", "tasks", "post_tasks", "handlers")
MENTIONED = re.compile(rf"\b(?:{'|'.join(map(re.escape, NAMESPACES))}|win_\w+ *:)")


class Loader(yaml.SafeLoader):
    """Task files, with the line of each mapping under LINE, and Ansible's own tags as their text."""


LINE = "__line__"


def _mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return {**loader.construct_mapping(node, deep=True), LINE: node.start_mark.line + 1}


def _scalar(loader: Loader, node: yaml.ScalarNode) -> Any:
    return loader.construct_scalar(node)


Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
Loader.add_constructor("!vault", _scalar)
Loader.add_constructor("!unsafe", _scalar)


@dataclass(frozen=True)
class Call:
    """A task that calls a module of Windows."""

    file: Path
    line: int
    module: str
    arguments: Any

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.module}"


def calls(folder: Path) -> list[Call]:
    """The calls in all task files, handlers and plays below a folder."""
    texts = {path: path.read_text() for path in sorted(folder.rglob("*.y*ml")) if path.is_file()}
    asked = {path: text for path, text in texts.items() if MENTIONED.search(text)}
    return [call for path, text in asked.items() for call in calls_in(path, yaml.load(text, Loader))]  # noqa: S506


def calls_in(file: Path, tasks: Any) -> Iterator[Call]:
    """The calls of a list of tasks or plays, with those in its blocks."""
    for task in tasks if isinstance(tasks, list) else []:
        if not isinstance(task, dict):
            continue
        for block in LISTS:
            yield from calls_in(file, task.get(block))
        for name, value in task.items():
            if isinstance(name, str) and name.startswith((*NAMESPACES, "win_")):
                arguments = without_lines(value)
                if isinstance(arguments, dict):
                    arguments = {**without_lines(task.get("args") or {}), **arguments}
                yield Call(file, task[LINE], name, arguments)


def without_lines(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_lines(item) for key, item in value.items() if key != LINE}
    return [without_lines(item) for item in value] if isinstance(value, list) else value


def documentation(modules: Iterable[str]) -> dict[str, Any]:
    """What ansible-doc says of modules, by name; nothing of one that there is not."""
    names = sorted(set(modules))
    if not names:
        return {}
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections.path())}
    command = ["ansible-doc", "--json", "--type", "module", *names]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    return {name: found["doc"] for name, found in json.loads(done.stdout or "{}").items() if "doc" in found}


def faults(found: Sequence[Call]) -> list[str]:
    """What is wrong with calls: one line each."""
    documents = documentation(call.module for call in found)
    return [f"{call}: {fault}" for call in found for fault in faults_of(call, documents.get(call.module))]


def faults_of(call: Call, document: Mapping[str, Any] | None) -> Iterator[str]:
    if document is None:
        yield "no such module"
        return
    if "." not in call.module:
        yield f"must be named in full: {document['plugin_name']}"
    elif document["plugin_name"] != call.module:
        yield f"deprecated: it is {document['plugin_name']} now"
    if document.get("deprecated"):
        yield f"deprecated: {document['deprecated'].get('alternative') or document['deprecated'].get('alternatives')}"
    arguments, options = call.arguments or {}, document["options"]
    if isinstance(arguments, str):
        free = next((name for name in ("_raw_params", "free_form") if name in options), None)
        arguments = {free: arguments} if free else parse_kv(arguments)
    if not isinstance(arguments, dict):
        yield "the arguments are no mapping"
        return
    known = {alias: name for name, option in options.items() for alias in (name, *option.get("aliases", []))}
    specs = {name: specification(option) for name, option in options.items()}
    for name, value in arguments.items():
        if name in known and is_templated(value):
            specs[known[name]] = loosened(specs[known[name]], value)
    yield from ArgumentSpecValidator(specs).validate(arguments).error_messages


def specification(option: Mapping[str, Any]) -> dict[str, Any]:
    """An option of the documentation as a module's argument specification has it."""
    spec = {key: option[key] for key in ("choices", "aliases", "elements") if key in option}
    spec.update(type=option.get("type", "str"), required=option.get("required", False))
    if "suboptions" in option:
        spec["options"] = {name: specification(suboption) for name, suboption in option["suboptions"].items()}
    return spec


def is_templated(value: Any) -> bool:
    if isinstance(value, str):
        return bool(re.search(r"\{\{|\{%", value))
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(is_templated, items))


def loosened(spec: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """A specification for a value that is known at run time only: of such a one, its name alone can be checked."""
    if isinstance(value, str):
        return {"type": "raw", "aliases": spec.get("aliases", []), "required": spec["required"]}
    loose = dict(spec)
    if "options" in loose:
        loose["options"] = dict(loose["options"])
        for item in value if isinstance(value, list) else [value]:
            for name in item if isinstance(item, dict) else ():
                if name in loose["options"] and is_templated(item[name]):
                    loose["options"][name] = loosened(loose["options"][name], item[name])
    elif isinstance(value, list):
        loose.pop("choices", None)
        loose.pop("elements", None)
    return loose
