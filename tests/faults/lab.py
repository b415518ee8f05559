"""A lab host for the fault harness: a real server under systemd, clients that write to it, and dlsctl to be struck."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.checkout import play, site
from tests.lab import engine, hosts
from tests.standin.build import cached

OLD, NEW = "2.4.11", "2.4.12"
HOST = Path(__file__).parent / "host"
DLSCTL = "/usr/local/sbin/dlsctl"
DEADLINE = 300  # seconds, for whatever is waited for
# Archives of NEW, by what is wrong with each.
ARCHIVES: dict[str, dict[str, str]] = {
    "good": {},
    "never healthy": {"health.status": "503"},
    "ends at once": {"start.crash": "0"},
    "another UUID": {"uuid.salt": "other"},
    "refuses the state": {"store.min_format": "2"},
}
WRITER = """[Unit]
After=network.target
[Service]
ExecStart=/usr/bin/python3 /root/faults/writer.py
Restart=always
[Install]
WantedBy=multi-user.target
"""
# Puts the host back as it was kept under a name; `where` a file system of its own is mounted for home and backups.
RESET = """
set -eu
systemctl stop dynamsoft-dls
for folder in /opt/dls /var/backups/dls; do
    while mountpoint -q $folder; do umount -l $folder; done
done
if [ -n "{size}" ]; then
    mount -t tmpfs -o size={size}m,mode=755 faults /opt/dls
    mount -t tmpfs -o size=160m,mode=700 faults /var/backups/dls
fi
for folder in /opt/dls /var/backups/dls; do
    find $folder -mindepth 1 -delete
    cp -a /root/faults/kept/{name}$folder/. $folder/
