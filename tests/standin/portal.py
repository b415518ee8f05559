"""Talk to a stand-in as its portal's page does, and write license files that it imports."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

ORGANIZATION = "216998"


class Answer:
    """One HTTP answer, whatever its status."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object."""
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise TypeError(f"answer: must be a JSON object, got {value!r}")
        return value


class Portal:
    """One visitor of the stand-in at `url`, such as http://127.0.0.1:48080; keeps the login's cookie."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._cookie = ""

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request; raises OSError when nothing answers within 10 s."""
        connection = http.client.HTTPConnection(self._address, timeout=10)
        try:
            connection.request(method, path, body, {"Cookie": self._cookie} | (headers or {}))
            answer = Answer(connection.getresponse())
        finally:
            connection.close()
        self._cookie = answer.headers.get("Set-Cookie", self._cookie).split(";")[0]
        return answer

    def get(self, path: str) -> Answer:
        """GET a path, which may have a query."""
        return self.request("GET", path)

    def call(self, name: str, /, **fields: str) -> Answer:
        """POST one of the stand-in's own calls below /api/ (see README.md)."""
        return self.request("POST", f"/api/{name}", json.dumps(fields).encode())

    def state(self) -> dict[str, Any]:
        """What the pages show: version, passwordSet, loggedIn; logged in also uuid, items, projects and more."""
        return self.get("/api/state").json()


def license_text(
    license_id: str = "100028117", *, status: str = "Activated", organization: str = ORGANIZATION, uuid: str = ""
) -> str:
    """Return a license file in the documented form, with one item in the stand-in's own form.

    `uuid` binds it to one machine by a line that only stand-ins know; empty: any machine.
    """
    lines = [
        f"LicenseId: {license_id}",
        "Alias: stand-in",
        "LicenseTextVersion: 2.0",
        f"OrganizationID: {organization}",
        f"LicenseStatus: {status}",
    ]
    lines += [f"StandinUUID: {uuid}"] if uuid else []
    item = "100955015 | 1 * Stand-in item, no licence | Dynamsoft Barcode Reader | 200 | 2026-01-01 | 2036-01-01"
    return "\n".join([*lines, "LicenseItems:", item, ""])
