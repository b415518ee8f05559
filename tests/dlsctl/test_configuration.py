"""dls.json and the ports: the kit sets what it owns and keeps what it does not."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlsctl.configuration import DLS_JSON_SCHEMA, schema_errors
from dlsctl.launch import startup_with_ports
from dlsctl.problems import EXIT_REFUSED, Refused
from tests.dlsctl.conftest import LINE, Site

MAIN = ["self", "https://standby.example/dls/"]


def own(site: Site, servers: list[str]) -> None:
    (site.root / "etc/dls.json").write_text(json.dumps({"servers": servers}))


def test_dls_json_is_absent_unless_servers_are_configured(no_server: Site) -> None:
    site = no_server
    site.install()
    assert site.apply() == 0
    assert not (site.release / "dls.json").exists()


def test_dls_json_takes_other_keys_from_the_release_s_sample(no_server: Site) -> None:
    site = no_server
    site.install()
    own(site, ["https://main.example/dls/", "self"])
    assert site.apply() == 0
    assert json.loads((site.release / "dls.json").read_text()) == {
        "serverMode": "main_standby",
        "servers": ["https://main.example/dls/", "self"],
        "bDynamHost": False,
    }


def test_dls_json_keeps_keys_that_the_kit_does_not_own(no_server: Site) -> None:
    site = no_server
    site.install()
    (site.release / "dls.json").write_text(json.dumps({"servers": ["self", "http://old/"], "vendorKey": [1]}))
    own(site, MAIN)
    assert site.apply() == 0
    assert json.loads((site.release / "dls.json").read_text()) == {"servers": MAIN, "vendorKey": [1]}


def test_dls_json_that_is_as_configured_keeps_its_bytes(no_server: Site) -> None:
    site = no_server
    site.install()
    text = '{"servers":["self","https://standby.example/dls/"]  }'
    (site.release / "dls.json").write_text(text)
    own(site, MAIN)
    assert site.apply() == 0
    assert (site.release / "dls.json").read_text() == text


def test_dls_json_of_the_kit_goes_when_no_servers_are_configured_any_more(no_server: Site) -> None:
    site = no_server
    site.install()
    own(site, MAIN)
    assert site.apply() == 0
    (site.root / "etc/dls.json").unlink()
    assert site.apply() == 0
    assert not (site.release / "dls.json").exists()


def test_dls_json_that_somebody_else_wrote_stays(no_server: Site) -> None:
    site = no_server
    site.install()
    (site.release / "dls.json").write_text("{}")
    assert site.apply() == 0
    assert (site.release / "dls.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        (["self"], "dls.json/servers: must have 2 entries"),
        (["self", "self"], "must not name a server twice"),
        (["http://a/", "http://b/"], "must name this host as self"),
        (["self", "standby.example"], "dls.json/servers/1: must be self or an http(s) URL"),
    ],
)
def test_bad_servers_never_replace_a_working_file(
    no_server: Site, capsys: pytest.CaptureFixture[str], servers: list[str], message: str
) -> None:
    site = no_server
    site.install()
    own(site, MAIN)
    assert site.apply() == 0
    before = (site.release / "dls.json").read_bytes()
    own(site, servers)
    assert site.apply() == EXIT_REFUSED
    assert message in capsys.readouterr().err
    assert (site.release / "dls.json").read_bytes() == before


def test_dls_json_that_is_no_json_is_refused_and_kept(no_server: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site = no_server
    site.install()
    (site.release / "dls.json").write_text("{broken")
    own(site, MAIN)
    assert site.apply() == EXIT_REFUSED
    assert "must be JSON" in capsys.readouterr().err
    assert (site.release / "dls.json").read_text() == "{broken"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["self", "http://a/dls", "https://b", "ftp://c", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["servers", "serverMode", "x"]), inner),
    max_leaves=6,
)


@given(JSON | st.fixed_dictionaries({"servers": st.lists(JSON, max_size=3), "serverMode": JSON}))
def test_schema_checker_agrees_with_jsonschema(value: Any) -> None:
    valid = jsonschema.Draft7Validator(DLS_JSON_SCHEMA).is_valid(value)
    assert (schema_errors(DLS_JSON_SCHEMA, value) == []) == valid


@pytest.mark.parametrize(
    ("script", "ports", "result"),
    [
        (b"x --server.port=48080", (48080, 30201), b"x --server.port=48080"),
        (b"x --server.port=48080", (8080, 30201), b"x --server.port=8080"),
        (b"x --server.port=48080 &", (8080, 3000), b"x --server.port=8080 --data.port=3000 &"),
        (b"x --server.port=1 --data.port=2 y", (8080, 3000), b"x --server.port=8080 --data.port=3000 y"),
        (b"x --server.port=8080 --data.port=3000", (48080, 30201), b"x --server.port=48080 --data.port=30201"),
        (b"java -jar x.jar", (48080, 30201), b"java -jar x.jar"),
    ],
)
def test_ports_are_set_in_the_start_script(script: bytes, ports: tuple[int, int], result: bytes) -> None:
    assert startup_with_ports(script, *ports, LINE) == result


def test_ports_of_a_start_script_without_the_option_cannot_be_changed() -> None:
    with pytest.raises(Refused, match="must hold --server"):
        startup_with_ports(b"java -jar x.jar", 8080, 30201, LINE)


def test_edited_start_script_counts_neither_as_state_nor_as_damage(no_server: Site) -> None:
    site = no_server
    site.install()
    assert site.apply() == 0
    assert str(site.settings["port"]) in (site.release / "startup.sh").read_text()
    assert site.ask("state")["state"] == []
    assert site.call("verify").returncode == 0
