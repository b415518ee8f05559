"""What a failed step leaves to look at: the page's text and a screenshot, without secrets."""

from __future__ import annotations

import contextlib
import html
import json
import re
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote

if TYPE_CHECKING:
    from playwright.sync_api import Page

MASK = "********"
# A license key names a project to the server, and may hold its session password.
KEY = re.compile(r"DLS2[A-Za-z0-9+/=]{8,}")
# As it is shown it may be broken into lines.
_SHOWN_KEY = KEY.pattern + r"(\s*\n\s*[A-Za-z0-9+/=]{2,}(?!\S))*"

# Text nodes, attributes, and fields that show what is in them.
_MASK_PAGE = """([patterns, mask]) => {
  const masked = (text) => patterns.reduce(
    (found, [pattern, flags]) => found.replace(new RegExp(pattern, 'g' + flags), mask), text);
  const walker = document.createTreeWalker(document, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) walker.currentNode.data = masked(walker.currentNode.data);
  for (const element of document.querySelectorAll('*'))
    for (const { name, value } of element.attributes)
      if (masked(value) !== value) element.setAttribute(name, masked(value));
  for (const field of document.querySelectorAll('input:not([type=password]):not([type=file]), textarea'))
    if (masked(field.value) !== field.value) field.value = masked(field.value);
}"""
# What can be seen of the page, and whether it has parts of which nobody can tell: nothing looks into them here.
_SHOWN = """() => [document.body.innerText, document.documentElement.outerHTML, ...Array.from(
  document.querySelectorAll('input:not([type=password]):not([type=file]), textarea'),
  (field) => field.value)].join('\\n')"""
_OPAQUE = """() => [...document.querySelectorAll('*')].some((element) => element.shadowRoot
  || ['IFRAME', 'FRAME', 'OBJECT', 'EMBED', 'CANVAS'].includes(element.tagName))"""


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return the text without secrets and license keys, and without what does more to a terminal than to be shown."""
    for pattern, flags in _patterns(secrets):
        text = re.sub(pattern, MASK, text, flags=re.IGNORECASE if flags else 0)
    return printable(text)


def printable(text: str) -> str:
    """Return the text with everything but printable characters and line feeds as escapes."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def _patterns(secrets: Iterable[str]) -> list[tuple[str, str]]:
    """Return what matches secrets and license keys, each with its flags, for Python and JavaScript.

    Pages fold spaces and may show all in upper case; addresses and programs write some characters in other ways.
    """
    forms = {
        form
        for secret in filter(None, secrets)
        for form in (secret, json.dumps(secret)[1:-1], html.escape(secret), quote(secret), quote_plus(secret))
    }
    words = [r"\s+".join(map(re.escape, form.split())) or re.escape(form) for form in forms]
    return [*((word, "i") for word in sorted(words, key=len, reverse=True)), (_SHOWN_KEY, "")]


def keep(page: Page, secrets: Collection[str], parent: str | None = None) -> Path:
    """Write text and screenshot of the page into a new folder below `parent`, for its owner only; return the folder.

    Secrets are masked in the page before. No screenshot is kept while one can still be seen on the page, or
    where parts of the page cannot be looked into.
    """
    from playwright.sync_api import Error  # noqa: PLC0415

    text = masked(page.locator("body").inner_text(), secrets)  # no folder where there is no page
    folder = Path(tempfile.mkdtemp(prefix="dlskit-portal-", dir=parent))  # mode 0700
    (folder / "page.txt").write_text(f"{masked(unquote(page.url), secrets)}\n\n{text}\n", encoding="utf-8")
    with contextlib.suppress(Error):
        if picture := _picture(page, secrets):
            (folder / "page.png").write_bytes(picture)
    return folder


def _picture(page: Page, secrets: Collection[str]) -> bytes | None:
    if any("\n" in key[0] for key in re.finditer(_SHOWN_KEY, page.locator("body").inner_text())):
        return None  # only its first part would be masked
    page.evaluate(_MASK_PAGE, [_patterns(secrets), MASK])
    if page.evaluate(_OPAQUE) or _shows_secret(page, secrets):
        return None
    picture = page.screenshot(full_page=True)
    return None if _shows_secret(page, secrets) else picture  # the page may have drawn itself anew meanwhile


def _shows_secret(page: Page, secrets: Iterable[str]) -> bool:
    shown = printable(str(page.evaluate(_SHOWN)))
    return masked(shown, secrets) != shown
