#!/usr/bin/python
import zipfile

from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("community.windows.win_unzip")
module.only("src", "dest", "creates", "delete_archive")
options = module.params
if options["creates"] and module.native(options["creates"]).exists():
    module.exit_json(changed=False, skipped=True, msg=f"The file or directory '{options['creates']}' already exists.")
source, target = module.native(options["src"]), module.native(options["dest"])
if not source.is_file():
    module.fail_json(msg=f"File '{options['src']}' does not exist.")
if not options["src"].lower().endswith(".zip"):
    module.fail_json(msg="Error importing module PSCX")  # which the real one needs for any other name
with zipfile.ZipFile(source) as archive:
    for entry in archive.infolist():  # every name must be legal on Windows
        module.native(options["dest"].rstrip("\\/") + "\\" + entry.filename.rstrip("/"))
    if not module.check_mode:
        target.mkdir(parents=True, exist_ok=True)
        archive.extractall(target)
if options["delete_archive"] and not module.check_mode:
    source.unlink()
module.exit_json(changed=True, src=options["src"], dest=options["dest"], removed=bool(options["delete_archive"]))
