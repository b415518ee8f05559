"""Run a deploy. The question comes as JSON on standard input, as `dlskit deploy` asks it."""

import json
import signal
import sys

from deploys.source import Source, views_of
from dlsctl.problems import Problem

INTERRUPTED = 130  # the exit code of a program that Ctrl-C has ended


def main() -> int:
    """Do what was asked; returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    question = json.load(sys.stdin)
    deploy, dry, strict = (question.pop(name) for name in ("deploy", "dry", "strict"))
    source = Source(**question, site=deploy == "site")
    try:
        source.begin(views_of(deploy))

        from gevent import monkey  # noqa: PLC0415

        monkey.patch_all()  # before pyinfra is imported

        from deploys.run import log, run, stop_on_signals  # noqa: PLC0415

        log()
        stop_on_signals()
        return run(deploy, source, dry, strict)
    finally:
        source.stop()


try:
    sys.exit(main())
except Problem as problem:
    print(problem, file=sys.stderr)
    sys.exit(problem.code)
except KeyboardInterrupt:
    print("Interrupted: what dlsctl has begun on a host comes to its end there; run the same again", file=sys.stderr)
    sys.exit(INTERRUPTED)
