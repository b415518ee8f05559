"""The command line of a checkout: dlskit's, and the commands that only a checkout has."""

import importlib.util

from dlskit.cli import main
from tests.checkout.commands import bench, demo, test

for command in (demo, test, bench):
    main.add_command(command)
if importlib.util.find_spec("tests.checkout.generate"):
    from tests.checkout.generate import generate

    main.add_command(generate)

if __name__ == "__main__":
    main(prog_name="./dls", complete_var="_DLS_COMPLETE")  # a shell completes by the last part of the name
