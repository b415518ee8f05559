"""The proxy on a lab host that has another site: what is refused, what is put back, and what a change may touch."""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import play, site
from tests.dlsproxy.certificates import issue
from tests.lab import engine, hosts
from tests.refusals.test_server import TargetHost

pytestmark = pytest.mark.slow

NAME = "dls.example.com"
ROOT = issue("Root", authority=True)
GOOD = issue("dls", NAME, issuer=ROOT)
OLD = issue("dls", NAME, issuer=ROOT, ends=0)
OTHER = issue("other", "*.other.example", issuer=ROOT)
CONFIGURATION = "/etc/nginx/conf.d/dls.conf"
SHOP = "/etc/nginx/conf.d/shop.conf"
SHOP_SITE = (
    "server { listen 80; listen 443 ssl default_server; server_name shop.example; ssl_certificate /root/shop.pem;"
)
SHOP_SITE += " ssl_certificate_key /root/shop.key; return 200 shop; }"


def given(pair: Any) -> dict[str, str]:
    """The variables that give a certificate and its key by content."""
    return {"dls_proxy_tls_certificate": pair.pem + ROOT.pem, "dls_proxy_tls_key": pair.key}


@dataclass(frozen=True)
class Case:
    """One refusal: what the inventory says wrongly (None: not at all), shell before and after, the message."""

    message: str
    variables: dict[str, Any] = field(default_factory=dict)
    arrange: str = "true"
    undo: str = "true"


LISTEN = (
    "systemd-run --quiet --unit=occupied python3 -m http.server {0} && until ss -lnt | grep -q :{0}; do sleep 0.1; done"
)
BLANK = {
    "a certificate without its key": Case(
        "dls_proxy_tls_key: must be given with dls_proxy_tls_certificate, got nothing HINT: ",
        {"dls_proxy_tls_key": None},
    ),
    "an expired certificate": Case(
        r"dls_proxy_tls_certificate: must not be expired, got that of dls, which ended on [-0-9]+ HINT: renew it",
        given(OLD),
    ),
    "a certificate of another name": Case(
        r"dls_proxy_tls_certificate: must cover every name of dls_proxy_server_names, got dls\.example\.com, "
        r"it covers only \*\.other\.example HINT: ",
        given(OTHER),
    ),
    "the key of another certificate": Case(
        "dls_proxy_tls_key: must be the key of dls_proxy_tls_certificate, got that of another certificate HINT: ",
        {"dls_proxy_tls_key": OTHER.key},
    ),
    "no certificate at all": Case(
        "dls_proxy_tls_certificate_path: must be a file on the host, got /etc/dls/tls/certificate.pem HINT: ",
        {"dls_proxy_tls_certificate": None, "dls_proxy_tls_key": None},
    ),
    "no administrators": Case(
        r"dls_proxy_admin_networks: must name a network, 127\.0\.0\.1/32 at least, got \[\] HINT: ",
        {"dls_proxy_admin_networks": []},
    ),
    "an administrators' network that is none": Case(
        r"dls_proxy_admin_networks: must be networks such as 10\.20\.0\.0/16, got 'the office' HINT: ",
        {"dls_proxy_admin_networks": ["the office"]},
    ),
    "client paths of the wrong type": Case(
        r"dls_proxy_client_paths: must be of type list, got 'usage/' HINT: ", {"dls_proxy_client_paths": "usage/"}
    ),
    "a prefix without slash": Case(
        "dls_proxy_prefix: must begin and end with a slash, .*, got 'dls' HINT: write it as /dls/",
        {"dls_proxy_prefix": "dls"},
    ),
    "a misspelt variable": Case(
        "dls_proxy_server_name: is not a variable of this role HINT: did you mean dls_proxy_server_names?",
        {"dls_proxy_server_name": NAME},
    ),
    "a port in use": Case(
        r"dls_proxy_https_port: must be a free TCP port, got 443, which python3 \(process \d+\) listens on HINT: ",
        arrange=LISTEN.format(443),
        undo="systemctl stop occupied",
    ),
}
SHARED = {
    "an nginx that somebody else has broken": Case(
        'nginx: must accept its present configuration, got unknown directive "nonsense" in '
        "/etc/nginx/conf.d/zz.conf:1 HINT: correct that file",
        arrange="echo 'nonsense;' >/etc/nginx/conf.d/zz.conf",
        undo="rm /etc/nginx/conf.d/zz.conf",
    ),
    "a configuration of somebody else at the proxy's place": Case(
        f"{CONFIGURATION}: must be a file that this role has written, got another one HINT: move it away",
        arrange=f"echo '# theirs' >{CONFIGURATION}",
        undo=f"rm {CONFIGURATION}",
    ),
    "a key given for the path of somebody else's": Case(
        "dls_proxy_tls_key_path: must hold nothing but what this role has written, where dls_proxy_tls_key is given, "
        "got /root/shop.key HINT: name another path",
        {"dls_proxy_tls_key_path": "/root/shop.key"},
    ),
    "the name of another site": Case(
        f"dls_proxy_server_names: must not be a name of another site on port 443, got shop.example, which {SHOP} ",
        {"dls_proxy_server_names": [NAME, "shop.example"], **given(issue("x", NAME, "shop.example", issuer=ROOT))},
    ),
    "a second default server": Case(
        f"dls_proxy_default_server: must be false where another site is the default of port 443, got true, {SHOP}",
        {"dls_proxy_default_server": True},
    ),
}


