"""``python -m dlskit`` is the ``dlskit`` command."""

from dlskit.cli import main

main(prog_name="dlskit")
