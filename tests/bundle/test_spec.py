"""The specification of a bundle: every mistake is refused by name, before anything is done."""

from pathlib import Path

import pytest

from dlsctl.problems import Refused
from dlskit.bundle import spec

HASH = "a" * 64
BASE = 'name: sample\npythons: ["3.11"]\n'


def read(folder: Path, text: str) -> spec.Spec:
    path = folder / "spec.yml"
    path.write_text(text)
    return spec.read(str(path))


def test_a_whole_one_is_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        f"""
name: dls-2026
pythons: ["3.13", "3.11"]
platforms: [manylinux_2_28_x86_64, manylinux_2_34_aarch64]
archives: [{{path: a/dls.tar.gz, sha256: "sha256:{HASH}", version: 2.4.11}}]
windows: {{nssm: {{path: /nssm.zip, sha256: {HASH}}}}}
collections: [ansible.windows]
targets:
  rhel9: {{folder: rpms}}
  debian12: {{packages: [nginx, net-tools]}}
mirror: {{main: "http://mirror.example.com/debian"}}
docs: false
""",
    )
    assert found.pythons == ("3.11", "3.13")
    assert found.archives == (spec.Given(tmp_path / "a/dls.tar.gz", HASH, "2.4.11"),)
    assert found.windows == {"nssm": spec.Given(Path("/nssm.zip"), HASH, "")}
    assert found.targets["debian12"] == spec.Target(("net-tools", "nginx"), None)
    assert found.targets["rhel9"] == spec.Target((), tmp_path / "rpms")
    assert found.mirror.main == "http://mirror.example.com/debian"
    assert found.mirror.security == "http://deb.debian.org/debian-security"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "specification: must be keys and values, got list"),
        ("a: [", "must be YAML"),
        (BASE + "name: again", "a key twice"),
        ("!!python/object:os.system {}", "must be YAML"),
        ("name: current\npythons: ['3.11']", "name: must be letters, digits, dots and dashes, 64 at most, not current"),
        ("pythons: ['3.11']", "name: must be there, got nothing"),
        (BASE + "archive: []", "HINT: did you mean archives?"),
        (BASE + "1: 2", "specification: must have no keys but name, pythons"),
        ("name: ../x\npythons: ['3.11']", "name: must be letters, digits"),
        ("name: a\npythons: [3.11]", "pythons, 1: must be versions such as"),
        ("name: a\npythons: '3.11'", "pythons: must be a list"),
        ("name: a\npythons: []", "pythons: must name one or more"),
        ("name: a\npythons: ['3.11', '3.11']", "pythons: must name one or more, each once"),
        ("name: a\npythons: ['3.10']", "which is the oldest"),
        (BASE + "platforms: [win_amd64]", "platforms, 1: must be such as manylinux_2_28_x86_64"),
        (BASE + "platforms: [manylinux_2_28_riscv64]", "platforms, 1: must be"),
        (BASE + "docs: 1", "docs: must be true or false, got 1"),
        (BASE + "archives: [x]", "archives, 1: must be keys and values"),
        (BASE + "archives: [{path: a, sha256: b, version: 2.4.11}]", "archives, 1, sha256: must be 64 digits"),
        (BASE + f"archives: [{{path: a, sha256: {HASH}}}]", "archives, 1, version: must be there"),
        (
            BASE + f"archives: [{{path: a, sha256: {HASH}, version: 2.4}}]",
            "archives, 1, version: must be text, in quotes",
        ),
        (BASE + f"archives: [{{path: a, sha256: {HASH}, version: new}}]", "archives, 1, version: must be numbers"),
        (BASE + "windows: {nsm: {}}", "HINT: did you mean nssm?"),
        (BASE + "targets: {debian10: {}}", "targets: must have no keys but debian11"),
        (BASE + "targets: {debian12: {}}", "targets, debian12: must have either packages or a folder"),
        (BASE + "targets: {debian12: {folder: x}}", "targets, debian12: must have packages"),
        (BASE + "targets: {debian12: {packages: [--x]}}", "targets, debian12, packages, 1: must be a package's name"),
        (BASE + "targets: {rhel9: {packages: [a], folder: x}}", "targets, rhel9: must have either"),
        (BASE + "collections: [windows]", "collections, 1: must be such as ansible.windows"),
        (BASE + 'mirror: {main: "http://x/ y"}', "mirror, main: must be an address"),
        (BASE + "mirror: {other: x}", "mirror: must have no keys but main, security"),
    ],
)
def test_a_mistake_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        read(tmp_path, text)
    assert words in str(refused.value)
    assert refused.value.hint
