"""What a site's inventory says, here for the stand-in archive."""

import hashlib
from pathlib import Path

from tests.standin.build import LINUX, cached

VERSION = "2.4.11"


def archive_variables(
    version: str = VERSION, settings: dict[str, str] | None = None, platform: str = LINUX
) -> dict[str, str]:
    """Build the stand-in archive of version and return the role variables that point to it."""
    path = Path(cached(version, platform, settings or {}))
    return {
        "dls_server_version": version,
        "dls_server_archive": str(path),
        "dls_server_archive_checksum": f"sha256:{sha256(path)}",
    }


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def proxy_variables() -> dict[str, object]:
    """Role variables of a proxy that any host may have: clients call it by its address, and nobody trusts it."""
    return {"dls_proxy_server_names": ["{{ ansible_host }}"], "dls_proxy_tls_self_signed": True}
