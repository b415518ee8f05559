"""A portal's page that does what no page should: it is read all the same, or told of, and shows no secret."""

import re
import time
from pathlib import Path

import pytest

from tests.portal.conftest import FAILED, PASSWORD, REFUSED, Site, item_ids, left, license_of, told, unchanged
from tests.portal.faults import Proxy, proxied

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("shared_site", ["2.4.11"], indirect=True)]


def added(kind: str, program: str) -> str:
    """A program that puts an element on the page, called `it` where it is furnished."""
    return (
        f"addEventListener('DOMContentLoaded', () => {{ const it = document.createElement('{kind}');"
        f" {program}; document.body.prepend(it); }});"
    )


def runs(proxy: Proxy, program: str) -> None:
    """Have the page run a program of its own before the portal's."""
    proxy.words['"use strict";'] = f'"use strict";{program}'


def alert(text: str) -> str:
    """A program that shows an alert."""
    return added("p", f"it.setAttribute('role', 'alert'); it.textContent = '{text}'")


# --- Pages that are read all the same ---


@pytest.mark.parametrize(
    ("number", "program"),
    [
        (1, alert("Maintenance on Sunday")),
        (2, added("img", "it.src = '/never.png'")),
        (3, "setInterval(() => fetch('/polled'), 100);"),
        (4, "addEventListener('beforeunload', (event) => { event.preventDefault(); event.returnValue = 'stay'; });"),
        (5, "for (const ask of [alert, confirm, prompt]) setTimeout(() => ask('well?'), 100);"),
        (6, "setTimeout(() => window.open('http://127.0.0.1:9/'), 100);"),
        (7, added("a", "it.href = 'data:application/zip,x'; it.download = 'x.zip'; setTimeout(() => it.click())")),
    ],
    ids=["alert", "endless picture", "polling", "beforeunload", "dialogs", "popup", "download"],
)
def test_page_with_habits_of_its_own_takes_a_license(
    faulty: Site, proxy: Proxy, file: Path, number: int, program: str
) -> None:
    runs(proxy, program)
    proxy.fault = lambda path, body: time.sleep(4) if path == "/never.png" else None
    file.write_text(license_of(f"300000{number}"))
    assert faulty.answer("import", str(file), "--project", "First")["items"] == [f"300000{number}"]


def test_password_that_is_refused_is_told_beside_an_alert_that_is_always_there(
    faulty: Site, proxy: Proxy, wrong: list[str]
) -> None:
    runs(proxy, alert("Maintenance on Sunday"))
    told(faulty.run("uuid", *wrong), REFUSED, "must be the portal's, got the portal says: login: must be", "give the")


def test_portal_that_says_that_all_went_well_is_not_taken_for_one_that_refuses(faulty: Site, proxy: Proxy) -> None:
    proxy.words = {
        "  await refresh();\n}": "  document.body.prepend(el('p', { role: 'alert' }, 'Welcome'));\n"
        "  await new Promise((done) => setTimeout(done, 150));\n  await refresh();\n}"
    }
    assert faulty.answer("uuid")["uuid"]


def test_page_with_a_thousand_rows_is_read_within_seconds(faulty: Site, proxy: Proxy) -> None:
    proxy.words = {
        "  show();\n}\n\naddEventListener": "  for (let i = 0; i < 1000; i++)\n"
        "    state.items?.push({ ...state.items[0], id: `${7000000 + i}` });\n"
        "  show();\n}\n\naddEventListener"
    }
    start = time.monotonic()
    assert len(faulty.answer("items")["items"]) > 1000
    assert time.monotonic() - start < 20


# --- Pages that are told of ---


@pytest.mark.parametrize("program", ["while (true);", "while (true) alert('again');"], ids=["busy", "asking"])
def test_page_whose_program_does_not_end_is_told_of(faulty: Site, proxy: Proxy, program: str) -> None:
    runs(proxy, f"setTimeout(() => {{ {program} }}, 300);")
    done = faulty.run("uuid")
    assert done.exit_code == FAILED
    assert re.search(r"must (react|be on the portal's page|answer|show)", done.stderr), done.stderr


