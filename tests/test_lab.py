"""The lab and the test runner, as far as they can be checked without a container engine."""

import time
from pathlib import Path
from typing import Any

import pytest

from dlsctl.problems import Refused
from tests.checkout import play, suite
from tests.lab import hosts, images
from tests.lab.__main__ import images_of, on_platform


def test_the_tag_of_an_image_changes_with_what_goes_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    image = images.find("debian12")
    before = image.tag
    assert image.tag == before
    monkeypatch.setattr(images, "BASE_PACKAGES", (*images.BASE_PACKAGES, "vim"))
    assert image.tag != before


def test_an_image_of_a_registry_replaces_the_labs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLS_LAB_IMAGE_DEBIAN12", "registry.example/debian:12")
    assert images.find("debian12").tag == "registry.example/debian:12"


def test_an_unknown_image_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(Refused, match=r"image: must be one of .*debian12.*, got debian99\nHINT: "):
        images.find("debian99")


def test_two_labs_share_no_name() -> None:
    assert hosts.Lab("a").identifier != hosts.Lab("b").identifier


def test_the_counts_of_a_recap_are_read_by_host() -> None:
    recap = play.read_recap(
        "changed: [a]\nPLAY RECAP ****\n"
        "lab-a  : ok=3    changed=1    unreachable=0    failed=0\nlab-b  : ok=2  changed=0  unreachable=0  failed=0\n"
    )
    assert recap["lab-a"]["changed"] == 1
    assert play.Result(0, "", recap).changed == 1
    assert play.read_recap("changed: [a]\nERROR! no recap\n") == {}


def test_only_changes_and_failures_of_a_play_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    teller = play.Teller()
    lines = [
        "PLAY [Install] ***",
        "TASK [role : Look] ****",
        "ok: [a]",
        "TASK [role : Write it] ****",
        "changed: [a] => (item=1)",
        "changed: [a] => (item=2)",
        "TASK [Start it] ****",
        "fatal: [a]: FAILED! =>",
        "    msg: no",
        "PLAY RECAP ****",
        "a : ok=1",
    ]
    for line in lines:
        teller.tell(line + "\n")
    assert capsys.readouterr().out.splitlines() == ["  Write it", "fatal: [a]: FAILED! =>", "    msg: no"]


def test_a_junit_report_is_counted_with_the_reason_of_each_skip(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="m" name="good"/>'
        '<testcase classname="m" name="bad"><failure/></testcase>'
        '<testcase classname="m" name="broken"><error/></testcase>'
        '<testcase classname="m" name="left"><skipped message="no engine"/></testcase></testsuite></testsuites>'
    )
    counts = suite.read_junit(report)
    assert str(counts) == "1 passed, 2 failed, 1 skipped"
    assert counts.skipped == ["m::left: no engine"]


def test_the_scenario_for_real_windows_hosts_is_skipped_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(suite.WINDOWS, raising=False)
    (step,) = suite.chosen(suite.Choice(False, False, "", ["molecule-windows"], [], 1))
    counts = step.run()
    assert (counts.passed, counts.failed) == (0, 0)
    assert counts.skipped == [
        f"molecule-windows: needs a Windows host for trials, in an inventory that {suite.WINDOWS} names"
    ]


def test_a_platform_replaces_the_image_of_the_servers_and_of_nothing_else() -> None:
    groups: dict[str, Any] = {
        "dls": {
            "hosts": {"lab-a": {"lab_image": "debian12", "dls_server_port": 1}},
            "children": {
                "mains": {"hosts": {"lab-b": {"lab_image": "debian12"}}},
                "distributions": {"hosts": {"lab-c": {"lab_image": "rocky9"}}},
            },
            "vars": {"dls_server_launch": "direct"},
        },
        "clients": {"hosts": {"lab-d": {"lab_image": "debian12"}}},
    }
    moved = on_platform(groups, "debian13")
    assert images_of(moved) == {"lab-a": "debian13", "lab-b": "debian13", "lab-d": "debian12"}
    assert moved["dls"]["hosts"]["lab-a"]["dls_server_port"] == 1
    assert moved["dls"]["vars"] == groups["dls"]["vars"]
    assert on_platform(groups, None) == groups


def test_the_platforms_of_a_test_run_are_images_of_the_lab() -> None:
    assert suite.images_named([]) == []
    assert suite.images_named(["debian13", "debian13", "rocky9"]) == ["debian13", "rocky9"]
    assert suite.images_named(["rocky9", "all"]) == list(images.IMAGES)
    with pytest.raises(Refused, match=r"image: must be one of .*, got debian99\nHINT: "):
        suite.images_named(["debian99"])


def test_every_platform_has_its_own_tag() -> None:
    assert len({image.tag for image in images.IMAGES.values()}) == len(images.IMAGES)


def test_images_of_a_suite_are_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    busy: set[str] = set()
    made: list[str] = []

    def ensure(client: object, image: images.Image) -> None:
        assert image.suite not in busy
        busy.add(image.suite)
        time.sleep(0.02)
        busy.remove(image.suite)
        made.append(image.name)

    monkeypatch.setattr(images, "ensure", ensure)
    images.ensure_all(None, [*images.IMAGES.values(), images.find("debian12")])  # type: ignore[arg-type]
    assert sorted(made) == sorted(images.IMAGES)


def test_the_images_of_an_inventory_are_found_in_every_group() -> None:
    groups = {
        "dls": {"children": {"mains": {"hosts": {"lab-main": {"lab_image": "debian12"}}}}, "vars": {"hosts": 1}},
        "clients": {"hosts": {"lab-client": {"lab_image": "debian13"}, "elsewhere": None}},
    }
    assert images_of(groups) == {"lab-main": "debian12", "lab-client": "debian13"}


def test_step_that_hangs_is_killed_with_all_that_it_started_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "DEADLINE", 1)
    monkeypatch.setattr(suite, "LOGS", tmp_path)
    left = tmp_path / "left"
    code = suite._logged("naps", ["sh", "-c", f"(sleep 3; touch {left}) & sleep 60"], {})
    assert code != 0
    assert "naps: must end within" in capsys.readouterr().out
    time.sleep(3)
    assert not left.exists()
