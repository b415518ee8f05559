"""For pyinfra's own command line: `DLS_INVENTORY=inventories/mysite pyinfra deploys/hosts.py deploys.site`."""

import os
import sys

from deploys.source import Source
from dlsctl.problems import Problem, Refused

try:
    if not os.environ.get("DLS_INVENTORY"):
        raise Refused("DLS_INVENTORY", "must name an inventory", None, "set it: DLS_INVENTORY=inventories/mysite")
    dls = Source(os.environ["DLS_INVENTORY"]).linux_hosts()
except Problem as problem:
    print(problem, file=sys.stderr)
    sys.exit(problem.code)
