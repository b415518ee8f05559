#!/usr/bin/python
import contextlib
import json
import urllib.error
import urllib.request

from ansible_collections.ansible.windows.plugins.module_utils import lab

module = lab.Lab("ansible.windows.win_uri")
module.only(
    "url", "url_method", "url_timeout", "status_code", "return_content", "headers", "follow_redirects", "use_proxy"
)
options = module.params


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


opener = urllib.request.build_opener(*([Stay] if options["follow_redirects"] == "none" else []))
request = urllib.request.Request(  # noqa: S310 - the real module takes any URL, too
    options["url"], method=options["url_method"], headers=options["headers"] or {}
)
done = {"changed": False, "elapsed": 0, "url": options["url"]}
try:
    with opener.open(request, timeout=options["url_timeout"]) as answer:
        status, body, kind = answer.status, answer.read(), answer.headers.get("Content-Type", "")
except urllib.error.HTTPError as error:
    status, body, kind = error.code, error.read(), error.headers.get("Content-Type", "")
except OSError as error:
    module.fail_json(
        msg=f"Unhandled exception occurred when sending web request. Exception: {error}", status_code=None, **done
    )
done.update(status_code=status, content_length=len(body), content_type=kind)
if options["return_content"]:
    done["content"] = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        done["json"] = json.loads(body)
if status not in options["status_code"]:
    module.fail_json(msg=f"Status code of request '{status}' is not in list of valid status codes", **done)
module.exit_json(**done)
