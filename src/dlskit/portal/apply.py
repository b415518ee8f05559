"""Everything that a portal is to hold, in one visit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dlskit.portal import verbs
from dlskit.portal.pages import Portal
from dlskit.portal.settings import Settings
from dlskit.portal.verbs import Answer


class Part(NamedTuple):
    """One part of a portal with what was found or done there."""

    name: str
    answer: Answer


def apply(portal: Portal, wanted: Settings) -> Iterator[Part]:
    """Yield part by part what the portal holds after each. Raises as the verbs do; what was yielded before stays.

    Looks at every part before the first change, but for the password, without which nothing can be looked at: what one
    refuses leaves the others as they were. In a dry run, parts behind a password that is not set yet are left out.
    """
    first = verbs.set_password(portal, wanted.password, wanted.dry_run)
    yield Part("password", first)
    if first.changed and wanted.dry_run:
        return
    yield Part("uuid", verbs.uuid(portal, wanted.uuid))
    found = list(_parts(portal, wanted, dry_run=True))
    is_done = not any(part.answer.changed for part in found)
    yield from found if wanted.dry_run or is_done else _parts(portal, wanted, dry_run=False)


def _parts(portal: Portal, wanted: Settings, dry_run: bool) -> Iterator[Part]:
    urls = {f"{which}_url": url for which, url in wanted.urls.items()}
    if wanted.urls:  # before the first license: its project's key carries them
        answer = verbs.set_server_url(portal, wanted.urls, dry_run)
        yield Part("server_urls", answer)
        if dry_run and answer.changed:
            urls = {}  # the keys carry the URLs of before
    created = set()
    for license in wanted.licenses:
        created |= {license.project} if license.create else set()
        file = (license.name, license.content)
        options = {"create": license.project in created, "again": False, "dry_run": dry_run}
        yield Part("license", verbs.import_license(portal, file, license.project, **options))
    if wanted.alerts:
        values = dict(wanted.alerts)
        password = values.pop("password", "")
        sender, receiver = verbs.split_alerts(values)
        yield Part("alerts", verbs.alerts(portal, sender, receiver, password, False, dry_run))
    if wanted.keys_file:
        yield Part("keys", verbs.keys(portal, None, wanted.keys_file, urls, dry_run))
