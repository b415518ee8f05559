#!/usr/bin/python
import ipaddress
import re
from pathlib import Path

from ansible_collections.ansible.windows.plugins.module_utils import lab

LISTENS = "0A"
module = lab.Lab("ansible.windows.win_listen_ports_facts")
module.only()


def owners():
    """The process that has each socket, by the socket's number."""
    found = {}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found[target[8:-1]] = int(link.parts[2])
    return found


def words_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return [""]


def name_of(words):
    return words[0].replace("\\", "/").rpartition("/")[2]


def program_with(port, pid):
    """The process that has a port. Wine's server holds the sockets of all: so it is the last that was told the port."""
    if not name_of(words_of(pid)).startswith("wineserver"):
        return pid
    told = re.compile(rf"(?<!\d){port}(?!\d)")
    running = {int(process.name): words_of(process.name) for process in Path("/proc").glob("[0-9]*")}
    mine = [each for each, words in running.items() if words[0].endswith(".exe") and told.search(" ".join(words[1:]))]
    return max(mine, default=pid)


def address(text):
    """An address as the kernel prints it: in words of four bytes, each the wrong way round."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


listening, owner = [], owners()
for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    for line in Path(table).read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTENS:
            where, _, port = fields[1].partition(":")
            pid = program_with(int(port, 16), owner.get(fields[9], 0))
            found = {"pid": pid, "name": name_of(words_of(pid)), "protocol": "tcp", "stime": "", "user": None}
            listening.append({"address": address(where), "port": int(port, 16), **found})
module.exit_json(changed=False, ansible_facts={"tcp_listen": listening, "udp_listen": []})
