"""What an inventory needs for trials on a real Windows host, without the vendor's archive.

`python -m tests.windows.trial FOLDER` builds stand-in archives of an older and a newer release, fetches NSSM, and
writes their names and checksums into group_vars/all.yml of the inventory in that folder.
"""

import hashlib
import sys
from pathlib import Path

import yaml

from tests.standin import build
from tests.winlab import prefix

OLDER, NEWER = "2.4.1", "2.4.11"


def write(inventory: Path) -> Path:
    """Write the files and the variables below an inventory's folder; return the path of the variables."""
    files = inventory.resolve() / "files"
    older, newer = (build.build_archive(version, files, build.WINDOWS) for version in (OLDER, NEWER))
    nssm = files / "nssm.exe"
    nssm.write_bytes(prefix.download_nssm())
    variables = {
        "dls_server_version": OLDER,
        "dls_server_archive": str(older),
        "dls_server_archive_checksum": checksum(older),
        "dls_server_nssm": str(nssm),
        "dls_server_nssm_checksum": checksum(nssm),
        "trial_upgrade": {"version": NEWER, "archive": str(newer), "archive_checksum": checksum(newer)},
    }
    path = inventory / "group_vars/all.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(variables))
    return path


def checksum(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
