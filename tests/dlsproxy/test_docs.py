"""What docs/proxy.md shows is accepted by the programs it is for, and says what the role does."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.dlsproxy.certificates import issue
from tests.dlsproxy.conftest import LINE, OPTIONS, ROOT

TEXT = (ROOT / "docs/proxy.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_variables_of_the_examples_are_variables_of_the_role() -> None:
    examples = [*blocks("yaml"), *re.findall(r"^    (dls_proxy_\w+:[^\n]*\n(?:      [^\n]*\n)*)", TEXT, re.MULTILINE)]
    assert len(examples) >= 5
    for example in examples:
        assert set(yaml.safe_load(example.replace("!vault", ""))) <= set(OPTIONS)


@pytest.mark.parametrize("language", ["haproxy", "caddy"])
def test_examples_have_the_paths_and_methods_of_the_role(language: str) -> None:
    (example,) = blocks(language)
    for item in LINE["client_paths"]:
        assert re.search(rf"path /dls/{re.escape(item['path'])}\n", example)
        assert f"method {' '.join(item['methods'])}\n" in example
        assert f"`/dls/{item['path']}` | {', '.join(item['methods'])} | everybody" in TEXT


def pair(folder: Path) -> tuple[Path, Path]:
    own = issue("dls", "dls.example.com")
    certificate, key = folder / "dls.pem", folder / "dls.key"
    certificate.write_text(own.pem + own.key)
    key.write_text(own.key)
    return certificate, key


def test_haproxy_accepts_its_example(tmp_path: Path) -> None:
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if not program:
        pytest.skip("haproxy is not on this machine")
    (example,) = blocks("haproxy")
    (tmp_path / "haproxy.cfg").write_text(example.replace("/etc/haproxy/dls.pem", str(pair(tmp_path)[0])))
    done = subprocess.run([program, "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_caddy_accepts_its_example(tmp_path: Path) -> None:
    program = shutil.which("caddy")
    if not program:
        pytest.skip("caddy is not on this machine")
    (example,) = blocks("caddy")
    certificate, key = pair(tmp_path)
    text = example.replace("/etc/caddy/dls.pem", str(certificate)).replace("/etc/caddy/dls.key", str(key))
    (tmp_path / "Caddyfile").write_text(text.replace("/var/log/caddy", str(tmp_path)))
    command = [program, "validate", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
