"""Two hosts of a pair, compared: what is refused before a change, and what is found of an installed pair."""

import json
import subprocess
import sys
from typing import Any

import pytest

from dlskit import pair
from tests.checkout.paths import ROOT

URLS = ("https://main.example/dls/", "https://standby.example/dls/")
SERVERS = {"main": ["self", URLS[1]], "standby": [URLS[0], "self"]}
REFUSES, SERVES = ({"error": code, "status": 400, "text": f"error {code}"} for code in (100, 101))
SILENT = {"error": None, "status": None, "text": "Connection refused"}
ELSEWHERE = {"error": None, "status": 404, "text": "status 404 without an error code"}


def seen(role: str, **changes: Any) -> dict[str, Any]:
    """A look at a host that works as main or standby."""
    part = {
        "servers": SERVERS[role],
        "role": role,
        "clients": SERVES if role == "main" else REFUSES,
        "other": SERVES if role == "standby" else REFUSES,
    }
    look = {"current": "2.4.11", "healthy": True, "clock_skew": 0.0}
    return {**look, **changes, "pair": {**part, **changes.get("pair", {})}}


def document(mode: str = "main", **changes: Any) -> dict[str, Any]:
    """What the role asks about a pair that works, of its host `mode`; changes to `own` and `other` are merged."""
    partner = {"main": "standby", "standby": "main"}[mode]
    host = {"version": "2.4.11", "checksum": "sha256:0"}
    return {
        "modes": {"a": mode, "b": partner},
        "urls": URLS,
        "max_clock_skew": 60,
        **changes,
        "own": {**host, "name": "a", "look": seen(mode), **changes.get("own", {})},
        "other": {**host, "name": "b", "look": seen(partner), **changes.get("other", {})},
    }


def verdict(*arguments: Any, **changes: Any) -> dict[str, Any]:
    return pair.compare(pair.read(document(*arguments, **changes)))


@pytest.mark.parametrize("mode", ["main", "standby"])
def test_a_pair_that_works_is_as_it_should_be(mode: str) -> None:
    checked = f"as {mode} of its pair, compared with b"
    assert verdict(mode) == {"problems": [], "findings": [], "parts": [], "checked": checked}


def test_a_host_that_was_not_looked_at_is_compared_by_the_inventory_only() -> None:
    found = verdict(other={"look": {}, "version": "2.4.1"})
    assert found["findings"] == []
    assert found["checked"] == "as main of its pair, but b was not asked"
    assert [text.split(":")[0] for text in found["problems"]] == ["dls_server_version"]


@pytest.mark.parametrize(
    ("modes", "got"),
    [
        ({"a": "main"}, "main on a"),
        ({"a": "main", "b": "main"}, "main on a, main on b"),
        ({"a": "main", "b": "standby", "c": "standby"}, "main on a, standby on b, standby on c"),
    ],
)
def test_anything_but_one_main_and_one_standby_is_no_pair(modes: dict[str, str], got: str) -> None:
    [text] = verdict(modes=modes, other={"version": "2.4.1"})["problems"]
    assert text.startswith("dls_server_mode: must be main on one host and standby on one other with the same ")
    assert f", got {got}\nHINT: name the other host" in text


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (
            {"version": "2.4.1"},
            "dls_server_version: must be the same on both hosts of a pair, got 2.4.11, and 2.4.1 on b",
        ),
        ({"version": ""}, "dls_server_version: must be the same on both hosts of a pair, got 2.4.11, and nothing on b"),
        (
            {"checksum": "sha256:1"},
            "dls_server_archive_checksum: must be the same on both hosts of a pair, got sha256:0,",
        ),
        ({"lost": True}, "b: must be fit for this run, as the other host of a's pair, got a refusal or no answer"),
        (
            {"look": seen("standby", clock_skew=60.5)},
            "clock: must be within dls_server_max_clock_skew = 60 s of b's, got -60.5",
        ),
    ],
)
def test_a_difference_between_the_hosts_is_refused(other: dict[str, Any], text: str) -> None:
    [problem] = verdict(other=other)["problems"]
    assert problem.startswith(text)
    assert "\nHINT: " in problem


def test_clocks_within_the_limit_pass() -> None:
    assert verdict(other={"look": seen("standby", clock_skew=-60.0)})["problems"] == []


@pytest.mark.parametrize(
    ("mode", "look", "text"),
    [
        ("main", {"current": "2.4.1"}, "release: must be the same on both hosts of a pair, got 2.4.1, and 2.4.11 on b"),
        ("main", {"current": None}, "release: must be the same on both hosts of a pair, got none, and 2.4.11 on b"),
        ("main", {"pair": {"servers": SERVERS["standby"]}}, "dls.json: must mirror that of the pair's other host and"),
        (
            "main",
            {"pair": {"clients": REFUSES}},
            "main: must serve clients, got error 100, as of a standby or of a server",
        ),
        (
            "standby",
            {"pair": {"clients": SERVES}},
            "standby: must refuse clients with error 100 while the main works, got",
        ),
        (
            "main",
            {"pair": {"other": ELSEWHERE}},
            "dls_server_standby_url: must lead to a license server, got status 404 without an error code",
        ),
        (
            "standby",
            {"pair": {"clients": SERVES, "other": SILENT}},
            "standby: must refuse clients with error 100 while the main works, got",
        ),
    ],
)
def test_a_fault_of_an_installed_pair_is_found(mode: str, look: dict[str, Any], text: str) -> None:
    found = verdict(mode, own={"look": seen(mode, **look)})
    assert found["problems"] == []
    [finding] = found["findings"]
    assert finding.startswith(text)


@pytest.mark.parametrize("other", [{"look": {}}, {"look": seen("main", healthy=False)}])
def test_a_standby_whose_main_is_gone_is_right_to_serve_clients(other: dict[str, Any]) -> None:
    alone = seen("standby", pair={"clients": SERVES, "other": SILENT})
    assert verdict("standby", own={"look": alone}, other=other)["findings"] == []


def test_a_main_says_nothing_of_a_standby_that_it_may_not_reach() -> None:
    assert verdict("main", own={"look": seen("main", pair={"other": SILENT})})["findings"] == []


def test_the_module_takes_and_gives_json() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "dlskit.pair"],
        input=json.dumps(document()),
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert json.loads(run.stdout) == verdict()
