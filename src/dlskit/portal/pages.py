"""A portal's pages, read and filled in by role and visible text only; the words are the release line's data."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import Error
from playwright.sync_api import TimeoutError as TooLate

from dlsctl.host import deadline
from dlsctl.problems import Problem, Refused
from dlskit.lines import Line, line_of, lines

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Locator, Page, Request

SHOWN_SECONDS = 1  # for the page to show what an answer says, once the answer is there
QUIET_SECONDS = 0.15  # without a request: the page has what it asked for
# The texts of a table's cells, in one go: a page of a thousand rows has ten thousand. `own` is without the words of the
# buttons in the cell: the one that copies a key stands right behind it. `parts`: what the elements in it say each.
_CELLS = """(table) => Array.from(table.querySelectorAll('tr, [role=row]'))
  .filter((row) => row.getClientRects().length)
  .map((row) => Array.from(row.querySelectorAll('td, [role=cell]'), (cell) => {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll('button, [role=button]').forEach((button) => button.remove());
    const parts = Array.from(cell.querySelectorAll('*'), (part) => part.innerText ?? '');
    return { shown: cell.innerText, own: copy.textContent, parts };
  }))"""


class Text(NamedTuple):
    """What the pages call something: page and key in the data file, and the words."""

    page: str
    key: str
    words: str


class Cell(NamedTuple):
    """A cell of a table: its text as shown, the one without the words of its buttons, and those of its elements."""

    shown: str
    own: str
    parts: tuple[str, ...]


class Portal:
    """One visit of a portal.

    `url`: without path. `timeout`: seconds to wait for each element and each answer. `release`: the version whose words
    to look for, whatever the page says; `expected`: the version to take where the page shows none.
    """

    def __init__(
        self, page: Page, url: str, *, timeout: float = 15, release: str | None = None, expected: str | None = None
    ) -> None:
        self.page = page
        self.url = url
        self.timeout = timeout
        self.version = ""  # as the page shows it; empty where it shows none
        self._release = release
        self._expected = expected
        self.line: Line = line_of(release) if release else lines()[-1]
        self._open: set[Request] = set()  # requests without an answer
        self._answers = 0  # to requests of the page's program
        page.set_default_timeout(timeout * 1000)
        page.on("request", self._asked)
        page.on("requestfinished", self._answered)
        page.on("requestfailed", self._answered)

    def _asked(self, request: Request) -> None:
        self._open.add(request)

    def _answered(self, request: Request) -> None:
        self._open.discard(request)
        self._answers += request.resource_type in ("xhr", "fetch")

    # --- Words ---

    def text(self, page: str, key: str) -> Text:
        """Return the words of the line for `key` of `page`."""
        return Text(page, key, self.line.facts["portal"][page][key])

    def column(self, page: str, key: str) -> Text:
        """Return the words at the head of a table's column."""
        return Text(page, f"columns: {key}", self.line.facts["portal"][page]["columns"][key])

    def missing(self, text: Text) -> Problem:
        """Return what to tell when the page has no such words."""
        words = self.line.facts["portal"][text.page]
        name = words.get("menu") or words.get("title") or text.page
        rule = f"must be on the portal's page {name!r} within {self.timeout:g} s"
        where = f"`portal: {text.page}: {text.key}` in {self.line.path}"
        hint = f"raise --timeout where the portal is slow; where this release has other words, correct {where}"
        return Problem(repr(text.words), rule, "no such text", hint)

    @contextlib.contextmanager
    def named(self, text: Text) -> Iterator[None]:
        """Name the words that an element is found by when it does not come, or does not take what is done to it."""
        try:
            yield
        except TooLate:
            raise self.missing(text) from None  # the browser's own message may hold what was typed

    # --- Elements ---

    def button(self, text: Text, within: Locator | None = None) -> Locator:
        """Return a button by its words, which may stand behind an icon's name."""
        return (within or self.page).get_by_role("button", name=_ending(text.words))

    def field(self, text: Text, within: Locator | None = None) -> Locator:
        """Return a field by its label, with or without the mark of a required one and a colon."""
        label = re.compile(rf"^[\s*]*{re.escape(text.words)}\s*([:\uff1a]|$)")
        return (within or self.page).get_by_label(label)

    def dialog(self, text: Text) -> Locator:
        """Return the open dialog with this title."""
        return self.page.get_by_role("dialog").filter(has_text=text.words)

    def wait(self, element: Locator, text: Text) -> Locator:
        """Return the element once it can be seen."""
        with self.named(text):
            element.first.wait_for()
        return element.first

    def click(self, element: Locator, text: Text) -> None:
        """Click the element once it can be."""
        with self.named(text):
            element.first.click()

    def fill(self, page: str, key: str, value: str, within: Locator | None = None) -> None:
        """Type a value into a field."""
        text = self.text(page, key)
        self._refuse_elsewhere()
        with self.named(text):
            self.field(text, within).fill(value)

    def value(self, page: str, key: str, within: Locator | None = None) -> str:
        """Return what stands in a field."""
        text = self.text(page, key)
        with self.named(text):
            return self.field(text, within).input_value()

    # --- Steps ---

    def open(self) -> None:
        """Open the portal and find out its release line. Raises Problem when nothing answers or it is no portal."""
        url = self.url + self.line.facts["health_path"] + "#/"
        with self._loading(url):
            self.page.goto("about:blank")  # to the same page only the part behind # would be a way
            self.page.goto(url, wait_until="domcontentloaded")  # a picture on it may never come
        self._refuse_elsewhere()
        products = {line.facts["portal"]["product"]: line for line in lines()}
        try:
            self.page.get_by_text(re.compile("|".join(map(re.escape, products)))).first.wait_for()
        except TooLate:
            where = f"`portal: product` in {self.line.path}"
            hint = f"raise --timeout where it is slow; where the release has another name, correct {where}"
            raise Problem(
                url, f"must show {' or '.join(products)} within {self.timeout:g} s", "no such text", hint
            ) from None
        self.settle()
        shown = self.page.locator("body").inner_text()
        found = re.search(rf"({'|'.join(map(re.escape, products))})\s*(?:v(\d+(?:\.\d+)+))?", shown)
        if found is None:  # it has gone since
            raise Problem(url, f"must show {' or '.join(products)}", "another page", "run the command again")
        self.version = found[2] or ""
        version = self._release or self.version
        if version:
            self.line = line_of(version)
        elif self._expected and line_of(self._expected).facts["portal"]["product"] == found[1]:
            self.line = line_of(self._expected)
        else:
            self.line = products[found[1]]

    def visit(self, page: str) -> None:
        """Go to a page of the menu, drawn from what the server says now."""
        with self._loading(self.page.url):
            self.page.reload(wait_until="domcontentloaded")
        self._refuse_elsewhere()
        menu = self.text(page, "menu")
        name = _ending(menu.words)
        entry = self.page.get_by_role("link", name=name).or_(self.page.get_by_role("menuitem", name=name))
        self.click(entry, menu)
        self.settle()

    @contextlib.contextmanager
    def _loading(self, url: str) -> Iterator[None]:
        """Tell why the page at `url` does not come."""
        try:
            yield
        except TooLate:
            raise Problem(url, f"must answer within {self.timeout:g} s", "nothing", "raise --timeout") from None
        except Error as error:
            reason = error.message.splitlines()[0]
            hint = "see that the server runs and that its port is the one given; on its host: dlsctl status"
            raise Problem(url, "must answer", reason, hint) from None

    def _refuse_elsewhere(self) -> None:
        """Raise Refused where the page has led to another address: what is typed is for this portal alone."""
        if _origin(self.page.url) != _origin(self.url):
            scheme, host, port = _origin(self.page.url)
            hint = "give the address that it leads to, if that is the portal's: --url"
            raise Refused("portal", f"must stay on {self.url}", f"a way to {scheme}://{host}:{port}", hint)

    def settle(self) -> None:
        """Wait until the page has had no request open for a moment; one that never stops asking is taken as it is."""
        quiet = time.monotonic()

        def is_quiet() -> bool:
            nonlocal quiet
            if self._open:
                quiet = time.monotonic()
            return time.monotonic() - quiet >= QUIET_SECONDS

        self.until(is_quiet)

    def press(self, text: Text, within: Locator | None = None, number: int = 0) -> str:
        """Click a button that sends something, wait for the answer, and return what the page then says.

        `number`: which of several buttons with these words. Raises Problem when no answer comes in time.
        """
        before, alerts, button = self._answers, self._alerts(), self.button(text, within).nth(number)

        def said() -> str:
            return " ".join(alert for alert in self._alerts() if alert not in alerts)

        with self.named(text):
            button.click()
        if not self.until(lambda: self._answers > before or bool(said())):
            rule = f"must answer within {self.timeout:g} s what {text.words!r} sent"
            raise Problem("portal", rule, "no answer", "raise --timeout, then run the command again: it looks first")
        self.until(lambda: bool(said()) or not button.is_visible(), SHOWN_SECONDS)
        return said()

    def _alerts(self) -> list[str]:
        """Return what the page shows as alerts; some, such as of a maintenance, are there all the time."""
        with self._in_time():
            found = self.page.get_by_role("alert").all_inner_texts()
        return [text.strip() for text in found if text.strip()]

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        """Raise Problem where a look that Playwright sets no limit to takes longer than `timeout`. Ends the session."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        try:
            with deadline(self.timeout):
                yield
        except TimeoutError:
            raise self._unending() from None

    def until(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait for a condition, `timeout` seconds without another figure. Return whether it came about."""
        end = time.monotonic() + (self.timeout if seconds is None else seconds)
        while True:
            self._react()
            if condition():
                return True
            if time.monotonic() > end:
                return False
            self.page.wait_for_timeout(20)

    def _react(self) -> None:
        """Raise Problem where a program of the page does not end: most looks at it would wait for ever."""
        try:
            self.page.locator("html").wait_for(state="attached")
        except TooLate:
            raise self._unending() from None

    def _unending(self) -> Problem:
        hint = "raise --timeout where the portal is slow; else open it by hand, and restart the server"
        return Problem("portal", f"must react within {self.timeout:g} s", "a page whose program does not end", hint)

    def upload(self, text: Text, file: FilePayload) -> None:
        """Click the button that opens the browser's file dialog, and choose the file there."""
        with self.named(text):
            with self.page.expect_file_chooser() as chooser:
                self.button(text).last.click()  # the inner one, where a widget wraps it in another
            chooser.value.set_files(file)

    def rows(self, page: str) -> list[dict[str, Cell]]:
        """Return the cells of the page's table by the keys of its columns, one dict a row."""
        keys = list(self.line.facts["portal"][page]["columns"])
        first = self.column(page, keys[0])
        table = self.page.get_by_role("table").filter(has_text=first.words)
        # Beside its words a head may have boxes to tick and signs, below or behind them.
        heads = [
            head.strip().split("\n")[0].strip()
            for head in self.wait(table, first).get_by_role("columnheader").all_inner_texts()
        ]
        places = {}
        for key in keys:
            words = self.column(page, key).words
            if words not in heads:
                raise self.missing(self.column(page, key))
            places[key] = heads.index(words)
        with self.named(first):
            rows = [[Cell(**cell) for cell in row] for row in table.first.evaluate(_CELLS)]
        return [{key: row[place] for key, place in places.items()} for row in rows if len(row) == len(heads)]


def _ending(words: str) -> re.Pattern[str]:
    return re.compile(rf"(^|\s){re.escape(words)}$")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
