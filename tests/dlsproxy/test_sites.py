"""Other sites of the host's nginx are read, and never disturbed; SELinux gets exactly what it lacks."""

from typing import Any

import pytest

from dlsproxy.certificates import certificate_command
from dlsproxy.nginx import nginx_errors
from dlsproxy.proxy import Proxy
from dlsproxy.selinux import HTTP_PORTS, selinux_commands, selinux_ports
from dlsproxy.sites import Site, site_problems, sites_of

OTHER = "/etc/nginx/sites-enabled/shop"
STOCK = "/etc/nginx/sites-enabled/default"
DUMP = """nginx: the configuration file /etc/nginx/nginx.conf syntax is ok
# configuration file /etc/nginx/nginx.conf:
events { worker_connections 10; } # server { listen 443; }
http {
    log_format x '{ $request; }';
    upstream back { server 127.0.0.1:1; }
    include /etc/nginx/sites-enabled/*;
}
stream { server { listen 443; } }

# configuration file /etc/nginx/sites-enabled/shop:
server { listen 443 ssl; listen [::]:443 ssl; server_name Shop.example "www.shop.example";
  location / { return 200 "${a}{"; } }
server { server_name plain.example; }
server { listen 10.0.0.1; listen unix:/run/x; listen *:8443 default_server; }
"""


def test_servers_are_read_with_names_and_ports_as_nginx_does() -> None:
    assert sites_of(DUMP) == [
        Site(OTHER, ("shop.example", "www.shop.example"), ((443, True, False), (443, True, False))),
        Site(OTHER, ("plain.example",), ((80, True, False),)),
        Site(OTHER, (), ((80, False, False), (8443, True, True))),
    ]


def problems(spec: dict[str, Any], server: str, file: str = OTHER) -> list[str]:
    spec["configuration"]["path"] = "/etc/nginx/conf.d/dls.conf"
    sites = sites_of(f"# configuration file {file}:\n{server}")
    found = [str(problem) for problem in site_problems(Proxy(spec), sites)]
    assert all("\nHINT: " in text for text in found)
    return [text.partition("\nHINT: ")[0] for text in found]


def test_name_of_another_site_is_refused_with_its_file(spec: dict[str, Any]) -> None:
    rule = "dls_proxy_server_names: must not be a name of another site on port 443"
    server = "server { listen 443 ssl default_server; server_name a DLS.example.com; }"
    assert problems(spec, server) == [f"{rule}, got dls.example.com, which {OTHER} serves"]
    assert problems(spec, server.replace("443", "8443")) == []


def test_second_default_server_is_refused(spec: dict[str, Any]) -> None:
    spec["values"]["dls_proxy_default_server"] = True
    rule = "dls_proxy_default_server: must be false where another site is the default of port 443"
    server = "server { listen 443 ssl default_server; }"
    assert problems(spec, server) == [f"{rule}, got true, {OTHER} says default_server"]


@pytest.mark.parametrize("file", [OTHER, "/etc/nginx/conf.d/shop.conf"])
def test_site_that_is_the_default_only_by_coming_first_is_not_pushed_aside(spec: dict[str, Any], file: str) -> None:
    server = "server { listen 443 ssl; server_name shop.example; }"
    rule = "dls_proxy_default_server: must not take from another site what nobody else on port 443 answers"
    assert problems(spec, server, file) == [f"{rule}, got false, {file} is the default only because it comes first"]
    assert problems(spec, server.replace("ssl", "ssl default_server"), file) == []
    assert problems(spec, server, "/etc/nginx/conf.d/aaa.conf") == []
    spec["values"]["dls_proxy_default_server"] = True
    assert problems(spec, server, file) == []


def test_welcome_page_of_the_distribution_and_our_own_file_are_nobodys_site(spec: dict[str, Any]) -> None:
    server = "server { listen 443 ssl; server_name _; }"
    assert problems(spec, server, STOCK) == []
    assert problems(spec, server.replace("_", "dls.example.com"), "/etc/nginx/conf.d/dls.conf") == []


@pytest.mark.parametrize("start", ["nginx: [emerg] ", "2026/11/25 02:34:05 [emerg] 883#883: "])
def test_nginx_tells_file_and_line(start: str) -> None:
    said = 'unknown directive "x" in /etc/nginx/conf.d/a.conf:3'
    assert nginx_errors(f"{start}{said}\nnginx: configuration file test failed\n") == said


CONNECT = ["setsebool", "-P", "httpd_can_network_connect", "on"]
PORT = ["--type", "http_port_t", "--proto", "tcp"]
HTTP = dict.fromkeys(HTTP_PORTS, "http_port_t")


@pytest.mark.parametrize(
    ("can_connect", "types", "ports", "paths", "commands"),
    [
        (True, HTTP, [80, 443], [], []),
        (False, HTTP, [443], [], [CONNECT]),
        (True, HTTP, [8444], [], [["semanage", "port", "--add", *PORT, "8444"]]),
        (True, HTTP | {5000: "commplex_main_port_t"}, [5000], [], [["semanage", "port", "--modify", *PORT, "5000"]]),
        (True, HTTP, [443], ["/a", "/b"], [["restorecon", "-F", "/a", "/b"]]),
    ],
)
def test_selinux_gets_what_it_lacks(
    can_connect: bool, types: dict[int, str], ports: list[int], paths: list[str], commands: list[list[str]]
) -> None:
    assert selinux_commands(can_connect, types, ports, paths) == commands


def test_ports_of_the_policy_are_read() -> None:
    listing = "http_port_t                    tcp      8444, 80, 81\npegasus_http_port_t udp 5988\nx_t tcp 100-200, 7\n"
    assert selinux_ports(listing) == {8444: "http_port_t", 80: "http_port_t", 81: "http_port_t", 7: "x_t"}


def test_self_signed_certificate_is_made_for_names_and_addresses() -> None:
    command = certificate_command(["dls.example.com", "10.0.0.5"], "c.pem", "k.pem")
    assert "subjectAltName=DNS:dls.example.com,IP:10.0.0.5" in command
    assert command[-4:] == ["-keyout", "k.pem", "-out", "c.pem"]
