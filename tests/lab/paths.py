"""Where the lab keeps what it may lose: everything is below the checkout's .cache/."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "lab"
FILES = Path(__file__).resolve().parent / "files"
