"""A visit of a portal from end to end: the way to it, a browser, and what to tell when a step fails."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dlsctl.problems import Problem
from dlskit.portal import browser, evidence, tunnel
from dlskit.portal.target import Target

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from dlskit.portal.pages import Portal


@contextlib.contextmanager
def reached(target: Target) -> Iterator[tuple[str, Callable[[], Problem | None]]]:
    """Yield the portal's URL on this machine, and what says whether the way to it is lost."""
    if target.url:
        yield target.url, lambda: None
        return
    with tunnel.opened(target.ssh, target.port) as way:
        yield way.url, way.lost


@contextlib.contextmanager
def visited(  # noqa: PLR0913 - one parameter an option of the commands
    target: Target, *, program: str | None, timeout: float, release: str | None, keep: str | None, secrets: list[str]
) -> Iterator[Portal]:
    """Yield the portal of the target, not opened yet.

    `program`: a browser. `timeout`: seconds for each element and answer. `release`: whose words to look for. `keep`:
    the folder below which a failed step leaves its text and screenshot, without `secrets`.
    """
    path = browser.find(program)
    with _ending_on_term(), reached(target) as (url, lost), browser.running(path) as running:
        from dlskit.portal.pages import Portal  # noqa: PLC0415 - needs Playwright, whose absence was told before

        page = browser.new_page(running)
        version = target.variable("dls_server_version")
        with explained(page, lost, keep, secrets):
            yield Portal(page, url, timeout=timeout, release=release, expected=str(version) if version else None)


@contextlib.contextmanager
def explained(page: Page, lost: Callable[[], Problem | None], keep: str | None, secrets: list[str]) -> Iterator[None]:
    """Tell a failed step as a Problem without secrets, which names the folder with the page's text and screenshot."""
    from playwright.sync_api import Error  # noqa: PLC0415

    try:
        yield
    except (Problem, Error) as error:
        problem = error if isinstance(error, Problem) else _of_browser(error, page)
        cause = lost() or problem
        folder = _kept(page, keep, secrets)
        seen = f"the page's text and screenshot are in {folder}" if folder else ""
        hint = "\n  ".join(filter(None, (cause.hint, seen)))
        texts = (cause.what, cause.rule, cause.got, hint)
        told = [None if text is None else evidence.masked(str(text), secrets) for text in texts]
        raise type(cause)(*told) from None  # type: ignore[arg-type]


def _of_browser(error: Exception, page: Page) -> Problem:
    from playwright.sync_api import TimeoutError as TooLate  # noqa: PLC0415

    # Only the first line: what follows is the browser's log, which may hold what was typed.
    reason = str(error).splitlines()[0]
    if isinstance(error, TooLate):
        hint = "raise --timeout where the portal is slow; else open it by hand, and restart the server"
        return Problem("portal", "must react in time", reason, hint)
    return Problem("browser", "must do what it is told", reason, f"it was on {page.url}; run the command again")


def _kept(page: Page, parent: str | None, secrets: list[str]) -> Path | None:
    from playwright.sync_api import Error  # noqa: PLC0415

    try:
        return evidence.keep(page, secrets, parent)
    except (Error, OSError):  # the browser is gone, or there is no such folder: the failure itself is what counts
        return None


@contextlib.contextmanager
def _ending_on_term() -> Iterator[None]:
    """End in order on a TERM or HUP too, so that neither browser nor tunnel is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
