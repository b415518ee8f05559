"""Drill: a backup restored beside the running server, started on ports of its own, checked and removed."""

import os
import shutil
import socket
import time
from typing import Any, Dict, Optional

from dlsctl.access import load_filter, unload_filter
from dlsctl.apply import write_pending
from dlsctl.files import give_to
from dlsctl.host import utc_now
from dlsctl.installation import Installation
from dlsctl.intake import pinned_archive, unpack_release
from dlsctl.journal import journaled, recovers
from dlsctl.packs import require_key
from dlsctl.pair import own_client_answer
from dlsctl.problems import Problem
from dlsctl.releases import archive_path_of, point_current
from dlsctl.restore import require_space, unpack
from dlsctl.service import start, stop, wait_healthy
from dlsctl.state import state
from dlsctl.store import find
from dlsctl.trees import settle


def drill(
    inst: Installation, name: Optional[str] = None, key: Optional[str] = None, archive: Optional[str] = None
) -> Any:
    """Prove that a backup can be restored: returns a report. Neither the running server nor the backup is touched.

    Raises Refused, or Problem where the backup could not be restored or its server was not healthy.
    """
    backup = find(inst, name)
    manifest = backup.manifest
    path = archive or archive_path_of(inst, manifest["archive_sha256"])
    read = pinned_archive(path, manifest["archive_sha256"], manifest["version"])
    require_key(backup.pack, manifest["pack"]["encryption"], key)
    require_space(inst.kit, read, manifest)
    begun = time.monotonic()
    ports = {"port": free_port(), "data_port": free_port()}
    with journaled(inst, "drill", **ports):
        try:
            copy = drill_installation(inst, ports)
            for folder in (copy.releases, os.path.join(copy.kit, "releases"), copy.config_dir):
                os.makedirs(folder, 0o700)
            tree = copy.release_dir(manifest["version"])
            os.mkdir(tree, 0o700)
            unpack_release(copy, path, read, manifest["line"], tree)
            unpack(copy, backup, key, tree, int(manifest["line"]["mode"], 8))
            if inst.supervisor == "systemd":
                load_filter(copy)  # the ports of the running server are closed, too
            answer = try_out(copy, manifest)
        finally:
            remove_drill(inst, ports)
    live = own_client_answer(inst)["text"] if inst.current_version() else None
    report = {"backup": backup.name, "version": manifest["version"], "at": utc_now(), "clients": answer, "live": live}
    return dict(
        report, seconds=round(time.monotonic() - begun, 1), host=socket.gethostname(), digest=manifest["digest"]
    )


def drill_installation(inst: Installation, ports: Dict[str, int]) -> Installation:
    """The installation of a drill: below the kit's folder, without a supervisor, and reached from this host alone."""
    home = os.path.join(inst.kit, "drill")
    changes: Dict[str, Any] = {"home": home, "config_dir": os.path.join(home, "etc"), "supervisor": "none", **ports}
    changes.update(
        data_dir=os.path.join(home, "lib"), service_name=inst.service + "-drill", allowed_networks=["localhost"]
    )
    copy = Installation(dict(inst.settings, **changes))
    copy.archives = inst.archives
    return copy


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def try_out(copy: Installation, manifest: Dict[str, Any]) -> str:
    """Start the restored server and ask it what a client would; returns its answer in words."""
    tree = copy.release_dir(manifest["version"])
    rest = os.path.join(copy.kit, "copy-restored")
    configured = os.path.join(rest, "config", "dls.json")
    if os.path.isfile(configured):
        shutil.copyfile(configured, os.path.join(copy.config_dir, "dls.json"))
    give_to(tree, copy.account())
    settle(manifest["sections"]["release"], tree)
    os.chmod(tree, int(manifest["line"]["mode"], 8))
    found = [entry for entry in state(copy, manifest["version"]) if entry["kind"] != "dir"]
    expected = [entry for entry in manifest["sections"]["release"] if entry["kind"] not in ("dir", "special")]
    if [entry["path"] for entry in found] != [entry["path"] for entry in expected]:
        raise Problem(copy.home, "must hold the state that was saved", "another one", "report it; use another backup")
    for folder in (copy.home, copy.kit, copy.releases):
        os.chmod(folder, 0o711)  # noqa: S103 - the server's user has to pass
    write_pending(copy, copy.release(manifest["version"]), tree)
    point_current(copy, manifest["version"])
    start(copy)
    wait_healthy(copy)
    return str(own_client_answer(copy)["text"])


@recovers("drill")
def undo_drill(inst: Installation, facts: Dict[str, Any]) -> None:
    remove_drill(inst, facts)


def remove_drill(inst: Installation, ports: Dict[str, int]) -> None:
    copy = drill_installation(inst, {"port": ports["port"], "data_port": ports["data_port"]})
    stop(copy)
    shutil.rmtree(copy.home, ignore_errors=True)
    if inst.supervisor == "systemd":
        unload_filter(copy)