def test_page_that_does_not_come_a_second_time_is_told_of(faulty: Site, proxy: Proxy) -> None:
    asked: list[str] = []

    def fault(path: str, _: bytes) -> None:
        asked.extend([path] if path.endswith(".html") else [])
        time.sleep(3 if len(asked) > 1 and path.endswith(".html") else 0)

    proxy.fault = fault
    told(faulty.run("uuid"), FAILED, "must answer within 1.5 s, got nothing", "--timeout")


def test_page_that_leads_to_another_address_gets_no_password(faulty: Site, proxy: Proxy) -> None:
    with proxied(faulty.url) as other:
        asked: list[bytes] = []
        other.fault = lambda path, body: asked.append(body)
        runs(proxy, f"if (location.origin !== '{other.url}') location.replace('{other.url}/page/index.html');")
        told(faulty.run("uuid"), REFUSED, f"portal: must stay on {proxy.url}, got a way to {other.url}", "--url")
    assert not [body for body in asked if PASSWORD.encode() in body]


def test_two_projects_of_one_name_give_no_keys(faulty: Site, proxy: Proxy, tmp_path: Path) -> None:
    if len(faulty.answer("projects")["projects"]) < 2:
        faulty.answer("projects", "--create", "Another")
    proxy.words = {'project.name, el("br")': '"Same", el("br")'}
    for options in ([], ["--project", "Same"]):
        done = faulty.run("keys", "--out", str(tmp_path / "keys"), *options)
        told(done, FAILED, "project Same: must be the only one of its name, got 2", "rename")
    assert not (tmp_path / "keys").exists()


def test_name_that_would_do_more_to_a_terminal_is_shown_with_escapes(faulty: Site, proxy: Proxy, file: Path) -> None:
    proxy.words = {'project.name, el("br")': '"<b>\\u001b]0;owned\\u0007\\u202e" + project.name, el("br")'}
    file.write_text(license_of("3000010"))
    for done in (faulty.run("projects"), faulty.run("import", str(file), "--project", "Fist")):
        assert "<b>\\x1b]0;owned\\x07\\u202e" in done.output
        assert "\x1b" not in done.output
    assert "3000010" not in item_ids(faulty)


# --- What a failure leaves ---


@pytest.mark.parametrize(
    ("program", "picture"),
    [
        (f"history.replaceState(null, '', '?p=' + encodeURIComponent('{PASSWORD}') + '&q={PASSWORD}#/');", True),
        (added("input", f"it.placeholder = '{PASSWORD}'"), True),
        (added("input", f"it.type = 'button'; it.value = '{PASSWORD}'"), True),
        (added("select", f"it.innerHTML = '<option>{PASSWORD}</option>'"), True),
        (added("p", f"it.style.textTransform = 'uppercase'; it.textContent = '{PASSWORD}'"), True),
        (added("p", f"it.innerHTML = '{PASSWORD}'.replaceAll(' ', ' &nbsp;')"), True),
        (added("p", f"it.innerHTML = '{PASSWORD}'.replace('admin', '<b>admin</b>')"), False),
        (added("p", f"it.innerHTML = 'DLS2eyJ{'a' * 40}<br>{'b' * 40}=='"), False),
        (added("iframe", f"it.srcdoc = '{PASSWORD}'"), False),
        (added("div", f"it.attachShadow({{ mode: 'open' }}).innerHTML = '{PASSWORD}'"), False),
    ],
    ids=["url", "attribute", "button", "choice", "upper case", "spaces", "parts", "broken key", "frame", "shadow"],
)
def test_no_secret_is_left_whichever_way_a_page_shows_it(
    faulty: Site, proxy: Proxy, tmp_path: Path, program: str, picture: bool
) -> None:
    runs(proxy, program)
    proxy.words["UUID: "] = "Machine: "
    with unchanged(faulty):
        assert faulty.run("uuid").exit_code == FAILED
    folder = left(tmp_path)
    shown = " ".join((folder / "page.txt").read_text().lower().split())
    for secret in (PASSWORD, PASSWORD.replace(" ", "%20"), "b" * 40):
        assert secret.lower() not in shown
    assert (folder / "page.png").exists() == picture
