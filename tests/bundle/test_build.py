"""``dlskit bundle build``: what is in a bundle, that it is the same each time, and that a failure leaves nothing."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dlsctl.problems import EXIT_REFUSED, Problem, Refused
from dlskit.bundle import ansible, debian, kit, redhat, sbom, tools, verify, wheels
from dlskit.bundle.content import Content, Source
from dlskit.bundle.spec import Mirror, Target
from dlskit.cli import main
from tests.archives import rawtar as tar
from tests.bundle import samples
from tests.galaxy import tools as outside

ARCHIVE = tar.packed(tar.linux_release())
SPEC = """
name: sample
pythons: ["3.11"]
archives: [{path: dls.tar.gz, version: 2.4.11, sha256: HASH}]
windows: {nssm: {path: nssm.zip, version: "2.24", sha256: HASH}}
targets: {debian12: {packages: [nginx]}}
docs: false
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A specification with its files."""
    for name in ("dls.tar.gz", "nssm.zip"):
        (tmp_path / name).write_bytes(ARCHIVE)
    path = tmp_path / "spec.yml"
    path.write_text(SPEC.replace("HASH", hashlib.sha256(ARCHIVE).hexdigest()))
    return path


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Downloads as far as the quick tests need them."""

    def add_wheels(content: Content, *_: object) -> None:
        content.add("wheels/a-1.0-py3-none-any.whl", Source("pkg:pypi/a@1.0", data=b"wheel"))

    def add_packages(content: Content, name: str, *_: object) -> None:
        content.add(f"repositories/{name}/Packages", Source("made by dlskit", data=b"index"))

    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(wheels, "add", add_wheels)
        monkeypatch.setattr(ansible, "add", lambda *_: None)
        monkeypatch.setattr(debian, "add", add_packages)
    yield


