"""A client of a pair, behaving as the vendor's native SDKs were seen to: the main first, then the standby.

python3 client.py MAIN_URL STANDBY_URL [CALLS_PER_SECOND]

Calls once, or so often a second until standard input ends. One line for each call, when it is over: the time it began
(seconds since the epoch), the seconds it took, who gave the final answer, what the main and what the standby said.

Who gave it is

    main, standby   that server gave a final answer
    refused         the main gave none, and the standby answered with error 100
    nobody          neither server gave an answer that a client understands
"""

import base64
import http.client
import json
import ssl
import sys
import threading
import time
import urllib.parse
from typing import Any

CONNECT_SECONDS = 15  # of silence, until a client goes on to the standby
ANSWER_SECONDS = 60  # of a server that accepts and hangs
# A handshake code that cannot exist takes no device seat.
REQUEST = {"ad": "client", "cu": "", "dt": "", "hs": "0-0", "og": "0", "os": "linux", "pd": "", "vcpu": 1}


def ask(server: str) -> str:
    """What a server says to one request: error<N>, licence, or why there is no such answer; never a blank in it."""
    url = urllib.parse.urlsplit(server if server.endswith("/") else server + "/")
    assert url.hostname
    connection: Any
    if url.scheme == "https":
        # Native clients verify nothing.
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=CONNECT_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=CONNECT_SECONDS)
    ext = urllib.parse.quote(base64.b64encode(json.dumps(REQUEST).encode()), safe="")
    try:
        connection.connect()
        connection.sock.settimeout(ANSWER_SECONDS)
        connection.request("GET", f"{url.path}auth/?ext={ext}", headers={"Accept": "*/*"})
        response = connection.getresponse()
        status, body = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__ if isinstance(error, http.client.HTTPException) else str(error).replace(" ", "-")
    finally:
        connection.close()
    if status == 200:
        return "licence"
    try:
        return f"error{int(json.loads(body)['errorCode'])}"
    except (ValueError, TypeError, KeyError):
        return f"status{status}"


def is_final(answer: str) -> bool:
    """Whether a client takes the answer, and asks no other server."""
    return answer == "licence" or (answer.startswith("error") and 101 <= int(answer[5:]) <= 199)


def call(main: str, standby: str) -> str:
    """One call, as a line."""
    began, start = time.time(), time.monotonic()
    of_main = ask(main)
    of_standby = "-" if is_final(of_main) else ask(standby)
    who = (
        "main"
        if is_final(of_main)
        else "standby"
        if is_final(of_standby)
        else "refused"
        if of_standby == "error100"
        else "nobody"
    )
    return f"{began:.3f} {time.monotonic() - start:.3f} {who} {of_main} {of_standby}"


def loop(main: str, standby: str, rate: float) -> None:
    """Begin a call every 1/rate seconds until standard input ends, whether the earlier ones are over or not."""
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    begun, count = time.monotonic(), 0
    while not ended.wait(max(0.0, begun + count / rate - time.monotonic())):
        threading.Thread(target=lambda: print(call(main, standby) + "\n", end="", flush=True)).start()
        count += 1


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(call(sys.argv[1], sys.argv[2]))
    else:
        loop(sys.argv[1], sys.argv[2], float(sys.argv[3]))
