"""What role dls_proxy asks about a Windows host.

``python -m dlskit.windows.proxy`` reads a document as JSON from standard input, since it may hold a password, and
prints {problems, look}, as ``dlsproxy look`` does on a Linux host; exit code 6 where there are problems.
"""

from __future__ import annotations

import json
import sys

from dlsctl.problems import EXIT_OK, EXIT_REFUSED
from dlskit.windows.proxy.preflight import preflight

result = preflight(json.load(sys.stdin))
print(json.dumps(result))
sys.exit(EXIT_REFUSED if result["problems"] else EXIT_OK)
