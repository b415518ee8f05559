"""Run a deploy. The question comes as JSON on standard input, as `dlskit deploy` asks it."""

from gevent import monkey

monkey.patch_all()  # before anything else is imported, as pyinfra needs it

import json  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from typing import NoReturn  # noqa: E402

import gevent  # noqa: E402

from deploys.run import log, run  # noqa: E402
from deploys.source import Source  # noqa: E402
from dlsctl.problems import Problem  # noqa: E402

INTERRUPTED = 130  # the exit code of a program that Ctrl-C has ended


def interrupt() -> NoReturn:
    """End the run itself, and not whichever of its tasks is at work, which may take that for a lost connection."""
    raise KeyboardInterrupt


question = json.load(sys.stdin)
deploy, dry, strict = (question.pop(name) for name in ("deploy", "dry", "strict"))
log()
for number in (signal.SIGINT, signal.SIGTERM):
    gevent.signal_handler(number, interrupt)
try:
    sys.exit(run(deploy, Source(**question, site=deploy == "site"), dry, strict))
except Problem as problem:
    print(problem, file=sys.stderr)
    sys.exit(problem.code)
except KeyboardInterrupt:
    print("Interrupted: what dlsctl has begun on a host comes to its end there; run the same again", file=sys.stderr)
    sys.exit(INTERRUPTED)
