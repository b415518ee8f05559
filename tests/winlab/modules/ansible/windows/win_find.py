#!/usr/bin/python
import fnmatch
import hashlib
import re

from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_find")
module.only(
    *("paths", "patterns", "use_regex", "case_sensitive", "recurse", "depth", "file_type", "hidden"),
    *("get_checksum", "checksum_algorithm"),
)
options = module.params


def matches(name):
    if not options["patterns"]:
        return True
    if options["use_regex"]:
        case = 0 if options["case_sensitive"] else re.IGNORECASE
        return any(re.search(pattern, name, case) for pattern in options["patterns"])
    return any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for pattern in options["patterns"])


def walk(folder, deep):
    for entry in sorted(folder.iterdir()):
        if options["recurse"] and entry.is_dir() and (options["depth"] is None or deep < options["depth"]):
            yield from walk(entry, deep + 1)
        yield entry


def told(path):
    status, is_file = path.stat(), path.is_file()
    found = {
        "attributes": "Archive" if is_file else "Directory",
        "checksum": None,
        "creationtime": status.st_ctime,
        "exists": True,
        "extension": path.suffix if is_file else None,
        "filename": path.name,
        "isarchive": is_file,
        "isdir": not is_file,
        "ishidden": False,
        "isjunction": False,
        "islnk": False,
        "isreadonly": False,
        "isreg": is_file,
        "isshared": False,
        "lastaccesstime": status.st_atime,
        "lastwritetime": status.st_mtime,
        "path": lab.paths.named(lab.PREFIX, path),
        "size": status.st_size if is_file else None,
    }
    if is_file and options["get_checksum"]:
        found["checksum"] = hashlib.new(options["checksum_algorithm"], path.read_bytes()).hexdigest()
    return found


files, examined = [], 0
for name in options["paths"]:
    folder = module.native(name)
    if not folder.is_dir():
        kind = "is a file not a directory" if folder.exists() else "does not exist or is not accessible"
        module.warn(f"Argument path '{name}' {kind}, skipping")
        continue
    for path in walk(folder, 1):
        examined += 1
        if options["file_type"] in ("any", "directory" if path.is_dir() else "file") and matches(path.name):
            files.append(told(path))
module.exit_json(changed=False, files=files, examined=examined, matched=len(files))