@pytest.fixture(scope="module")
def target() -> Iterator[TargetHost]:
    if not engine.answers():
        pytest.skip("no container engine answers")
    lab = hosts.Lab("proxy")
    client = engine.connect()
    hosts.up(client, lab, {"lab-proxy": "debian12"})
    yield TargetHost(lab)
    if "DLS_LAB_KEEP" not in os.environ:
        hosts.down(client, lab)


@pytest.fixture(scope="module")
def shared(target: TargetHost) -> TargetHost:
    """The host with an nginx of its own that serves another site."""
    shop = issue("shop", "shop.example")
    target.shell(
        "apt-get -qq update; export DEBIAN_FRONTEND=noninteractive\n"
        "apt-get -qq -y --no-install-recommends install nginx >/dev/null\n"
        f"cat >/root/shop.pem <<'END'\n{shop.pem}END\ncat >/root/shop.key <<'END'\n{shop.key}END\n"
        f"cat >{SHOP} <<'END'\n{SHOP_SITE}\nEND\nsystemctl reload nginx"
    )
    return target


def variables_of(case: dict[str, Any]) -> dict[str, Any]:
    """A good site with what a case does to it."""
    good = {**site.archive_variables(), "dls_proxy_server_names": [NAME], **given(GOOD)}
    return {name: value for name, value in {**good, **case}.items() if value is not None}


def refuse(target: TargetHost, case: Case) -> None:
    """Run the site playbook for a case, which must fail with its message and leave the host as it was."""
    target.shell(case.arrange)
    try:
        before = target.snapshot()
        result = target.play("site", variables_of(case.variables))
        after = target.snapshot()
    finally:
        target.shell(case.undo)
    assert result.code != 0
    text = " ".join(result.output.split())
    assert re.search(case.message, text), result.output
    assert "Traceback" not in text
    assert "PRIVATE KEY" not in text
    assert sorted(set(after) ^ set(before)) == []


@pytest.mark.parametrize("name", BLANK)
def test_it_is_refused_on_a_blank_host_which_stays_blank(target: TargetHost, name: str) -> None:
    refuse(target, BLANK[name])


def test_all_problems_are_reported_at_once(target: TargetHost) -> None:
    names = ["an expired certificate", "a prefix without slash", "no administrators"]
    variables: dict[str, Any] = {}
    for name in names:
        variables |= BLANK[name].variables
    text = " ".join(target.play("site", variables_of(variables)).output.split())
    for name in names:
        assert re.search(BLANK[name].message, text), text


@pytest.mark.parametrize("name", SHARED)
def test_it_is_refused_on_a_host_with_another_site(shared: TargetHost, name: str) -> None:
    refuse(shared, SHARED[name])


