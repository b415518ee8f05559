"""Whether a server that was installed by hand can be taken over: every reason against it, at once."""

import os
import stat
import tarfile
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from dlsctl.archives import JAR_NAME, VERSION_FORM, Archive, Member, installed_members
from dlsctl.byhand import command_line, ports_of
from dlsctl.files import (
    Entry,
    Hashes,
    describe,
    existing_parent,
    list_folder,
    read_bytes,
    refuse_unreadable,
    walk,
)
from dlsctl.installation import Installation
from dlsctl.launch import startup_with_ports
from dlsctl.mounts import in_memory, is_within, mount_of, mounts
from dlsctl.problems import Problem, Refused, one_line

NAMED = 10  # paths that a message names of many
# Of the vendor's layout: where another server lies inside the folder, one of these is somewhere below its top.
LANDMARKS = ("startup.sh", "startup.bat", "dynamsoftdlsx", "dynamsoftdlsx.exe")


def place_problems(inst: Installation, folder: str) -> Iterator[Problem]:
    """What is wrong with where the folder is: asked before the kit's own are made, which may be inside it."""
    if not os.path.isdir(folder):
        hint = "name the folder that holds the vendor's startup.sh"
        got = "a file" if os.path.lexists(folder) else "none"
        yield Refused(one_line(folder), "must be a folder of this host", got, hint)
        return
    for own in map(os.path.realpath, (inst.home, inst.config_dir, inst.data_dir, inst.backup_dir)):
        if is_within(folder, own) or is_within(own, folder):
            hint = "give the kit other folders: dls_server_home, dls_server_data_dir, dls_server_backup_dir"
            yield Refused(folder, "must be apart from the kit's own folders", own, hint)
            return
    base = os.path.dirname(os.path.dirname(folder))
    if os.path.isfile(os.path.join(base, "kit", "releases", os.path.basename(folder) + ".json")):
        yield Refused(folder, "must not be a release of the kit", base, "it is one already, of another configuration")
    if os.path.exists(os.path.join(folder, "kit", "releases")):
        yield Refused(folder, "must not be a home of the kit", "kit/releases in it", "it is managed already")


def is_renamable(folder: str, into: str) -> bool:
    """Whether one rename can move a folder into another one: both are below one mount, and it is none itself."""
    point = mount_of(folder)[0]
    same_disk = os.stat(folder).st_dev == os.stat(existing_parent(into)).st_dev
    return point != folder and point == mount_of(existing_parent(into))[0] and same_disk


def host_problems(inst: Installation, folder: str) -> Iterator[Problem]:
    """What on this host keeps the folder from being taken over: other installations, memory, mounts."""
    current = inst.current_version()
    if current or inst.installed():
        got = current or inst.installed()[0]
        yield Refused(inst.home, "must hold no other installation", got, "uninstall it, or give the kit another home")
    kind = in_memory(folder)
    if kind:
        yield Refused(folder, "must be on a disk", kind, "move it to a disk while the server is stopped")
    for point, _ in mounts():
        if point != folder and is_within(point, folder):
            hint = "stop the server and move what is there into the folder itself"
            yield Refused(folder, "must be one file system", "another one at " + point, hint)


def version_problems(folder: str, version: str) -> Iterator[Problem]:
    """Whether the folder holds this release, by its jar."""
    jars = sorted(name for name in list_folder(folder) if JAR_NAME.match(name))
    if not jars:
        below = [name for name in sorted(list_folder(folder)) if jar_below(os.path.join(folder, name))]
        hint = "did you mean {}?".format(os.path.join(folder, below[0])) if below else "name the server's own folder"
        yield Refused(folder, "must have dls-<version>.jar at its top", "none", hint)
    elif len(jars) > 1:
        hint = "move the jar that startup.sh does not name out of the folder"
        yield Refused(folder, "must hold one release", ", ".join(map(one_line, jars[:4])), hint)
    else:
        name = JAR_NAME.match(jars[0])
        found = name.group(2) if name else ""
        if found != version or jars[0] != "dls-{}.jar".format(version):
            named = found if VERSION_FORM.match(found) else "that version"
            hint = "set dls_server_version to {}, and pin the archive of it".format(named)
            yield Refused(folder, "must hold release " + version, one_line(jars[0]), hint)


def jar_below(folder: str) -> bool:
    return not os.path.islink(folder) and any(JAR_NAME.match(name) for name in list_folder(folder))


def port_problems(inst: Installation, folder: str, line: Dict[str, Any]) -> Iterator[Problem]:
    """Whether the server's ports, as it runs or else as its start script says, are those of the configuration."""
    used = {"server": line["server_port"], "data": line["data_port"]}
    used.update(ports_of(" ".join(command_line(folder)) or script_of(folder).decode(errors="replace")))
    wanted = {"server": inst.server_port, "data": inst.data_port_of({"line": line})}
    for name, variable in (("server", "dls_server_port"), ("data", "dls_server_data_port")):
        if used[name] != wanted[name]:
            rule = "must be {}, as the server in {} has it".format(used[name], folder)
            yield Refused(variable, rule, wanted[name], "set {}: {}".format(variable, used[name]))


