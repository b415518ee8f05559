"""A portal's pages, read and filled in by role and visible text only; the words are the release line's data."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from playwright.sync_api import Error
from playwright.sync_api import TimeoutError as TooLate

from dlsctl.problems import Problem
from dlskit.lines import Line, line_of, lines

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Locator, Page, Request

SHOWN_SECONDS = 1  # for the page to show what an answer says, once the answer is there
QUIET_SECONDS = 0.15  # without a request: the page has what it asked for


class Text(NamedTuple):
    """What the pages call something: page and key in the data file, and the words."""

    page: str
    key: str
    words: str


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
        try:
            self.page.goto("about:blank")  # to the same page only the part behind # would be a way
            self.page.goto(url)
        except TooLate:
            raise Problem(url, f"must answer within {self.timeout:g} s", "nothing", "raise --timeout") from None
        except Error as error:
            reason = error.message.splitlines()[0]
            hint = "see that the server runs and that its port is the one given; on its host: dlsctl status"
            raise Problem(url, "must answer", reason, hint) from None
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
        self.page.reload()
        menu = self.text(page, "menu")
        name = _ending(menu.words)
        entry = self.page.get_by_role("link", name=name).or_(self.page.get_by_role("menuitem", name=name))
        self.click(entry, menu)
        self.settle()

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
        before, button = self._answers, self.button(text, within).nth(number)
        with self.named(text):
            button.click()
        if not self.until(lambda: self._answers > before or bool(self.said())):
            rule = f"must answer within {self.timeout:g} s what {text.words!r} sent"
            raise Problem("portal", rule, "no answer", "raise --timeout, then run the command again: it looks first")
        self.until(lambda: bool(self.said()) or not button.is_visible(), SHOWN_SECONDS)
        return self.said()

    def said(self) -> str:
        """Return what the page shows as an alert, empty without one."""
        return " ".join(text.strip() for text in self.page.get_by_role("alert").all_inner_texts() if text.strip())

    def until(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait for a condition, `timeout` seconds without another figure. Return whether it came about."""
        end = time.monotonic() + (self.timeout if seconds is None else seconds)
        while not condition():
            if time.monotonic() > end:
                return False
            self.page.wait_for_timeout(20)
        return True

    def upload(self, text: Text, file: FilePayload) -> None:
        """Click the button that opens the browser's file dialog, and choose the file there."""
        with self.named(text):
            with self.page.expect_file_chooser() as chooser:
                self.button(text).last.click()  # the inner one, where a widget wraps it in another
            chooser.value.set_files(file)

    def rows(self, page: str) -> list[dict[str, Locator]]:
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
        rows = [row.get_by_role("cell") for row in table.first.get_by_role("row").all()]
        return [
            {key: cells.nth(place) for key, place in places.items()} for cells in rows if cells.count() == len(heads)
        ]


def _ending(words: str) -> re.Pattern[str]:
    return re.compile(rf"(^|\s){re.escape(words)}$")
