"""pyinfra deploys for Linux hosts: what the playbooks of the same names do, from the same inventory.

Run them with `dlskit deploy`, which looks first and says what would change, or with pyinfra's own command line and
hosts.py. Files and packages come by way of pyinfra, the life cycle is dlsctl's.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploys.verbs import backup, install, licenses, restore, rollback, site, uninstall, upgrade, verify

__all__ = ["backup", "install", "licenses", "restore", "rollback", "site", "uninstall", "upgrade", "verify"]


def __getattr__(name: str) -> Any:
    """Import the deploys when one is asked for: the inventory is read meanwhile."""
    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module("deploys.verbs"), name)