done
rm -rf /run/faults && mkdir /run/faults
rm -f /root/faults/acknowledged
sed -i 's/"health_timeout": [0-9]*/"health_timeout": {patience}/' /etc/dls/dlsctl.json
{arrange}
systemctl reset-failed dynamsoft-dls 2>/dev/null || true
systemctl start dynamsoft-dls
{dlsctl} health >/dev/null
"""


class LabHost:
    """The host, and what is done to it."""

    def __init__(self, lab: hosts.Lab) -> None:
        self.lab = lab
        (self.host,) = hosts.read_hosts(lab)
        self.container = engine.connect().containers.get(self.host.container)

    def ssh(self, command: str, own: bool = False) -> list[str]:
        """The command line of a command on the host; `own`: over a connection that nothing else shares."""
        words = hosts.ssh_command(self.lab, self.host, command)
        return [*words[:1], "-o", "ControlMaster=no", "-o", "ControlPath=none", *words[1:]] if own else words

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script as root."""
        return subprocess.run(self.ssh("sudo sh -s"), input=script, capture_output=True, text=True, check=False)

    def shell(self, script: str) -> str:
        done = self.run(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, *words: str) -> Any:
        """The JSON answer of a verb, whatever its exit code."""
        return json.loads(self.run(f"{DLSCTL} {' '.join(words)} --json").stdout)

    def look(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.shell("python3 /root/faults/look.py"))
        return found

    # --- Ready ---

    def install(self) -> None:
        """Install OLD as an operator does, with clients that write; keep it under two names."""
        variables = {**site.archive_variables(OLD), "dls_server_stop_timeout": 4}
        (self.lab.inventory / "server.yml").write_text(yaml.safe_dump({"dls": {"vars": variables}}))
        play.succeed(play.run("install", self.lab.inventory, quiet=True), "install")
        self.shell("mkdir -p /root/faults/kept /root/faults/archives /run/faults")
        for name in ("sitecustomize.py", "writer.py", "look.py"):
            self.put(HOST / name, f"/root/faults/{name}")
        for name, settings in ARCHIVES.items():
            self.put(cached(NEW, settings=settings), self.archive(name))
        self.shell(
            f"cat >/etc/systemd/system/writer.service <<'END'\n{WRITER}END\nsystemctl enable --quiet --now writer"
        )
        self.shell(f"sleep 1 && {DLSCTL} backup && sleep 1")
        self.keep("running")
        self.shell(f"{self.words('upgrade')} && sleep 1")
        self.keep("upgraded")

    def put(self, path: Path, target: str) -> None:
        with path.open("rb") as stream:
            subprocess.run(self.ssh(f"sudo sh -c 'cat >{target}'"), stdin=stream, check=True)

    def keep(self, name: str) -> None:
        self.shell(
            f"systemctl stop dynamsoft-dls; cd /root/faults/kept; mkdir -p {name}/opt {name}/var/backups;"
            f" cp -a /opt/dls {name}/opt/; cp -a /var/backups/dls {name}/var/backups/;"
            f" systemctl start dynamsoft-dls; {DLSCTL} health"
        )

    def archive(self, name: str) -> str:
        return f"/root/faults/archives/{name.replace(' ', '-')}.tar.gz"

    def reset(self, name: str, size: int = 0, arrange: str = "", patience: int = 120) -> dict[str, Any]:
        """Put the host back; returns what is on it.

        `size`: of file systems of its own, in MiB; `patience`: seconds in which a server must be healthy.
        """
        self.shell(RESET.format(name=name, size=size or "", arrange=arrange, patience=patience, dlsctl=DLSCTL))
        time.sleep(0.5)  # for clients to write something
        return self.look()

    # --- Run ---

    def words(self, verb: str, archive: str = "good") -> str:
        """The command line of a verb."""
        command = {"backup": "backup", "restore": "restore --replace", "rollback": "rollback"}.get(verb, "")
        if verb == "upgrade":
            sha256 = site.sha256(cached(NEW, settings=ARCHIVES[archive]))
            line = json.dumps(json.loads(self.shell(f"cat /opt/dls/kit/releases/{OLD}.json"))["line"])
            command = f"upgrade {self.archive(archive)} --sha256={sha256} --version={NEW} --line='{line}' --acknowledge"
        return f"{DLSCTL} {command}"

    @contextmanager
    def frozen(self, command: str, point: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
        """Run a command over SSH up to a point, where it has stopped itself; the block decides what becomes of it."""
        fault = json.dumps(point)
        script = f"sudo env PYTHONPATH=/root/faults DLS_FAULT='{fault}' python3 {command}"
        with subprocess.Popen(
            self.ssh(script, own=True), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as asking:
            try:
                end = time.monotonic() + DEADLINE
                while self.run("test -e /run/faults/frozen").returncode:
                    assert asking.poll() is None, f"it never came to {point}: {asking.communicate()[0]}"
                    assert time.monotonic() < end, f"{command} came to no {point}"
                yield asking
            except BaseException:
                self.run("kill -KILL $(cat /run/faults/frozen)")  # it holds the lock
                raise
            finally:
                if asking.poll() is None:
                    asking.kill()

    def go_on(self) -> None:
        self.shell("kill -CONT $(cat /run/faults/frozen)")

    def kill_worker(self) -> None:
        self.shell("kill -KILL $(cat /run/faults/frozen)")

    def cut(self, asking: subprocess.Popen[str]) -> None:
        """Kill both ends of the connection over which the command was given: the client, and its sshd on the host."""
        self.shell(
            "pid=$(cat /run/faults/frozen)\n"
            "until grep -q ^sshd /proc/$pid/comm; do pid=$(awk '/^PPid/{print $2}' /proc/$pid/status); done\n"
            "kill -KILL $pid"
        )
        asking.kill()

    def lose_power(self) -> None:
        """Kill the container, start it again, and wait for its SSH. The page cache is the engine's: it is not lost."""
        self.container.kill()
        subprocess.run([*self.ssh("true")[:-2], "-O", "exit", self.ssh("true")[-2]], capture_output=True, check=False)
        self.container.start()
        end = time.monotonic() + DEADLINE
        while self.run("systemctl is-active -q ssh sshd ssh.socket; test -d /run/systemd/system").returncode:
            assert time.monotonic() < end, "the host must come up again"
            time.sleep(0.2)

    def wait_whole(self) -> None:
        """Wait until the server is healthy and nothing is left half done, of itself."""
        end = time.monotonic() + DEADLINE
        while True:
            status = self.ask("status")
            if status.get("healthy") and self.run("test ! -e /opt/dls/kit/journal.json").returncode == 0:
                return
            assert time.monotonic() < end, f"15: the host must be whole by itself: {status}"
            time.sleep(0.5)

    def wait_idle(self) -> None:
        """Wait until no dlsctl holds the lock."""
        self.run(f"{DLSCTL} outcome --wait {DEADLINE}")
