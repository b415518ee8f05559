"""What the lab's modules have in common: options as documented, paths and programs of Windows, records.

Runs as module_utils of the shadow of ansible.windows. The environment has WINEPREFIX and LAB_OPTIONS, the file with the
options of all modules as their documentation has them.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ansible.windows.plugins.module_utils import paths, records

PREFIX = Path(os.environ["WINEPREFIX"])
HELPER = r"C:\windows\lab.exe"
DEADLINE = 120  # seconds, for one program: a play would wait for it without end
SID = re.compile(r"S-1-[0-9-]+$")
RECOVERY = "LabRecovery"  # value in a service's key: Wine keeps no failure actions
# Programs that Wine has only the names of: they do nothing, and say that all is well.
STUBS = (
    "certutil",
    "findstr",
    "icacls",
    "netsh",
    "powershell",
    "pwsh",
    "shutdown",
    "systeminfo",
    "tasklist",
    "wevtutil",
)


class Lab(AnsibleModule):
    """A module with the options of the real one of its name; what they do not allow is refused as there.

    dry: whether the real one has a check mode; it is skipped there otherwise.
    """

    def __init__(self, name, dry=True, **more):
        options = json.loads(Path(os.environ["LAB_OPTIONS"]).read_text())[name]
        super().__init__({**options, **more}, supports_check_mode=True)
        if self.check_mode and not dry:
            self.exit_json(changed=False, skipped=True, msg=f"remote module ({name}) does not support check mode")

    def only(self, *names):
        """Refuse options that the lab cannot honour: better than to pretend."""
        given = [
            name for name, value in self.params.items() if value not in (None, False, [], {}) and name not in names
        ]
        defaults = [name for name in given if self.params[name] == self.argument_spec.get(name, {}).get("default")]
        beyond = sorted(set(given) - set(defaults) - {name for name in given if name.startswith("_")})
        if beyond:
            self.fail_json(msg="the Windows lab has no " + ", ".join(beyond))

    def native(self, path):
        """Where a path of Windows is on this machine. Fails as Windows does."""
        try:
            return paths.native(PREFIX, path)
        except ValueError as error:
            self.fail_json(msg=str(error))

    def there(self, path):
        """The same for a path that must be there."""
        found = self.native(path)
        if not found.exists():
            self.fail_json(msg=f"{path} file or directory does not exist on the host")
        return found

    def sid(self, account):
        """An account as it was given, which must be its SID: names differ on a Windows of another language."""
        if not SID.match(account):
            self.fail_json(msg=f"{account} is not a valid user or group on the host machine or domain")
        return account

    def free(self, path):
        """Refuse to remove or replace what a process works with, as Windows does."""
        users = in_use(path) if path.exists() and not self.check_mode else set()
        if users:
            self.fail_json(
                msg=f"{paths.named(PREFIX, path)}: The process cannot access the file because it is being used by"
                f" another process: {', '.join(sorted(users))}"
            )

    def keep(self, kind, name, given, **fresh):
        """Write down options that were given, None to forget all; returns whether anything was another.

        fresh: what one that is new has, where nothing is given.
        """
        with records.changing(PREFIX, kind) as known:
            before = known.get(name)
            after = None if given is None else {**fresh, **(before or {}), **given}
            if not self.check_mode:
                known.pop(name, None)
                known.update({} if after is None else {name: after})
        return before != after

    def given(self, *but):
        """The options that have a value, without some."""
        return {name: value for name, value in self.params.items() if value is not None and name not in but}

    def declared(self, script):
        """Answer as a test has declared for this script; refuse any other."""
        answer = records.read(PREFIX, "declared").get(script.strip())
        if answer is None:
            self.fail_json(msg="the Windows lab has no PowerShell: use a module, or win_command")
        self.exit_json(**answer)


def copy(source, target):
    """Copy a file; its rights are those of its new folder."""
    shutil.copyfile(source, target)
    status = source.stat()
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def in_use(path):
    """The programs that have a file open, run from it or stand in it; for a folder, in any below it."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            links = [str(link.readlink()) for link in [process / "cwd", *(process / "fd").iterdir()]]
            mapped = [line.split(maxsplit=5)[5] for line in (process / "maps").read_text().splitlines() if "/" in line]
            name = (process / "comm").read_text().strip()
        except OSError:
            continue
        if any(Path(each) == path or path in Path(each).parents for each in {*links, *mapped}):
            found.add(name)
    return found


def wine(*words, folder=None):
    """Run a program of Windows; returns its exit code, output and errors."""
    environment = {**os.environ, "WINEDEBUG": "-all"}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            ["wine", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=DEADLINE,
            stdout=output,
            stderr=errors,
            cwd=folder,
            check=False,
            start_new_session=True,
        )
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().replace(b"\0", b"").decode("cp1252", "replace").replace("\r", ""))
        return done.returncode, texts[0], texts[1]


def run_line(line, folder=""):
    """Run a command line as CreateProcess takes it: ("R", exit code, output, errors), or "E" with an error's number."""
    refuse_stubs(line)
    with tempfile.TemporaryDirectory() as here:
        Path(here, "line").write_bytes(line.encode("utf-16-le"))
        _, output, errors = wine(HELPER, "run", f"Z:{here}\\line", folder, f"Z:{here}\\result")
        kind, number = Path(here, "result").read_text().split()
    return kind, int(number), output, errors


def refuse_stubs(line):
    """Refuse a command line that names a program which does nothing here, be it as what cmd.exe is to run."""
    words = [word.strip('"()').lower() for word in re.split(r'[\s&|]+|(?<=")(?=\S)', line)]
    for word in words:
        name = re.split(r"[\\/]", word)[-1].removesuffix(".exe")
        if name in STUBS or (name == "schtasks" and "/query" in words):
            raise ValueError(f"{name}: is a mere stub here, and refused by the Windows lab")


def service(*words):
    """What the service manager says of a service, after it was asked for more."""
    _, output, errors = wine(HELPER, *words)
    try:
        answer = json.loads(output)
    except ValueError:
        raise ValueError(f"the service manager must answer, got {output or errors}") from None
    if "error" in answer:
        raise ValueError(f"{words[1]}: {answer['error']} ({answer['code']})")
    return answer


def service_key(name):
    return rf"HKLM\SYSTEM\CurrentControlSet\Services\{name}"


def recovery(name):
    """The failure actions of a service, with the options of win_service."""
    kept = (registry(service_key(name)) or {}).get(RECOVERY)
    return json.loads(kept[1]) if kept else {}


def registry(key):
    """The values of a registry key by name: type and data as `reg query` prints them. None where there is no key."""
    code, output, _ = wine("reg", "query", key)
    if code:
        return None
    found = {}
    for line in output.splitlines():
        value = re.match(r"    (.+?)    (REG_\w+)    ?(.*)$", line)
        if value:
            found["" if value[1] == "(Default)" else value[1]] = (value[2], value[3])
    return found


def sub_keys(key):
    """The names of the keys below a registry key."""
    _, output, _ = wine("reg", "query", key)
    lines = [line for line in output.splitlines() if line.startswith("HKEY_")]
    return [line.rpartition("\\")[2] for line in lines if line.count("\\") == key.count("\\") + 1]
