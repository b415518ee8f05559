"""Stop this Python program at a point of its work: on PYTHONPATH of a dlsctl under test, which knows nothing of it.

DLS_FAULT is JSON: {call, path, step, jump}. The point is reached when `os.<call>` has been done to a path that ends as
`path` says and, for the journal, the step in it is `step`. There the process stops itself (SIGSTOP), its id in
/run/faults/frozen; or, with `jump`, its clock jumps by so many seconds, and it goes on. That happens once, until
/run/faults/frozen is gone, whatever process comes there.
"""

import json
import os
import re
import signal
import time
from typing import Any

FAULT = json.loads(os.environ.get("DLS_FAULT", "null"))
FROZEN = "/run/faults/frozen"


def at_point(path: str) -> bool:
    if not re.search(FAULT["path"], os.fspath(path)):
        return False
    if FAULT["step"] is None:
        return True
    with open(path) as stream:
        return bool(json.load(stream)["facts"].get("step") == FAULT["step"])


def strike() -> None:
    with open(FROZEN + ".new", "w") as stream:
        stream.write(str(os.getpid()))
    os.rename(FROZEN + ".new", FROZEN)
    if FAULT["jump"]:
        jump(FAULT["jump"])
    else:
        os.kill(os.getpid(), signal.SIGSTOP)


def jump(seconds: float) -> None:
    now, split = time.time, time.gmtime
    time.time = lambda: now() + seconds
    time.gmtime = lambda *words: split(*words) if words else split(now() + seconds)


if FAULT:
    original = getattr(os, FAULT["call"])

    def watched(*words: Any, **options: Any) -> Any:
        result = original(*words, **options)
        path = words[1 if FAULT["call"] == "rename" else 0]
        if not os.path.exists(FROZEN) and isinstance(path, str) and at_point(path):
            strike()
        return result

    setattr(os, FAULT["call"], watched)
