"""A Windows host on which everything is right, as Ansible's modules return what they see of it."""

import base64
import json
from pathlib import Path
from typing import Any

import yaml

from dlskit.lines import line_of
from dlskit.windows import service

ROLE = Path(__file__).parents[2] / "roles/dls_server"
SPECS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
PATHS = {
    "home": r"C:\dls",
    "config_dir": r"C:\ProgramData\dls\config",
    "data_dir": r"C:\ProgramData\dls\data",
    "backup_dir": r"D:\backups",
}
FACTS = line_of("2.4.11").facts
LINE = {key: FACTS[key] for key in ("server_port", "data_port", "health_path")} | FACTS["windows"]
EPOCH = 1800000000.0
CHECKSUM = "0" * 64
# What win_uri returns when nothing takes the connection: the status of an answer that there is not.
SILENT: dict[str, Any] = {
    "status_code": None,
    "msg": "Unhandled exception occurred when sending web request. Exception: Unable to connect to the remote server",
}


def document(nssm: Path, entry: str = "main") -> dict[str, Any]:
    """What the role asks about a host that has no server yet; `nssm` is the program on the control node."""
    options = SPECS[entry]["options"]
    values = {name: value for name, value in DEFAULTS.items() if name in options}
    values |= {
        "dls_server_version": "2.4.11",
        "dls_server_archive": "/tmp/archive.zip",
        "dls_server_archive_checksum": f"sha256:{CHECKSUM}",
        "dls_server_data_port": 30201,
        "dls_server_nssm": str(nssm),
        "dls_server_nssm_checksum": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
    return {
        "spec": {
            "entry": entry,
            "prefix": "dls_server_",
            "options": options,
            "names": sorted(values),
            "known": sorted({name for spec in SPECS.values() for name in spec["options"]}),
            "values": values,
            "line": LINE,
            "files": [{"path": PATHS["config_dir"] + r"\dls.json", "content": ""}],
        },
        "paths": dict(PATHS),
        "host": {
            "facts": {
                "ansible_architecture2": "x86_64",
                "ansible_date_time": {"iso8601": "2027-01-15T08:00:03Z"},
                "ansible_distribution": "Microsoft Windows Server 2022 Standard",
                "ansible_distribution_version": "10.0.20348.0",
                "ansible_memtotal_mb": 4096,
                "ansible_os_installation_type": "Server",
                "ansible_powershell_version": 5,
                "ansible_reboot_pending": False,
            },
            "epoch": str(EPOCH),
            "disks": [
                {
                    "partitions": [
                        {"drive_letter": "C", "volumes": [{"size_remaining": 20 << 30}]},
                        {"drive_letter": None, "volumes": []},
                        {"drive_letter": "D", "volumes": [{"size_remaining": 20 << 30}]},
                    ]
                }
            ],
            "listening": [{"port": 5985, "name": "System", "pid": 4}],
            "services": [],
            "keys": {},
            "entries": [],
            "folders": [],
            "contents": {},
            "health": dict(SILENT),
            "firewall": {name: {"enabled": True} for name in ("Domain", "Private", "Public")},
        },
    }


def installed(asked: dict[str, Any]) -> dict[str, Any]:
    """The same host with the server that was asked for, running and healthy."""
    host, home = asked["host"], PATHS["home"]
    wanted = service.values(
        "dynamsoft-dls", home, "2.4.11", LINE, {"port": 48080, "data_port": 30201, "stop_timeout": 30}
    )
    host["keys"] = {}
    for value in wanted:
        host["keys"].setdefault(value.path, {})[value.name] = {
            "type": service.KINDS[value.type],
            "value": value.data,
            "raw_value": value.data,
        }
    host["services"] = [
        {"name": "dynamsoft-dls", "path": home + r"\kit\nssm.exe", "state": "started", "start_mode": "auto"}
    ]
    for folder in [*PATHS.values(), home + r"\releases", home + r"\kit", home + r"\releases\2.4.11"]:
        add_folder(host, folder)
    record = {"version": "2.4.11", "archive_sha256": CHECKSUM, "members": []}
    add_file(host, home + r"\kit\releases\2.4.11.json", json.dumps(record))
    host["health"] = {"status_code": 200, "msg": ""}
    return asked


def add_folder(host: dict[str, Any], path: str) -> None:
    host["folders"].append(path)


def add_file(host: dict[str, Any], path: str, content: str, checksum: str = "") -> None:
    name = path.rpartition("\\")[2]
    host["entries"].append({"path": path, "filename": name, "isdir": False, "checksum": checksum})
    host["contents"][path] = base64.b64encode(content.encode()).decode()
