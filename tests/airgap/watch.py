"""Runs on a host: gives it a way out that leads nowhere, and says of each packet that takes it where it wanted to go.

    python3 watch.py LOG

Names are asked for at an address that is out there too, so a program that only looks a name up is seen. IPv6 has no
way out; who tries it has asked for a name before, or is refused at once.
"""

import socket
import subprocess
import sys
from pathlib import Path

WAY, END = "out", "nowhere"  # the two ends of a cable
NAME_SERVER = "192.0.2.53"  # RFC 5737: an address for documentation
EVERY_PROTOCOL = 3  # ETH_P_ALL
QUIET = ["addrgenmode", "none", "arp", "off", "multicast", "off", "up"]


def main() -> None:
    """Watch until killed."""
    subprocess.run(["ip", "link", "add", WAY, "type", "veth", "peer", "name", END], check=True)
    for name in (END, WAY):
        subprocess.run(["ip", "link", "set", name, *QUIET], check=True)
    subprocess.run(["ip", "route", "replace", "default", "dev", WAY], check=True)
    Path("/etc/resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(EVERY_PROTOCOL))
    packets.bind((END, 0))
    with Path(sys.argv[1]).open("a", buffering=1) as log:
        log.write("watches\n")
        while True:
            packet = packets.recv(65535)
            port = int.from_bytes(packet[22:24], "big")  # of UDP and TCP, in a packet without options
            print(socket.inet_ntoa(packet[16:20]), port, packet[28:80], file=log)


main()
