"""Where things are, from the rendered configuration."""

import os
import pwd
from typing import Any, Dict, List, Optional

from dlsctl.archives import Member
from dlsctl.files import list_folder, read_json
from dlsctl.host import Account
from dlsctl.problems import Blocked, Problem, Refused

Release = Dict[str, Any]  # a record: {version, archive_sha256, installed, line, members}

CONFIRMATION = "admin-password-set"  # a file of the kit's folder: the portal took a password
DEFAULT_CONFIG = "/etc/dls/dlsctl.json"


class Installation:
    """The paths and settings of one DLS on this host."""

    def __init__(self, settings: Dict[str, Any]) -> None:
        self.settings = settings
        self.home = settings["home"]
        self.config_dir = settings["config_dir"]
        self.backup_dir = settings["backup_dir"]
        self.data_dir = settings["data_dir"]
        self.launch = settings["launch"]
        self.supervisor = settings["supervisor"]
        self.service = settings["service_name"]
        self.user = settings["user"]
        self.server_port = settings["port"]
        self.port_filter = settings["port_filter"]
        self.networks = settings["allowed_networks"]
        self.health_timeout = settings["health_timeout"]
        self.stop_timeout = settings["stop_timeout"]
        self.proxy = settings["proxy"]
        self.backup_recipient = settings.get("backup_recipient") or ""
        self.backup_metrics = settings.get("backup_metrics") or ""
        self.backup_push = settings.get("backup_push") or ""
        self.backup_push_key = settings.get("backup_push_key") or ""
        self.backup_keep = settings["backup_keep"]
        self.backup_keep_days = settings["backup_keep_days"]
        self.backup_min_age_hours = settings["backup_min_age_hours"]
        self.chosen_data_port = settings["data_port"]  # None: that of the release's line
        self.coming_version: Optional[str] = None  # of the first release, until it is in use
        self.run_name: Optional[str] = (
            None  # by which whoever asked for this work asks for its outcome; None: nobody does
        )
        self.releases = os.path.join(self.home, "releases")
        self.archives = os.path.join(self.home, "archives")
        self.kit = os.path.join(self.home, "kit")
        self.licenses = os.path.join(self.data_dir, "licenses")
        self.current_link = os.path.join(self.home, "current")
        self.console_log = os.path.join(self.kit, "console.log")
        self.start_record = os.path.join(self.kit, "started.json")
        self.renewal_flag = os.path.join(self.kit, "renewing-address-filter")  # there while systemd is made to renew it

    @classmethod
    def load(cls, path: str) -> "Installation":
        settings = read_json(path)
        if settings is None:
            raise Problem(path, "must exist", None, "install the server first, or name its configuration with --config")
        try:
            return cls(settings)
        except (KeyError, TypeError) as error:
            raise Refused(
                path, "must hold every setting of the server", "no {}".format(error), "deploy the server again"
            ) from None

    @property
    def data_port(self) -> int:
        """The internal port of the release in use, or about to be; 0 where there is none."""
        version = self.current_version() or self.coming_version
        return self.data_port_of(self.release(version)) if version else int(self.chosen_data_port or 0)

    def data_port_of(self, record: Release) -> int:
        return int(self.chosen_data_port or record["line"]["data_port"])

    def folders(self) -> Dict[str, int]:
        """The folders that hold licence files and backups, with their modes."""
        return {
            self.data_dir: 0o755,
            self.licenses: 0o700,
            self.backup_dir: 0o700,
        }

    def release_dir(self, version: str) -> str:
        return os.path.join(self.releases, version)

    def record_path(self, version: str) -> str:
        return os.path.join(self.kit, "releases", version + ".json")

    def unit_path(self) -> str:
        return "/etc/systemd/system/{}.service".format(self.service)

    def current_version(self) -> Optional[str]:
        """The version that `current` points to, or None."""
        try:
            return os.path.basename(os.readlink(self.current_link))
        except OSError:
            return None

    def release(self, version: Optional[str] = None) -> Release:
        """The record of a release: version, archive checksum, vendor facts of its line, manifest."""
        version = version or self.current_version()
        record: Optional[Release] = read_json(self.record_path(version)) if version else None
        if record is None:
            raise Problem(self.home, "must hold an installed release", version, "install one first")
        try:
            return dict(record, members=[Member(*fields) for fields in record["members"]])
        except (KeyError, TypeError) as error:
            raise Blocked(
                self.record_path(str(version)), "must be a release's record", error, "restore the file from a backup"
            ) from None

    def is_installed(self, version: str) -> bool:
        return os.path.isdir(self.release_dir(version)) and os.path.isfile(self.record_path(version))

    def installed(self) -> List[str]:
        """The versions of the releases on this host."""
        return sorted(name for name in list_folder(self.releases) if self.is_installed(name))

    def account(self) -> Optional[Account]:
        """The (uid, gid) that owns and runs the server, or None for whoever runs this program."""
        if os.geteuid() != 0 or self.launch != "direct":
            return None
        try:
            entry = pwd.getpwnam(self.user)
        except KeyError:
            raise Refused("dls_server_user", "must be a user of this host", self.user, "create the user") from None
        return entry.pw_uid, entry.pw_gid


def make_folders(inst: Installation) -> None:
    for path, mode in inst.folders().items():
        if not os.path.isdir(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.mkdir(path, mode)
