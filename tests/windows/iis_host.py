"""A Windows host for IIS, as the role asks about it: one with nothing yet, and one where all is done."""

import base64
import copy
import hashlib
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from dlskit.windows.proxy.iis import LOG_FIELDS
from dlskit.windows.proxy.preflight import preflight
from tests.dlsproxy.certificates import Issued, issue
from tests.dlsproxy.conftest import DEFAULTS, LINE, OPTIONS, ROLE, ROOT

FAMILY = yaml.safe_load((ROLE / "vars/windows.yml").read_text())["__dls_proxy_family"]
NAME, PASSWORD = "dls.example.com", "canary"
GOOD = {"rc": 0, "stderr": ""}


def write_pfx(path: Path, own: Issued, *issuers: Issued, password: str = PASSWORD) -> Path:
    chain = [issuer.certificate for issuer in issuers]
    key = own.private_key
    encryption = BestAvailableEncryption(password.encode())
    path.write_bytes(pkcs12.serialize_key_and_certificates(b"dls", key, own.certificate, chain, encryption))
    return path


def blank(folder: Path) -> dict[str, Any]:
    """What the role asks about a Windows Server on which there is nothing of a proxy yet."""
    root = issue("root", authority=True)
    authority = issue("authority", issuer=root, authority=True)
    values = {
        **DEFAULTS,
        "dls_proxy_server_names": [NAME],
        "dls_proxy_tls_pfx": str(write_pfx(folder / "dls.pfx", issue("dls", NAME, issuer=authority), authority, root)),
        "dls_proxy_tls_pfx_password": PASSWORD,
        "dls_server_port": 48080,
        "dls_server_data_port": 30201,
    }
    for short in ("url_rewrite", "arr"):
        (folder / f"{short}.msi").write_bytes(short.encode())
        values[f"dls_proxy_{short}"] = str(folder / f"{short}.msi")
        values[f"dls_proxy_{short}_checksum"] = "sha256:" + hashlib.sha256(short.encode()).hexdigest()
    return {
        "spec": {
            "entry": "main",
            "prefix": "dls_proxy_",
            "options": OPTIONS,
            "names": sorted(values),
            "known": [*OPTIONS, "dls_server_port", "dls_server_data_port"],
            "values": values,
            "family": FAMILY,
            "client_paths": LINE["client_paths"],
            "health_path": LINE["health_path"],
        },
        "templates": str(ROOT / "templates"),
        "portal_open": True,
        "host": {
            "facts": {
                "ansible_distribution": "Microsoft Windows Server 2022 Standard",
                "ansible_distribution_version": "10.0.20348.0",
                "ansible_os_installation_type": "Server",
                "ansible_powershell_version": 5,
                "ansible_reboot_pending": False,
            },
            "features": [{"name": name, "installed": False} for name in FAMILY["packages"]],
            "files": {"rewrite": False, "router": False, "appcmd": False, "web_config": False},
            "web_config": None,
            "ports": [{"port": 3389, "pid": 900, "name": "svchost"}],
            "firewall_is_on": True,
            "certificates": [],
            "issuers": [],
            "sites": [],
            "pools": [],
            "settings": {},
        },
    }


def asked(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The answer, with variables of the role changed by their short names."""
    changed = copy.deepcopy(document)
    given = {f"dls_proxy_{name}": value for name, value in changes.items()}
    changed["spec"]["values"].update(given)
    changed["spec"]["names"] = sorted(changed["spec"]["values"])
    return preflight(changed)


def texts(answer: dict[str, Any]) -> str:
    return "\n".join(problem["text"] for problem in answer["problems"])


def finished(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The document of a host on which everything that was due has been done."""
    seen = asked(document, **changes)["look"]
    done = copy.deepcopy(document)
    done["spec"]["values"].update({f"dls_proxy_{name}": value for name, value in changes.items()})
    rate = seen["rate"]
    is_on = str(rate["requests"] > 0).lower()
    limit = f'enabled="{is_on}" requestIntervalInMilliseconds="{rate["milliseconds"]}" maxRequests="{rate["requests"]}"'
    done["host"].update(
        features=[{"name": name, "installed": True} for name in FAMILY["packages"]],
        files=dict.fromkeys(done["host"]["files"], True),
        web_config=base64.b64encode(seen["web_config"].encode()).decode(),
        ports=[{"port": 443, "pid": 4, "name": "System"}],
        certificates=[{"thumbprint": seen["thumbprint"]}],
        issuers=[{"thumbprint": issuer["thumbprint"]} for issuer in seen["issuers"]],
        sites=[
            {
                "name": "Default Web Site",
                "physical_path": "x",
                "bindings": [{"protocol": "http", "port": 80, "hostname": ""}],
            },
            {
                "name": "dls",
                "state": "Started",
                "physical_path": r"C:\inetpub\dls",
                "application_pool": "dls",
                "bindings": seen["bindings"],
            },
        ],
        pools=[{"name": "dls", "attributes": {"managedRuntimeVersion": ""}}],
        settings={
            "proxy": {**GOOD, "stdout": '<system.webServer>\n  <proxy enabled="true" />\n</system.webServer>'},
            "rules": {**GOOD, "stdout": "<globalRules>\n</globalRules>"},
            "log": {**GOOD, "stdout": ", ".join(reversed(LOG_FIELDS)) + "\r\n"},
            "rate": {
                **GOOD,
                "stdout": f"<dynamicIpSecurity>\n<denyByRequestRate {limit} />\n</dynamicIpSecurity>",
            },
        },
    )
    return done
