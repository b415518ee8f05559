"""What `dlskit portal` does on a portal. Each verb looks first, acts where something is missing, and reads back.

Every verb returns an Answer and takes `dry_run`: then it only looks, and `changed` says whether it would act.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dlsctl.files import write_atomic
from dlsctl.pair import STANDBY_REFUSES, client_answer, url_parts
from dlsctl.problems import Problem, Refused
from dlskit import license_file, license_key
from dlskit.portal import evidence, pages
from dlskit.portal.items import Item, item_of, today
from dlskit.portal.pages import Portal

UUID = re.compile(r"\b[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\b")
FIRST_VISIT, LOGIN = "first visit", "login"
SENDER = ("host", "port", "ssl_trust", "address")
RECEIVER = ("to", "cc", "bcc")


class Answer(NamedTuple):
    """What a verb found or did: in data, and in words for a person."""

    changed: bool
    text: str
    facts: Mapping[str, Any] = {}


class Project(NamedTuple):
    """A project (2.2: handshake code): name, id as in its license key, the ids of its items, and the key, a secret."""

    name: str
    id: str
    items: tuple[str, ...]
    key: str

    def shown(self) -> dict[str, Any]:
        """Return what may be printed."""
        return {"name": self.name, "id": self.id, "items": list(self.items)}


# --- Password ---


def set_password(portal: Portal, password: str, dry_run: bool) -> Answer:
    """Set the first password of admin; nothing when it is the one given. Raises Refused when another one is set."""
    portal.open()
    if asks_for(portal) == LOGIN:
        enter(portal, password, "must be unset, or the one given; somebody set another one before")
        return Answer(False, "the password is the one given")
    if dry_run:
        return Answer(True, "would set the first password of admin")
    portal.fill("first_visit", "password", password)
    portal.fill("first_visit", "confirm", password)
    said = portal.press(portal.text("first_visit", "submit"))
    portal.page.context.clear_cookies()
    portal.open()
    if asks_for(portal) == FIRST_VISIT:
        hint = "the password is not set yet: run the same command again, with another password where it was refused"
        raise refusal("password", "must be taken by the portal", said, hint)
    enter(portal, password, "must be the one that was just set; somebody else has set another one")
    return Answer(True, "set the password of admin, and logged in with it")


def sign_in(portal: Portal, password: str) -> None:
    """Open the portal and log in. Raises Refused when no password is set yet, or another one."""
    portal.open()
    if asks_for(portal) == FIRST_VISIT:
        hint = "set it now, before anybody else does: dlskit portal set-password"
        raise Refused("admin password", "must be set", "none yet", hint)
    enter(portal, password, "must be the portal's")


def asks_for(portal: Portal) -> str:
    """Return whether the portal asks for its first password or for the one it has."""
    confirm, submit = portal.text("first_visit", "confirm"), portal.text("login", "submit")
    fields, button = portal.field(confirm), portal.button(submit)
    portal.wait(fields.or_(button), submit)
    return FIRST_VISIT if fields.count() else LOGIN


def enter(portal: Portal, password: str, rule: str) -> None:
    portal.fill("login", "password", password)
    submit = portal.text("login", "submit")
    said = portal.press(submit)
    if not portal.until(lambda: not portal.button(submit).count(), pages.SHOWN_SECONDS if said else None):
        hint = "give the right one, with --password-file or dls_server_admin_password; the vendor cannot recover one"
        raise refusal("admin password", rule, said, hint)


def refusal(what: str, rule: str, said: str, hint: str) -> Refused:
    """Return a refusal of the portal's, in its words."""
    return Refused(what, rule, f"the portal says: {said}" if said else "no reason on its page", hint)


# --- What is there ---