def entry_problems(folder: str, listing: Iterable[Tuple[str, str]]) -> Iterator[Problem]:
    """Paths that cannot be taken over, whatever the release: special files, and other servers."""
    special, others = [], []
    for path, full in listing:
        try:
            kind = os.lstat(full).st_mode
        except FileNotFoundError:
            continue
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)):
            special.append(path)
        name = os.path.basename(path)
        if "/" in path and (JAR_NAME.match(name) or (name in LANDMARKS and path != "linux/bin/" + name)):
            others.append(path)
    if special:
        rule = "must hold only files, folders and links"
        yield Refused(folder, rule, named(special), "stop what has made them, and remove them")
    if others:
        hint = "move the other server, or the copy of this one, out of the folder"
        yield Refused(folder, "must hold no other server's files", named(others), hint)


def named(paths: List[str]) -> str:
    """Some paths for a message."""
    shown = ", ".join(one_line(path) for path in sorted(paths)[:NAMED])
    return shown + (" and {} more".format(len(paths) - NAMED) if len(paths) > NAMED else "")


def folder_problems(inst: Installation, folder: str, version: str, line: Dict[str, Any]) -> List[Problem]:
    """Every reason against taking the folder over that can be told without the vendor's archive."""
    found = list(place_problems(inst, folder))
    if found:
        return found
    found += host_problems(inst, folder)
    found += version_problems(folder, version)
    found += port_problems(inst, folder, line)
    found += entry_problems(folder, walk(folder, refuse_unreadable))
    return found


def entries_of(folder: str, hashes: Optional[Hashes]) -> Dict[str, Entry]:
    """What is below the folder, by path."""
    found = {}
    for path, full in walk(folder, refuse_unreadable):
        try:
            found[path] = describe(path, full, hashes)
        except FileNotFoundError:  # a running server removes files too
            continue
    if hashes:
        hashes.keep()
    return found


def content_problems(folder: str, archive: Archive, entries: Dict[str, Entry]) -> Iterator[Problem]:
    """Where the vendor's files are not those of the archive, so that what runs there is not that release."""
    members = {member.path: member for member in installed_members(archive)}
    wrong = [path for path, member in members.items() if is_program(path) and not is_same(member, entries.get(path))]
    if wrong:
        hint = "pin the archive that it was installed from, or put these files back from it while the server is stopped"
        rule = "must have the programs of {}, sha256:{}".format(os.path.basename(archive.path), archive.sha256)
        yield Refused(folder, rule, "others at " + named(wrong), hint)
    links = [path for path, entry in entries.items() if entry["kind"] == "link" and path not in members]
    leading = [path for path in links if leads_out(path, entries[path]["link"])]
    if leading:
        hint = "stop the server and put what they point to in their place"
        yield Refused(folder, "must hold all of the server: no links to elsewhere", named(leading), hint)
    script = entries.get("startup.sh", {}).get("sha256")
    if script != members["startup.sh"].sha256 and not is_vendor_script(archive, script_of(folder)):
        hint = "put it back from the archive; what it sets for the server goes into a drop-in of the kit's unit"
        yield Refused(os.path.join(folder, "startup.sh"), "must be the vendor's but for its ports", "another", hint)


def is_program(path: str) -> bool:
    """Whether a vendor's file is a program, or part of one: it makes the release what it is."""
    return path.startswith("linux/") or path.endswith(".jar")


def is_same(member: Member, entry: Optional[Entry]) -> bool:
    """Whether a file is the archive's, whatever its mode and owner."""
    if entry is None or entry["kind"] != member.kind:
        return False
    return entry["link"] == member.link if member.kind == "link" else (entry["sha256"] or "") == member.sha256


def leads_out(path: str, link: str) -> bool:
    """Whether a link points to elsewhere than below the folder, or would after the folder has moved."""
    target = os.path.normpath(os.path.join(os.path.dirname(path), link))
    return os.path.isabs(link) or target == ".." or target.startswith("../")


def script_of(folder: str) -> bytes:
    return read_bytes(os.path.join(folder, "startup.sh")) or b""


def is_vendor_script(archive: Archive, text: bytes) -> bool:
    """Whether a start script is the archive's, with the ports edited as the vendor documents it."""
    original = member_text(archive, "startup.sh")
    ports = ports_of(text.decode(errors="replace"))
    if "server" not in ports or b"--server.port=" not in original:
        return False
    none = {"server_port": 0, "data_port": 0}  # so each port that is named is written
    return startup_with_ports(original, ports["server"], ports.get("data", 0), none) == text


def member_text(archive: Archive, path: str) -> bytes:
    """The content of one small file of an archive that was read before."""
    with tarfile.open(archive.path, "r:gz") as tar:
        for member in tar:
            name = member.name[2:] if member.name.startswith("./") else member.name
            if name == (archive.top + "/" if archive.top else "") + path and member.isfile():
                stream = tar.extractfile(member)
                return stream.read() if stream else b""
    return b""


def refuse(folder: str, version: str, found: List[Problem]) -> None:
    """Raise Refused with every reason, where there is one."""
    if len(found) == 1:
        raise found[0]
    if found:
        reasons = "\n".join("  - " + str(problem).replace("\n", "\n    ") for problem in found)
        rule = "must be the vendor's release {}, whole and by itself, to be taken over".format(version)
        raise Refused(folder, rule, "\n" + reasons, "nothing was changed; mend all of it, then run the same again")
