"""Requests that try to get past the proxy's rules. Used against a real nginx here and against lab hosts.

A request is a method and a target exactly as sent. `dls` stands for a host whose prefix is /dls/.
"""

# What clients send, and the path (with query) that the server then gets.
CLIENTS = {
    ("GET", "/dls/auth/?ext=eyJhIjoxfQ%3D%3D&b=%2F%2B+x"): "/auth/?ext=eyJhIjoxfQ%3D%3D&b=%2F%2B+x",
    ("OPTIONS", "/dls/auth/?ext=a"): "/auth/?ext=a",
    ("POST", "/dls/verify/v2?ltstime=1"): "/verify/v2?ltstime=1",
    ("OPTIONS", "/dls/verify/v2"): "/verify/v2",
}
# Methods that nobody may use there.
METHODS = [
    ("HEAD", "/dls/auth/"),
    ("POST", "/dls/auth/"),
    ("PUT", "/dls/auth/"),
    ("DELETE", "/dls/auth/"),
    ("TRACE", "/dls/auth/"),
    ("get", "/dls/auth/"),
    ("GETS", "/dls/auth/"),
    ("GET", "/dls/verify/v2"),
    ("PUT", "/dls/verify/v2"),
]
# The portal in every spelling: none of them may reach the server from a stranger's address.
PORTAL = [
    "/dls/",
    "/dls/page/index.html",
    "/dls//page/index.html",
    "/dls/./page/index.html",
    "/dls/auth",
    "/dls/auth//page/index.html",
    "/dls/auth/page",
    "/dls/auth/../page/index.html",
    "/dls/auth/..;/page/index.html",
    "/dls/auth/;/../page/index.html",
    "/dls/auth/;page",
    "/dls/auth;/",
    "/dls/auth/%2e%2e/page/index.html",
    "/dls/auth/%2e%2e%2fpage/index.html",
    "/dls/auth/..%2fpage/index.html",
    "/dls/auth/%252e%252e/page/index.html",
    "/dls/auth/..%5cpage/index.html",
    "/dls/auth/%3fext=1",
    "/dls/auth/.",
    "/dls/auth/..",
    "/dls/auth/%00",
    "/dls/auth/%2e",
    "/dls/auth%2f..%2fpage/index.html",
    "/dls/verify/v2/",
    "/dls/verify/v2/../../page/index.html",
    "/dls/verify/v2;x=1",
    "/dls/verify/",
    "/dls/verify/v2.",
    "/dls/Auth/",
    "/dls/AUTH/",
    "/DLS/auth/",
    "/Dls/page/index.html",
    "/dls",
    "/dls;/auth/",
    "/dls/%61uth/../page/",
    "/page/index.html",
    "/",
    "//page/index.html",
    "/auth/",
    "/verify/v2",
    "/other/../dls/page/index.html",
    "/dls/../page/index.html",
    "/dls/..;/page/index.html",
    "http://127.0.0.1:48080/page/index.html",
    "http://dls.example.com/dls/page/index.html",
    "http://127.0.0.1:48080/dls/page/index.html",
    "https://dls.example.com/page/index.html",
    "/dls/page/index.html#/dls/auth/",
    "/dls/auth/#/../../page/index.html/../x",
    "/dls/page/index.html?/dls/auth/",
    "*",
]
REFUSED = (400, 403, 404, 405)