def uuid(portal: Portal, expected: str = "") -> Answer:
    """Read the UUID that licences are bound to, and the version where the page shows it.

    Raises Refused where it is another one than `expected`; empty: any.
    """
    portal.visit("home")
    text = portal.text("home", "uuid")
    line = portal.wait(portal.page.get_by_text(re.compile(rf"\b{re.escape(text.words)}\b")), text).inner_text()
    found = UUID.search(line)
    if found is None:
        hint = "copy it from the portal by hand, and report what the page shows"
        raise Problem("UUID", "must be hexadecimal, as 8-4-4-4-12 in upper case", line[:100], hint)
    if expected and expected.upper() != found[0]:
        hint = "see that this is the right host, and what of it has changed: dlsctl identity; else mend dls_server_uuid"
        raise Refused("UUID", f"must be {expected.upper()}, to which the licence is bound", found[0], hint)
    return Answer(False, found[0], {"uuid": found[0], "version": portal.version or None})


def read_items(portal: Portal) -> list[Item]:
    """Return the items of the Items page, expired ones too."""
    portal.visit("items")
    expired = portal.text("items", "expired")
    with portal.named(expired):
        portal.page.get_by_role("checkbox", name=expired.words).check()
    portal.settle()
    day = today()
    rows = portal.rows("items")
    return [item_of({key: cell.shown for key, cell in row.items()}, day) for row in rows]


def read_projects(portal: Portal) -> list[Project]:
    """Return the projects of the Projects page."""
    portal.visit("projects")
    tag, statistics = portal.text("projects", "default").words, portal.text("projects", "statistics").words
    found = []
    for row in portal.rows("projects"):
        lines = [line.strip() for line in row["project"].shown.splitlines()]
        name = " ".join(line for line in lines if line and line != statistics)
        if tag in map(str.strip, row["project"].parts):
            name = name.removeprefix(tag).strip() or name
        key = re.search(evidence.KEY, "".join(row["key"].own.split()))
        ids = re.findall(r"^\s*(\d+)\s*:", row["items"].shown, re.MULTILINE)
        found.append(Project(name, project_id(key[0]) if key else "", tuple(ids), key[0] if key else ""))
    return found


def project_id(key: str) -> str:
    """Return the handshake code in a license key, empty where it cannot be read."""
    try:
        return license_key.decode(key, "license key").handshake_code
    except Refused:
        return ""


# --- Projects, license files, keys ---


def refuse_standby(portal: Portal, mode: str) -> None:
    """Raise Refused for a standby: by `mode`, the inventory's dls_server_mode, or by what the server tells clients."""
    answer = client_answer(portal.url)
    if mode == "standby" or (not mode and answer["error"] == STANDBY_REFUSES):
        got = "dls_server_mode: standby" if mode else f"a server that refuses clients, {answer['text']}"
        hint = "import it on the main; a file of the standby's own, bound to its UUID: --for-standby"
        raise Refused("server", "must be no standby, since a license file is bound to one server", got, hint)


def projects(portal: Portal, create: str | None, dry_run: bool) -> Answer:
    """List the projects; with `create`, make one of that name unless there is one."""
    before = read_projects(portal)
    if create is None or any(project.name == create for project in before):
        return Answer(False, table_of(before), {"projects": [project.shown() for project in before]})
    if dry_run:
        facts = {"projects": [project.shown() for project in before]}
        return Answer(True, f"would create the project {create}", facts)
    portal.click(portal.button(portal.text("projects", "new")), portal.text("projects", "new"))
    dialog = portal.dialog(portal.text("new_project", "title"))
    portal.fill("new_project", "name", create, dialog)
    said = portal.press(portal.text("new_project", "submit"), dialog)
    after = read_back(portal, said, read_projects, lambda found: any(project.name == create for project in found))
    if after is None:
        hint = "the portal makes projects only once a license file is imported: import one with --create"
        raise refusal(f"project {create}", "must be taken by the portal", said, hint)
    return Answer(True, f"created the project {create}", {"projects": [project.shown() for project in after]})


