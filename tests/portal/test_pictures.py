"""The pictures of docs/portal.md, taken where DLS_PORTAL_PICTURES names the folder for them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlskit.portal import evidence, verbs
from dlskit.portal.pages import Portal
from tests.portal.conftest import PASSWORD, license_of, running_site

LARGEST = 60_000  # bytes of one picture


@pytest.mark.slow
@pytest.mark.skipif("DLS_PORTAL_PICTURES" not in os.environ, reason="DLS_PORTAL_PICTURES names no folder")
def test_pictures_of_the_newest_release_are_small_and_without_secrets(
    shared_browser: Any, unpacked: Callable[[str], Path], tmp_path: Path
) -> None:
    target = Path(os.environ["DLS_PORTAL_PICTURES"])
    target.mkdir(parents=True, exist_ok=True)
    page = shared_browser.new_context(viewport={"width": 900, "height": 480}).new_page()

    def take(name: str) -> None:
        picture = (evidence.keep(page, [PASSWORD], str(tmp_path)) / "page.png").read_bytes()
        assert len(picture) < LARGEST
        (target / f"portal-{name}.png").write_bytes(picture)

    with running_site(unpacked("2.4.11")) as site:
        portal = Portal(page, site.url)
        portal.open()
        take("first-visit")
        verbs.set_password(portal, PASSWORD, False)
        main, standby = "https://dls1.example.com/dls/", "https://dls2.example.com/dls/"
        verbs.set_server_url(portal, {"main": main, "standby": standby}, False)
        file = ("a.lic", license_of("100955015").encode())
        verbs.import_license(portal, file, "Scanners", create=True, again=False, dry_run=False)
        sender = {
            "host": "smtp.example.com",
            "port": "465",
            "ssl_trust": "smtp.example.com",
            "address": "dls@example.com",
        }
        verbs.alerts(portal, sender, {"to": "ops@example.com"}, "not shown", False, False)
        for name, visit in (("home", "home"), ("items", "items"), ("projects", "projects"), ("alerts", "alert")):
            portal.visit(visit)
            take(name)
        verbs.open_server_urls(portal)
        take("server-url")
    page.context.close()
