"""A stand-in of each set of labels, one Chromium for all tests, and the command line between them."""

import base64
import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dlsctl.problems import Problem
from dlskit.cli import main
from dlskit.portal import browser, pages
from tests.portal.faults import Proxy, proxied
from tests.standin import build
from tests.standin.portal import license_text
from tests.standin.process import Instance, unpack

RELEASES = ("2.2.0", "2.4.11")  # one of each set of labels
PASSWORD = "pw of admin, 1"
SMTP_PASSWORD = "pw of smtp, 2"
FAILED, REFUSED = 1, 6


@dataclass(frozen=True)
class Site:
    """One running stand-in. `url`: where the command line looks for it."""

    instance: Instance
    url: str
    options: list[str] = field(default_factory=list)

    def run(self, *words: str, stdin: str = PASSWORD) -> Result:
        """Run `dlskit portal` against it; the password comes on standard input unless the words name a file."""
        where = [] if words[0] == "apply" else ["--url", self.url, *self.options]
        if where and "--password-file" not in words:
            where += ["--password-file", "-"]
        return CliRunner().invoke(main, ["portal", *words, *where], input=stdin)

    def answer(self, *words: str, stdin: str = PASSWORD) -> dict[str, Any]:
        """Run a command that must do its thing, and return its JSON."""
        done = self.run(*words, "--json", stdin=stdin)
        assert done.exit_code == 0, done.output
        assert not secret_in(done.output)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def state(self) -> dict[str, Any]:
        """What the portal holds, but for secrets that it shows nobody."""
        self.instance.portal.call("login", user="admin", password=PASSWORD)
        return self.instance.portal.state()

    def store(self) -> bytes:
        """All that was ever written to the portal."""
        store = self.instance.home / "data" / "store.log"
        return store.read_bytes() if store.exists() else b""


@pytest.fixture(scope="session")
def chromium() -> str:
    try:
        browser.require_playwright()
        return browser.find()
    except Problem as problem:
        pytest.skip(str(problem).splitlines()[0])


@pytest.fixture(scope="package")
def shared_browser(chromium: str) -> Iterator[Any]:
    with browser.running(chromium) as running:
        yield running


@pytest.fixture
def one_browser(shared_browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every visit takes a new session of the one browser, which is not started and ended anew."""

    @contextlib.contextmanager
    def running(_: str) -> Iterator[Any]:
        try:
            yield shared_browser
        finally:
            for context in shared_browser.contexts:
                context.close()

    monkeypatch.setattr(browser, "running", running)
    monkeypatch.setattr(pages, "SHOWN_SECONDS", 0.3)  # a stand-in shows at once what it has to say


@pytest.fixture(scope="package")
def unpacked() -> Iterator[Callable[[str], Path]]:
    """Unpacked releases in a folder every user can reach, unlike pytest's own."""
    if os.uname().machine != "x86_64":
        pytest.skip("the packed Java runtime is for x86_64")
    folder = Path(tempfile.mkdtemp(prefix="portal-"))
    folder.chmod(0o755)

    def unpacked_release(release: str) -> Path:
        found = folder / release
        return found / "dls-linux" if found.exists() else unpack(build.cached(release), found)

    yield unpacked_release
    shutil.rmtree(folder)


@contextlib.contextmanager
def running_site(unpacked: Path) -> Iterator[Site]:
    """A stand-in that nobody has visited."""
    folder = Path(tempfile.mkdtemp(dir=unpacked.parents[1]))
    folder.chmod(0o755)
    instance = Instance(unpacked, folder)
    instance.start_ready()
    try:
        yield Site(instance, instance.url)
    finally:
        instance.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="package", params=RELEASES)
def shared_site(request: pytest.FixtureRequest, chromium: str, unpacked: Callable[[str], Path]) -> Iterator[Site]:
    with running_site(unpacked(request.param)) as site:
        site.instance.portal.call("first-visit", password=PASSWORD)
        site.instance.portal.call("import", text=license_of("1000001"), newProject="First")
        yield site


@pytest.fixture
def site(shared_site: Site, one_browser: None) -> Site:
    """A stand-in of each release with a password, a license and its project `First`, shared by the tests."""
    return shared_site


@pytest.fixture(params=RELEASES)
def fresh(request: pytest.FixtureRequest, one_browser: None, unpacked: Callable[[str], Path]) -> Iterator[Site]:
    """A stand-in of each release that nobody has visited."""
    with running_site(unpacked(request.param)) as site:
        yield site


def license_of(number: str, **options: str) -> str:
    """A license file whose LicenseId and item are both this number."""
    return license_text(number, **options).replace("100955015", number)


def item_ids(site: Site) -> set[str]:
    return {item["id"] for item in site.state()["items"]}


def apply_settings(site: Site, **values: Any) -> dict[str, Any]:
    """What `dlskit portal apply` takes for this portal."""
    found = {"name": "a-host", "connection": "local", "port": int(site.url.rpartition(":")[2]), "password": PASSWORD}
    return found | values


def entry(name: str, text: str, project: str) -> dict[str, str]:
    """A license file as `apply` takes it."""
    return {"name": name, "content": base64.b64encode(text.encode()).decode(), "project": project}


def secret_in(text: str) -> list[str]:
    """Those of the secrets that stand in the text: the passwords, and license keys."""
    return [secret for secret in (PASSWORD, SMTP_PASSWORD, "DLS2ey") if secret in text]


def told(done: Result, code: int, text: str, hint: str) -> None:
    """The command ended with this code and one message in the project's form, without secrets."""
    assert done.exit_code == code, done.output
    message = done.stderr.replace("\n  ", " ")
    assert re.fullmatch(r".+: must .+, got .+\nHINT: .+\n", message), message
    assert text in message
    assert hint in message.partition("HINT: ")[2]
    assert not secret_in(done.output)


@contextlib.contextmanager
def unchanged(site: Site) -> Iterator[None]:
    before = site.store()
    yield
    assert site.store() == before


@pytest.fixture
def proxy(site: Site) -> Iterator[Proxy]:
    with proxied(site.url) as made:
        yield made


@pytest.fixture
def faulty(site: Site, proxy: Proxy, tmp_path: Path) -> Site:
    """The site behind a proxy with faults, and the folder for its evidence."""
    (tmp_path / "evidence").mkdir()
    return replace(site, url=proxy.url, options=["--timeout", "1.5", "--evidence", str(tmp_path / "evidence")])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.lic"


@pytest.fixture
def wrong(tmp_path: Path) -> list[str]:
    """The options with another password."""
    (tmp_path / "wrong").write_text("a wrong one\n")
    return ["--password-file", str(tmp_path / "wrong")]


def left(folder: Path) -> Path:
    """The one folder of evidence, for its owner only, with no secret in its text."""
    (found,) = (folder / "evidence").iterdir()
    assert found.stat().st_mode & 0o777 == 0o700
    text = (found / "page.txt").read_text()
    assert text.strip()
    assert not secret_in(text)
    return found
