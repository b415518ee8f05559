"""Work that goes on when whoever asked for it is gone: a lost connection or a closed terminal does not stop it."""

import contextlib
import json
import os
import signal
from typing import Any, Callable, Dict, Optional

from dlsctl.host import utc_now, wait_until
from dlsctl.installation import Installation
from dlsctl.journal import busy_problems, locked
from dlsctl.problems import EXIT_FAILED, Answer, Busy, Problem, Refused, problem_of
from dlsctl.results import Result, failed, keep_result, results, results_path


def detached(inst: Installation, verb: str, work: Callable[[], Answer], name: str = "") -> Answer:
    """Do the work in a session of its own, and wait for it; its outcome is kept for `outcome`, too, by this name.

    Where it is killed, what it has begun is undone or finished at once: the server may be stopped just then.
    """
    inst.run_name, asked = name, utc_now()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = EXIT_FAILED
        try:
            os.setsid()
            for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: None)  # SIG_IGN would be the server's, too
            result = result_of(inst, verb, work, name)
            code = result["code"]
            os.write(writer, json.dumps(result).encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    if not text:
        with locked(inst):  # which recovers it
            told = [result for result in results(inst) if result["verb"] == verb and result["begun"] >= asked]
        if told:
            return answer_of(told[-1])
        hint = "what it had begun is undone or finished by now; run the same again"
        raise Problem(verb, "must run to its end", "killed", hint)
    return answer_of(json.loads(text.decode()))


def result_of(inst: Installation, verb: str, work: Callable[[], Answer], name: str) -> Result:
    begun = utc_now()
    try:
        code, answer, text = work()
        result: Result = {"code": code, "answer": answer, "text": text}
    except Exception as error:
        problem = problem_of(error)
        result = failed(problem)
        if isinstance(problem, Busy):  # the outcome of whoever is at work is not this
            return result
    with contextlib.suppress(OSError, Refused):  # of a full disk: whoever waits is told all the same
        keep_result(inst, verb, name, begun, result)
    return result


def answer_of(result: Dict[str, Any]) -> Answer:
    """The answer of a verb from its result. Raises the Problem that it was."""
    told = result.get("problem")
    if told is None:
        return result["code"], result["answer"], result["text"]
    problem = Problem(told["what"], told["rule"], told["got"], told["hint"])
    problem.code = result["code"]
    raise problem


def outcome(inst: Installation, seconds: float, name: Optional[str] = None) -> Answer:
    """What the last work, or that of a name, has come to; waits while it goes on. Raises the Problem that it was.

    Of work that was killed, that is told by whoever has recovered it.
    """
    if not wait_until(lambda: not list(busy_problems(inst)), seconds):
        raise next(iter(busy_problems(inst)))
    found = [result for result in results(inst) if not name or result["name"] == name]
    if not found:
        raise Refused(results_path(inst), "must be there", "nothing", "nothing was done yet, or it was killed")
    return answer_of(found[-1])
