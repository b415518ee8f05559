"""Clients of the server on this host: a usage report after the other, each noted once it is acknowledged.

A line of /root/faults/acknowledged is a number and the inode of the tree in use, 0 where that changed meanwhile.
"""

import http.client
import os
import time

NOTES = "/root/faults/acknowledged"


def tree() -> int:
    try:
        return os.stat("/opt/dls/current/").st_ino
    except OSError:
        return 0


def acknowledged(number: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", 48080, timeout=2)
    try:
        connection.request("POST", "/verify/v2", "write {}".format(number))
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> None:
    number = int(time.time() * 1000) * 1000  # never one that was used before
    while True:
        number += 1
        before = tree()
        if acknowledged(number):
            with open(NOTES, "a") as notes:
                notes.write("{} {}\n".format(number, before if before == tree() else 0))
        time.sleep(0.05)


main()