def table_of(found: list[Project]) -> str:
    """Return the projects for a person, one a line."""
    lines = [f"{project.name}  {project.id}  items: {', '.join(project.items) or 'none'}" for project in found]
    return "\n".join(lines) or "no project"


def import_license(  # noqa: PLR0913 - one parameter an option
    portal: Portal, file: tuple[str, bytes], project: str, *, create: bool, again: bool, dry_run: bool
) -> Answer:
    """Import a license file, its name and content, into the project of that name.

    `create`: make the project where it is missing. `again`: import though items of the file are there already, such as
    a file with new dates for them. Raises Refused when the project is missing, the items are in another one, or the
    portal refuses the file: then nothing was imported.
    """
    name, content = file
    existing = read_projects(portal)
    items = {item.id for item in read_items(portal)}
    there = items_named_in(name, content) & items
    mine = next((each for each in existing if each.name == project), None)
    if there and not again:
        where = {each.name for each in existing if there & set(each.items)}
        if mine and there & set(mine.items):
            return Answer(False, f"{name} is imported, into the project {project}", {"items": sorted(there)})
        hint = "link the item to the project in the portal, or import a renewed file with --again"
        got = f"item {', '.join(sorted(there))} in {', '.join(sorted(where)) or 'no project'}"
        raise Refused(name, f"must be imported into the project {project}, and is already imported", got, hint)
    if mine is None and not create:
        names = ", ".join(each.name for each in existing) or "none"
        raise Refused("project", "must exist", project, f"name one of: {names}; or give --create")
    if dry_run:
        return Answer(True, f"would import {name} into the {'project' if mine else 'new project'} {project}")
    said, closed = insert(portal, name, content, project, new=mine is None)
    # Of a file with new dates for items that are there, only the closed dialog tells that it was taken.
    taken = bool(there) and closed
    after = read_back(portal, said, read_items, lambda found: taken or {item.id for item in found} != items)
    if after is None:
        hint = (
            "nothing was imported; the portal takes an activated file that is bound to its own UUID: dlskit portal uuid"
        )
        raise refusal(name, "must be taken by the portal", said, hint)
    added = sorted({item.id for item in after} - items) or sorted(there)
    linked = next((set(each.items) for each in read_projects(portal) if each.name == project), set())
    if not set(added) <= linked:
        hint = "link it in the portal; the file itself is imported"
        raise Problem(f"item {', '.join(added)}", f"must be linked to the project {project}", "not there", hint)
    return Answer(True, f"imported {name} into the project {project}: item {', '.join(added)}", {"items": added})


def insert(portal: Portal, name: str, content: bytes, project: str, *, new: bool) -> tuple[str, bool]:
    """Go through the dialogs of an import. Return what the portal says to it, and whether it closed the dialog."""
    portal.visit("items")
    portal.upload(
        portal.text("items", "select_file"),
        {"name": Path(name).name, "mimeType": "application/octet-stream", "buffer": content},
    )
    step = "create_project" if new else "choose_project"
    title = portal.text("choose_project", "title")
    dialog = portal.dialog(title)
    portal.wait(dialog, title)
    if new:
        portal.click(portal.button(portal.text("choose_project", "new"), dialog), portal.text("choose_project", "new"))
        dialog = portal.dialog(portal.text(step, "title"))
        portal.fill(step, "name", project, dialog)
    else:
        cell = portal.page.get_by_role("cell", name=project, exact=True)
        with portal.named(title):
            dialog.get_by_role("row").filter(has=cell).get_by_role("radio").check()
    said = portal.press(portal.text(step, "submit"), dialog)
    return said, not dialog.is_visible()


def items_named_in(name: str, content: bytes) -> set[str]:
    """Return the numbers in the items of a license file, whose form is not documented: their ids are among them."""
    return set(re.findall(r"(?<![\d.-])\d{6,}(?![\d.-])", license_file.parse(content, name).items))


