#!/usr/bin/env python3
"""Run and look after one Dynamsoft License Server (DLS) on this Linux host.

One file, standard library only, Python 3.6 and later: it is copied to every host, and an administrator at the console
of an air-gapped server reads and runs the same file that the deployment engines call. Everything that must be atomic,
or must survive a lost connection, happens here.

Exit codes
    0  done, or the answer is yes
    1  failed
    2  wrong usage
    3  the server is stopped
    4  the server runs but gave no healthy answer in time
    5  installed files differ from the release's manifest
    6  refused: an input or the host breaks a rule, nothing was changed
    7  busy: another dlsctl holds the lock
    8  blocked: an earlier run left something that only a person can decide
"""

import argparse
import collections
import hashlib
import json
import os
import posixpath
import re
import stat
import sys
import tarfile

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED, EXIT_UNHEALTHY, EXIT_DIFFERS, EXIT_REFUSED, EXIT_BUSY, EXIT_BLOCKED = range(9)


class Problem(Exception):
    """Something a person has to mend, told as: what, the rule, the value received, the next action.

    >>> print(Problem("dls_server_port", "must be 1 to 65535", 99999, "set it in group_vars/dls.yml"))
    dls_server_port: must be 1 to 65535, got 99999
    HINT: set it in group_vars/dls.yml
    """

    code = EXIT_FAILED

    def __init__(self, what, rule, got=None, hint=None):
        super().__init__(what, rule, got, hint)
        self.what, self.rule, self.got, self.hint = what, rule, got, hint

    def __str__(self):
        text = "{}: {}".format(self.what, self.rule)
        if self.got is not None:
            text += ", got {}".format(self.got)
        if self.hint:
            text += "\nHINT: {}".format(self.hint)
        return text

    def as_dict(self):
        return {"what": self.what, "rule": self.rule, "got": self.got, "hint": self.hint}


class Refused(Problem):
    """An input or the host breaks a rule. Nothing was changed."""

    code = EXIT_REFUSED


# --- Archives: what a vendor archive holds, and what must never be unpacked ---

# --- Archives end ---
