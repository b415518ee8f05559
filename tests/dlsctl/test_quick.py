"""What is asked for often starts without the modules of what is not."""

import subprocess
import sys

import pytest

from dlsctl.cli import QUICK, parser
from tests.dlsctl.program import program

LOADED = """
import sys
sys.path.insert(0, sys.argv[1])
from dlsctl.cli import main
main([sys.argv[2], "--config", "/nowhere"])
print(*sorted(name for name in sys.modules if name.startswith("dlsctl.")))
"""
LATER = {
    "dlsctl." + name
    for name in ("adopt", "backup", "drill", "intake", "lifecycle", "preflight", "restore", "tarballs", "upgrade")
}


@pytest.mark.parametrize("verb", ["status", "state", "backups"])
def test_frequent_verb_needs_no_module_of_the_life_cycle(verb: str) -> None:
    command = [sys.executable, "-c", LOADED, str(program()), verb]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (LATER & set(done.stdout.split()) == set()) is (verb in QUICK)


def test_help_names_every_verb_and_a_frequent_one_is_known_by_itself() -> None:
    for verb in ("adopt", "upgrade", *QUICK):
        assert f"    {verb} " in parser().format_help()
    for verb in QUICK:
        assert parser(verb).parse_args([verb]).verb
