"""SFTP: a second place for backups on another machine, reached by OpenSSH's own client."""

import contextlib
import filecmp
import os
import re
import resource
import shutil
import signal
import socket
from typing import List, NamedTuple, Optional, Sequence

from dlsctl.files import require_free
from dlsctl.host import run
from dlsctl.problems import Problem, Refused, one_line
from dlsctl.store import MANIFEST, PARTIAL, Backup, check

SCHEME = "sftp://"
GIVES_BACK = "must give back what it was given"
RULE = "must be sftp://[USER@]HOST[:PORT]/FOLDER, the folder in letters, digits and -+.@_"
# Nobody is there to be asked. A host whose key nobody has confirmed gets no backup; a line that is dead is given up.
OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "UpdateHostKeys=no",
    "LogLevel=ERROR",  # sftp's -q would keep ssh's reasons back, too
)


class Remote(NamedTuple):
    """A folder on an SFTP server. key: of the private key's file, in place of those that ssh finds by itself."""

    user: Optional[str]
    host: str
    port: Optional[str]
    folder: str
    key: str = ""

    def __str__(self) -> str:
        user = self.user + "@" if self.user else ""
        return "{}{}{}{}".format(SCHEME, user, self.host, ":" + self.port if self.port else "") + self.folder

    def call(self, *commands: str, here: str = "/", most: int = resource.RLIM_INFINITY) -> List[str]:
        """Run commands of sftp(1) in the folder `here` of this host, to the first that fails; returns what they print.

        A command behind a "-" may fail. A file that is got has at most `most` bytes. Raises Problem with what the
        client says.
        """

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        if not shutil.which("sftp"):
            raise Refused(str(self), "needs sftp on this host", "none", "install the package openssh-client(s)")
        options = [word for option in OPTIONS for word in ("-o", option)]
        options += ["-P", self.port] if self.port else []
        options += ["-i", self.key, "-o", "IdentitiesOnly=yes"] if self.key else []
        destination = "{}@{}".format(self.user, self.host) if self.user else self.host
        argv = ["sftp", "-b", "-", *options, destination]
        code, output = run(argv, "\n".join(commands) + "\n", cwd=here, preexec_fn=limit)
        said = [line for line in output.splitlines() if line and not line.startswith("sftp> ")]
        if code == -signal.SIGXFSZ:
            raise Problem(str(self), GIVES_BACK, "more than {} bytes".format(most), "look at its disk")
        if code:
            rule = "must let backups be written, by ssh without a question"
            reasons = [line for line in said if not line.startswith("Connection closed")]  # follows each of ssh's own
            hint = "try it on this host, as root: sftp {}{}".format("-i " + self.key + " " if self.key else "", self)
            raise Problem(str(self), rule, one_line("; ".join(reasons[-3:])) or "exit code {}".format(code), hint)
        return said


def parse(url: str, key: str = "") -> Optional[Remote]:
    """The place that a URL of the form RULE names, or None for another text."""
    host = r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]"
    form = SCHEME + r"(?:([A-Za-z_][A-Za-z0-9_.-]*)@)?({})(?::([0-9]{{1,5}}))?((?:/[A-Za-z0-9_.@+-]+)+)".format(host)
    found = re.fullmatch(form, url)
    if not found or os.path.normpath(found[4]) != found[4]:
        return None
    return Remote(found[1], found[2], found[3], found[4], key)


def require_reachable(remote: Remote) -> None:
    """Raise Problem where nothing could be copied there: before a server is stopped for it. Changes nothing."""
    remote.call("cd {}".format(remote.folder))


def push_by_sftp(backup: Backup, remote: Remote) -> str:
    """Copy a backup to <folder>/<host>/<name>, where it appears complete or not at all; returns its URL.

    It is read back to its end, for which its size must be free where the backups are. Raises Refused or Problem.
    """
    place = "{}/{}".format(remote.folder, socket.gethostname())
    target, partial = (form.format(place, backup.name) for form in ("{}/{}", "{}/.{}.partial"))
    names = [os.path.basename(line) for line in remote.call("-mkdir " + place, "ls -1a " + place)]
    url = str(remote._replace(folder=target))
    if backup.name in names:
        raise Refused(url, "must not be there yet", "a backup of that name", "move it away")
    for name in names:
        if re.fullmatch(PARTIAL, name):  # of a run that was killed
            remove(remote, "{}/{}".format(place, name))
    files = (os.path.basename(backup.pack), MANIFEST)  # the manifest last
    try:
        begin = ("mkdir " + partial, "chmod 700 " + partial, "cd " + partial)
        remote.call(*begin, *map("put -f {}".format, files), here=backup.folder)
        read_back(backup, remote, partial, files)
        remote.call("rename {} {}".format(partial, target))
    except BaseException:
        with contextlib.suppress(Problem):
            remove(remote, partial)
        raise
    return url


def remove(remote: Remote, folder: str) -> None:
    remote.call("-rm {}/*".format(folder), "-rmdir " + folder)


def read_back(backup: Backup, remote: Remote, folder: str, files: Sequence[str]) -> None:
    """Compare what is there with the backup. Raises Problem."""
    parent = os.path.dirname(backup.folder)
    require_free(parent, backup.manifest["pack"]["size"], " to read the copy back")
    copy = os.path.join(parent, ".{}.partial.copy".format(backup.name))
    os.mkdir(copy, 0o700)
    try:
        most = max(os.path.getsize(os.path.join(backup.folder, name)) for name in files)
        remote.call("cd " + folder, *map("get {}".format, files), here=copy, most=most)
        check(Backup(backup.name, copy, backup.manifest))
        if not filecmp.cmp(os.path.join(copy, MANIFEST), os.path.join(backup.folder, MANIFEST), shallow=False):
            raise Problem(str(remote), GIVES_BACK, "another " + MANIFEST, "look at its disk")
    finally:
        shutil.rmtree(copy)
