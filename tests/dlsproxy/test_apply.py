"""What is due on a host, and what a host that refuses gets back."""

import errno
import itertools
import os
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dlsctl.files import write_atomic
from dlsctl.problems import Problem, Refused
from dlsfirewall import firewall
from dlsfirewall.settings import NOTHING, Settings
from dlsfirewall.steps import Command, Step
from dlsproxy.apply import apply, plan
from dlsproxy.certificates import Verdict
from dlsproxy.findings import stranger_to
from dlsproxy.preflight import look, preflight
from dlsproxy.proxy import Proxy
from dlsproxy.undo import Undo, remove
from tests.dlsctl import replacing
from tests.dlsproxy.certificates import issue
from tests.dlsproxy.conftest import OPTIONS, ROOT

replace = partial(replacing.replace, program="dlsproxy")
PROPERTIES = {"ActiveState": "active", "UnitFileState": "enabled", "MainPID": "0"}


@pytest.fixture(autouse=True)
def quiet_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on which nginx runs and nothing is enforced; no command of it is run."""
    replace(monkeypatch, "unit_properties", lambda service: PROPERTIES)
    replace(monkeypatch, "is_enforcing", lambda: False)
    replace(monkeypatch, "os_family", lambda: "debian")
    replace(monkeypatch, "is_stale", lambda proxy: False)
    replace(monkeypatch, "systemctl", lambda *words: "")
    replace(monkeypatch, "workers", lambda: [1])
    monkeypatch.setattr(firewall, "look", lambda wanted: firewall.Look("none", []))
    monkeypatch.setattr("shutil.which", lambda name: "/usr/sbin/" + name)


@pytest.fixture
def site(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec with a certificate and key by content."""
    pair = issue("dls", "dls.example.com")
    spec["values"] |= {"dls_proxy_tls_certificate": pair.pem, "dls_proxy_tls_key": pair.key}
    return spec


def test_files_are_written_with_the_key_for_root_only_and_then_nothing_is_due(
    site: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "run", lambda argv: (0, ""))
    paths = [tmp_path / name for name in ("tls/certificate.pem", "tls/key.pem", "conf.d/dls.conf")]
    due = [f"write {path}" for path in paths] + ["reload nginx"]
    assert apply(site, check=True) == due
    assert not any(path.exists() for path in paths)
    assert apply(site, check=False) == due
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o644, 0o600, 0o644]
    assert apply(site, check=False) == []


def test_byte_order_mark_of_an_editor_is_not_written(
    spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "run", lambda argv: (0, ""))
    root = issue("Root", authority=True)
    pair = issue("dls", "dls.example.com", issuer=root)
    spec["values"] |= {
        "dls_proxy_tls_certificate": f"\ufeff{pair.pem}\ufeff{root.pem}",
        "dls_proxy_tls_key": f"\ufeff{pair.key}",
    }
    assert Proxy(spec).verdict() == Verdict([], [])
    apply(spec, check=False)
    certificate, key = tmp_path / "tls/certificate.pem", tmp_path / "tls/key.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    assert certificate.read_text().endswith(pair.pem + root.pem)


def test_bytes_that_are_checked_are_those_that_are_written(site: dict[str, Any], tmp_path: Path) -> None:
    checked = Proxy(site).pair()
    contents = {item["path"]: item["content"].encode() for item in Proxy(site).files()}
    assert checked.certificate == contents[f"{tmp_path}/tls/certificate.pem"]
    assert checked.key == contents[f"{tmp_path}/tls/key.pem"]


def test_refused_configuration_gives_everything_back(
    site: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "run", lambda argv: (1, "nginx: [emerg] no good in /etc/nginx/conf.d/dls.conf:7\n"))
    earlier = tmp_path / "conf.d/dls.conf"
    earlier.parent.mkdir()
    earlier.write_text("# dls\n# earlier\n")
    earlier.chmod(0o640)
    with pytest.raises(Problem, match=r"must accept the proxy's configuration, got no good in .*dls\.conf:7"):
        apply(site, check=False)
    assert (earlier.read_text(), earlier.stat().st_mode & 0o777) == ("# dls\n# earlier\n", 0o640)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["conf.d", "dls.conf"]


