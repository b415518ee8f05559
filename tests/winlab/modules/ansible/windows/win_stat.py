#!/usr/bin/python
import hashlib

from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_stat")
options = module.params
path = module.native(options["path"])
found = {"exists": path.exists()}
if found["exists"]:
    status, is_folder = path.stat(), path.is_dir()
    found.update(
        attributes="Directory" if is_folder else "Archive",
        creationtime=status.st_ctime,
        filename=path.name,
        hlnk_targets=[],
        isarchive=not is_folder,
        isdir=is_folder,
        ishidden=False,
        isjunction=False,
        islnk=False,
        isreadonly=False,
        isreg=not is_folder,
        isshared=False,
        lastaccesstime=status.st_atime,
        lastwritetime=status.st_mtime,
        nlink=1,
        path=lab.paths.named(lab.PREFIX, path),
    )
    if not is_folder:
        found["extension"] = path.suffix
    if options["get_size"]:
        files = path.rglob("*") if is_folder else [path]
        found["size"] = sum(file.stat().st_size for file in files if file.is_file())
    if options["get_checksum"] and not is_folder:
        found["checksum"] = hashlib.new(options["checksum_algorithm"], path.read_bytes()).hexdigest()
module.exit_json(changed=False, stat=found)
