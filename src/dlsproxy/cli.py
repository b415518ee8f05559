"""What the engines call."""

import argparse
import os
from typing import Sequence

from dlsctl.answers import perform
from dlsctl.deployment import Spec
from dlsctl.problems import EXIT_OK, EXIT_REFUSED, Answer
from dlsproxy.apply import apply
from dlsproxy.preflight import preflight


def verb_look(options: argparse.Namespace) -> Answer:
    answer = preflight(options.spec)
    text = "\n".join(problem["text"] for problem in answer["problems"])
    return (EXIT_REFUSED if text else EXIT_OK), answer, text or "ready"


def verb_apply(options: argparse.Namespace) -> Answer:
    steps = apply(options.spec, options.check)
    return EXIT_OK, {"changed": bool(steps), "steps": steps}, "\n".join(steps) or "nothing to do"


VERBS = {"look": verb_look, "apply": verb_apply}


def main(arguments: Sequence[str], spec: Spec) -> int:
    """Run a verb of VERBS, apply also with --check; prints its answer in JSON and returns the exit code of dlsctl."""
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    check = "--check" in arguments
    return perform(argparse.Namespace(verb=VERBS[arguments[0]], json=True, debug=False, spec=spec, check=check))
