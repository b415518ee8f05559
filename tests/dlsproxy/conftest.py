"""What the role asks of dlsproxy, on a host on which everything is right."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "dls_proxy"
OPTIONS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
LINE = yaml.safe_load((ROOT / "src/dlskit/vendor/2.4.yml").read_text())
FAMILIES = {
    name: yaml.safe_load((ROLE / f"vars/{name}.yml").read_text())["__dls_proxy_family"] for name in ("debian", "redhat")
}

# Changes to the defaults, each of which must give a configuration that the web server takes.
SETTINGS: list[dict[str, Any]] = [
    {},
    {"dls_proxy_protocols": ["http"]},
    {"dls_proxy_protocols": ["https"], "dls_proxy_hsts": 86400},
    {"dls_proxy_prefix": "/"},
    {"dls_proxy_prefix": "/a/b/"},
    {"dls_proxy_rate_limit": 0, "__dls_proxy_portal_open": False},
    {"__dls_proxy_default_server": True, "__dls_proxy_ipv6": True},
    {"__dls_proxy_hosts": ["a.example", "10.0.0.5", "[fd00::5]", "x" * 63 + ".example"]},
    {"__dls_proxy_client_paths": [*LINE["client_paths"], {"path": "more/v1", "methods": ["GET", "HEAD"]}]},
]


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """What the role asks, with every path below a temporary folder."""
    values = {
        **DEFAULTS,
        "dls_proxy_server_names": ["dls.example.com"],
        "dls_proxy_tls_certificate_path": f"{tmp_path}/tls/certificate.pem",
        "dls_proxy_tls_key_path": f"{tmp_path}/tls/key.pem",
        "dls_server_port": 48080,
        "dls_server_data_port": 30201,
    }
    return {
        "entry": "main",
        "family": "debian",
        "prefix": "dls_proxy_",
        "options": OPTIONS,
        "names": sorted(values),
        "known": [*OPTIONS, "dls_server_port", "dls_server_data_port"],
        "values": values,
        "families": FAMILIES,
        "configuration": {"path": f"{tmp_path}/conf.d/dls.conf", "mode": "0644", "content": "# dls\n"},
        "client_paths": LINE["client_paths"],
        "health_path": LINE["health_path"],
        "is_new": False,
    }
