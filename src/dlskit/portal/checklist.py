"""The portal's steps for a person: every page, word and value, and of secrets only where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dlskit.lines import Line, line_of, lines
from dlskit.portal import tunnel
from dlskit.portal.target import PASSWORD, Target


class Step(NamedTuple):
    """One step: what it is for, where it is done, and what to do there, in order."""

    title: str
    page: str
    actions: tuple[str, ...]


def steps(  # noqa: PLR0913 - one parameter a value that may be missing
    target: Target,
    *,
    release: str | None,
    file: str | None,
    project: str | None,
    urls: Mapping[str, str],
    alerts: Mapping[str, str],
) -> list[Step]:
    """Return the steps for a portal, from its first visit to its license keys.

    `release`: the version whose words to use; without one the host's, else the newest known. `file` and `project`: the
    license file and where it goes. `urls`: main and standby. `alerts`: the keys of dls_server_alerts.
    """
    version = release or target.variable("dls_server_version")
    line = line_of(str(version)) if version else lines()[-1]
    words: dict[str, Any] = dict(line.facts["portal"])
    found = [_way(target, line), _first_visit(words), _uuid(words), _license(words, file, project)]
    return [*found, *_server_urls(words, urls), *_alerts(words, alerts), _keys(words)]


def _way(target: Target, line: Line) -> Step:
    url = target.url or f"http://127.0.0.1:{target.port}"
    page = f"{url}{line.facts['health_path']}#/"
    if target.url:
        return Step("Open the portal", "", (f"open {page}",))
    command = tunnel.by_hand(target.ssh, target.port)
    return Step("Open the portal", "", (f"run {command} and leave it open", f"open {page}"))


def _first_visit(words: Mapping[str, Any]) -> Step:
    first, login = words["first_visit"], words["login"]
    return Step("Set the password of admin, if it is the first visit", "", (
        f"type the value of {PASSWORD} into {first['password']!r} and {first['confirm']!r}, then {first['submit']!r}",
        f"on a later visit: type it into {login['password']!r}, then {login['submit']!r}",
    ))  # fmt: skip


def _uuid(words: Mapping[str, Any]) -> Step:
    return Step(
        "Note the UUID, which the vendor's customer portal asks for", words["home"]["menu"],
        (f"copy what stands behind {words['home']['uuid']!r}",),
    )  # fmt: skip


def _license(words: Mapping[str, Any], file: str | None, project: str | None) -> Step:
    choose, create = words["choose_project"], words["create_project"]
    return Step("Import the license file that was activated for this UUID", words["items"]["menu"], (
        f"{words['items']['select_file']!r}: {file or 'the license file'}",
        f"in {choose['title']!r}: the project {project or 'that it is for'}, then {choose['submit']!r}",
        f"where there is no such project: {choose['new']!r}, type {project or 'its name'} into {create['name']!r},"
        f" then {create['submit']!r}",
    ))  # fmt: skip


def _server_urls(words: Mapping[str, Any], urls: Mapping[str, str]) -> list[Step]:
    dialog = words["server_url"]
    actions = [f"type {urls[which]} into {dialog[which]!r}, then the {dialog['submit']!r} beside it" for which in urls]
    if not actions:
        return []
    opening = f"{words['projects']['server_url']!r}"
    return [
        Step("Set the URLs that clients call, before the first key", words["projects"]["menu"], (opening, *actions))
    ]


def _alerts(words: Mapping[str, Any], alerts: Mapping[str, str]) -> list[Step]:
    page = words["alert"]

    def typed(*keys: str) -> list[str]:
        return [f"type {alerts[key]} into {page[key]!r}" for key in keys if key in alerts]

    sender, receiver = typed("host", "port", "ssl_trust", "address"), typed("to", "cc", "bcc")
    if sender:
        sender += [f"type the SMTP password, `password` of dls_server_alerts, into {page['password']!r}"]
        sender += [f"press {page['sender']!r}"]
    if receiver:
        receiver += [f"press {page['receiver']!r}"]
    return [Step("Set the mail alerts", page["menu"], (*sender, *receiver))] if sender or receiver else []


def _keys(words: Mapping[str, Any]) -> Step:
    page = words["projects"]
    return Step(
        "Hand the license keys to the applications: they are secrets", page["menu"],
        (f"copy the {page['columns']['key']!r} of each project",),
    )  # fmt: skip


def in_words(found: list[Step]) -> str:
    """Return the steps as a list to print and to tick off."""
    text = []
    for number, step in enumerate(found, start=1):
        text.append(f"[ ] {number}. {step.title}" + (f"  (page {step.page!r})" if step.page else ""))
        text += [f"       - {action}" for action in step.actions]
    return "\n".join(text)
