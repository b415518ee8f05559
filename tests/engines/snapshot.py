"""Everything on a host that an engine may have put there, as JSON: run with the host's Python, as root.

Files by path with owner, group, mode and hash; units, rules of the firewall, packages, accounts. Left out is what
differs between two hosts that were made alike: what the server writes, times, and what the kit records of one host.
"""

import grp
import hashlib
import json
import pwd
import re
import stat
import subprocess
from pathlib import Path
from typing import Any, Dict, List

FOLDERS = ("/opt/dls", "/etc/dls", "/var/lib/dls", "/usr/local/sbin", "/etc/systemd/system", "/etc/nginx")
SERVERS = re.compile(r"/(data|logs?|temp|tmp|work)(/|$)|[.](pid|log|out)$|/kit/(journal[.]json|lock)$")
OTHER_CONTENT = re.compile(r"^/opt/dls/kit/((identity|started|upgrades|outcome)[.]json|hashes/|releases/)")
UNITS = ("dynamsoft*", "nginx*", "nftables*")


def entry(path: Path) -> List[str]:
    """What there is to say of a path."""
    status = path.lstat()
    said = [stat.filemode(status.st_mode), pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name]
    if path.is_symlink():
        said.append(str(path.resolve()))
    elif path.is_file() and not OTHER_CONTENT.search(str(path)):
        said.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return said


def lines(*command: str) -> List[str]:
    """What a program prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.splitlines()


def snapshot() -> Dict[str, Any]:
    """The host as it is."""
    paths = [path for top in FOLDERS for path in Path(top).rglob("*") if not SERVERS.search(str(path))]
    active = lines("systemctl", "list-units", "--no-legend", "--plain", *UNITS)
    return {
        "files": {str(path): entry(path) for path in paths},
        "units": sorted(line.split()[:2] for line in lines("systemctl", "list-unit-files", "--no-legend", *UNITS)),
        "active": sorted(line.split()[0] for line in active),
        "rules": lines("sh", "-c", "nft list ruleset 2>/dev/null | sed -n '/table inet dlsctl/,/^}/p'"),
        "packages": sorted(lines("sh", "-c", "dpkg-query -W -f '${Package} ${Version}\\n' 2>/dev/null || rpm -qa")),
        "accounts": sorted(line.split(":")[0] for line in lines("getent", "passwd")),
    }


print(json.dumps(snapshot()))