def test_full_disk_gives_back_what_was_changed_and_leaves_what_was_not(
    site: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "tls/certificate.pem", tmp_path / "tls/key.pem"
    certificate.parent.mkdir()
    for path in (certificate, key):
        path.write_text("earlier\n")

    def write(path: str, *rest: Any) -> None:
        if path == str(key):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write_atomic(path, *rest)

    replace(monkeypatch, "write_atomic", write)
    with pytest.raises(OSError, match=r"No space left on device.*key\.pem"):
        apply(site, check=False)
    assert (certificate.read_text(), key.read_text()) == ("earlier\n", "earlier\n")


def test_what_cannot_be_put_back_is_named_and_the_rest_is_put_back(
    site: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "tls/certificate.pem", tmp_path / "tls/key.pem"
    certificate.parent.mkdir()
    for path in (certificate, key):
        path.write_text("earlier\n")
    written: list[str] = []

    def write(path: str, *rest: Any) -> None:
        written.append(path)
        if path == str(key) and written.count(path) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write_atomic(path, *rest)

    replace(monkeypatch, "write_atomic", write)
    replace(monkeypatch, "run", lambda argv: (1, "nginx: [emerg] no good\n"))
    with pytest.raises(Problem, match=r"no good(.|\n)*could not be put back: .*No space left on device.*key\.pem"):
        apply(site, check=False)
    assert certificate.read_text() == "earlier\n"


def test_firewall_is_opened_once_nginx_serves_and_its_failure_gives_everything_back(
    site: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    opening = Step("open 443", [Command(("open",))])
    monkeypatch.setattr(firewall, "look", lambda wanted: firewall.Look("ufw", [opening]))
    replace(monkeypatch, "run", lambda argv: (0, ""))
    replace(monkeypatch, "systemctl", lambda *words: order.append(words[0]))

    def fail(argv: tuple[str, ...], stdin: str) -> tuple[int, str, str]:
        order.append(argv[0])
        return 1, "", "no"

    replacing.replace(monkeypatch, "call", fail, "dlsfirewall")
    assert apply(site, check=True)[-2:] == ["reload nginx", "open 443"]
    with pytest.raises(Problem, match="open: must succeed, got no"):
        apply(site, check=False)
    assert order == ["reload", "open", "reload"]
    assert list(tmp_path.iterdir()) == []
    replacing.replace(monkeypatch, "call", lambda argv, stdin: (0, "", ""), "dlsfirewall")
    assert apply(site, check=False)[-1] == "open 443"
    order.clear()
    assert apply(site, check=False) == ["open 443"]
    assert order == [], "nginx is left alone where only the firewall differs"


def test_refusal_of_the_firewall_is_told_with_everything_else_and_once(
    site: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(wanted: Settings) -> firewall.Look:
        raise Refused("iptables", "must not drop packets")

    monkeypatch.setattr(firewall, "look", refuse)
    replace(monkeypatch, "run", lambda argv: (0, ""))
    problems: list[Problem] = []
    assert look(site, problems)["firewall"] == "none"
    look(site, problems)
    assert [str(problem) for problem in problems if problem.what == "iptables"] == ["iptables: must not drop packets"]


def test_firewall_is_asked_for_the_ports_of_the_proxy_and_for_nothing_at_its_end(site: dict[str, Any]) -> None:
    asked = Proxy(site).firewall()
    assert (asked.firewall, {opening.port for opening in asked.openings}) == ("auto", {443})
    site["entry"] = "uninstall"
    assert Proxy(site).firewall() == NOTHING


def test_files_are_labelled_where_one_is_written_and_ports_are_allowed_where_selinux_enforces(
    site: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site["values"]["dls_proxy_https_port"] = 8444
    asked = {"semanage": "http_port_t tcp 80, 443\n", "getsebool": "httpd_can_network_connect --> on\n"}
    replace(monkeypatch, "is_enforcing", lambda: True)
    replace(monkeypatch, "run", lambda argv: (0, asked.get(argv[0], "")))
    paths = [f"{tmp_path}/{name}" for name in ("conf.d/dls.conf", "tls/certificate.pem", "tls/key.pem")]
    port = "semanage port --add --type http_port_t --proto tcp 8444"
    assert apply(site, check=False)[3:] == [port, "restorecon -F " + " ".join(paths), "reload nginx"]
    assert apply(site, check=False) == [port, "reload nginx"]


def test_name_that_nginx_would_only_warn_of_is_refused(site: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    warning = 'nginx: [warn] conflicting server name "dls.example.com" on 0.0.0.0:443, ignored\n'
    replace(monkeypatch, "run", lambda argv: (0, warning))
    with pytest.raises(Problem, match=r"got dls\.example\.com, a name that another site has"):
        apply(site, check=False)


def test_welcome_page_goes_only_where_nginx_was_installed_for_the_proxy(site: dict[str, Any], tmp_path: Path) -> None:
    welcome = tmp_path / "default"
    welcome.symlink_to("/etc/nginx/sites-available/default")
    site["families"] = {"debian": {**site["families"]["debian"], "welcome_site": str(welcome)}}
    assert f"remove {welcome}" not in apply(site, check=True)
    site["is_new"] = True
    assert apply(site, check=True)[0] == f"remove {welcome}"


def test_removed_welcome_page_comes_back_as_the_link_it_was(tmp_path: Path) -> None:
    welcome, undo = tmp_path / "default", Undo()
    welcome.symlink_to("../sites-available/default")
    undo.keep(str(welcome))
    welcome.unlink()
    undo.run()
    assert str(welcome.readlink()) == "../sites-available/default"


def test_certificate_that_certbot_has_put_there_is_left_to_it(spec: dict[str, Any], tmp_path: Path) -> None:
    spec["entry"] = "uninstall"
    for name in ("conf.d/dls.conf", "tls/certificate.pem", "tls/key.pem"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("# dls\n")
    assert apply(spec, check=True) == [f"remove {tmp_path}/conf.d/dls.conf", "reload nginx"]


@pytest.mark.parametrize("kind", ["file", "link", "folder", "link to nothing"])
def test_configuration_of_somebody_else_is_neither_overwritten_nor_removed(
    site: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    replace(monkeypatch, "run", lambda argv: (0, ""))
    path = tmp_path / "conf.d/dls.conf"
    path.parent.mkdir()
    if kind == "file":
        path.write_text("server {}\n# dls\n")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/etc/hostname" if kind == "link" else "/nowhere")
    problems: list[Problem] = []
    look(site, problems)
    assert [str(problem) for problem in problems if problem.what == str(path)] == [
        f"{path}: must be a file that this role has written, got another one\nHINT: move it away"
    ]
    site["entry"] = "uninstall"
    assert apply(site, check=False) == []
    assert os.path.lexists(path)


def test_configuration_begins_with_a_line_by_which_it_is_known_again() -> None:
    first = (ROOT / "templates/dls-proxy.conf.j2").read_text().splitlines()[0]
    assert first == (
        "# The proxy in front of the Dynamsoft License Server, written by role dls_proxy: changes made here are lost."
    ), "hosts that have the earlier line would have a proxy that nobody removes"


@pytest.mark.parametrize(
    "case", list(itertools.product(["text", "self-signed"], ["file", "link"], ["certificate", "key"]))
)
def test_file_of_somebody_else_is_not_overwritten_by_a_certificate_or_key(
    site: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, str]
) -> None:
    given, kind, short = case
    replace(monkeypatch, "run", lambda argv: (0, ""))
    path = tmp_path / f"tls/{short}.pem"
    path.parent.mkdir()
    if kind == "file":
        path.write_text(getattr(issue("dls", "dls.example.com", ends=0), "pem" if short == "certificate" else "key"))
        path.chmod(0o600)
    else:
        path.symlink_to("/nowhere")
    if given == "self-signed":
        for name in ("certificate", "key"):
            del site["values"]["dls_proxy_tls_" + name]
        site["values"]["dls_proxy_tls_self_signed"] = True
    told = {
        "text": f"must hold nothing but what this role has written, where dls_proxy_tls_{short} is given",
        "self-signed": "must hold nothing but what this role has written, where dls_proxy_tls_self_signed is true",
    }
    problems: list[Problem] = []
    look(site, problems)
    texts = [str(problem) for problem in problems if problem.what == f"dls_proxy_tls_{short}_path"]
    is_due = given == "text" or "make a self-signed certificate" in plan(Proxy(site))
    message = f"dls_proxy_tls_{short}_path: {told[given]}, got {path}\nHINT: name another path, or move that file away"
    assert [text for text in texts if "hold nothing" in text] == [message] * is_due


def test_file_that_this_role_has_written_is_overwritten_by_the_next_certificate(
    site: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, "run", lambda argv: (0, ""))
    apply(site, check=False)
    pair = issue("dls", "dls.example.com")
    site["values"] |= {"dls_proxy_tls_certificate": pair.pem, "dls_proxy_tls_key": pair.key}
    problems: list[Problem] = []
    look(site, problems)
    assert [problem for problem in problems if "_path" in problem.what] == []


@pytest.mark.parametrize("moved", [False, True], ids=["", "variables name other paths by now"])
def test_what_the_role_has_written_goes_with_the_proxy_though_no_variable_tells_of_it(
    site: dict[str, Any], tmp_path: Path, moved: bool
) -> None:
    folder = tmp_path / "tls"
    site["configuration"]["content"] += (
        f"    ssl_certificate {folder}/certificate.pem;\n    ssl_certificate_key {folder}/key.pem;\n"
    )
    apply(site, check=False)
    site["entry"] = "uninstall"
    for name in ("server_names", "tls_certificate", "tls_key"):
        del site["values"]["dls_proxy_" + name]
    site["options"] = {name: {**option, "required": False} for name, option in site["options"].items()}
    if moved:
        site["values"]["dls_proxy_tls_key_path"] = f"{tmp_path}/elsewhere/key.pem"
        site["values"]["dls_proxy_tls_certificate_path"] = f"{tmp_path}/elsewhere/certificate.pem"
    removed = {step for step in apply(site, check=False) if step.startswith("remove")}
    assert removed == {
        f"remove {path}" for path in (folder / "certificate.pem", folder / "key.pem", tmp_path / "conf.d/dls.conf")
    }
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def installed(site: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The spec that removes a proxy whose configuration names the key and the certificate in the kit's own folder."""
    replace(monkeypatch, "run", lambda argv: (0, ""))
    folder = tmp_path / "tls"
    site["configuration"]["content"] += (
        f"ssl_certificate {folder}/certificate.pem;\nssl_certificate_key {folder}/key.pem;\n"
    )
    for short in ("certificate", "key"):
        name = f"dls_proxy_tls_{short}_path"
        site["options"] = {**site["options"], name: {**OPTIONS[name], "default": f"{folder}/{short}.pem"}}
    apply(site, check=False)
    folder.chmod(0o750)
    site["entry"] = "uninstall"
    return site


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mode & 0o777, path.read_text() if path.is_file() else "")
        for path in folder.rglob("*")
    }


def test_uninstall_removes_the_key_only_after_nginx_has_let_go_of_it(
    installed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[str]]] = []

    def files() -> list[str]:
        return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())

    def see(what: str) -> tuple[int, str]:
        seen.append((what, files()))
        return 0, ""

    replace(monkeypatch, "run", lambda argv: see(argv[-1]))
    replace(monkeypatch, "systemctl", lambda *words: see(words[0]))
    steps = apply(installed, check=False)
    both = ["certificate.pem", "key.pem"]
    assert seen == [("-t", both), ("reload", both), ("-t", [])]
    assert steps == [
        f"remove {tmp_path}/conf.d/dls.conf",
        "reload nginx",
        f"remove {tmp_path}/tls/certificate.pem",
        f"remove {tmp_path}/tls/key.pem",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["conf.d"]


def test_folder_that_is_not_the_kits_own_stays_though_it_is_empty(installed: dict[str, Any], tmp_path: Path) -> None:
    installed["options"] = OPTIONS
    apply(installed, check=False)
    assert list((tmp_path / "tls").iterdir()) == []


def test_uninstall_looks_at_the_host_though_the_inventory_asks_for_a_snippet(
    installed: dict[str, Any], tmp_path: Path
) -> None:
    installed["values"]["dls_proxy_kind"] = "snippet"
    assert f"remove {tmp_path}/conf.d/dls.conf" in preflight(installed)["look"]["steps"]


@pytest.mark.parametrize("fails", ["nginx -t", "reload", "key.pem", "firewall"])
def test_failed_uninstall_gives_everything_back_and_never_lacks_a_key_that_is_configured(
    installed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    before = tree(tmp_path)

    def fail(what: str) -> tuple[int, str]:
        has = set(tree(tmp_path))
        assert "conf.d/dls.conf" not in has or {"tls/certificate.pem", "tls/key.pem"} <= has, what
        if fails in what:
            raise Problem(what, "must succeed", "no", "look")
        return 0, ""

    unlink, write = remove, write_atomic
    replace(monkeypatch, "run", lambda argv: fail(" ".join(argv)))
    replace(
        monkeypatch, "systemctl", lambda *words: fail(words[0]) if "conf.d/dls.conf" not in tree(tmp_path) else None
    )
    replace(monkeypatch, "remove", lambda path: unlink(path) or fail(path))
    replace(monkeypatch, "write_atomic", lambda *rest: write(*rest) or fail("write"))
    monkeypatch.setattr(firewall, "apply", lambda seen: fail("firewall"))
    with pytest.raises(Problem, match="must succeed, got no\nHINT: look"):
        apply(installed, check=False)
    assert tree(tmp_path) == before


def test_key_that_another_site_has_come_to_use_is_put_back(
    installed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(tmp_path)
    replace(monkeypatch, "run", lambda argv: (int(not (tmp_path / "tls/key.pem").exists()), "no such key"))
    with pytest.raises(Problem, match=r"nginx: must accept .*, got no such key"):
        apply(installed, check=False)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("unknown directive in /etc/nginx/conf.d/other.conf:1", 1),
        ('cannot load certificate key "KEY": BIO_new_file() failed', 0),
    ],
    ids=["by somebody else", "by this proxy itself"],
)
def test_uninstall_is_refused_where_nginx_is_broken(
    installed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: int
) -> None:
    said = f"nginx: [emerg] {said.replace('KEY', f'{tmp_path}/tls/key.pem')}\n"
    installed["values"]["dls_proxy_tls_key_path"] = "/elsewhere/key.pem"
    replace(monkeypatch, "run", lambda argv: (1, said))
    problems: list[Problem] = []
    look(installed, problems)
    assert [str(problem).partition(", got ")[0] for problem in problems] == [
        "nginx: must accept its present configuration"
    ] * told


def test_broken_nginx_keeps_nobody_from_removing_nothing(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    replace(monkeypatch, "run", lambda argv: (1, "nginx: [emerg] no good\n"))
    problems: list[Problem] = []
    spec["entry"] = "uninstall"
    assert look(spec, problems)["steps"] == []
    assert problems == []


@pytest.mark.parametrize(
    ("names", "ends", "due"), [("dls.example.com", 90, False), ("other", 90, True), ("dls", 1, True)]
)
def test_self_signed_certificate_is_made_anew_when_it_is_no_more_good(
    spec: dict[str, Any], tmp_path: Path, names: str, ends: int, due: bool
) -> None:
    spec["values"]["dls_proxy_tls_self_signed"] = True
    step = "make a self-signed certificate"
    assert step in apply(spec, check=True)
    pair = issue("dls", names, ends=ends)
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls/certificate.pem").write_text(pair.pem)
    (tmp_path / "tls/key.pem").write_text(pair.key)
    (tmp_path / "tls/key.pem").chmod(0o600)
    assert (step in apply(spec, check=True)) == due


def test_issued_certificate_is_never_replaced_by_a_self_signed_one(spec: dict[str, Any], tmp_path: Path) -> None:
    spec["values"]["dls_proxy_tls_self_signed"] = True
    pair = issue("dls", "other", issuer=issue("Root", authority=True))
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls/certificate.pem").write_text(pair.pem)
    (tmp_path / "tls/key.pem").write_text(pair.key)
    (tmp_path / "tls/key.pem").chmod(0o600)
    assert "make a self-signed certificate" not in apply(spec, check=True)


def test_key_that_everybody_can_read_is_refused(spec: dict[str, Any], tmp_path: Path) -> None:
    pair = issue("dls", "dls.example.com")
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls/certificate.pem").write_text(pair.pem)
    (tmp_path / "tls/key.pem").write_text(pair.key)
    (tmp_path / "tls/key.pem").chmod(0o644)
    (problem,) = Proxy(spec).verdict().problems
    assert str(problem).startswith("dls_proxy_tls_key_path: must not be readable by everybody, got ")


def test_addresses_for_the_check_from_outside_are_no_administrators() -> None:
    assert stranger_to(["127.0.0.1/32", "127.0.0.2/32"]) == "127.0.0.3"
    assert stranger_to(["127.0.0.0/8"]) == "127.0.0.1"