def ask(target: TargetHost, name: str, path: str) -> tuple[int, str, bytes]:
    """Status, body and the certificate (DER) of a GET over TLS from outside the host."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((target.address, 443), 10) as raw,
        context.wrap_socket(raw, server_hostname=name) as stream,
    ):
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: stream.recv(65536), b""))
        certificate = stream.getpeercert(binary_form=True) or b""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode(), certificate


def processes(target: TargetHost) -> dict[str, list[str]]:
    """Process ids: nginx's main one, its workers, and those of the license server's unit."""
    script = """
    main=$(systemctl show nginx --property=MainPID --value)
    echo main $main; echo workers $(pgrep --parent $main)
    echo server $(systemctl show dynamsoft-dls --property=MainPID --value)
    """
    return {line.split()[0]: line.split()[1:] for line in target.shell(script).splitlines()}


@pytest.fixture(scope="module")
def proxy_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A play of an operator's own, with nothing but the role."""
    path = tmp_path_factory.mktemp("play") / "proxy.yml"
    task = {"name": "Proxy", "ansible.builtin.import_role": {"name": "dls_proxy", "rolespec_validate": False}}
    path.write_text(yaml.safe_dump([{"hosts": "dls", "become": True, "gather_facts": False, "tasks": [task]}]))
    return path


def test_what_nginx_does_not_accept_is_put_back(shared: TargetHost, proxy_only: Path) -> None:
    shared.shell("echo 'log_format dls x;' >/etc/nginx/conf.d/aa.conf; systemctl reload nginx; sleep 1")
    before, running = shared.snapshot(), processes(shared)
    result = shared.play(proxy_only, variables_of({}))
    assert result.code != 0
    text = " ".join(result.output.split())
    message = (
        rf'nginx: must accept the proxy\'s configuration, got duplicate "log_format" name "dls" in {CONFIGURATION}:\d+'
    )
    assert re.search(message + ".* The host was put back as it was", text), result.output
    assert shared.snapshot() == before
    assert processes(shared)["main"] == running["main"]
    assert ask(shared, "shop.example", "/")[:2] == (200, "shop")
    shared.shell("rm /etc/nginx/conf.d/aa.conf; systemctl reload nginx")


def succeed(target: TargetHost, variables: dict[str, Any], *options: str) -> play.Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(play._SHORT, "ANSIBLE_DISPLAY_OK_HOSTS", "true")  # warnings are no changes
        result = target.play("site", variables_of(variables), *options)
    assert result.code == 0, result.output
    return result


def test_site_with_a_key_from_the_inventory_shows_it_nowhere(shared: TargetHost) -> None:
    result = succeed(shared, {}, "-vvv", "--diff")
    secret = GOOD.key.splitlines()[1]
    assert secret not in result.output
    assert CONFIGURATION in result.output
    assert "BEGIN PRIVATE KEY" not in result.output
    where = shared.shell(f"grep -rlF -e '{secret}' /etc /var/log /var/lib /root /home /usr/local 2>/dev/null; true")
    assert where.split() == ["/etc/dls/tls/key.pem"]
    assert secret not in shared.shell("journalctl --no-pager --output=cat --boot")
    assert shared.shell("stat -c %a:%U /etc/dls/tls/key.pem").strip() == "600:root"


def test_second_run_changes_nothing_in_one_round_trip_for_each_role(shared: TargetHost) -> None:
    result = succeed(shared, {}, "-vvv")
    assert result.changed == 0
    assert result.output.count("SSH: EXEC") == 2


def test_both_sites_answer_with_their_own_certificates(shared: TargetHost) -> None:
    status, body, certificate = ask(shared, "shop.example", "/dls/auth/")
    assert (status, body) == (200, "shop")
    assert certificate != ssl.PEM_cert_to_DER_cert(GOOD.pem)
    status, body, certificate = ask(shared, NAME, "/dls/auth/")
    assert (status, '"errorCode"' in body) == (400, True)
    assert certificate == ssl.PEM_cert_to_DER_cert(GOOD.pem)
    assert ask(shared, "unknown.example", "/")[:2] == (200, "shop"), "names that nobody has stay with the other site"
    assert "default" in shared.shell("ls /etc/nginx/sites-enabled"), "the welcome page is the operator's here"


def test_change_reloads_nginx_and_touches_neither_its_main_process_nor_the_server(shared: TargetHost) -> None:
    before = processes(shared)
    assert succeed(shared, {"dls_proxy_rate_limit": 50}).changed == 1
    after = processes(shared)
    assert (after["main"], after["server"]) == (before["main"], before["server"])
    assert not set(after["workers"]) & set(before["workers"])
    assert "rate=50r/s" in shared.shell(f"cat {CONFIGURATION}")


