"""The pair: main and standby."""

import base64
import http.client
import json
import os
import re
import urllib.parse
from typing import Any, Dict, List, Optional, Sequence, Tuple

from dlsctl.configuration import DLS_JSON_SCHEMA, schema_errors
from dlsctl.files import read_json
from dlsctl.host import deadline, wait_until
from dlsctl.installation import Installation
from dlsctl.problems import Refused, Unhealthy, words_of
from dlsctl.processes import is_running

# Vendor documentation, "Error codes": a standby gives it to clients while the main works.
STANDBY_REFUSES = 100

# A handshake code that cannot exist: the answer to it takes no device seat.
NOBODY = {"hs": "0-0", "og": "0", "pd": "", "ad": "dlsctl", "cu": "", "os": "linux"}

# Seconds for a standby to find out that its main works again; how the vendor's does it is not documented.
NOTICE_SECONDS = 10


def url_parts(text: str) -> Optional[Tuple[str, str, int, str]]:
    """Scheme, host, port and path of a server's http(s) URL, equal for URLs that mean the same; None if it is none."""
    if not re.fullmatch(r"https?://[^\s/?#@\\]+(/[^\s?#\\]*)?", text):
        return None
    try:
        url = urllib.parse.urlsplit(text)
        port = url.port or {"http": 80, "https": 443}[url.scheme]
    except ValueError:
        return None
    return (url.scheme, url.hostname, port, url.path.rstrip("/")) if url.hostname else None


def handshake(path: str) -> str:
    """The request target of a client's first question below a server URL's path, for a code that nobody has."""
    ext = urllib.parse.quote(base64.b64encode(json.dumps(NOBODY).encode()), safe="")
    return "{}/auth/?ext={}".format(path, ext)


def error_code(status: int, body: bytes) -> Optional[int]:
    """The server's error code in an answer, or None; clients take an error for one only where the status is not 200."""
    try:
        code = json.loads(body.decode())["errorCode"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if status == 200 or not isinstance(code, int) or isinstance(code, bool) or abs(code) >= 1 << 31:
        return None
    return code


def client_answer(url: str, timeout: float = 5) -> Dict[str, Any]:
    """What a client gets that calls the server at `url`: {error: the server's error code, status, text: in words}.

    error is None for any other answer, status for none at all.

    Asks as the vendor's SDKs were seen to: GET <url>/auth/?ext=<Base64 of JSON>, redirects not followed.
    """
    parts = url_parts(url)
    if parts is None:
        return {"error": None, "status": None, "text": "no http(s) URL"}
    scheme, host, port, path = parts
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=timeout)
    try:
        with deadline(timeout):
            connection.request("GET", handshake(path), headers={"Accept": "*/*"})
            response = connection.getresponse()
            status, body = response.status, response.read(1 << 16)
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a wrong certificate, Python 3.6
        return {"error": None, "status": None, "text": words_of(error)}
    finally:
        connection.close()
    code = error_code(status, body)
    text = "status {} without an error code".format(status) if code is None else "error {}".format(code)
    return {"error": code, "status": status, "text": text}


def own_client_answer(inst: Installation) -> Dict[str, Any]:
    return client_answer("http://127.0.0.1:{}/".format(inst.server_port))


def servers_in_use(inst: Installation) -> List[str]:
    """The `servers` of the dls.json that the server reads, main first; empty without a valid one."""
    try:
        config = read_json(os.path.join(inst.current_link, "dls.json"))
    except (OSError, Refused):
        return []
    return list(config["servers"]) if config is not None and not schema_errors(DLS_JSON_SCHEMA, config) else []


def pair_role(servers: Sequence[str]) -> str:
    """What a server is by its `servers`: standalone, main or standby."""
    return ("main", "standby")[servers.index("self")] if servers else "standalone"


def confirm_part(inst: Installation, part: str) -> None:
    """Wait until the server does its part: a main serves clients, and a standby refuses them while its main works.

    Raises Unhealthy.
    """
    seen: Dict[str, Any] = {"text": "servers {}".format(servers_in_use(inst))}

    def does() -> bool:
        seen.update(own_client_answer(inst))
        return seen["error"] is not None and (seen["error"] == STANDBY_REFUSES) == (part == "standby")

    if pair_role(servers_in_use(inst)) != part or not wait_until(does, 2 * NOTICE_SECONDS):
        rule = "must refuse clients while its main works" if part == "standby" else "must serve clients"
        raise Unhealthy(part, rule, seen["text"], "see what the pair lacks with the playbook verify")


def look_at_pair(inst: Installation) -> Dict[str, Any]:
    """The server's part in its pair: {servers, role, clients: what they get here, other: what the other's URL gives}.

    A standby that serves clients though its main answers is given NOTICE_SECONDS to notice the main.
    """
    servers = servers_in_use(inst)
    seen: Dict[str, Any] = {"servers": servers, "role": pair_role(servers), "clients": None, "other": None}
    if servers and is_running(inst):
        seen["clients"] = own_client_answer(inst)
    if servers:
        seen["other"] = client_answer(next(url for url in servers if url != "self"))

    def refuses() -> bool:
        seen["clients"] = own_client_answer(inst)
        return bool(seen["clients"]["error"] == STANDBY_REFUSES)

    if seen["role"] == "standby" and seen["clients"] and seen["other"]["error"] is not None:
        wait_until(refuses, NOTICE_SECONDS)
    return seen
