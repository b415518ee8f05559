"""What the service is given, word for word as the vendor documents it."""

import pytest

from dlskit.lines import line_of

DOCUMENTED = {
    "2.4.11": r'".\win\jre\bin\dynamsoftdls.exe" -Duser.language=en -Duser.region=CA'
    r" -Djavax.net.ssl.trustStoreType=WINDOWS-ROOT --add-opens java.base/jdk.internal.loader=ALL-UNNAMED"
    r' -jar ".\dls-2.4.11.jar" --server.port=48080 --data.port=30201',
    "2.2.19": r'".\win\jre\bin\dynamsoftdls" --add-opens java.base/jdk.internal.loader=ALL-UNNAMED'
    r' -jar ".\dls-2.2.19.jar" --server.port=48080 --data.port=50201',
}


@pytest.mark.parametrize("version", DOCUMENTED)
def test_the_arguments_of_the_service_are_those_of_the_release_line(version: str) -> None:
    facts = line_of(version).facts
    ports = {name: facts[name] for name in ("server_port", "data_port")}
    assert facts["windows"]["arguments"].format(version=version, **ports) == DOCUMENTED[version]


@pytest.mark.parametrize("version", ["2.2.19", "2.3.5", "2.4.11"])
def test_every_line_has_what_the_role_needs_for_windows(version: str) -> None:
    windows = line_of(version).facts["windows"]
    assert sorted(windows) == ["arguments", "exit_hook", "launcher", "programs", "unneeded"]
    assert not windows["launcher"].startswith("."), "NSSM is given whole paths"
