"""The pictures of docs/portal.md: what one run of the provision playbook leaves on an empty pair of hosts.

Written where DLS_PORTAL_PICTURES names the folder for them; looked at for secrets in any case.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlskit.portal import browser, evidence, verbs
from dlskit.portal.pages import Portal
from tests.site.conftest import ALERTS, MAIN, PASSWORD, PROJECT, Site

pytestmark = pytest.mark.slow

LARGEST = 80_000  # bytes of one picture
SECRETS = [PASSWORD, str(ALERTS["password"])]
PAGES = {"home": "UUID", "items": "Dynamsoft Barcode Reader", "projects": PROJECT, "alert": str(ALERTS["host"])}
NAMES = {"alert": "alerts"}
SHOWN = "() => [document.body.innerText, ...[...document.querySelectorAll('input')].map((f) => f.value)].join()"


@pytest.fixture(scope="module")
def portal(pair: Site) -> Iterator[Portal]:
    """The main's portal, as an administrator sees it through the proxy."""
    with browser.running(browser.find(None)) as running:
        context = running.new_context(viewport={"width": 900, "height": 480}, ignore_https_errors=True)
        portal = Portal(context.new_page(), pair.url(MAIN).rstrip("/"))
        portal.open()
        verbs.sign_in(portal, PASSWORD)
        yield portal
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_shows_what_the_playbook_has_set_and_no_secret(portal: Portal, name: str, tmp_path: Path) -> None:
    portal.visit(name)
    keep(portal, NAMES.get(name, name), PAGES[name], tmp_path)


def test_dialog_shows_the_servers_that_the_playbook_has_set(portal: Portal, tmp_path: Path) -> None:
    portal.visit("projects")
    verbs.open_server_urls(portal)
    keep(portal, "server-url", "Main Server URL", tmp_path)


def keep(portal: Portal, name: str, words: str, folder: Path) -> None:
    kept = evidence.keep(portal.page, SECRETS, str(folder))
    shown = portal.page.evaluate(SHOWN)
    assert words in shown
    assert not any(secret in shown for secret in SECRETS)
    picture = (kept / "page.png").read_bytes()
    assert len(picture) < LARGEST
    if "DLS_PORTAL_PICTURES" in os.environ:
        (Path(os.environ["DLS_PORTAL_PICTURES"]) / f"portal-{name}.png").write_bytes(picture)
