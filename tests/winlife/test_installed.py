"""What the playbook has installed, as the vendor documents it."""

import pytest

from tests.winlab.host import Host
from tests.winlab.prefix import NSSM
from tests.winlab.test_prefix import SERVICE, answers

pytestmark = pytest.mark.slow
HOME = r"E:\dls"


def setting(host: Host, *words: str) -> str:
    """A parameter of the service, as NSSM has it."""
    code, said = host.prefix.wine(NSSM, "get", SERVICE, *words)
    assert code == 0, said
    return said.strip()


def test_the_portal_answers(host: Host, port: int) -> None:
    assert answers(port)


def test_the_service_has_the_documented_command_and_directory(host: Host, port: int) -> None:
    assert setting(host, "Application").endswith(r"\win\bin\dynamsoftdlsx.exe")
    assert setting(host, "AppDirectory").startswith(HOME + r"\releases\2.4.11")
    arguments = setting(host, "AppParameters")
    assert "-Djavax.net.ssl.trustStoreType=WINDOWS-ROOT" in arguments
    assert f"--server.port={port}" in arguments


def test_its_exit_hook_cannot_end_the_server_that_is_started_again(host: Host) -> None:
    assert setting(host, "AppEvents", "Exit/Post").endswith("shutdown.bat")
    assert int(setting(host, "AppRestartDelay")) >= 6000


def test_psexec_is_gone(host: Host) -> None:
    release = host.prefix.path(HOME + r"\releases")
    assert list(release.rglob("startup.bat"))
    assert not [path for path in release.rglob("*") if path.name.lower() == "psexec64.exe"]


def test_verify_finds_nothing(host: Host) -> None:
    done = host.run("verify")
    assert (done.code, done.changed) == (0, 0), done.output[-4000:]
