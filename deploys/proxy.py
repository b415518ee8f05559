"""The reverse proxy in front of the server: what roles/dls_proxy does on a Linux host, with the same words."""

from __future__ import annotations

from pyinfra import context
from pyinfra.api import Host

from deploys import looks, remote
from deploys.looks import Look
from deploys.server import install_packages, remove_packages, remove_sent_packages
from deploys.source import PROXY
from deploys.steps import Steps
from deploys.tell import say
from dlsctl.problems import Refused

NOT_PUT_BACK = "could not be put back"  # what the host program says then


def is_wanted(wanted: looks.Wanted) -> bool:
    """Whether the inventory has a proxy on the host. Raises DeployError for one that is run elsewhere."""
    if wanted.get("dls_proxy_server_names") is None:
        return False
    if wanted.get("dls_proxy_kind") == "snippet":
        hint = "run playbooks/site.yml, which writes it, or deploy install for the server alone"
        rule = "must not be snippet for a deploy, which writes none"
        remote.refuse(str(Refused("dls_proxy_kind", rule, "snippet", hint)))
    return True


def checked(entry: str) -> Look:
    """Look at the proxy of the host in context, and refuse what cannot work before anything is changed."""
    look = looks.look(context.host, PROXY, entry)
    remote.refuse(*look.problems)
    for note in look.seen["notes"]:
        say(context.host, f"WARNING: {note}")
    return look


def configure(look: Look, entry: str = "main") -> None:
    """Install the web server and have it use the configuration, or take that away; all or nothing."""
    installs = entry == "main"
    missing = look.seen["missing_packages"] if installs else []
    if not look.seen["steps"] and not missing:
        return
    steps = Steps()
    if installs:
        install_packages(steps, look)
    spec = {**look.wanted.request, "is_new": "nginx" in missing}
    steps.do(
        "Write the configuration, let the web server test it, and have it used",
        lambda host: remote.ask(host, "dlsproxy.cli", ["apply"], spec).done(),
    )
    steps.otherwise("Put the host back as it was", lambda host: undo(host, look, steps, installs))


def undo(host: Host, look: Look, steps: Steps, installs: bool) -> str:
    """Remove the packages; the files are back already, which the host program has seen to."""
    remove_sent_packages(host)
    if installs:
        remove_packages(host, look)
    failure = steps.failure
    if isinstance(failure, remote.Lost) or NOT_PUT_BACK in steps.reason():
        return "The change is half done; the next run finishes it."
    return "The host was put back as it was."
