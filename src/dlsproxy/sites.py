"""Sites: the servers of the host's nginx, and which of them the proxy would disturb."""

import os
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from dlsctl.problems import Problem, Refused
from dlsctl.values import set_hint
from dlsproxy.proxy import Proxy
from dlsproxy.values import PREFIX


class Site(NamedTuple):
    """One `server` of nginx's configuration: its file, names, and (port, for all addresses, default_server)."""

    file: str
    names: Tuple[str, ...]
    listens: Tuple[Tuple[int, bool, bool], ...]

    def is_on(self, port: int) -> bool:
        return any(port == listen[0] for listen in self.listens)


TOKEN = re.compile(r"#[^\n]*|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[;{}]|(?:\\.|\$\{|[^\s;{}\\])+", re.DOTALL)


def sites_of(dump: str) -> List[Site]:
    """The servers of a configuration, from the output of `nginx -T`, in nginx's order."""
    parts = re.split(r"^# configuration file (.*):$", dump, flags=re.MULTILINE)[1:]
    return [site for file, text in zip(parts[::2], parts[1::2]) for site in sites_of_file(file, text)]


def sites_of_file(file: str, text: str) -> Iterator[Site]:
    blocks: List[str] = []
    words: List[str] = []
    found: Dict[str, List[List[str]]] = {}
    for word in TOKEN.findall(text):
        if word == "{":
            blocks.append(words[0] if words else "")
            if blocks[-1] == "server":
                found = {"listen": [], "server_name": []}
        elif word == "}":
            if blocks and blocks.pop() == "server" and "stream" not in blocks:
                yield site(file, found)
        elif word == ";" and blocks[-1:] == ["server"] and words and words[0] in found:
            found[words[0]].append(words[1:])
        if word in ("{", "}", ";"):
            words = []
        elif not word.startswith("#"):
            words.append(word.strip("\"'"))


def site(file: str, found: Dict[str, List[List[str]]]) -> Site:
    listens = [listen for listen in map(listen_of, found["listen"] or [["80"]]) if listen]
    names = [name.lower() for line in found["server_name"] for name in line]
    return Site(file, tuple(names), tuple(listens))


EVERY_ADDRESS = ("", "*", "0.0.0.0", "[::]")  # noqa: S104 - read, not bound


def listen_of(words: Sequence[str]) -> Optional[Tuple[int, bool, bool]]:
    if not words or words[0].startswith("unix:"):
        return None
    host, _, port = words[0].rpartition(":")
    if not port.isdigit():
        host, port = words[0], "80"
    return int(port), host in EVERY_ADDRESS, "default_server" in words


def site_problems(proxy: Proxy, sites: Sequence[Site]) -> Iterator[Problem]:
    """Other sites of this nginx that have one of the names, or whose requests the proxy would get."""
    own = proxy.configuration["path"]
    others = [site for site in sites if site.file != own]
    for port in sorted(proxy.ports.values()):
        there = [site for site in others if site.is_on(port)]
        for name in proxy.names:
            for other in there:
                if name.lower().strip("[]") in {known.strip("[]") for known in other.names}:
                    got = "{}, which {} serves".format(name, other.file)
                    rule = "must not be a name of another site on port {}".format(port)
                    yield Refused(PREFIX + "server_names", rule, got, "take the name out of that file")
        yield from default_problems(proxy, port, there)


def default_problems(proxy: Proxy, port: int, there: Sequence[Site]) -> Iterator[Problem]:
    """nginx gives names that no site has to the default_server of a port, or else to the first site it has read."""
    name, own = PREFIX + "default_server", proxy.configuration["path"]
    defaults = [site for site in there if any(listen[0] == port and listen[2] for listen in site.listens)]
    if proxy.is_default:
        if defaults:
            rule = "must be false where another site is the default of port {}".format(port)
            yield Refused(name, rule, "true, {} says default_server".format(defaults[0].file), set_hint(name))
        return
    open_sites = [
        site
        for site in there
        if site.file != proxy.family["welcome_site"] and any(listen[:2] == (port, True) for listen in site.listens)
    ]
    first = open_sites[0].file if open_sites else own
    if open_sites and not defaults and not (os.path.dirname(first) == os.path.dirname(own) and first < own):
        yield Refused(
            name,
            "must not take from another site what nobody else on port {} answers".format(port),
            "false, {} is the default only because it comes first".format(first),
            "write default_server behind its listen {}, or set {} to true".format(port, name),
        )
