"""Settings of a stand-in: what may be told to it at build time and, but for two, in standin.properties at run time."""

import difflib
import re
from collections.abc import Mapping

from dlsctl.problems import Refused

# Key -> accepted values. README.md says what each does.
KNOWN = {
    "start.delay": r"\d+",
    "start.crash": r"\d+",
    "stop.delay": r"\d+",
    "health.status": r"[2-5]\d\d",
    "uuid.salt": r"[\w.-]+",
    "store.format": r"\d+",
    "store.min_format": r"\d+",
    "disk.full": r"yes|no",
    # These two shape the archive, not the running server.
    "shutdown": r"yes|no",
    "zip.top": r"[\w.-]+",
}


class BuildRefused(Refused):
    """Something asked of the builder breaks a rule."""


def checked(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings, sorted. Raises BuildRefused for an unknown key or a value out of its rule."""
    for key, value in settings.items():
        if key not in KNOWN:
            near = difflib.get_close_matches(key, KNOWN, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KNOWN)}"
            raise BuildRefused("setting", "must be a known key", key, hint)
        if not re.fullmatch(KNOWN[key], value):
            raise BuildRefused(key, f"must match {KNOWN[key]}", value, "see the table in tests/standin/README.md")
    return dict(sorted(settings.items()))