def build(spec: Path, out: Path, *options: str) -> Result:
    key = samples.secret_file(spec.with_name("secret.key"))
    return CliRunner().invoke(main, ["bundle", "build", str(spec), "--out", str(out), "--sign-key", str(key), *options])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no archive", "dls.tar.gz: must be a .tar.gz or a .zip"),
        (tar.packed(tar.linux_release(version=b"2.4.12")), "dls.tar.gz: must hold release 2.4.11, got 2.4.12"),
    ],
    ids=["no archive", "another version"],
)
def test_an_archive_that_is_not_what_it_is_called_is_refused(
    spec: Path, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "dls.tar.gz").write_bytes(content)
    pinned = hashlib.sha256(content).hexdigest()
    spec.write_text(spec.read_text().replace(hashlib.sha256(ARCHIVE).hexdigest(), pinned, 1))
    done = build(spec, tmp_path / "out")
    assert (done.exit_code, words in done.stderr) == (EXIT_REFUSED, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_bundle_holds_the_kit_and_what_was_asked_for(spec: Path, key: Path, tmp_path: Path) -> None:
    done = build(spec, tmp_path / "out", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    manifest, problems = verify.check(str(tmp_path / "out"), str(key))
    assert (json.loads(done.stdout), problems) == (manifest, [])
    assert (manifest["vendor"], manifest["targets"], manifest["pythons"]) == (["2.4.11"], ["debian12"], ["3.11"])
    paths = {entry["path"]: entry["origin"] for entry in manifest["files"]}
    digest = hashlib.sha256(ARCHIVE).hexdigest()
    assert paths["archives/dls.tar.gz"] == f"pkg:generic/dynamsoft-dls@2.4.11?checksum=sha256:{digest}"
    for path in (
        "kit/roles/dls_server/meta/argument_specs.yml",
        "kit/requirements.lock",
        "verify.py",
        "windows/nssm.zip",
    ):
        assert path in paths
    assert not [path for path in paths if "__pycache__" in path or path.startswith("kit/docs/") or "/." in path]
    subprocess.run([sys.executable, tmp_path / "out/verify.py", "--key", key], check=True)


def test_same_inputs_same_bytes(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build(spec, tmp_path / "one").exit_code == 0
    for path in (spec, spec.with_name("dls.tar.gz")):
        os.utime(path, (0, 0))
    monkeypatch.setattr("time.time", lambda: 1.0)
    assert build(spec, tmp_path / "elsewhere" / "two").exit_code == 0
    trees = [
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (tmp_path / "one", tmp_path / "elsewhere" / "two")
    ]
    assert trees[0] == trees[1]


def test_a_file_that_is_not_as_pinned_is_refused_before_anything_is_written(spec: Path, tmp_path: Path) -> None:
    spec.with_name("nssm.zip").write_bytes(b"another")
    before = sorted(tmp_path.rglob("*"))
    done = build(spec, tmp_path / "out")
    assert (done.exit_code, "nssm.zip': must have SHA-256" in done.stderr) == (verify.EXIT_REFUSED, True)
    assert sorted(set(tmp_path.rglob("*")) - {tmp_path / "secret.key"}) == before
    spec.with_name("nssm.zip").unlink()
    assert "must be a readable file" in build(spec, tmp_path / "out").stderr


def test_a_given_file_may_be_a_link(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "dls.tar.gz").rename(tmp_path / "store")
    (tmp_path / "dls.tar.gz").symlink_to("store")
    done = build(spec, tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    copy = tmp_path / "out/archives/dls.tar.gz"
    assert copy.read_bytes() == ARCHIVE
    assert not copy.is_symlink()


def test_a_failed_build_leaves_nothing(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Problem("pip", "must succeed", "exit 1", "check the network")

    monkeypatch.setattr(wheels, "add", fail)
    before = sorted({*tmp_path.rglob("*"), tmp_path / "secret.key"})
    assert build(spec, tmp_path / "out").exit_code == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bundle_replaces_nothing_and_is_never_unsigned(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert "must not be there yet" in build(spec, tmp_path / "out").stderr
    done = CliRunner().invoke(main, ["bundle", "build", str(spec), "--out", str(tmp_path / "new")])
    assert (done.exit_code, "--sign-key: must be given" in done.stderr) == (verify.EXIT_REFUSED, True)


def test_two_files_of_one_name_are_refused() -> None:
    content = Content()
    content.add("archives/a", Source("x"))
    with pytest.raises(Refused, match="must be in the bundle once"):
        content.add("archives/a", Source("y"))


def test_the_bill_of_materials_names_each_package_once() -> None:
    entries = [
        {"path": "a", "size": 1, "sha256": "0" * 64, "origin": "pkg:pypi/a-b@1.0"},
        {"path": "b", "size": 1, "sha256": "1" * 64, "origin": "pkg:deb/debian/nginx@1%3A2?arch=amd64"},
        {"path": "c", "size": 1, "sha256": "2" * 64, "origin": "pkg:pypi/a-b@1.0"},
        {"path": "d", "size": 1, "sha256": "3" * 64, "origin": "made by dlskit"},
        {"path": "e", "size": 1, "sha256": "4" * 64, "origin": "pkg:generic/nssm?checksum=sha256:44"},
    ]
    document = json.loads(sbom.render("sample", entries))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert not {"serialNumber", "timestamp"} & {*document, *document["metadata"]}
    found = [(one["name"], one["version"], "hashes" in one) for one in document["components"]]
    assert found == [("nginx", "1:2", True), ("nssm", "", True), ("a-b", "1.0", False)]


@pytest.mark.slow
def test_the_bill_of_materials_is_one_for_others_too(tmp_path: Path) -> None:
    origins = ["pkg:pypi/a-b@1.0", "pkg:deb/debian/nginx@1%3A2?arch=amd64", "pkg:generic/nssm?checksum=sha256:44"]
    entries = [{"path": origin, "size": 1, "sha256": 64 * "0", "origin": origin} for origin in origins]
    (tmp_path / sbom.NAME).write_bytes(sbom.render("sample", entries))
    check = (
        "from cyclonedx.schema import SchemaVersion as Version\n"
        "from cyclonedx.validation.json import JsonStrictValidator\n"
        f"error = JsonStrictValidator(Version.V1_6).validate_str(open({sbom.NAME!r}).read())\n"
        "assert error is None, error\n"
    )
    outside.run("python", "-c", check, cwd=tmp_path)


def test_wheels_are_chosen_for_the_python_and_machine_of_the_node() -> None:
    lock = "# text\na==1 ; python_version < '3.12' \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n    # via b\n"
    lock += "a==2 ; python_version >= '3.12' \\\n    --hash=sha256:22\n"
    lock += "b==1 ; platform_machine == 'aarch64' \\\n    --hash=sha256:33\n"
    assert wheels.locked(lock, "3.11", "x86_64") == ["a==1 --hash=sha256:00 --hash=sha256:11"]
    assert wheels.locked(lock, "3.13", "aarch64") == ["a==2 --hash=sha256:22", "b==1 --hash=sha256:33"]
    tags = wheels.tags("manylinux_2_17_x86_64")
    assert tags[:3] == ["manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_16_x86_64"]
    assert tags[-1] == "manylinux1_x86_64"


def test_pip_is_the_one_that_a_checkout_takes() -> None:
    from tests.checkout import bootstrap  # noqa: PLC0415

    version = bootstrap.PIP_WHEEL.split("-")[1]
    assert f"pip=={version} --hash=sha256:{bootstrap.PIP_SHA256}\n" in wheels.PIP.read_text()


def test_the_kit_of_a_bundle_has_the_examples_and_no_site_of_whoever_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*kit.FOLDERS, "inventories/mysite"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "hosts.yml").write_text("dls: {}")
    for name in kit.FILES:
        (tmp_path / name).touch()
    monkeypatch.setattr(kit, "ROOT", tmp_path)
    monkeypatch.setattr(kit, "wheel", lambda: ("kit.whl", b""))
    content = Content()
    kit.add(content, docs=False)
    assert {path for path in content.read() if "/inventories/" in path} == {
        f"kit/inventories/{kind}/hosts.yml" for kind in ("single", "pair", "windows")
    }


def test_the_wheel_of_the_kit_installs_and_runs(tmp_path: Path) -> None:
    name, data = kit.wheel()
    (tmp_path / name).write_bytes(data)
    target = tmp_path / "target"
    options = ["--quiet", "--no-deps", "--no-index", f"--target={target}"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, tmp_path / name], check=True)
    command: list[str | Path] = [sys.executable, target / "bin/dlskit", "--version"]
    done = subprocess.run(command, env={"PYTHONPATH": str(target)}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("dlskit, version")
    with zipfile.ZipFile(tmp_path / name) as archive:
        names = archive.namelist()
    for path in ("dlskit/bundle/verify.ps1", "dlskit/vendor/", "dlsctl/cli.py", "deploys/run.py", "piped.py"):
        assert any(entry.startswith(path) for entry in names), path


def test_programs_that_are_not_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="createrepo_c: must be on this machine: it makes the repository of rhel9"):
        redhat.add(Content(), "rhel9", Target(("nginx",), None), tmp_path / "scratch")
    with pytest.raises(Refused, match="dnf: must be on this machine"):
        redhat._download("9", Target(("nginx",), None), tmp_path)
    with pytest.raises(Refused, match="apt-get: must be on this machine"):
        tools.need("apt-get", "it fetches", "it")


def test_given_packages_of_the_rhel_family_get_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, given = tmp_path / "bin", tmp_path / "rpms"
    programs.mkdir()
    given.mkdir()
    (programs / "createrepo_c").write_text(
        '#!/bin/sh\nfor last; do :; done\nmkdir "$last/repodata"\n'
        'echo "$@" | sed "s#$last##" > "$last/repodata/repomd.xml"\n'
    )
    (programs / "createrepo_c").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(Refused, match="must be a folder of"):
        redhat.add(Content(), "rhel9", Target((), given), tmp_path / "first")
    (given / "nginx-1.20.1-14.el9.x86_64.rpm").write_bytes(b"rpm")
    content = Content()
    redhat.add(content, "rhel9", Target((), given), tmp_path / "second")
    (tmp_path / "out").mkdir()
    entries = content.write(tmp_path / "out")
    assert [(entry["path"], entry["origin"]) for entry in entries] == [
        ("repositories/rhel9/nginx-1.20.1-14.el9.x86_64.rpm", "pkg:rpm/nginx@1.20.1-14.el9?arch=x86_64&distro=rhel-9"),
        ("repositories/rhel9/repodata/repomd.xml", "made by createrepo_c"),
    ]
    assert "--set-timestamp-to-revision" in (tmp_path / "out/repositories/rhel9/repodata/repomd.xml").read_text()


def test_sources_of_apt_have_updates_and_are_checked_by_debians_keys() -> None:
    lines = debian.sources("bookworm", Mirror("http://m/debian", "http://m/security")).splitlines()
    assert [line.split("] ")[1] for line in lines] == [
        "http://m/debian bookworm main",
        "http://m/debian bookworm-updates main",
        "http://m/security bookworm-security main",
    ]
    assert all("signed-by=/usr/share/keyrings/debian-archive-keyring.gpg" in line for line in lines)


@pytest.mark.slow
def test_a_real_bundle_installs_a_control_node_without_an_index(spec: Path, key: Path, tmp_path: Path) -> None:
    version = "{}.{}".format(*sys.version_info)
    text = spec.read_text().replace('["3.11"]', f'["{version}"]').replace("nginx", "net-tools")
    spec.write_text(text + "collections: [ansible.windows]\n")
    done = build(spec, tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    bundle = tmp_path / "out"
    assert verify.main([str(bundle), "--key", str(key), "--here"]) == 0
    packages = (bundle / "repositories/debian12/Packages").read_text()
    assert "Package: net-tools\n" in packages
    assert "Package: libc6\n" in packages
    assert (bundle / "collections/ansible_collections/ansible/windows/MANIFEST.json").is_file()
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    into = tmp_path / "into"
    command: list[str | Path] = [sys.executable, bundle / "install.py", "--key", key, "--into", into]
    subprocess.run(command, check=True, env=clean)
    programs = into / "current/venv/bin"
    subprocess.run([programs / "dlskit", "init", tmp_path / "site"], check=True, env=clean)
    site = ["-i", str(tmp_path / "site")]
    kit = into / "current/kit"
    checked = subprocess.run(
        [programs / "ansible-playbook", *site, "--syntax-check", "playbooks/site.yml"],
        cwd=kit, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    module = "ansible.windows.win_ping"
    told = subprocess.run([programs / "ansible-doc", "-M", "none", "--playbook-dir", kit / "playbooks", module],
                          cwd=kit, env=clean, capture_output=True, text=True, check=False)  # fmt: skip
    assert "win_ping" in told.stdout.lower(), told.stderr
    assert verify.main([str(into / "current/bundle"), "--key", str(key)]) == 0


@pytest.mark.slow
def test_a_package_that_debian_does_not_have_is_told(spec: Path, tmp_path: Path) -> None:
    mirror = Mirror("http://deb.debian.org/debian", "http://deb.debian.org/debian-security")
    with pytest.raises(Problem, match="no-such-package-here"):
        debian.add(Content(), "debian12", Target(("no-such-package-here",), None), mirror, tmp_path / "scratch")
