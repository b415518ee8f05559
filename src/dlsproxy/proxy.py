"""The proxy: what the variables want of this host."""

import os
import re
import shutil
import stat
import time
from typing import Any, Dict, List, Optional

from dlsctl.deployment import Spec
from dlsctl.files import read_bytes
from dlsctl.packages import os_family
from dlsctl.pair import url_parts
from dlsctl.problems import Refused
from dlsfirewall import settings
from dlsproxy.certificates import Pair, Verdict, check_pair
from dlsproxy.selinux import HTTP_PORTS, is_enforcing
from dlsproxy.values import PREFIX, SERVER_PORTS

# Text before the first line of a PEM is no part of it.
MARK = "# Written by role dls_proxy, which removes it together with the proxy.\n"


def is_marked(path: str, mark: str = MARK) -> bool:
    """Whether a file is there that this role has written; a link is none."""
    try:
        return (read_bytes(path) or b"").startswith(mark.encode())
    except Refused:
        return False


class Proxy:
    """What the variables say of one proxy, and the files it consists of."""

    def __init__(self, spec: Spec) -> None:
        values = {name[len(PREFIX) :]: value for name, value in spec["values"].items() if name.startswith(PREFIX)}
        self.entry: str = spec["entry"]
        self.values: Dict[str, Any] = spec["values"]
        self.names: List[str] = values.get("server_names") or []
        self.prefix: str = values["prefix"]
        self.is_default: bool = values["default_server"]
        self.ports: Dict[str, int] = {protocol: values[protocol + "_port"] for protocol in values["protocols"]}
        self.admin_networks: List[str] = values["admin_networks"]
        self.ipv6: bool = values["ipv6"]
        self.certificate_path: str = values["tls_certificate_path"]
        self.key_path: str = values["tls_key_path"]
        # Made by this role, so removed by it; any other folder is the operator's.
        self.own_folder: str = os.path.dirname(spec["options"][PREFIX + "tls_key_path"]["default"])
        self.warn_days: int = values["tls_warn_days"]
        self.self_signed: bool = values["tls_self_signed"]
        # As they are checked and written. OpenSSL takes an editor's byte order mark in the first line only.
        self.given: List[Optional[str]] = [
            text and MARK + text.replace("\ufeff", "").strip() + "\n"
            for text in (values.get("tls_certificate"), values.get("tls_key"))
        ]
        self.configuration: Dict[str, Any] = spec["configuration"]
        self.client_path: str = spec["client_paths"][0]["path"]
        self.family: Dict[str, Any] = spec["families"][os_family()]

    @property
    def tls(self) -> bool:
        return "https" in self.ports

    def files(self) -> List[Dict[str, Any]]:
        """The files this proxy owns, as they should be; content None: it should not be there.

        In an order in which a configuration is never there without its certificate and key.
        """
        if self.entry == "uninstall":
            configuration = [self.configuration["path"]] if self.is_configured() else []
            return [{"path": path, "content": None} for path in [*configuration, *self.written()]]
        given = zip((self.certificate_path, self.key_path), ("0644", "0600"), self.given) if self.tls else ()
        items = [{"path": path, "mode": mode, "content": text} for path, mode, text in given if text]
        return [*items, self.configuration]

    def written(self) -> List[str]:
        """The certificate and key on this host that this role has written, whatever the variables say by now."""
        paths = dict.fromkeys([self.certificate_path, self.key_path, *self.used()])
        return [path for path in paths if is_marked(path)]

    def is_configured(self) -> bool:
        """Whether this role has written the configuration on this host: its first line is always the same."""
        return is_marked(self.configuration["path"], self.configuration["content"].partition("\n")[0] + "\n")

    def used(self) -> List[str]:
        """The certificate and key that the configuration on this host names."""
        if not self.is_configured():
            return []
        configuration = (read_bytes(self.configuration["path"]) or b"").decode(errors="replace")
        return re.findall(r"^\s*ssl_certificate(?:_key)? (/\S+);$", configuration, re.MULTILINE)

    def firewall(self) -> settings.Settings:
        """What the host's firewall shall let through. Raises Refused for a port of the server."""
        if self.entry == "uninstall":
            return settings.NOTHING
        return settings.settings(self.values, self.ports, [self.values[name] for name in SERVER_PORTS])

    def serves(self, url: str) -> bool:
        """Whether a server URL leads to this proxy, as far as its own names, ports and prefix tell."""
        parts = url_parts(url)
        if parts is None:
            return False
        scheme, host, port, path = parts
        names = {name.lower().strip("[]") for name in self.names}
        return host in names and self.ports.get(scheme) == port and path == self.prefix.rstrip("/")

    def inputs(self) -> List[str]:
        """The files that nginx has read at its last reload."""
        return [self.configuration["path"]] + ([self.certificate_path, self.key_path] if self.tls else [])

    def packages(self) -> List[str]:
        """The packages that bring the programs which are not there."""
        needed = [] if shutil.which("nginx") else list(self.family["packages"])
        if self.tls and self.self_signed and not shutil.which("openssl"):
            needed += self.family["tls_packages"]
        if is_enforcing() and set(self.ports.values()) - HTTP_PORTS and not shutil.which("semanage"):
            needed += self.family["selinux_packages"]
        return needed

    def pair(self) -> Pair:
        """The certificate and key that nginx shall use. Raises Refused where there is none."""
        if all(self.given):
            certificate, key = (str(text).encode() for text in self.given)
            return Pair(certificate, key, PREFIX + "tls_certificate", PREFIX + "tls_key")
        found = []
        for short, path in (("certificate", self.certificate_path), ("key", self.key_path)):
            name = "{}tls_{}".format(PREFIX, short)
            data = read_bytes(os.path.realpath(path))
            if data is None:
                hint = "give its text as {}, or have it put there first, for example by certbot".format(name)
                raise Refused(name + "_path", "must be a file on the host", path, hint)
            if short == "key" and stat.S_IMODE(os.stat(path).st_mode) & 0o007:
                raise Refused(name + "_path", "must not be readable by everybody", path, "chmod 0600 " + path)
            found.append(data)
        return Pair(found[0], found[1], self.certificate_path, self.key_path)

    def verdict(self) -> Verdict:
        """What is to be said of the certificate and key that are given, or on the host."""
        try:
            pair = self.pair()
        except Refused as problem:
            return Verdict([problem], [])
        return check_pair(pair, self.names, self.warn_days, time.time())

    def makes_certificate(self, verdict: Verdict) -> bool:
        """Whether a self-signed certificate is due: none is there, or one that was self-signed and is no more good."""
        if not (self.tls and self.self_signed):
            return False
        return not os.path.lexists(self.key_path) or (verdict.self_signed and bool(verdict.problems or verdict.notes))
