"""The one picture of docs/portal.md that a site cannot give, which shows nobody a portal without a password."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlskit.portal import evidence
from dlskit.portal.pages import Portal
from tests.portal.conftest import PASSWORD, running_site


@pytest.mark.slow
@pytest.mark.skipif("DLS_PORTAL_PICTURES" not in os.environ, reason="DLS_PORTAL_PICTURES names no folder")
def test_picture_of_the_first_visit(shared_browser: Any, unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    target = Path(os.environ["DLS_PORTAL_PICTURES"])
    target.mkdir(parents=True, exist_ok=True)
    page = shared_browser.new_context(viewport={"width": 900, "height": 480}).new_page()

    with running_site(unpacked("2.4.11")) as site:
        portal = Portal(page, site.url)
        portal.open()
        folder = evidence.keep(page, [PASSWORD], str(tmp_path))
        shutil.copyfile(folder / "page.png", target / "portal-first-visit.png")
    page.context.close()
