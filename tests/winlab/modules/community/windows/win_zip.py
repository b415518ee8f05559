#!/usr/bin/python
import zipfile

from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("community.windows.win_zip")
module.only("src", "dest")
options = module.params
source, target = module.native(options["src"]), module.native(options["dest"])
if target.exists():
    module.exit_json(changed=False, src=options["src"], dest=options["dest"])
if not source.exists():
    module.fail_json(msg=f"Path '{options['src']}' does not exist.")
if not module.check_mode:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            archive.write(path, path.relative_to(source if source.is_dir() else source.parent))
module.exit_json(changed=True, src=options["src"], dest=options["dest"])
