"""Run dlsctl: `python3 -m dlsctl`, or its one file on a host."""

import sys

from dlsctl.cli import main

if __name__ == "__main__":
    sys.exit(main())
