"""Findings: does the proxy work?"""

import http.client
import ipaddress
import shutil
import socket
import ssl
from typing import Iterator, Sequence, Tuple

from dlsctl.problems import Problem
from dlsproxy.certificates import Verdict
from dlsproxy.nginx import is_active
from dlsproxy.proxy import Proxy
from dlsproxy.values import PREFIX


def findings(proxy: Proxy, steps: Sequence[str], verdict: Verdict) -> Iterator[Problem]:
    """What is not as it should be on a host where the proxy is installed."""
    if not shutil.which("nginx"):
        yield Problem("nginx", "must be installed", "no such program", "run the site playbook")
        return
    if steps:
        yield Problem("proxy", "must need no change", "due: " + "; ".join(steps), "run the site playbook")
    yield from verdict.problems
    if verdict.ending:
        yield verdict.ending
    if is_active():
        for protocol in sorted(proxy.ports):
            yield from answer_problems(proxy, protocol)


def answer_problems(proxy: Proxy, protocol: str) -> Iterator[Problem]:
    """Whether clients get an answer of the server, and a stranger none of the portal."""
    stranger = stranger_to(proxy.admin_networks)
    path = proxy.prefix + proxy.client_path
    status, body = ask(proxy, protocol, path, stranger)
    if status in (0, 403, 404, 405, 429, 502, 503, 504) and b'"errorCode"' not in body:
        what = "{}://{}{}".format(protocol, proxy.names[0], path)
        got = "status {}".format(status) if status else body.decode(errors="replace")
        yield Problem(what, "must be answered by the license server", got, "see /var/log/nginx/dls-access.log")
    status, _ = ask(proxy, protocol, proxy.prefix, stranger)
    if status != 403:
        what = "{}://{}{}".format(protocol, proxy.names[0], proxy.prefix)
        hint = "look at {}".format(proxy.configuration["path"])
        yield Problem(what, "must be refused outside {}admin_networks".format(PREFIX), "status {}".format(status), hint)


def stranger_to(networks: Sequence[str]) -> str:
    """An address of this host's own that is in none of the networks, or 127.0.0.1 where all of them are."""
    known = [ipaddress.ip_network(text) for text in networks]
    for number in range(2, 255):
        address = ipaddress.ip_address("127.0.0.{}".format(number))
        if not any(address in network for network in known):
            return str(address)
    return "127.0.0.1"


def ask(proxy: Proxy, protocol: str, path: str, source: str) -> Tuple[int, bytes]:
    """Status and body that the proxy answers to a GET from address `source`; (0, reason) where it answers nothing."""
    name, port = proxy.names[0], proxy.ports[protocol]
    connection = http.client.HTTPConnection(name, port, timeout=10)
    try:
        raw = socket.create_connection(("127.0.0.1", port), 10, (source, 0))
        if protocol == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the certificate is checked elsewhere
            raw = context.wrap_socket(raw, server_hostname=name)
        connection.sock = raw
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(65536)
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error).encode()
    finally:
        connection.close()
