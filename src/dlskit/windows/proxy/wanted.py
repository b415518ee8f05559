"""What the variables ask of IIS."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import jinja2

from dlskit.windows import patterns
from dlskit.windows.proxy.iis import IMPORTED, Binding, Iis
from dlskit.windows.proxy.pfx import Pfx
from dlsproxy.values import PREFIX

PORTAL_MIB = 16  # the largest body of the portal's requests
# By variable: what an installer brings, and the file by which that is known, as tasks/windows/see.yml calls it.
MODULES = {"url_rewrite": ("URL Rewrite", "rewrite"), "arr": ("Application Request Routing", "router")}


class Wanted:
    """What the variables ask for, and what there is of it on the host."""

    def __init__(self, document: Mapping[str, Any], certificate: Pfx | None) -> None:
        spec = document["spec"]
        self.entry: str = spec["entry"]
        self.values = {name[len(PREFIX) :]: value for name, value in spec["values"].items() if name.startswith(PREFIX)}
        self.server = {name: value for name, value in spec["values"].items() if not name.startswith(PREFIX)}
        self.features: list[str] = spec["family"]["packages"]
        self.templates: str = document["templates"]
        self.portal_open: bool = document["portal_open"]
        self.client_paths = [*spec["client_paths"], *(self.values["client_paths"] or [])]
        self.certificate = certificate
        self.iis = Iis(document["host"], self.values["iis_site"], self.values["iis_folder"])
        self.facts = document["host"].get("facts") or {}
        self.port = int(self.server["dls_server_port"])

    @property
    def path(self) -> str:
        return self.iis.folder + "\\web.config"

    @property
    def protocols(self) -> list[str]:
        return [protocol for protocol in ("http", "https") if protocol in (self.values["protocols"] or [])]

    @property
    def hosts(self) -> list[str]:
        """The names that HTTP.sys tells sites apart by: "" for all, which an address needs, having none in TLS."""
        names = [name for name in self.values["server_names"] or [] if not is_address(name)]
        if self.values["default_server"] or len(names) < len(self.values["server_names"] or []):
            return [""]
        return names

    @property
    def bindings(self) -> list[Binding]:
        found = []
        for protocol in self.protocols:
            thumbprint = self.certificate.thumbprint if self.certificate and protocol == "https" else ""
            found += [Binding(protocol, self.values[protocol + "_port"], host, thumbprint) for host in self.hosts]
        return found

    @property
    def imports(self) -> bool:
        """Whether the certificate is not on the host yet."""
        return self.certificate is not None and self.certificate.thumbprint not in self.iis.certificates()

    @property
    def imported(self) -> str:
        """The thumbprint that the web.config is to tell: of a certificate that the role has put there, or will."""
        if self.certificate and (self.imports or self.iis.imported == self.certificate.thumbprint):
            return self.certificate.thumbprint
        return ""

    def web_config(self) -> str:
        """The web.config as it should be: the template, with what needs more than Jinja."""
        values = self.values
        names = [f"[{name}]" if ":" in name else name for name in map(str.lower, values["server_names"] or [])]
        loader = jinja2.FileSystemLoader(self.templates)
        environment = jinja2.Environment(  # the options of both engines
            loader=loader,
            trim_blocks=True,
            keep_trailing_newline=True,
            undefined=jinja2.StrictUndefined,
            autoescape=False,  # noqa: S701 - every value has been checked
        )
        return environment.get_template("dls-proxy.web.config.j2").render(
            {PREFIX + name: value for name, value in values.items()},
            __dls_proxy_hosts=names,
            __dls_proxy_default_server=values["default_server"],
            __dls_proxy_portal_open=self.portal_open,
            __dls_proxy_networks=values["admin_networks"],
            __dls_proxy_network_pattern=patterns.addresses(values["admin_networks"]),
            __dls_proxy_body_pattern=patterns.up_to(values["max_body"] << 20),
            __dls_proxy_body_limit=max(PORTAL_MIB, values["max_body"]) << 20,
            __dls_proxy_client_paths=self.client_paths,
            __dls_proxy_upstream=f"{values['upstream_host']}:{self.port}",
            __dls_proxy_imported=IMPORTED + self.imported if self.imported else "",
        )


def is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False
