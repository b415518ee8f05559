"""pyinfra deploys for Linux hosts: what the playbooks of the same names do, from the same inventory.

Run them with `dlskit deploy`, which looks first and says what would change, or with pyinfra's own command line and
hosts.py. Files and packages come by way of pyinfra, the life cycle is dlsctl's.
"""

from deploys.verbs import backup, install, licenses, restore, rollback, site, uninstall, upgrade, verify

__all__ = ["backup", "install", "licenses", "restore", "rollback", "site", "uninstall", "upgrade", "verify"]
