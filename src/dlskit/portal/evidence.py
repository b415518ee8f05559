"""What a failed step leaves to look at: the page's text and a screenshot, without secrets."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

MASK = "********"
# A license key names a project to the server, and may hold its session password.
KEY = re.compile(r"DLS2[A-Za-z0-9+/=]{8,}")

# Text nodes, and fields that show what is in them.
_MASK_PAGE = """([secrets, key, mask]) => {
  const keyless = (text) => text.replace(new RegExp(key, 'g'), mask);
  const masked = (text) => secrets.reduce((t, secret) => t.replaceAll(secret, mask), keyless(text));
  const walker = document.createTreeWalker(document, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) walker.currentNode.data = masked(walker.currentNode.data);
  for (const field of document.querySelectorAll('input:not([type=password]):not([type=file]), textarea'))
    field.value = masked(field.value);
}"""
_SHOWN = """() => [document.body.innerText, ...Array.from(
  document.querySelectorAll('input:not([type=password]):not([type=file]), textarea'),
  (field) => field.value)].join('\\n')"""


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return the text without secrets and license keys."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return KEY.sub(MASK, text)


def keep(page: Page, secrets: Iterable[str], parent: str | None = None) -> Path:
    """Write text and screenshot of the page into a new folder below `parent`, for its owner only; return the folder.

    Secrets are masked in the page before. No screenshot is kept while one can still be seen on the page.
    """
    from playwright.sync_api import Error  # noqa: PLC0415

    hidden = sorted(filter(None, secrets), key=len, reverse=True)
    text = masked(page.evaluate("() => document.body.innerText"), hidden)  # no folder where there is no page
    folder = Path(tempfile.mkdtemp(prefix="dlskit-portal-", dir=parent))  # mode 0700
    (folder / "page.txt").write_text(f"{page.url}\n\n{text}\n", encoding="utf-8")
    with contextlib.suppress(Error):
        if picture := _picture(page, hidden):
            (folder / "page.png").write_bytes(picture)
    return folder


def _picture(page: Page, secrets: Collection[str]) -> bytes | None:
    page.evaluate(_MASK_PAGE, [secrets, KEY.pattern, MASK])
    if _shows_secret(page, secrets):
        return None
    picture = page.screenshot(full_page=True)
    return None if _shows_secret(page, secrets) else picture  # the page may have drawn itself anew meanwhile


def _shows_secret(page: Page, secrets: Iterable[str]) -> bool:
    shown = str(page.evaluate(_SHOWN))
    return masked(shown, secrets) != shown