def test_run_that_died_before_the_reload_is_finished_by_the_next(shared: TargetHost) -> None:
    succeed(shared, {})
    before = processes(shared)
    shared.shell(f"sleep 1; touch {CONFIGURATION}")
    assert succeed(shared, {}).changed == 1
    assert not set(processes(shared)["workers"]) & set(before["workers"])
    assert succeed(shared, {}).changed == 0


def test_renewed_certificate_is_served_at_once(shared: TargetHost) -> None:
    new = issue("dls", NAME, issuer=ROOT, ends=20)
    result = succeed(shared, given(new))
    assert re.search(r"WARNING: dls_proxy_tls_certificate: ends on [-0-9]+, in 20 days", result.output)
    assert ask(shared, NAME, "/dls/auth/")[2] == ssl.PEM_cert_to_DER_cert(new.pem)


def test_verify_finds_a_portal_that_somebody_has_opened(shared: TargetHost) -> None:
    succeed(shared, {})
    assert shared.play("verify", variables_of({})).code == 0
    shared.shell(
        f"sed -i 's|return 403;|proxy_pass http://127.0.0.1:48080/;|' {CONFIGURATION}; systemctl reload nginx; sleep 1"
    )
    result = shared.play("verify", variables_of({}))
    text = " ".join(result.output.split())
    assert result.code != 0
    assert f"proxy: must need no change, got due: write {CONFIGURATION}; reload nginx" in text
    assert f"https://{NAME}/dls/: must be refused outside dls_proxy_admin_networks, got status " in text
    succeed(shared, {})


def test_uninstall_leaves_a_configuration_of_somebody_else_or_a_link_as_it_is(shared: TargetHost) -> None:
    aside = "/root/dls.conf"
    succeed(shared, {})
    for arrange in (f"echo '# theirs' >{CONFIGURATION}", f"ln -s {SHOP} {CONFIGURATION}"):
        shared.shell(f"mv {CONFIGURATION} {aside}; mv /etc/dls/tls /root/tls; {arrange}")
        result = shared.play("uninstall", variables_of({}), "--check")
        shared.shell(f"ls {CONFIGURATION}; rm {CONFIGURATION}; mv {aside} {CONFIGURATION}; mv /root/tls /etc/dls/tls")
        assert result.code == 0, result.output
        assert CONFIGURATION not in result.output


def test_change_to_a_snippet_takes_the_proxy_off_the_host(shared: TargetHost, tmp_path: Path) -> None:
    succeed(shared, {})
    snippet = {"dls_proxy_kind": "snippet", "dls_proxy_snippet_dest": f"{tmp_path}/snippet"}
    assert f"remove {CONFIGURATION}" in succeed(shared, snippet).output
    assert shared.shell(f"ls {CONFIGURATION} /etc/dls/tls 2>/dev/null; true") == ""
    assert ask(shared, "shop.example", "/")[:2] == (200, "shop")
    assert succeed(shared, snippet).changed == 0


def test_uninstall_beside_a_broken_site_is_refused_and_changes_nothing(shared: TargetHost) -> None:
    succeed(shared, {})
    shared.shell("echo 'nonsense;' >/etc/nginx/conf.d/zz.conf")
    before = shared.snapshot()
    result = shared.play("uninstall", variables_of({}))
    after = shared.snapshot()
    shared.shell("rm /etc/nginx/conf.d/zz.conf")
    assert result.code != 0
    assert "nginx: must accept its present configuration, got unknown directive" in " ".join(result.output.split())
    assert sorted(set(after) ^ set(before)) == []


@pytest.mark.parametrize("kind", ["nginx", "snippet"])
def test_uninstall_takes_the_key_and_leaves_the_other_site_whatever_the_inventory_says(
    shared: TargetHost, kind: str
) -> None:
    succeed(shared, {})
    assert shared.play("uninstall", variables_of({"dls_proxy_kind": kind})).code == 0
    assert shared.shell(f"ls {CONFIGURATION} /etc/dls/tls 2>/dev/null; true") == ""
    assert ask(shared, "shop.example", "/")[:2] == (200, "shop")
    assert shared.play("uninstall", variables_of({})).changed == 0