def keys(portal: Portal, project: str | None, out: Path, urls: Mapping[str, str], dry_run: bool) -> Answer:
    """Write the key of `project`, or all keys as JSON by project, to `out`, readable for its owner only.

    `urls`: what they must name as main and standby; empty: not compared. Raises Problem for a key that is none, or
    names others.
    """
    there = read_projects(portal)
    found = {each.name: each.key for each in there}
    names = [each.name for each in there if project in (None, each.name)]
    if twice := [name for name in names if names.count(name) > 1]:
        hint = "rename one in the portal: nobody can tell their keys apart"
        raise Problem(f"project {twice[0]}", "must be the only one of its name", names.count(twice[0]), hint)
    if project is not None and project not in found:
        raise Refused("project", "must exist", project, f"name one of: {', '.join(found) or 'none'}")
    if missing := [name for name in found if not found[name] and project in (None, name)]:
        raise Problem(
            f"project {missing[0]}", "must have a license key on the portal's page", "none", "look at the page"
        )
    for name in [project] if project is not None else found:
        check_key(name, found[name], urls)
    text = found[project] + "\n" if project is not None else json.dumps(found, indent=2) + "\n"
    facts = {"file": str(out), "projects": [project] if project is not None else list(found)}
    if out.is_file() and out.read_text(encoding="utf-8") == text and out.stat().st_mode & 0o077 == 0:
        return Answer(False, f"{out} holds these keys", facts)
    if not dry_run:
        out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(str(out.absolute()), text.encode(), 0o600)
    return Answer(True, f"{'would write' if dry_run else 'wrote'} {len(facts['projects'])} to {out}", facts)


def check_key(project: str, key: str, urls: Mapping[str, str]) -> None:
    """Raise the first problem of a project's key; `urls`: main and standby that it must name, empty: any or none."""
    what = f"license key of project {project}"
    decoded = license_key.decode(key, what)
    if urls:
        for problem in license_key.problems(decoded, what, **urls):
            raise problem


# --- Server URLs and alerts ---


def set_server_url(portal: Portal, wanted: Mapping[str, str], dry_run: bool) -> Answer:
    """Set the server URLs that clients call, which the license keys carry: `wanted` has main, standby or both.

    An empty one is removed. Raises Refused for one that is no http(s) URL, and when the portal refuses one; then it has
    the URLs it had.
    """
    for which, url in wanted.items():
        if url and url_parts(url) is None:
            raise Refused(
                f"{which} server URL", "must be an http(s) URL", url, "for example https://dls1.example.com/dls/"
            )
    before = read_server_urls(portal)
    different = {which: url for which, url in wanted.items() if before[which] != url}
    if not different:
        return Answer(False, "the server URLs are set", {"server_urls": before})
    names = " and ".join(different)
    if dry_run:
        return Answer(True, f"would set the {names} server URL", {"server_urls": before | different})
    said = save_server_urls(portal, different)
    after = read_back(portal, said, read_server_urls, lambda found: found == before | different)
    if after is None:
        save_server_urls(portal, {which: before[which] for which in different})
        is_back = read_server_urls(portal) == before
        state = "both are as they were" if is_back else "look at both in the portal, one may be the new one"
        raise refusal(f"{names} server URL", "must be taken by the portal", said, state)
    return Answer(True, f"set the {names} server URL", {"server_urls": after})


def open_server_urls(portal: Portal) -> Any:
    portal.visit("projects")
    words, title = portal.text("projects", "server_url"), portal.text("server_url", "title")
    portal.click(portal.button(words), words)
    dialog = portal.dialog(title)
    portal.wait(dialog, title)
    return dialog


def read_server_urls(portal: Portal) -> dict[str, str]:
    """Return the main and the standby URL as the portal has them."""
    dialog = open_server_urls(portal)
    return {which: portal.value("server_url", which, dialog) for which in ("main", "standby")}


