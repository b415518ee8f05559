"""IIS as Ansible's modules and appcmd have seen it, and as the proxy needs it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# What the log of the site holds. Never UriQuery, Referer or Cookie: a client's query can hold a session password.
LOG_FIELDS = (
    *("Date", "Time", "ClientIP", "Host", "ServerPort", "Method", "UriStem", "HttpStatus", "HttpSubStatus"),
    *("Win32Status", "BytesSent", "TimeTaken"),
)
MARK = "written by role dls_proxy"
IMPORTED = "Imported with it, and removed with it: certificate "
RATE_SECONDS = 10  # the span over which IIS counts; bursts are of as many seconds in nginx


class Binding(NamedTuple):
    """Where a site is reached; host "" is for every name."""

    protocol: str
    port: int
    host: str
    thumbprint: str = ""

    @property
    def place(self) -> tuple[int, str]:
        return self.port, self.host.lower()

    def as_option(self) -> dict[str, Any]:
        """As microsoft.iis.website takes it."""
        option: dict[str, Any] = {"ip": "*", "port": self.port, "hostname": self.host, "protocol": self.protocol}
        if self.protocol == "https":
            option |= {"use_sni": bool(self.host), "certificate_hash": self.thumbprint}
        return option


class Iis:
    """What was seen of a host. `seen` is what tasks/windows/see.yml of role dls_proxy has gathered."""

    def __init__(self, seen: Mapping[str, Any], site: str, folder: str) -> None:
        self.seen, self.site, self.folder = seen, site, folder

    def missing_features(self, wanted: Sequence[str]) -> list[str]:
        there = {item["name"] for item in self.seen.get("features") or [] if item.get("installed")}
        return [name for name in wanted if name not in there]

    def has(self, what: str) -> bool:
        """Whether a file is there: rewrite, router (of ARR) or folder."""
        return bool((self.seen.get("files") or {}).get(what))

    @property
    def web_config(self) -> str | None:
        content = self.seen.get("web_config")
        return None if content is None else base64.b64decode(content).decode("utf-8-sig", errors="replace")

    @property
    def is_ours(self) -> bool:
        """Whether the web.config in the proxy's folder is one that the role has written."""
        return MARK in (self.web_config or "")

    @property
    def imported(self) -> str:
        """The thumbprint of the certificate that the role has imported, "" where there is none."""
        found = re.search(re.escape(IMPORTED) + r"([0-9A-F]{40})\b", self.web_config or "") if self.is_ours else None
        return found[1] if found else ""

    @property
    def sites(self) -> list[Mapping[str, Any]]:
        return list(self.seen.get("sites") or [])

    @property
    def own_site(self) -> Mapping[str, Any] | None:
        return next((item for item in self.sites if item["name"].lower() == self.site.lower()), None)

    @property
    def has_pool(self) -> bool:
        return any(item["name"].lower() == self.site.lower() for item in self.seen.get("pools") or [])

    @property
    def pool_is_plain(self) -> bool:
        """Whether the pool runs no .NET, whose own limits would refuse requests of clients."""
        own = [item for item in self.seen.get("pools") or [] if item["name"].lower() == self.site.lower()]
        return bool(own) and not (own[0].get("attributes") or {}).get("managedRuntimeVersion", "v4.0")

    def certificates(self, store: str = "certificates") -> set[str]:
        return {str(item["thumbprint"]).upper() for item in self.seen.get(store) or []}

    def bindings(self, site: Mapping[str, Any]) -> set[tuple[Any, ...]]:
        return set(self._bindings(site))

    def _bindings(self, site: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        for item in site.get("bindings") or []:
            tls = item.get("protocol") == "https"
            thumbprint = str(item.get("certificate_hash") or "").upper() if tls else ""
            host = str(item.get("hostname") or "")
            sni = tls and bool(item.get("use_sni"))
            yield item.get("protocol"), int(item.get("port") or 0), host.lower(), thumbprint, sni

    def others_at(self, place: tuple[int, str]) -> list[str]:
        """The names of other sites that are reached at a port and host."""
        return [
            site["name"]
            for site in self.sites
            if site is not self.own_site
            and any((port, host) == place for protocol, port, host, *_ in self._bindings(site) if protocol)
        ]

    def said(self, what: str) -> str:
        """What appcmd has said of a setting, "" where it has not been asked or has failed."""
        answer = (self.seen.get("settings") or {}).get(what) or {}
        return str(answer.get("stdout") or "") if answer.get("rc") == 0 else ""

    @property
    def proxies(self) -> bool:
        """Whether ARR's proxy is switched on."""
        return bool(re.search(r'<proxy\b[^>]*\benabled="true"', self.said("proxy"), re.IGNORECASE))

    @property
    def logs_as_wanted(self) -> bool:
        return {word.strip() for word in self.said("log").split(",")} == set(LOG_FIELDS)

    def limits_as_wanted(self, rate: int) -> bool:
        """Whether IIS counts the requests of an address as wanted; 0 is for no limit."""
        found = re.search(r"<denyByRequestRate\b([^>]*)>", self.said("rate"))
        is_on = bool(found and 'enabled="true"' in found[1].lower())
        if not rate or not is_on:
            return bool(rate) == is_on
        words = dict(re.findall(r'(\w+)="(\d+)"', found[1] if found else ""))
        wanted = {"maxRequests": rate * RATE_SECONDS, "requestIntervalInMilliseconds": RATE_SECONDS * 1000}
        return all(words.get(name) == str(number) for name, number in wanted.items())

    def server_rules(self, port: int) -> list[str]:
        """The names of rules for all sites that lead to a port: these are applied before any site's own."""
        rules = re.findall(r'<rule\b[^>]*\bname="([^"]*)"[^>]*>(.*?)</rule>', self.said("rules"), re.DOTALL)
        return [name for name, text in rules if re.search(rf":{port}\b", text)]
