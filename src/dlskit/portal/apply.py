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

    In a dry run the parts behind a password that is not set yet cannot be looked at, and are left out.
    """
    first = verbs.set_password(portal, wanted.password, wanted.dry_run)
    yield Part("password", first)
    if first.changed and wanted.dry_run:
        return
    yield Part("uuid", verbs.uuid(portal))
    if wanted.urls:  # before the first license: its project's key carries them
        yield Part("server_urls", verbs.set_server_url(portal, wanted.urls, wanted.dry_run))
    for license in wanted.licenses:
        file = (license.name, license.content)
        options = {"create": license.create, "again": False, "dry_run": wanted.dry_run}
        yield Part("license", verbs.import_license(portal, file, license.project, **options))
    if wanted.alerts:
        values = dict(wanted.alerts)
        password = values.pop("password", "")
        sender, receiver = verbs.split_alerts(values)
        yield Part("alerts", verbs.alerts(portal, sender, receiver, password, False, wanted.dry_run))
    if wanted.keys_file:
        # In a dry run the keys carry the URLs of before.
        urls = {} if wanted.dry_run else {f"{which}_url": url for which, url in wanted.urls.items()}
        yield Part("keys", verbs.keys(portal, None, wanted.keys_file, urls, wanted.dry_run))
