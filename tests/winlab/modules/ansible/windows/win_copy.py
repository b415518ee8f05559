#!/usr/bin/python
import base64
import hashlib
import zipfile
from pathlib import Path

from ansible_collections.ansible.windows.plugins.module_utils import lab

INNER = {  # what the real action plugin asks of the real module beside its options
    "_copy_mode": {"default": "single"},
    "_original_basename": {},
    "files": {"type": "list", "elements": "dict"},
    "directories": {"type": "list", "elements": "dict"},
    "symlinks": {"type": "list", "elements": "dict"},
}
module = lab.Lab("ansible.windows.win_copy", **INNER)
module.only("src", "dest", "force", "remote_src", "local_follow", "content", "decrypt", *INNER)
options = module.params
dest, mode = options["dest"], options["_copy_mode"]


def joined(folder, name):
    return folder.rstrip("\\/") + "\\" + name.replace("/", "\\")


def sha1(path):
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


def fail(what, why):
    module.fail_json(msg=f"cannot copy to dest '{what}': {why}", dest=dest, src=options["src"])


def query():
    """Which of the control node's files and folders are to be sent."""
    files, directories = [], []
    for item in options["files"] or []:
        target = joined(dest, item["dest"])
        if module.native(target).is_dir():
            target = joined(target, Path(item["src"]).name)
        path = module.native(target)
        if path.is_dir():
            fail(target, "object at path is already a directory")
        if not path.exists() or (options["force"] and sha1(path) != item["checksum"]):
            files.append(item)
    for item in options["directories"] or []:
        path = module.native(joined(dest, item["dest"]))
        if path.is_file():
            fail(joined(dest, item["dest"]), "object at path is already a file")
        if not path.is_dir():
            directories.append(item)
    module.exit_json(changed=False, files=files, directories=directories, symlinks=[])


def explode():
    """Unpack the zip in which the control node has sent a folder; its names are in Base64."""
    with zipfile.ZipFile(options["src"]) as archive:
        for entry in archive.infolist():
            path = module.native(joined(dest, base64.b64decode(entry.filename.rstrip("/")).decode()))
            if entry.is_dir():
                path.mkdir(parents=True, exist_ok=True)
            else:
                module.free(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(entry))
    module.exit_json(changed=True)


def copy_tree(source, target):
    """Copy what is not there or differs; returns whether anything was."""
    changed = False
    for path in [source, *sorted(source.rglob("*"))]:
        there = target / path.relative_to(source)
        if path.is_dir():
            due = not there.is_dir()
            if due and not module.check_mode:
                there.mkdir(parents=True)
        else:
            due = not there.exists() or sha1(there) != sha1(path)
            if due and not module.check_mode:
                module.free(there)
                lab.copy(path, there)
        changed = changed or due
    return changed


def copy_one():
    if mode == "single":
        source, name = Path(options["src"]), options["_original_basename"]
    else:
        source = module.native(options["src"])
        name = source.name
        if not source.exists():
            module.fail_json(msg=f"Cannot copy src file: '{options['src']}' as it does not exist")
    target = joined(dest, name) if dest[-1] in "\\/" or module.native(dest).is_dir() else dest
    path = module.native(target)
    if source.is_dir():
        within = options["src"][-1] in "\\/"  # as the real one: a folder itself, or what is in it
        module.exit_json(changed=copy_tree(source, module.native(dest) if within else path), dest=target)
    if not path.parent.is_dir():
        if target == dest:
            module.fail_json(msg=f"Destination directory for '{target}' does not exist")
        path.parent.mkdir(parents=True)
    changed = not path.is_file() or (options["force"] and sha1(path) != sha1(source))
    if changed and not module.check_mode:
        module.free(path)
        lab.copy(source, path)
    module.exit_json(changed=changed, dest=target, src=options["src"])


{"query": query, "explode": explode}.get(mode, copy_one)()
