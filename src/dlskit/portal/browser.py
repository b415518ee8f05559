"""The control node's own Chromium or Edge, driven by Playwright. Nothing here downloads a browser."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dlsctl.problems import Problem, Refused

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# The programs' usual names, in the order in which they are tried.
NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
    "microsoft-edge-stable",
    "microsoft-edge",
)


def find(named: str | None = None) -> str:
    """Return the path of the browser `named`, a program or a path; of the first of NAMES on PATH without one."""
    for name in (named,) if named else NAMES:
        if path := shutil.which(name):
            return path
    if named:
        raise Refused("--browser", "must be a program", named, "name a Chromium or Edge, or leave it out: " + NAMES[0])
    hint = "install one, such as Debian's chromium, name one with --browser, or do by hand: dlskit portal checklist"
    raise Refused("browser", "must be on this machine, Chromium or Edge", "none of " + ", ".join(NAMES), hint)


def require_playwright() -> None:
    """Raise Refused unless Playwright is installed."""
    if not importlib.util.find_spec("playwright"):
        hint = "install the extra: python -m pip install 'playwright>=1.55,<2', in the environment that dlskit runs in"
        raise Refused("playwright", "must be installed to drive a portal", "no such package", hint)


# Nobody is there to be asked: a page that asks for ever would keep everything that looks at it waiting. One that opens
# another window would be drawn no more behind it.
_QUIET = "Object.assign(window, {alert: () => undefined, confirm: () => false, prompt: () => null, open: () => null});"


@contextlib.contextmanager
def running(path: str) -> Iterator[Browser]:
    """Run the browser at `path` without a window, with an empty profile of its own, and end it at the end."""
    require_playwright()
    from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415 - an extra, and 0.1 s

    for name in ("DEBUG", "DEBUGP", "PWDEBUG"):
        os.environ.pop(name, None)  # they have Playwright print what it types, passwords too
    with sync_playwright() as playwright:
        try:
            # Chromium's sandbox cannot be set up for root.
            browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=os.geteuid() != 0)
        except Error as error:
            lines = [line.strip() for line in error.message.splitlines() if line.strip()]
            reason = next((line for line in lines if "sandbox" in line.lower()), lines[0])
            hint = "run it by hand to see why; --browser names another one"
            raise Problem(path, "must start without a window", reason[:300], hint) from None
        try:
            yield browser
        finally:
            with contextlib.suppress(Error):  # it may be gone already
                browser.close()


def new_page(browser: Browser) -> Page:
    """Return an empty page with no session of any portal. The portal's words are looked for in English."""
    context = browser.new_context(
        locale="en-US", viewport={"width": 1280, "height": 900}, service_workers="block", accept_downloads=False
    )
    context.add_init_script(_QUIET)
    return context.new_page()
