"""dlsctl's reader on the oldest Python of a target."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dlsctl
from tests.archives import rawtar as tar
from tests.archives.cases import CASES

SOURCES = Path(dlsctl.__file__).parents[1]
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from dlsctl.problems import Refused
from dlsctl.tarballs import read_tar
from dlsctl.unpacking import unpack_tar
into, *paths = sys.argv[2:]
good = read_tar(paths[0])
print(good.version, len(unpack_tar(paths[0], into, good)))
for path in paths[1:]:
    try:
        read_tar(path)
        print("passed")
    except Refused as problem:
        print(problem.rule)
"""


def old_python() -> str | None:
    """Return a Python older than 3.9, the oldest first: on PATH, or beside the running one as version managers do."""
    beside = Path(sys.base_prefix).parent
    for minor in (6, 7, 8):
        found = [shutil.which(f"python3.{minor}"), *map(str, sorted(beside.glob(f"*3.{minor}.*/bin/python3")))]
        for python in filter(None, found):
            if _runs(python):
                return python
    return None


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", "import zlib"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("python", [sys.executable, pytest.param(old_python(), id="old")])
def test_reads_unpacks_and_refuses_alike_on_old_pythons(python: str | None, tmp_path: Path) -> None:
    if python is None:
        pytest.skip("no Python older than 3.9 on this machine")
    good = tmp_path / "good.tar.gz"
    good.write_bytes(tar.packed([*tar.linux_release(), tar.file("dls-linux/Größe".encode())]))
    hostile = {name: case for name, case in CASES.items() if name.startswith(("tree", "tar", "gzip: cut"))}
    hostile = {name: case for name, case in hostile.items() if case.content[:2] == b"\x1f\x8b"}
    paths = []
    for number, case in enumerate(hostile.values()):
        path = tmp_path / str(number)
        path.write_bytes(case.content)
        paths.append(str(path))
    (tmp_path / "into").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [python, str(tmp_path / "program.py"), str(SOURCES), str(tmp_path / "into"), str(good), *paths]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={"LC_ALL": "C"})
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["2.4.11 10", *(case.rule for case in hostile.values())]
