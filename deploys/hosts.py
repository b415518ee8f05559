"""For pyinfra's own command line: `DLS_INVENTORY=inventories/mysite pyinfra deploys/hosts.py deploys.site`."""

import os

from deploys.source import Source

dls = Source(os.environ["DLS_INVENTORY"]).linux_hosts()
