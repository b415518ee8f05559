"""A marked secret in every secret variable shows up nowhere but where it belongs."""

import re
from pathlib import Path

import pytest
import yaml

from tests.site.conftest import MAIN, PFX, STANDBY, Site

pytestmark = pytest.mark.slow

ROLES = Path(__file__).parents[2] / "roles"
SEARCH = """
umask 077
cat >/root/marks <<'END'
{marks}
END
journalctl --output=export --no-pager | grep -aFf /root/marks | sed 's/^/journal: /' | cut -c1-80
grep -raFlf /root/marks /var/log /tmp /var/tmp /run /root/.ansible /home 2>/dev/null | sed 's/^/log: /'
find / -xdev -type f -perm -004 -size -30M -exec grep -aFlf /root/marks {{}} + | sed 's/^/readable: /'
grep -aFf /root/marks /root/watched | sed 's/^/process: /' | cut -c1-80
rm /root/marks
"""


def test_every_secret_variable_of_the_roles_is_marked_in_this_site() -> None:
    secret = {
        name
        for role in ROLES.iterdir()
        for entry in yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"].values()
        for name, option in entry["options"].items()
        if option.get("no_log")
    }
    assert secret == {"dls_proxy_tls_key", PFX, "dls_server_admin_password", "dls_server_alerts"}


def test_no_secret_is_in_the_output_of_any_run(pair: Site) -> None:
    assert len(pair.output) > 100_000, "the runs said all they can say"
    assert [secret for secret in pair.secrets if secret in pair.output] == []


def test_no_secret_is_in_the_output_of_a_run_that_is_refused(pair: Site) -> None:
    before = len(pair.output)
    swapped = pair.folder / "swapped.yml"
    swapped.write_text(yaml.safe_dump({"dls_proxy_tls_certificate": pair.certificates[MAIN]}))
    result = pair.play("site", "--limit", STANDBY, "--extra-vars", f"@{swapped}")
    assert result.code != 0
    assert re.search(r"dls_proxy_tls_key: must .*", pair.output[before:])
    assert [secret for secret in pair.secrets if secret in pair.output[before:]] == []


def test_no_secret_was_on_a_command_line_or_in_an_environment_of_the_control_node(pair: Site) -> None:
    watched = (pair.folder / "watched").read_bytes()
    assert b"ansible" in watched
    assert [secret for secret in pair.secrets if secret.encode() in watched] == []


@pytest.mark.parametrize("name", [MAIN, STANDBY])
def test_no_secret_is_in_a_log_a_process_list_or_a_readable_file_of_a_host(pair: Site, name: str) -> None:
    assert "python3" in pair.shell(name, "tr '\\0' ' ' </root/watched")
    assert pair.shell(name, SEARCH.format(marks="\n".join(pair.secrets))) == ""


@pytest.mark.parametrize("name", [MAIN, STANDBY])
def test_the_key_is_where_it_belongs_and_root_s_alone(pair: Site, name: str) -> None:
    key = pair.shell(name, "cat /etc/dls/tls/key.pem; stat -c '%a %U %G' /etc/dls/tls/key.pem")
    assert any(secret in key for secret in pair.secrets)
    assert key.splitlines()[-1] == "600 root root"


@pytest.mark.parametrize("name", [MAIN, STANDBY])
def test_the_licence_file_is_where_it_belongs_and_root_s_alone(pair: Site, name: str) -> None:
    path = f"/var/lib/dls/licenses/{name}.lic"
    file = pair.shell(
        name, f"cat {path}; stat -c '%a %U %G' {path} /var/lib/dls/licenses /var/lib/dls/licenses/index.json"
    )
    assert any(secret in file for secret in pair.secrets)
    assert file.splitlines()[-3:] == ["600 root root", "700 root root", "600 root root"]
