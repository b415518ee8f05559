"""The templates give the same bytes with both engines' Jinja, and the snippet says what the configuration says."""

from typing import Any

import jinja2
import pytest

from tests.dlsproxy.conftest import DEFAULTS, LINE
from tests.test_templates import ROOT

VARIABLES = {
    **DEFAULTS,
    "__dls_proxy_hosts": ["dls.example.com"],
    "__dls_proxy_ipv6": True,
    "__dls_proxy_default_server": False,
    "__dls_proxy_portal_open": True,
    "__dls_proxy_networks": ["127.0.0.1/32"],
    "__dls_proxy_client_paths": LINE["client_paths"],
    "__dls_proxy_upstream": "127.0.0.1:48080",
}


def rendered(name: str, keep_trailing_newline: bool, **changes: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "templates"),
        trim_blocks=True,
        keep_trailing_newline=keep_trailing_newline,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - configuration files, not HTML
    )
    return environment.get_template(name).render(VARIABLES | changes).strip()


@pytest.mark.parametrize("name", ["dls-proxy.conf.j2", "dls-proxy-http.conf.j2", "dls-proxy-locations.conf.j2"])
def test_trailing_newlines_of_included_templates_make_no_difference(name: str) -> None:
    assert rendered(name, True) == rendered(name, False)


def test_snippet_is_part_of_the_configuration() -> None:
    whole = [line.strip() for line in rendered("dls-proxy.conf.j2", True).splitlines()]
    for part in ("http", "locations"):
        lines = [line.strip() for line in rendered(f"dls-proxy-{part}.conf.j2", True).splitlines()]
        at = whole.index(lines[0])
        assert whole[at : at + len(lines)] == lines


def test_client_paths_are_the_documented_ones_in_every_release_line() -> None:
    locations = rendered("dls-proxy-locations.conf.j2", True)
    assert locations.count("location = /dls/auth/ {") == locations.count("location = /dls/verify/v2 {") == 1
    assert '!~ "^(GET|OPTIONS)$"' in locations
    assert '!~ "^(POST|OPTIONS)$"' in locations


def test_portal_is_closed_in_the_text_itself_until_its_password_is_set() -> None:
    closed = rendered("dls-proxy.conf.j2", True, __dls_proxy_portal_open=False)
    assert "proxy_pass http://127.0.0.1:48080/;" not in closed
    assert "127.0.0.1/32" not in closed