def save_server_urls(portal: Portal, urls: Mapping[str, str]) -> str:
    """Save the URLs one after the other, each with the button behind it; return what the portal says."""
    said = []
    for number, which in enumerate(("main", "standby")):
        if which in urls:
            dialog = open_server_urls(portal)
            portal.fill("server_url", which, urls[which], dialog)
            said.append(portal.press(portal.text("server_url", "submit"), dialog, number))
    return " ".join(filter(None, said))


def split_alerts(values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what of alerts is the sender's, and what the receivers'."""
    sender, receiver = ({name: values[name] for name in names if name in values} for names in (SENDER, RECEIVER))
    return sender, receiver


def alerts(  # noqa: PLR0913, PLR0917 - one parameter an option
    portal: Portal, sender: Mapping[str, str], receiver: Mapping[str, str], password: str, again: bool, dry_run: bool
) -> Answer:
    """Set the sender and the receivers of usage alerts; of either, nothing when it is empty.

    `sender`: host, port, ssl_trust, address; `receiver`: to, cc, bcc. `password`: the sender's; the page does not show
    it, so it is typed only when another value of the sender's differs, or with `again`.
    """
    before = read_alerts(portal)
    # Receivers first: they can be put back where the sender is refused, whose old password nobody can read.
    todo = []
    if not has_alerts(before, receiver):
        todo.append("receiver")
    if sender and (again or not has_alerts(before, sender)):
        todo.append("sender")
    if not todo:
        return Answer(False, "the alerts are set", {"alerts": before})
    if "sender" in todo and not password:
        hint = "give it with --smtp-password-file, or as `password` of dls_server_alerts"
        raise Refused("SMTP password", "must be given to change the sender", "none", hint)
    names = " and ".join(todo)
    wanted = before | dict(receiver) | dict(sender)
    if dry_run:
        return Answer(True, f"would set the {names} of alerts", {"alerts": wanted})
    for who in todo:
        said, taken = save_alerts(portal, who, wanted, password)
        if not taken:
            if who == "sender" and "receiver" in todo:
                save_alerts(portal, "receiver", before, "")
            kept = has_alerts(read_alerts(portal), before)
            hint = "the portal keeps what it had" if kept else "look at the page Usage Alert, some of it may be new"
            raise refusal(f"{who} of alerts", "must be taken by the portal", said, hint)
    return Answer(True, f"set the {names} of alerts", {"alerts": wanted})


def save_alerts(portal: Portal, who: str, values: Mapping[str, str], password: str) -> tuple[str, bool]:
    """Save sender or receiver. Return what the portal says, and whether it shows the values afterwards."""
    mine = {name: values[name] for name in (SENDER if who == "sender" else RECEIVER)}
    portal.visit("alert")
    for name, value in mine.items():
        portal.fill("alert", name, value)
    if who == "sender":
        portal.fill("alert", "password", password)
    said = portal.press(portal.text("alert", who))
    return said, read_back(portal, said, read_alerts, lambda found: has_alerts(found, mine)) is not None


def has_alerts(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Return whether the values are those wanted, addresses in this order, however the portal parts them."""
    return all(
        [part.strip() for part in found[name].split(";") if part.strip()]
        == [part.strip() for part in wanted[name].split(";") if part.strip()]
        for name in wanted
    )


def read_alerts(portal: Portal) -> dict[str, str]:
    """Return what the Usage Alert page shows; the password is not read."""
    portal.visit("alert")
    return {name: portal.value("alert", name) for name in (*SENDER, *RECEIVER)}


def read_back(portal: Portal, said: str, read: Callable[[Portal], Any], as_wanted: Callable[[Any], bool]) -> Any:
    """Return what `read` reads once it is as wanted, None if it is not in time; soon where the portal said something.

    What it says may also be that all went well.
    """
    found: list[Any] = []

    def arrived() -> bool:
        found[:] = [read(portal)]
        return as_wanted(found[0])

    return found[0] if portal.until(arrived, pages.SHOWN_SECONDS if said else None) else None
