"""dlsctl as the one file that it is on a host."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from dlsctl.deployment import own_program


@functools.cache
def program() -> Path:
    """Write it to a folder of this process, which goes when the process ends."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    path = Path(folder, "dlsctl")
    path.write_bytes(own_program())
    path.chmod(0o755)
    return path
