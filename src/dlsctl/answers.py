"""What a program of the kit prints: the answer of a verb, or what went wrong, for people or as JSON."""

import argparse
import json
import os
import sys
from typing import Callable

from dlsctl.problems import EXIT_FAILED, Answer, Problem, problem_of


def perform(options: argparse.Namespace) -> int:
    """Run a verb and print its answer, or what went wrong; returns the exit code.

    `options` holds `verb`, a function from options to an answer, `json` and `debug`, and what the verb needs.
    """
    try:
        verb: Callable[[argparse.Namespace], Answer] = options.verb
        code, answer, text = verb(options)
    except (Exception, KeyboardInterrupt) as error:
        if options.debug and not isinstance(error, Problem):
            raise
        return report(problem_of(error), options)
    return answered(json.dumps(answer, sort_keys=True) if options.json else printable(text), code)


def answered(text: str, code: int) -> int:
    """Print the answer; returns `code`, or EXIT_FAILED where it could not be written."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where Python's own last flush goes
        if not isinstance(error, BrokenPipeError):  # a reader that has seen enough is no failure
            print("standard output: must take the answer, got {}".format(error.strerror), file=sys.stderr)
            return EXIT_FAILED
    return code


def report(problem: Problem, options: argparse.Namespace) -> int:
    """Print a problem, with --json also on standard output; returns its exit code."""
    if options.json:
        answered(json.dumps({"error": problem.as_dict()}), problem.code)
    print(printable(str(problem)), file=sys.stderr)
    return problem.code


def printable(text: str) -> str:
    """Text without what could steer a terminal or not be encoded: such characters are shown escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    lines = ("".join(char if char.isprintable() else ascii(char)[1:-1] for char in line) for line in text.split("\n"))
    return "\n".join(lines).encode(encoding, "backslashreplace").decode(encoding)
