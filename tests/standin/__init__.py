"""A stand-in for the vendor's archive, for tests and demo; it is no licence server. README.md describes it."""

import sys
from pathlib import Path

# `python -m tests.standin` runs from the checkout's root, where only ./dls and pytest know of src/.
_SRC = str(Path(__file__).parents[2] / "src")
if _SRC not in sys.path:
    sys.path.append(_SRC)
