"""What docs/portal.md shows works as it stands there."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from dlskit.cli import main
from dlskit.commands.portal.group import portal
from dlskit.lines import line_of
from dlskit.portal import items, settings
from dlskit.portal.pages import Portal
from tests.portal.conftest import PASSWORD, Site, license_of, secret_in

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/portal.md").read_text()


def block(language: str) -> str:
    return "".join(re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE))


def test_every_verb_is_shown() -> None:
    assert set(re.findall(r"\./dls portal ([\w-]+)", TEXT)) == set(portal.commands)


def test_variables_are_those_of_the_role() -> None:
    specs = yaml.safe_load((ROOT / "roles/dls_server/meta/argument_specs.yml").read_text())["argument_specs"]
    known = {name for spec in specs.values() for name in spec.get("options", {})}
    shown = yaml.safe_load(block("yaml"))
    assert set(shown) <= known
    assert {name for name in specs["portal"]["options"] if "_portal_" in name} <= set(shown)


def test_object_of_apply_has_every_key_and_is_taken() -> None:
    shown = json.loads(block("json"))
    assert set(shown) == set(settings._KEYS)
    (license,) = settings.read(json.dumps(shown).encode()).licenses
    assert license.project == "Scanners"


def test_message_for_a_word_that_is_missing_is_the_one_that_the_page_quotes() -> None:
    portal = Portal.__new__(Portal)  # without a page
    portal.timeout, portal.line = 15, line_of("2.4.11")
    message = str(portal.missing(portal.text("items", "select_file"))).replace(f"{ROOT}/", "")
    assert "".join(f"    {line}\n" for line in message.splitlines()) in TEXT


def test_exit_codes_and_metrics_of_items_are_those_of_the_code() -> None:
    assert f"exits 0, {items.EXIT_WARNING} (warning) or {items.EXIT_CRITICAL} (critical" in TEXT
    for name in re.findall(r"# TYPE (\w+)", items.metrics("h", [], 0)):
        assert f"`{name}`" in TEXT


@pytest.mark.slow
@pytest.mark.parametrize("fresh", ["2.4.11"], indirect=True)
def test_commands_succeed_in_the_order_of_the_page(
    fresh: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "inventories" / "mysite"
    folder.mkdir(parents=True)
    host = {"ansible_connection": "local", "dls_server_port": fresh.instance.port}
    host["dls_server_admin_password"] = PASSWORD
    (folder / "hosts.yml").write_text(json.dumps({"dls": {"hosts": {"dls1": host}}}))
    (tmp_path / "dls1.lic").write_text(license_of("3000001"))
    monkeypatch.chdir(tmp_path)
    for line in block("sh").splitlines():
        words = shlex.split(line.removeprefix("./dls "))
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, f"{line}\n{done.output}"
        assert not secret_in(done.output)
    state = fresh.state()
    assert [project["name"] for project in state["projects"]] == ["Scanners", "Terminals"]
    assert state["alertReceiver"]["to"] == "ops@example.com; on-call@example.com"
    assert (tmp_path / "scanners.key").read_text().strip() == state["projects"][0]["key"]
