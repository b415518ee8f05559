"""What docs/bundle.md shows is a specification, and its commands run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dlskit.bundle import spec
from tests.bundle import samples

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/bundle.md").read_text()


def block(heading: str, language: str) -> str:
    """The first block of a language below a heading."""
    found = re.search(rf"^## {heading}$.*?^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found.group(1)


def test_the_example_is_a_specification(tmp_path: Path) -> None:
    (tmp_path / "spec.yml").write_text(block("Build", "yaml"))
    found = spec.read(str(tmp_path / "spec.yml"))
    assert (list(found.targets), found.windows["nssm"].path) == (["debian12", "rhel9"], tmp_path / "nssm-2.24.zip")
    for key in spec._KEYS:
        assert key in TEXT


def test_the_command_that_builds_has_these_options() -> None:
    assert "./dls bundle build spec.yml --out dls-2026-11 --sign-key bundle.key" in block("Build", "sh")


@pytest.mark.skipif(not shutil.which("minisign"), reason="minisign is not installed")
def test_the_commands_run(tmp_path: Path) -> None:
    folder = samples.make(tmp_path / "dls-2026-11", name="dls-2026-11")
    samples.public_file(tmp_path / "bundle.pub")
    samples.secret_file(tmp_path / "bundle.key")
    (tmp_path / "dls").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dlskit "$@"\n')
    (tmp_path / "dls").chmod(0o755)
    program = tmp_path / "verify.py"
    shutil.copy(ROOT / "src/dlskit/bundle/verify.py", program)
    script = block("Verify", "sh").replace("dls-2026-11/verify.py", "verify.py dls-2026-11").replace(" --here", "")
    done = subprocess.run(
        ["bash", "-eu", "-c", script + block("Media", "sh")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dls-2026-11-copy/manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()
